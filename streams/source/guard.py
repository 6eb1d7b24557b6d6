"""Names what nobody reports: slot, publication and connector, judged by SQL and by the stored position (pure).

The connector shows RUNNING while it hangs on a lost slot and after its publication was dropped (design: The source
side). So the truth is asked for where it is kept. What one look can tell stands here; what takes a memory, in
`memory.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.source.connect import cause
from streams.source.look import captured

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.source.look import Database, Look, Publication, Slot

REPAIR = "Changes are lost. Run `source repair`: it reads the tables again and compares all users."
#: Seconds for which a connector may be without its slot before it hangs, and the heartbeat may stand still.
PATIENCE = 30.0
#: Bytes of WAL kept for the slot from which on somebody has to know.
_MUCH_WAL = 1 << 30

#: Changes are lost: stays until a repair, because after a start of the connector it shows no more (facts, section 4).
LOST = frozenset((
    "slot_dropped", "slot_lost", "slot_moved", "slot_ahead",
    "publication_missing", "publication_incomplete", "publication_remade", "replica_identity",
    "database_replaced", "database_promoted", "database_restored", "truncated",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with the source, and what to do."""

    slug: str
    what: str
    remedy: str

    @property
    def lost(self) -> bool:
        """Whether it means that changes are lost."""
        return self.slug in LOST


def findings(settings: Settings, look: Look) -> list[Finding]:
    """Name everything that this one look shows (facts: debezium-3.7, section 4)."""
    return [
        *_away(look),
        *_connector(look),
        *([] if look.database is None else _database(settings, look.database, look)),
    ]


def _away(look: Look) -> list[Finding]:
    found = []
    if look.database_away:
        found.append(Finding("database_away", look.database_away, "Start it, or correct LEGACY_DATABASE_URL."))
    if look.connect_away:
        found.append(Finding("connect_away", look.connect_away, look.connect_remedy))
    return found


def _connector(look: Look) -> list[Finding]:
    connector = look.connector
    if connector is None:
        return []
    if connector.state == "":
        return [Finding("connector_missing", "the connector is not registered", "Run `connector apply`.")]
    if "FAILED" in (connector.state, *connector.tasks):
        remedy = "Cure the cause named there, then `connector apply` starts it again."
        return [Finding("connector_failed", f"the connector failed: {cause(connector.trace)}", remedy)]
    if connector.state != "RUNNING":
        return [Finding("connector_stopped", f"the connector is {connector.state}", "Run `connector apply`.")]
    return []


def _database(settings: Settings, database: Database, look: Look) -> list[Finding]:
    if database.standby:
        what = "LEGACY_DATABASE_URL leads to a standby, which has neither the slot nor the newest rows"
        return [Finding("database_standby", what, "Name the primary.")]
    found = slot(database.slot, look)
    for table in captured(settings):
        if table.name not in database.tables:
            remedy = "Correct its name under [tables], or bring it back; then run `source check`."
            found.append(Finding("table_missing", f"the legacy database has no table {table.name}", remedy))
    found += publication(settings, database.publication, streamed=look.offset is not None)
    return found + identities(settings, database)


def slot(found: Slot | None, look: Look) -> list[Finding]:
    """Judge the slot against the stored position."""
    offset = look.offset
    if found is None:
        if offset is not None:
            return [Finding("slot_dropped", "the replication slot is gone, but the connector has a position", REPAIR)]
        if look.connector is None:
            return []
        return [Finding("slot_missing", "there is no replication slot yet", "Run `connector apply`: it makes it.")]
    if found.lost:
        return [Finding("slot_lost", "the replication slot lost its WAL (max_slot_wal_keep_size)", REPAIR)]
    if offset is not None and found.restart is not None and found.restart > offset:
        what = "the replication slot begins after the connector's position: it was made anew or moved"
        return [Finding("slot_moved", what, REPAIR)]
    if not found.active and offset is not None and found.confirmed is not None and found.confirmed > offset:
        what = "the replication slot was moved beyond the connector's position: what lies between would be skipped"
        return [Finding("slot_ahead", what, REPAIR)]
    # The initial snapshot does without the slot that it has made.
    snapshot = look.connector is not None and look.connector.running and offset is None
    return _slot_now(found, idle=not found.active and not snapshot)


