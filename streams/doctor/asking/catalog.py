"""The statements by which the legacy server is asked; each reads catalogs only, but for the look for orphans."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from psycopg import sql

from streams.causes import why
from streams.doctor.roles import Role
from streams.doctor.server import Disk, Server, Transaction
from streams.doctor.tables import MANY, Table, Tables
from streams.legacy import qualified
from streams.source.catalog import COLUMNS, column_of
from streams.source.look import captured
from streams.source.statements import relation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.settings import CredentialsTable, Settings, Source, UsersTable

    Connection = psycopg.AsyncConnection[dict[str, Any]]

#: Seconds between the two looks at the WAL's end.
SAMPLE = 1.0

_SERVER = sql.SQL(
    "SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text, "
    "pg_is_in_recovery() AS standby, current_setting('wal_level') AS wal_level, "
    "current_setting('max_replication_slots')::int AS slots, "
    "(SELECT count(*) FROM pg_replication_slots)::int AS slots_used, "
    "current_setting('max_wal_senders')::int AS senders, "
    "(SELECT count(*) FROM pg_stat_replication)::int AS senders_used, "
    "EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(name)s) AS slot, "
    "EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %(name)s AND active) AS slot_active, "
    "CASE WHEN NOT pg_is_in_recovery() THEN (SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint "
    "FROM pg_replication_slots WHERE slot_name = %(name)s) END AS slot_kept, "
    "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int AS connections, "
    "(SELECT sum(numbackends) FROM pg_stat_database)::int AS connections_used, "
    "pg_size_bytes(current_setting('max_slot_wal_keep_size')) AS wal_limit, "
    "extract(epoch FROM current_setting('idle_replication_slot_timeout', true)::interval)::float8 AS idle_timeout, "
    "extract(epoch FROM current_setting('wal_sender_timeout')::interval)::float8 AS sender_timeout, "
    # For superusers and pg_read_all_settings: current_setting would refuse everybody else, the view has no row.
    "(SELECT setting FROM pg_settings WHERE name = 'output_plugin_libraries') AS output_plugins, "
    "(SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()) AS encoding, "
    "(SELECT setting FROM pg_settings WHERE name = 'data_directory') AS data_directory, pg_backend_pid() AS pid"
)
#: Not those that only read: they hold back vacuum, and no slot.
_TRANSACTIONS = sql.SQL(
    "SELECT pid::text AS name, datname::text AS database, extract(epoch FROM now() - xact_start)::float8 AS seconds, "
    "false AS prepared FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() "
    "UNION ALL SELECT gid, database::text, extract(epoch FROM now() - prepared)::float8, true FROM pg_prepared_xacts"
)
_DIRECTORY = sql.SQL("SELECT setting AS directory FROM pg_settings WHERE name = 'data_directory'")
_WAL = sql.SQL("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS lsn")
_ROLES = sql.SQL(
    "SELECT rolname::text AS name, rolcanlogin AS login, "
    "rolsuper OR rolreplication OR EXISTS (SELECT FROM pg_roles x WHERE x.rolname = 'rds_replication' "
    "AND pg_has_role(r.oid, x.oid, 'MEMBER')) AS replication, "
    'rolsuper OR rolbypassrls AS bypass, rolconnlimit AS "limit", '
    "coalesce(rolvaliduntil < now(), false) AS expired, "
    "has_database_privilege(r.oid, current_database(), 'CONNECT') AS connect "
    "FROM pg_roles r WHERE rolname = ANY (%(roles)s)"
)
_TABLE = sql.SQL(
    "SELECT c.oid, c.relkind::text AS kind, c.relpersistence::text AS persistence, c.relispartition AS partition, "
    "c.relreplident::text AS identity, c.relrowsecurity AS row_security, "
    "(SELECT x.relname::text FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid "
    "WHERE i.indrelid = c.oid AND i.indisreplident) AS identity_index, "
    "ARRAY(SELECT a.attname::text FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place) "
    "JOIN pg_attribute a ON a.attnum = k.number WHERE a.attrelid = c.oid AND i.indrelid = c.oid AND i.indisprimary "
    "AND place <= i.indnkeyatts ORDER BY place) AS primary_key, "
    "ARRAY(SELECT rolname::text FROM pg_roles r WHERE rolname = ANY (%(roles)s) "
    "AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE')) AS schema_readers "
    "FROM pg_class c WHERE c.oid = to_regclass(%(table)s)"
)
#: to_jsonb, because the view has no column names before PostgreSQL 15, which published whole rows only. Compared by
#: name: a reader may not ask to_regclass of tables in schemas on which it has no right, and the planner may.
_PUBLICATIONS = sql.SQL(
    "SELECT t.pubname::text AS name, to_jsonb(t) ->> 'attnames' AS columns FROM pg_publication_tables t "
    "JOIN pg_publication p ON p.pubname = t.pubname AND (p.pubupdate OR p.pubdelete) "
    "WHERE (t.schemaname, t.tablename) = (SELECT n.nspname, c.relname FROM pg_class c "
    "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%(table)s)) AND t.pubname <> %(name)s"
)
_ENABLED = sql.SQL("SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = %(name)s) AS found")
_FOREIGN_KEY = sql.SQL(
    "SELECT EXISTS (SELECT FROM pg_constraint k WHERE k.contype = 'f' AND k.convalidated "
    "AND k.conrelid = to_regclass(%(table)s) AND k.confrelid = to_regclass(%(users)s) "
    "AND k.conkey = ARRAY[(SELECT attnum FROM pg_attribute WHERE attrelid = k.conrelid AND attname = %(owner)s)] "
    "AND k.confkey = ARRAY[(SELECT attnum FROM pg_attribute WHERE attrelid = k.confrelid AND attname = %(id)s)]"
    ") AS found"
)
_ORPHANS = sql.SQL(
    "SELECT count(*) AS number FROM (SELECT DISTINCT c.{owner} FROM {credentials} c "
    "WHERE NOT EXISTS (SELECT FROM {users} u WHERE u.{id} = c.{owner}) LIMIT {many}) AS found"
)


async def ask_server(connection: Connection, name: str) -> Server:
    """Ask the server about itself; `name` is that of our slot."""
    row = dict((await _all(connection, _SERVER, {"name": name}))[0])
    directory, pid = row.pop("data_directory"), row.pop("pid")
    transactions = [Transaction(**one) for one in await _all(connection, _TRANSACTIONS)]
    return Server(
        **row,
        transactions=tuple(transactions),
        wal_rate=None if row["standby"] else await _wal_rate(connection),
        disk=_disk(connection, directory),
        # A pooler hands out numbers of its own for cancelling.
        pooler=connection.info.backend_pid != pid,
    )


async def _wal_rate(connection: Connection) -> float:
    began, first = time.monotonic(), (await _all(connection, _WAL))[0]["lsn"]
    await asyncio.sleep(SAMPLE)  # a rate takes two looks
    second = (await _all(connection, _WAL))[0]["lsn"]
    return float(second - first) / (time.monotonic() - began)


async def ask_disk(connection: Connection) -> Disk | None:
    """The disk of pg_wal; None where it cannot be seen from here, or by this role."""
    found = await _all(connection, _DIRECTORY)
    return _disk(connection, found[0]["directory"] if found else None)


def _disk(connection: Connection, directory: str | None) -> Disk | None:
    """The disk of pg_wal, when this is the database's own machine: the server's own file there names its port."""
    host = connection.info.host
    here = host in ("127.0.0.1", "localhost", "::1") or host.startswith("/")
    if directory is None or not here:
        return None
    try:
        lines = Path(directory, "postmaster.pid").read_text().splitlines()
        if lines[3].strip() != str(connection.info.port):
            return None
        usage = shutil.disk_usage(Path(directory, "pg_wal"))
    except (OSError, IndexError):
        return None
    return Disk(usage.total, usage.free)


async def ask_roles(connection: Connection, source: Source) -> dict[str, Role | None]:
    """Ask for both roles."""
    found: dict[str, Role | None] = dict.fromkeys((source.role, source.read_role))
    for row in await _all(connection, _ROLES, {"roles": list(found)}):
        name = row.pop("name")
        found[name] = Role(**row)
    return found


async def is_enabled(connection: Connection, name: str) -> bool:
    """Say whether the publication is there."""
    return bool((await _all(connection, _ENABLED, {"name": name}))[0]["found"])


async def ask_tables(connection: Connection, settings: Settings) -> Tables:
    """Ask for the captured tables, and look for credentials of nobody."""
    source = settings.source
    found: dict[str, Table] = {}
    for table in captured(settings):
        if (there := await _table(connection, source, table)) is not None:
            found[table.name] = there
    both = [table for table in source.credentials if source.users.name in found and table.name in found]
    return Tables(found, {table.name: await _orphans(connection, source.users, table) for table in both})


async def _table(connection: Connection, source: Source, table: UsersTable | CredentialsTable) -> Table | None:
    asked = {"roles": [source.role, source.read_role], "table": relation(table.name), "name": source.name}
    rows = await _all(connection, _TABLE, asked)
    if not rows:
        return None
    row = dict(rows[0])
    columns = await _all(connection, COLUMNS, {"table": row["oid"], "roles": asked["roles"]})
    narrow: dict[str, tuple[str, ...]] = {}
    owners = [one.user_id for one in source.credentials if one is table]
    for owner in owners:  # users keep their primary key as identity, which each publication has to have anyway
        for one in await _all(connection, _PUBLICATIONS, asked):
            published = orjson.loads(one["columns"]) if one["columns"] is not None else [owner, table.id]
            if lacking := [name for name in (owner, table.id) if name not in published]:
                narrow[one["name"]] = tuple(lacking)
    return Table(
        kind=row["kind"],
        persistence=row["persistence"],
        partition=row["partition"],
        identity=row["identity"],
        identity_index=row["identity_index"],
        primary_key=tuple(row["primary_key"]),
        row_security=row["row_security"],
        columns={column.name: column for column in map(column_of, columns)},
        schema_readers=frozenset(row["schema_readers"]),
        narrow=narrow,
    )


async def _orphans(connection: Connection, users: UsersTable, credentials: CredentialsTable) -> int | str:
    """Count user ids of credentials that no user has, or say why not; a foreign key proves that there is none."""
    asked = {"table": relation(credentials.name), "users": relation(users.name)}
    asked |= {"owner": credentials.user_id, "id": users.id}
    if (await _all(connection, _FOREIGN_KEY, asked))[0]["found"]:
        return 0
    query = _ORPHANS.format(
        owner=sql.Identifier(credentials.user_id),
        credentials=qualified(credentials.name),
        users=qualified(users.name),
        id=sql.Identifier(users.id),
        many=sql.Literal(MANY),
    )
    try:
        return int((await _all(connection, query))[0]["number"])
    except psycopg.Error as error:
        return error.diag.message_primary or why(error)


async def _all(
    connection: Connection, query: sql.SQL | sql.Composed, params: Mapping[str, Any] | None = None
) -> Sequence[dict[str, Any]]:
    return await (await connection.execute(query, params)).fetchall()
