"""Each fault of the source is named: by what one look shows, or by what was remembered."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import orjson
import pytest
from fakes import SETTINGS
from sights import CONNECTOR, CREDENTIALS, DATABASE, RIGHT, SLOT, USERS, identified, published, seen, stopped

from streams.source.guard import LOST, REPAIR, findings
from streams.source.look import Connector, Look, Published, Table
from streams.source.memory import Memory, emptied, lost, recall, remember, rewritten
from streams.source.offsets import newest, position

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.source.guard import Finding

MEMORY = remember(None, RIGHT)


def slugs(found: Iterable[Finding]) -> set[str]:
    return {one.slug for one in found}


def test_a_right_source_has_no_finding() -> None:
    """A guard that shouts at nothing is switched off."""
    assert findings(SETTINGS, RIGHT) == []
    assert lost(SETTINGS, MEMORY, RIGHT, RIGHT) == []


NOW = {
    "database_away": Look(database_away="no answer", connector=CONNECTOR),
    "connect_away": Look(DATABASE, connect_away="no answer"),
    "connector_missing": seen(Connector("")),
    "connector_failed": seen(Connector("RUNNING", ("FAILED",), "org.Error: gone\nCaused by: no such role", 960)),
    "connector_stopped": seen(stopped()),
    "database_standby": seen(standby=True, lsn=None, timeline=None),
    "table_missing": seen(tables={USERS: DATABASE.tables[USERS]}),
    "slot_missing": seen(stopped(None), None),
    "slot_inactive": seen(slot=replace(SLOT, active=False, pid=None)),
    "wal_kept": seen(slot=replace(SLOT, kept_bytes=2 << 30)),
    "cdc_missing": seen(stopped(None), None, publication=None),
    "column_unpublished": seen(
        publication=published(tables={**DATABASE.publication.tables, USERS: Published(71, ("id",))})  # type: ignore[union-attr]
    ),
    "replica_identity_missing": identified(CREDENTIALS),
}
GONE = {
    "slot_dropped": seen(stopped(), None),
    "slot_lost": seen(slot=replace(SLOT, active=False, lost=True, restart=None)),
    "slot_moved": seen(stopped(), replace(SLOT, active=False, restart=990, confirmed=995)),
    "slot_ahead": seen(stopped(), replace(SLOT, active=False, confirmed=995)),
    "publication_missing": seen(publication=None),
    "publication_incomplete": seen(publication=published(tables={USERS: DATABASE.publication.tables[USERS]})),  # type: ignore[union-attr]
    "replica_identity": identified(CREDENTIALS, "id"),
}


@pytest.mark.parametrize("slug", NOW)
def test_what_is_wrong_now_is_named_and_is_no_loss(slug: str) -> None:
    found = findings(SETTINGS, NOW[slug])
    assert slug in slugs(found)
    assert all(one.what and one.remedy for one in found)
    memory = replace(MEMORY, offset=None) if slug == "cdc_missing" else MEMORY
    assert lost(SETTINGS, memory, NOW[slug], RIGHT) == []


@pytest.mark.parametrize("slug", GONE)
def test_what_one_look_shows_of_lost_changes_asks_for_the_repair(slug: str) -> None:
    found = {one.slug: one for one in findings(SETTINGS, GONE[slug])}
    assert found[slug].remedy == REPAIR
    assert slug in slugs(lost(SETTINGS, MEMORY, GONE[slug]))
    assert slug in LOST


def test_a_publication_that_leaves_rows_or_kinds_out_is_incomplete() -> None:
    """`WHERE`, or `publish = 'insert'`: the changes are skipped without a word."""
    users = DATABASE.publication.tables[USERS]  # type: ignore[union-attr]
    filtered = published(tables={**DATABASE.publication.tables, USERS: replace(users, filtered=True)})  # type: ignore[union-attr]
    for publication, word in ((filtered, f"leaves rows of {USERS} out"), (published(whole=False), "leaves inserts")):
        (found,) = findings(SETTINGS, seen(publication=publication))
        assert found.slug == "publication_incomplete" and word in found.what


def test_before_postgresql_15_no_columns_are_asked_for() -> None:
    """Whole rows are published there."""
    tables = {name: Published(one.entry, None) for name, one in DATABASE.publication.tables.items()}  # type: ignore[union-attr]
    assert findings(SETTINGS, seen(publication=published(tables=tables))) == []


@pytest.mark.parametrize(
    ("look", "said"),
    [
        (identified(CREDENTIALS, "id"), f"user_id of {CREDENTIALS}"),  # DEFAULT
        (identified(CREDENTIALS, "user_id", "kind"), f"id of {CREDENTIALS}"),  # USING INDEX of somebody else
        (identified(USERS, "email"), f"id of {USERS}"),
        (identified(CREDENTIALS, "kind", "id", "user_id"), ""),
        (identified(CREDENTIALS, full=True), ""),
        (identified(USERS, full=True), ""),
    ],
)
def test_deletes_and_moves_have_to_tell_whose_row_it_was(look: Look, said: str) -> None:
    """Debezium makes up what the old row lacks: the delete of a password would go to a user "0"."""
    found = findings(SETTINGS, look)
    assert [one.slug for one in found] == (["replica_identity"] if said else [])
    assert all(said in one.what for one in found)


def test_before_a_table_is_published_its_replica_identity_loses_nothing() -> None:
    """`cdc enable` makes the identity before the publication; until then it is as the application left it."""
    bare = identified(CREDENTIALS, "id").database
    assert bare is not None
    new = Look(replace(bare, publication=None, slot=None), stopped(None))
    assert "replica_identity" not in slugs(findings(SETTINGS, new))
    alone = replace(bare, publication=published(tables={USERS: DATABASE.publication.tables[USERS]}))  # type: ignore[union-attr]
    assert "replica_identity" not in slugs(findings(SETTINGS, Look(alone, CONNECTOR)))


def test_the_initial_snapshot_does_without_its_slot() -> None:
    """It is made, and nobody reads it until the tables have been read."""
    running = Connector("RUNNING", ("RUNNING",), None, None)
    assert findings(SETTINGS, seen(running, replace(SLOT, active=False, pid=None))) == []


def test_a_slot_behind_the_position_is_as_it_must_be() -> None:
    """After every stop the slot stands a little behind what Kafka has."""
    assert "slot_ahead" not in slugs(findings(SETTINGS, seen(stopped(), replace(SLOT, active=False, confirmed=960))))


# -- what takes a memory ----------------------------------------------------------------------------------------------


def test_a_slot_that_went_while_connect_was_away_is_dropped() -> None:
    """Nobody can be asked for the position; the slot's absence is enough where there was one."""
    away = Look(replace(DATABASE, slot=None), None, connect_away="no answer")
    assert slugs(lost(SETTINGS, MEMORY, away)) == {"slot_dropped"}
    assert lost(SETTINGS, replace(MEMORY, offset=None), away) == []


