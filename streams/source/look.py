"""One look at the source: database by SQL, then connector and stored position, which Kafka Connect tells, or Kafka.

In this order, because a slot never stands behind the position that is read after it: what Kafka has is stored first,
and told to the slot then (facts: a slot ahead of the stored position was moved by hand).
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from psycopg import sql

from streams.legacy import SYSTEM, Legacy, LegacyAwayError, qualified
from streams.source.connect import Connect, ConnectError
from streams.source.offsets import position, stored_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import CredentialsTable, Settings, UsersTable


@dataclass(frozen=True, slots=True)
class Slot:
    """The replication slot; LSNs as numbers, None while it is being made."""

    active: bool
    pid: int | None
    lost: bool
    restart: int | None
    confirmed: int | None
    lag_bytes: int | None
    kept_bytes: int | None
    wal_status: str | None
    #: max_slot_wal_keep_size (None: no limit), and how much more WAL may be written until the slot is in danger.
    limit_bytes: int | None = None
    safe_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """One table in the publication; `columns` are None before PostgreSQL 15, which publishes whole rows."""

    entry: int  # oid of its line in the publication: another one for a table that was taken out and put back
    columns: tuple[str, ...] | None
    filtered: bool = False


@dataclass(frozen=True, slots=True)
class Publication:
    """The publication; `whole` says that inserts, updates and deletes are published."""

    oid: int
    whole: bool
    tables: dict[str, Published]


@dataclass(frozen=True, slots=True)
class Table:
    """A captured table: its file on disk, its size by PostgreSQL's estimate, whether it has any row."""

    file: int
    rows: int
    filled: bool | None
    #: what an UPDATE or DELETE tells of the row before: the columns of the replica identity; None is all (FULL).
    identity: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Database:
    """What the database says; `lsn` is flushed, and never gets smaller in one history (None on a standby)."""

    standby: bool
    system: str
    timeline: int | None
    lsn: int | None
    slot: Slot | None
    publication: Publication | None
    tables: dict[str, Table]


