"""docs/legacy-server.md and docs/personal-data.md promise only what the code does, in the code's own words."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import orjson
from clock import Clock, run
from fakes import SETTINGS
from test_deploy import source_slugs
from test_docs import PAGES, ROOT, variables_of_the_code
from world import World

from streams import explain, views
from streams.cidaas.refusals import Reason
from streams.cutover.plan import own_topics
from streams.ledger import PURGE_NOT_PROVED
from streams.source.connector import connector_config
from streams.source.guard import LOST
from streams.source.topics import DAY, topic_table
from streams.verdicts import email_mark

if TYPE_CHECKING:
    from pathlib import Path

LEGACY, PERSONAL = PAGES["legacy-server.md"], PAGES["personal-data.md"]

#: words in `code` with an underscore that are PostgreSQL's, Kafka's or of the configuration, and no slugs of ours.
POSTGRESQL = {
    "wal_level", "max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size", "idle_replication_slot_timeout",
    "output_plugin_libraries", "restart_lsn", "safe_wal_size", "pg_upgrade", "cidaas_sync",
    "credentials_cidaas_sync_ri", "log_statement", "log_min_duration_statement", "sub_namespace", "app_id",
}  # fmt: skip


def words(page: str) -> set[str]:
    return set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page))


def test_each_slug_of_the_pages_is_one_that_the_code_can_say() -> None:
    assert words(LEGACY) - POSTGRESQL <= source_slugs()
    assert words(PERSONAL) - POSTGRESQL <= {reason.value for reason in Reason}


def test_each_way_to_lose_changes_by_the_server_is_named() -> None:
    by_hand = {"slot_moved", "slot_ahead", "publication_missing"}  # somebody's hands, not the server's life
    assert LOST - by_hand <= words(LEGACY) | {"truncated"}
    assert "`truncated`" in LEGACY


def test_the_names_of_the_example_are_those_of_the_configuration() -> None:
    source = SETTINGS.source
    assert f"pg_drop_replication_slot('{source.name}')" in LEGACY
    assert "failover" not in " ".join(connector_config(SETTINGS)), (
        "a failover slot: legacy-server.md says there is none"
    )


def test_each_topic_is_named_where_data_lie_and_where_they_are_deleted() -> None:
    where, rest = PERSONAL.split("## Where users' data lie")[1].split("## Where the pipeline's secrets lie")
    (deletes,) = re.findall(r"for topic in (.*?); do", rest)
    topics = [topic.name for topic in topic_table(SETTINGS)]
    by_command = {*own_topics(SETTINGS), SETTINGS.topics.control}
    assert deletes.split() == [topic for topic in topics if topic not in by_command]
    assert topics.index(SETTINGS.topics.connect_configs) == len(by_command) == 9
    assert "It deletes the first nine topics" in rest and "cutover finish --yes" in rest
    assert {topic for topic in topics if f"`{topic}`" not in where} == set()


def test_how_long_topics_keep_is_what_the_page_says() -> None:
    kept = {topic.name: topic.settings.get("retention.ms") for topic in topic_table(SETTINGS)}
    names = SETTINGS.topics
    assert [kept[name] for name in (names.message, names.notifications, names.signals, names.heartbeat)] == [
        str(DAY), "-1", str(7 * DAY), str(DAY // 24),
    ]  # fmt: skip
    assert kept[names.identity] == "-1"


def test_the_bound_for_compaction_is_one_that_topics_takes() -> None:
    (bound,) = set(re.findall(r"max\.compaction\.lag\.ms=(\d+)", PERSONAL))
    for topic in topic_table(SETTINGS):
        if topic.name in (SETTINGS.topics.snapshots, SETTINGS.topics.ledger):
            assert f"--entity-name {topic.name} --add-config max.compaction.lag.ms={bound}" in PERSONAL
            assert "max.compaction.lag.ms" not in topic.settings  # what is not in the table is left as it is
            assert int(bound) > int(topic.settings["min.compaction.lag.ms"]) == DAY


def test_each_secret_of_the_environment_is_named() -> None:
    table = PERSONAL.split("## Where the pipeline's secrets lie")[1].split("\n## ")[0]
    secret = {name for name in variables_of_the_code() if re.search(r"PASSWORD|SECRET|LEGACY_\w+_URL", name)}
    assert "CIDAAS_CLIENT_SECRET" in secret
    assert {name for name in secret if f"`{name}`" not in table} == set()


# -- what becomes of one person ---------------------------------------------------------------------------------------


def test_a_deleted_row_leaves_ids_and_positions_and_a_soft_deleted_one_everything(tmp_path: Path) -> None:
    clock = Clock()

    async def erased() -> tuple[bytes, bytes, bytes, str]:
        world = await World.start(tmp_path, clock)
        world.go()
        await world.sign_up(1, 2, given_name="Grace", phone="+491711234567")
        await world.in_sync(1, 2)
        assert world.entry(1).extra["mail"] == email_mark("user1@example.org")
        await world.remove(1)
        await world.change(2, given_name="Grace", status="deleted")
        await world.in_sync(1, 2)
        ((snap, entry), (soft, _)) = world.partition.read([b"1", b"2"])
        assert snap is not None and entry is not None and soft is not None
        said = views.describe("1", snap.value, entry.value, world.partition.mapping_id)
        await world.stop()
        return snap.value, entry.value, soft.value, explain.sentence(said)

    snap, entry, soft, sentence = run(erased(), clock)
    assert sentence.startswith("in sync: deleted in the legacy database and at cidaas")
    for value in (snap, entry):
        assert not re.search(rb"Grace|example\.org|\+49|\$2b\$|" + email_mark("user1@example.org").encode(), value)
    body = orjson.loads(snap[struct.calcsize(">QIQIQB") :])
    assert set(body) == {"x", "u", "c"}
    assert body["u"][2] is None
    assert [row[2] for row in body["c"].values()] == [None]
    assert b"Grace" in soft and b"$2b$" in soft


def test_the_sentences_that_the_page_quotes_are_those_of_the_command() -> None:
    steps = PERSONAL.split("## Erase one person before go-live")[1].split("\n## ")[0]
    code = "\n".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    for quoted in (
        "deleted in the legacy database and at cidaas",
        "nothing to do",
        "delivery is paused",
        "the delete brake holds all deletes",
        "a fault of the source stands",
        "refused by cidaas",
    ):
        assert quoted in steps, quoted
        assert quoted in code, quoted
    assert PURGE_NOT_PROVED in steps