def test_a_slot_that_moves_while_nobody_can_is_a_gap() -> None:
    idle = replace(SLOT, active=False, pid=None)
    before = Look(replace(DATABASE, slot=idle), None, connect_away="no answer")
    moved = replace(before, database=replace(DATABASE, slot=replace(idle, confirmed=999)))
    assert slugs(lost(SETTINGS, MEMORY, moved, before)) == {"slot_ahead"}
    assert len(lost(SETTINGS, MEMORY, replace(moved, stored=960), before)) == 1, "one fault, however many signs"
    assert lost(SETTINGS, MEMORY, before, before) == []


def test_a_slot_moved_just_before_the_start_is_seen_before_the_position_moves() -> None:
    """The first flush takes the evidence away: it must be seen in the second before."""
    before = seen(stopped(), replace(SLOT, active=False, pid=None))
    started = seen(slot=replace(SLOT, pid=4712, confirmed=999))
    assert slugs(lost(SETTINGS, MEMORY, started, before)) == {"slot_ahead"}
    flushed = seen(replace(CONNECTOR, offset=1_000), replace(SLOT, pid=4712, confirmed=999))
    assert lost(SETTINGS, MEMORY, flushed, before) == []


def test_while_connect_is_away_kafka_tells_the_position() -> None:
    """Somebody moves the slot of a connector whose Connect is down: it must be named before the start."""
    idle = replace(SLOT, active=False, pid=None, confirmed=995)
    away = Look(replace(DATABASE, slot=idle), None, connect_away="no answer", stored=960)
    assert slugs(lost(SETTINGS, MEMORY, away)) == {"slot_ahead"}
    assert lost(SETTINGS, MEMORY, replace(away, stored=995)) == []
    assert slugs(lost(SETTINGS, MEMORY, replace(away, database=replace(DATABASE, slot=None)))) == {"slot_dropped"}


def test_the_position_in_kafka_is_that_of_this_connector() -> None:
    key, other = b'["cidaas_sync",{"server":"legacy"}]', b'["other",{"server":"x"}]'
    records = [
        (key, b'{"lsn":5}'),
        (key, b'{"lsn":7}'),
        (other, b'{"lsn":9}'),
        (None, b"{}"),
        (b"[]", b"x"),
        (b"x", b""),
    ]
    assert newest(records, "cidaas_sync") == 7
    assert newest([*records, (key, None)], "cidaas_sync") is None, "deleted"
    assert newest([], "cidaas_sync") is None