@dataclass(frozen=True, slots=True)
class Connector:
    """What Kafka Connect says; `state` is "" for a connector that is not registered. It may be RUNNING and hang."""

    state: str
    tasks: tuple[str, ...] = ()
    trace: str | None = None
    offset: int | None = None

    @property
    def running(self) -> bool:
        """Connector and task say that they run."""
        return self.state == "RUNNING" and set(self.tasks) == {"RUNNING"}


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment; None is *could not be asked*, and then the text beside it says why."""

    database: Database | None = None
    connector: Connector | None = None
    database_away: str = ""
    connect_away: str = ""
    connect_remedy: str = ConnectError.remedy
    #: the position that Kafka holds, asked for while Connect is away.
    stored: int | None = None
    at: float = field(default_factory=time.time)

    @property
    def offset(self) -> int | None:
        """The stored position of the connector, as an LSN."""
        return self.stored if self.connector is None else self.connector.offset

    def figures(self, users: str) -> dict[str, Any]:
        """What `status` shows of it; `users` is the table that is counted."""
        slot = self.database.slot if self.database is not None else None
        table = self.database.tables.get(users) if self.database is not None else None
        return {
            "slot": None if slot is None else asdict(slot),
            "connector": None if self.connector is None else self.connector.state,
            "tasks": [] if self.connector is None else list(self.connector.tasks),
            "offset_lsn": self.offset,
            "rows": None if table is None else table.rows,
            "database_away": self.database_away,
            "connect_away": self.connect_away,
        }


def captured(settings: Settings) -> list[UsersTable | CredentialsTable]:
    """The captured tables as they are shown, users first."""
    return [settings.source.users, *settings.source.credentials]


_SERVER = sql.SQL(
    "SELECT pg_is_in_recovery() AS standby, "
    "CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline, "
    "CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint END AS lsn"
)
#: to_jsonb, because the columns of these views differ between the versions of PostgreSQL.
_SLOT = sql.SQL(
    "SELECT active, active_pid AS pid, wal_status, safe_wal_size AS safe_bytes, "
    "nullif(pg_size_bytes(current_setting('max_slot_wal_keep_size')), -1) AS limit_bytes, "
    "to_jsonb(s) ->> 'invalidation_reason' AS invalid, "
    "pg_wal_lsn_diff(restart_lsn, '0/0')::bigint AS restart, "
    "pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::bigint AS confirmed, "
    "CASE WHEN NOT pg_is_in_recovery() THEN "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint END AS lag_bytes, "
    "CASE WHEN NOT pg_is_in_recovery() THEN "
    "pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END AS kept_bytes "
    "FROM pg_replication_slots s WHERE slot_name = {name}"
)
_PUBLICATION = sql.SQL(
    "SELECT oid::bigint AS oid, pubinsert AND pubupdate AND pubdelete AS whole "
    "FROM pg_publication WHERE pubname = {name}"
)
_PUBLISHED = sql.SQL(
    "SELECT t.schemaname || '.' || t.tablename AS name, to_jsonb(t) ->> 'attnames' AS columns, "
    "to_jsonb(t) ->> 'rowfilter' IS NOT NULL AS filtered, coalesce(r.oid, 0)::bigint AS entry "
    "FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname "
    "JOIN pg_namespace n ON n.nspname = t.schemaname "
    "JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename "
    "LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid WHERE t.pubname = {name}"
)
_FILE = sql.SQL(
    "SELECT relfilenode::bigint AS file, CASE WHEN reltuples < 0 THEN pg_stat_get_live_tuples(c.oid) "
    "ELSE reltuples::bigint END AS rows, "  # < 0: never analysed
    "CASE WHEN relreplident <> 'f' THEN ARRAY("
    "SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) "
    "JOIN pg_attribute a ON a.attnum = k.number WHERE a.attrelid = c.oid AND i.indrelid = c.oid "
    "AND place <= i.indnkeyatts AND (c.relreplident = 'd' AND i.indisprimary "
    "OR c.relreplident = 'i' AND i.indisreplident) ORDER BY place) END AS identity "
    "FROM pg_class c WHERE c.oid = to_regclass({table})"
)
_FILLED = sql.SQL("SELECT EXISTS (SELECT FROM {table}) AS filled")


#: Seconds after which the database is connected to anew: its address may lead to another server by now.
_ANEW = 60.0


class Eye:
    """Looks again and again over connections that are kept; what does not answer is noted, not raised."""

    def __init__(self, settings: Settings, timeout: float = 5.0) -> None:
        self._settings, self._tables = settings, captured(settings)
        # `expected` stays empty: another database than before is what this has to report.
        self._legacy = Legacy(settings, timeout)
        self._connect = Connect(settings.connect, timeout=timeout, rebalance=timeout)
        self._anew = time.monotonic() + _ANEW

    async def look(self) -> Look:
        """Ask database and Connect."""
        database: Database | None = None
        connector: Connector | None = None
        database_away = connect_away = ""
        remedy = ConnectError.remedy
        if time.monotonic() > self._anew:
            await self._legacy.close()
            self._anew = time.monotonic() + _ANEW
        try:
            database = await self._database()
        except LegacyAwayError as error:
            database_away = str(error)
        try:
            connector = await self._connector()
        except ConnectError as error:
            connect_away, remedy = self._why(error), error.remedy
        except (KeyError, IndexError, TypeError, ValueError):
            connect_away = f"what answers at {self._connect.url} is not Kafka Connect"
        stored = await self._stored() if connect_away else None
        return Look(database, connector, database_away, connect_away, remedy, stored)

    def _why(self, error: ConnectError) -> str:
        return str(error)

    async def _stored(self) -> int | None:
        """The connector's position by Kafka, for when Connect does not tell it."""
        return await stored_offset(self._settings)

    async def close(self) -> None:
        """Close the connections."""
        await self._legacy.close()
        await self._connect.close()

    async def _database(self) -> Database:
        name = sql.Literal(self._settings.source.name)
        statements: list[sql.Composed | sql.SQL] = [SYSTEM, _SERVER]
        statements += [statement.format(name=name) for statement in (_SLOT, _PUBLICATION, _PUBLISHED)]
        statements += [_FILE.format(table=sql.Literal(table.name)) for table in self._tables]
        system, server, slots, publications, published, *files = await self._legacy.queries(statements)
        timeline = server[0]["timeline"]
        tables: dict[str, Table] = {}
        for table, rows in zip(self._tables, files, strict=True):
            if rows:
                filled, identity = await self._filled(table.name), rows[0]["identity"]
                columns = None if identity is None else tuple(identity)
                tables[table.name] = Table(rows[0]["file"], rows[0]["rows"], filled, columns)
        return Database(
            standby=server[0]["standby"],
            system=str(system[0]["name"]),
            timeline=None if timeline is None else int(timeline, 16),
            lsn=server[0]["lsn"],
            slot=_slot(slots),
            publication=_publication(publications, published),
            tables=tables,
        )

    async def _filled(self, table: str) -> bool | None:
        """Whether the table has any row; None when it cannot be read (it is locked, or has just gone)."""
        try:
            return bool((await self._legacy.query(_FILLED.format(table=qualified(table))))[0]["filled"])
        except LegacyAwayError:
            return None

    async def _connector(self) -> Connector:
        name = self._settings.source.name
        status = await self._connect.status(name)
        if status is None:
            return Connector("")
        offsets = await self._connect.offsets(name)
        lsn = position(offsets[0]["offset"]) if offsets else None
        return Connector(status.state, status.tasks, status.trace, lsn)


def _slot(rows: Sequence[dict[str, Any]]) -> Slot | None:
    if not rows:
        return None
    row = dict(rows[0])
    invalid = row.pop("invalid")
    return Slot(**row, lost=row["wal_status"] == "lost" or invalid is not None)


def _publication(rows: Sequence[dict[str, Any]], tables: Sequence[dict[str, Any]]) -> Publication | None:
    if not rows:
        return None
    published = {
        row["name"]: Published(
            row["entry"],
            None if row["columns"] is None else tuple(orjson.loads(row["columns"])),
            row["filtered"],
        )
        for row in tables
    }
    return Publication(rows[0]["oid"], rows[0]["whole"], published)


async def slot_now(settings: Settings) -> tuple[Slot | None, int | None]:
    """The slot, and the database's flushed LSN, for a command that needs no more.

    Raises:
        LegacyAwayError: the database cannot be asked.
    """
    legacy = Legacy(settings)
    try:
        slots, server = await legacy.queries([_SLOT.format(name=sql.Literal(settings.source.name)), _SERVER])
    finally:
        await legacy.close()
    return _slot(slots), server[0]["lsn"]


async def look_once(settings: Settings) -> Look:
    """Look once, for a command."""
    eye = Eye(settings)
    try:
        return await eye.look()
    finally:
        await eye.close()