def _slot_now(found: Slot, *, idle: bool) -> list[Finding]:
    problems = []
    if idle:
        what = f"nobody reads the replication slot; {found.kept_bytes} bytes of WAL are kept for it"
        problems.append(Finding("slot_inactive", what, "Start Kafka Connect; look at `connector status` and its log."))
    if (found.kept_bytes or 0) > _MUCH_WAL or found.wal_status == "unreserved":
        what = f"PostgreSQL keeps {found.kept_bytes} bytes of WAL for the slot (wal_status {found.wal_status})"
        remedy = "Find out why Kafka does not take them (`connector status`), or end long transactions; watch the disk."
        problems.append(Finding("wal_kept", what, remedy))
    return problems


def publication(settings: Settings, found: Publication | None, *, streamed: bool) -> list[Finding]:
    """Judge the publication against the captured tables; `streamed` says that the connector has been reading it."""
    name = settings.source.name
    if found is None:
        if not streamed:
            return [Finding("cdc_missing", f"there is no publication {name} yet", "Run `cdc enable`.")]
        what = f"the publication {name} is gone: every change is lost meanwhile"
        return [Finding("publication_missing", what, REPAIR)]
    problems = []
    tables = captured(settings)
    lacking = [table.name for table in tables if table.name not in found.tables]
    filtered = [table.name for table in tables if table.name in found.tables and found.tables[table.name].filtered]
    if lacking or filtered or not found.whole:
        parts = [f"lacks {', '.join(lacking)}"] if lacking else []
        parts += [f"leaves rows of {', '.join(filtered)} out"] if filtered else []
        parts += [] if found.whole else ["leaves inserts, updates or deletes out"]
        what = f"the publication {name} {' and '.join(parts)}: these changes are lost meanwhile"
        problems.append(Finding("publication_incomplete", what, REPAIR))
    for table in tables:
        published = found.tables.get(table.name)
        if published is None or published.columns is None:
            continue
        absent = [column for column in table.columns if column not in published.columns]
        if absent:
            # Not lost: their users are set aside record by record, and read again (M7).
            what = f"the publication {name} lacks the column {', '.join(absent)} of {table.name}"
            problems.append(Finding("column_unpublished", what, "Run `cdc enable`."))
    return problems


def identities(settings: Settings, database: Database) -> list[Finding]:
    """Judge what a delete or a move tells of the row before: its key, and of a credential its user, too.

    What is not in the replica identity Debezium makes up (facts: debezium-postgres, section 2.3): the delete of a
    credential goes to a user "0", and nobody complains.
    """
    published = database.publication.tables if database.publication is not None else {}
    source = settings.source
    needed = {source.users.name: [source.users.id]} | {one.name: [one.id, one.user_id] for one in source.credentials}
    bare, lacking = [], []
    for name, columns in needed.items():
        identity = database.tables[name].identity if name in database.tables and name in published else None
        if identity is None:
            continue
        absent = [column for column in columns if column not in identity]
        if not identity:
            bare.append(name)
        elif absent:
            lacking.append(f"{', '.join(absent)} of {name}")
    problems = []
    if lacking:
        what = f"the replica identity lacks {', '.join(lacking)}: whose row is deleted or moved there is lost meanwhile"
        problems.append(Finding("replica_identity", what, REPAIR))
    if bare:
        # Not lost: PostgreSQL refuses what it could not publish.
        what = f"the replica identity of {', '.join(bare)} is gone: UPDATE and DELETE of the application fail there"
        problems.append(Finding("replica_identity_missing", what, "Run `cdc enable`."))
    return problems