def test_a_connector_that_died_within_a_long_transaction_is_no_moved_slot() -> None:
    """Its rows have lower LSNs than commits that were streamed while it was open; the slot stands at one of those."""
    torn = {"lsn": 900, "lsn_proc": 900, "lsn_commit": 980, "messageType": "INSERT"}
    assert position(torn) == 980
    assert position({"lsn": 990, "lsn_commit": 980}) == 990
    assert position({"lsn": 7}) == 7 and position({}) is None
    record = (orjson.dumps(["cidaas_sync", {"server": "legacy"}]), orjson.dumps(torn))
    dead = replace(stopped(), offset=newest([record], "cidaas_sync"))
    assert "slot_ahead" not in slugs(findings(SETTINGS, seen(dead, replace(SLOT, active=False, confirmed=980))))


def test_a_publication_made_again_is_named_though_it_is_whole() -> None:
    (found,) = lost(SETTINGS, MEMORY, seen(publication=published(oid=99)))
    assert found.slug == "publication_remade"


def test_a_table_put_back_into_the_publication_is_named() -> None:
    users = DATABASE.publication.tables[USERS]  # type: ignore[union-attr]
    back = published(tables={**DATABASE.publication.tables, USERS: replace(users, entry=99)})  # type: ignore[union-attr]
    assert slugs(lost(SETTINGS, MEMORY, seen(publication=back))) == {"publication_remade"}


def test_set_table_with_other_columns_is_no_gap() -> None:
    """`cdc enable` after a change of the mapping: one transaction, and PostgreSQL makes a new line of it."""
    users = DATABASE.publication.tables[USERS]  # type: ignore[union-attr]
    wider = Published(99, (*(users.columns or ()), "added"))
    again = published(tables={**DATABASE.publication.tables, USERS: wider})  # type: ignore[union-attr]
    assert lost(SETTINGS, MEMORY, seen(publication=again)) == []
    learnt = remember(MEMORY, seen(publication=again))
    assert slugs(lost(SETTINGS, learnt, seen(publication=published(tables=again.tables, oid=70)))) == set()


@pytest.mark.parametrize(
    ("slug", "look"),
    [
        ("database_replaced", seen(system="7002/shop")),
        ("database_replaced", seen(system="7001/copy")),
        ("database_promoted", seen(timeline=2)),
        ("database_restored", seen(lsn=999)),
    ],
)
def test_another_history_of_the_database_is_named_alone(slug: str, look: Look) -> None:
    """Slot and publication of another history say nothing about this one."""
    assert look.database is not None
    bare = replace(look, database=replace(look.database, slot=None, publication=None))
    assert [one.slug for one in lost(SETTINGS, MEMORY, bare)] == [slug]


def test_a_standby_proves_nothing() -> None:
    assert lost(SETTINGS, MEMORY, seen(standby=True, system="7002/shop", lsn=None, timeline=None)) == []


def test_the_greatest_position_is_remembered() -> None:
    assert remember(remember(MEMORY, seen(lsn=5_000)), seen(lsn=4_000)).lsn == 5_000


def test_what_was_not_seen_is_not_forgotten() -> None:
    """Or a publication dropped while nobody looked would be no news when it is back."""
    after = remember(MEMORY, Look(database_away="no answer", connect_away="no answer"))
    assert after == MEMORY
    assert remember(MEMORY, seen(publication=None)).publication == 70


def test_the_memory_survives_its_record() -> None:
    assert Memory.of(orjson.loads(orjson.dumps(MEMORY.body()))) == MEMORY
    assert Memory.of(None) is None


def test_positions_alone_are_no_news() -> None:
    moved = remember(MEMORY, seen(replace(CONNECTOR, offset=990), lsn=2_000))
    assert moved.same_place(MEMORY) and moved != MEMORY
    assert not replace(MEMORY, offset=None).same_place(MEMORY)


def test_a_repair_begins_a_new_memory() -> None:
    """LSNs of before would call the repaired database restored."""
    learnt = replace(remember(None, seen(lsn=5)), epoch=2)
    state = {"source": {**MEMORY.body(), "swept": 7}, "source/repair": {"memory": learnt.body()}}
    found = recall(state)
    assert found is not None
    assert (found.epoch, found.lsn, found.swept) == (2, 5, 7)
    state["source"] = {**found.body(), "lsn": 50}
    assert recall(state) == replace(found, lsn=50), "what was seen since then is not forgotten"


def test_a_new_file_is_a_truncation_only_where_rows_were() -> None:
    new = Table(900, -1, False, ("id",))
    emptied_look = replace(DATABASE, tables={USERS: new, CREDENTIALS: DATABASE.tables[CREDENTIALS]})
    assert rewritten(MEMORY, emptied_look) == emptied(MEMORY, emptied_look) == [USERS]
    full = replace(DATABASE, tables={USERS: replace(new, filled=True)})
    assert (rewritten(MEMORY, full), emptied(MEMORY, full)) == ([USERS], [])
    assert emptied(replace(MEMORY, filled=()), emptied_look) == []
    assert remember(MEMORY, Look(emptied_look)).files == MEMORY.files, "not before it is judged"
