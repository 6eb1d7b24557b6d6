"""Looks at what nobody reports: slot, publication and connector, from SQL and from the stored offset.

The connector shows RUNNING while it hangs on a lost slot and after its publication was dropped (design: The source
side). So the truth is asked for where it is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from streams.legacy import Legacy, LegacyAwayError
from streams.source.connect import Connect, ConnectError, cause

if TYPE_CHECKING:
    from streams.settings import CredentialsTable, Settings, UsersTable


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with the source, and what to do."""

    slug: str
    what: str
    remedy: str


@dataclass(slots=True)
class SourceState:
    """What was seen; None is *could not be asked*."""

    slot: dict[str, Any] | None = None
    published: dict[str, list[str]] | None = None
    connector: str | None = None
    tasks: tuple[str, ...] = ()
    trace: str | None = None
    offset_lsn: int | None = None
    rows: int | None = None
    database_away: str = ""
    connect_away: str = ""


_SLOT = sql.SQL(
    "SELECT s.slot_name, s.active, s.wal_status, s.restart_lsn IS NULL AS no_restart, "
    "pg_wal_lsn_diff(s.confirmed_flush_lsn, '0/0')::bigint AS confirmed, "
    "pg_wal_lsn_diff(s.restart_lsn, '0/0')::bigint AS restart, "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)::bigint AS lag_bytes, "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)::bigint AS kept_bytes "
    "FROM (SELECT 1) AS one LEFT JOIN pg_replication_slots s ON s.slot_name = %s"
)
_PUBLISHED = sql.SQL("SELECT schemaname || '.' || tablename AS name FROM pg_publication_tables WHERE pubname = %s")
_ROWS = sql.SQL("SELECT reltuples::bigint AS rows FROM pg_class WHERE oid = to_regclass(%s)")


async def look(settings: Settings) -> SourceState:
    """Ask database and Connect; what does not answer is noted, not raised."""
    state = SourceState()
    source = settings.source
    legacy = Legacy(settings)
    try:
        slot = (await legacy.query(_SLOT, (source.name,)))[0]
        state.slot = slot if slot["slot_name"] is not None else {}
        tables = await legacy.query(_PUBLISHED, (source.name,))
        state.published = {row["name"]: [] for row in tables}
        rows = await legacy.query(_ROWS, (source.users.name,))
        state.rows = int(rows[0]["rows"]) if rows else None
    except LegacyAwayError as error:
        state.database_away = str(error)
    finally:
        await legacy.close()
    try:
        async with Connect(settings.connect_url) as connect:
            status = await connect.status(source.name)
            state.connector = status.state if status is not None else ""
            if status is not None:
                state.tasks, state.trace = status.tasks, status.trace
                offsets = await connect.offsets(source.name)
                lsn = offsets[0].get("offset", {}).get("lsn") if offsets else None
                state.offset_lsn = None if lsn is None else int(lsn)
    except ConnectError as error:
        state.connect_away = str(error)
    return state


def findings(settings: Settings, state: SourceState) -> list[Finding]:
    """Name each fault with its remedy (facts: debezium-3.7, section 4)."""
    found: list[Finding] = []
    if state.database_away:
        found.append(Finding("database_away", state.database_away, "Start it, or correct LEGACY_DATABASE_URL."))
    if state.connect_away:
        found.append(Finding("connect_away", state.connect_away, "Start Kafka Connect, or correct CONNECT_URL."))
    if state.connector == "":
        found.append(Finding("connector_missing", "the connector is not registered", "Run `connector apply`."))
    elif state.connector is not None and "FAILED" in (state.connector, *state.tasks):
        remedy = "Cure the cause named there, then `connector apply` starts it again."
        found.append(Finding("connector_failed", f"the connector failed: {cause(state.trace)}", remedy))
    elif state.connector is not None and state.connector != "RUNNING":
        found.append(Finding("connector_stopped", f"the connector is {state.connector}", "Run `connector apply`."))
    if state.slot is not None:
        found += _slot(state, state.slot)
    if state.published is not None:
        tables: list[UsersTable | CredentialsTable] = [settings.source.users]
        if settings.source.credentials is not None:
            tables.append(settings.source.credentials)
        missing = [table.name for table in tables if table.name not in state.published]
        if missing:
            what = f"the publication {settings.source.name} lacks {', '.join(missing)}: its changes are lost meanwhile"
            found.append(Finding("publication_incomplete", what, "Run `cdc enable`, then read the table again."))
    return found


def _slot(state: SourceState, slot: dict[str, Any]) -> list[Finding]:
    repair = "Changes are lost: the tables must be read again (docs/operations.md, Repair)."
    if not slot:
        if state.offset_lsn is not None:
            return [Finding("slot_dropped", "the replication slot is gone, but the connector has a position", repair)]
        return [Finding("slot_missing", "there is no replication slot yet", "Run `connector apply`: it makes it.")]
    if slot["wal_status"] == "lost" or slot["no_restart"]:
        return [Finding("slot_lost", "the replication slot lost its WAL (max_slot_wal_keep_size)", repair)]
    if state.offset_lsn is not None and slot["restart"] > state.offset_lsn:
        return [Finding("slot_moved", "the replication slot stands after the connector's position", repair)]
    if not slot["active"]:
        what = f"nobody reads the replication slot; {slot['kept_bytes']} bytes of WAL are kept for it"
        return [Finding("slot_inactive", what, "Start Kafka Connect; look at `connector status`.")]
    return []
