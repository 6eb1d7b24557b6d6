"""Both legacy tables once, in key order, by server-side cursors in one read-only transaction.

Nothing is sorted where an index has the order: the primary key, and the index on the credentials' user column (`cdc
enable` makes one where there is none). The transaction holds back vacuum while it lasts, as the initial snapshot does.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql
from psycopg.adapt import Loader
from psycopg.types.string import TextLoader

from streams.census.merging import Keyed, Stream
from streams.legacy import Legacy, as_debezium, qualified
from streams.source.columns import check_columns
from streams.source.statements import relation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from psycopg import AsyncConnection, AsyncCursor
    from psycopg.abc import Buffer
    from psycopg.rows import AsyncRowFactory

    from streams.settings import CredentialsTable, Settings, UsersTable

CHUNK = 2000
_CONNECT, _LONGEST = 15.0, 24 * 3600.0  # seconds: to connect, and for all of the reading

_COLUMNS = sql.SQL(
    "SELECT attname AS name, format_type(atttypid, NULL) AS type FROM pg_attribute"
    " WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
)
_ESTIMATE = sql.SQL("SELECT reltuples::bigint AS rows FROM pg_class WHERE oid = to_regclass(%s)")
#: Types whose order is that of the values in Python, too. All others are read as text, in the order of its bytes.
_INTEGERS = frozenset(("smallint", "integer", "bigint"))
#: Values that Debezium has as they are.
_SIMPLE = frozenset((str, int, bool, float, type(None)))


class _Moment(Loader):
    """A date or a time as Debezium writes it, made of PostgreSQL's own text (TimeZone is UTC).

    `as_debezium` says the same by way of a datetime, which takes several times as long, and has none for `infinity`
    or a year before Christ: that one passes on as a text that is no time, and the mapping notes it.
    """

    def load(self, data: Buffer) -> str:
        return bytes(data).decode().replace(" ", "T", 1).removesuffix("+00") + "Z"


class Tables(NamedTuple):
    """What is known before the rows come."""

    rows: int  # of the users table, by PostgreSQL's estimate where it has one
    unmapped: dict[str, list[str]]  # table -> columns that the mapping does not name
    users: Stream
    credentials: Stream | None


@asynccontextmanager
async def tables(settings: Settings) -> AsyncIterator[Tables]:
    """Open both tables as of one moment.

    Raises:
        ConfigError: a table or a column is not there.
        LegacyAwayError: unreachable, or refused.
    """
    legacy = Legacy(settings, timeout=_CONNECT, patience=_LONGEST)
    users, credentials = settings.source.users, settings.source.credentials
    keys: list[tuple[UsersTable | CredentialsTable, str]] = [(users, users.id)]
    if credentials is not None:
        keys.append((credentials, credentials.user_id))
    try:
        async with legacy.moment() as connection:
            await check_columns(settings)
            # The first rows may have to wait for a sort.
            await connection.execute("SET LOCAL statement_timeout = 0")
            columns = {table.name: await _columns(connection, table.name) for table, _ in keys}
            order = _order({columns[table.name][column] for table, column in keys})
            streams = [await _stream(connection, *key, order) for key in keys]
            yield Tables(
                rows=await _rows(connection, users),
                unmapped={
                    table.name: [name for name in columns[table.name] if name not in table.columns] for table, _ in keys
                },
                users=streams[0],
                credentials=streams[1] if len(streams) > 1 else None,
            )
    finally:
        await legacy.close()


async def _columns(connection: AsyncConnection[Any], table: str) -> dict[str, str]:
    found = await (await connection.execute(_COLUMNS, (relation(table),))).fetchall()
    return {row["name"]: row["type"] for row in found}


async def _rows(connection: AsyncConnection[Any], table: UsersTable) -> int:
    """How many rows there are: the estimate of the last ANALYZE or VACUUM, else counted."""
    row = await (await connection.execute(_ESTIMATE, (relation(table.name),))).fetchone()
    if row is not None and row["rows"] > 0:
        return int(row["rows"])
    counted = sql.SQL("SELECT count(*) AS rows FROM {}").format(qualified(table.name))
    row = await (await connection.execute(counted)).fetchone()
    return int(row["rows"]) if row is not None else 0


def _order(types: set[str]) -> str:
    """By what both tables are ordered: "integer", "uuid", or "text" for everything else, and where the two differ."""
    return "integer" if types <= _INTEGERS else "uuid" if types == {"uuid"} else "text"


async def _stream(
    connection: AsyncConnection[Any], table: UsersTable | CredentialsTable, column: str, order: str
) -> Stream:
    key = sql.SQL('{}::text COLLATE "C"' if order == "text" else "{}").format(sql.Identifier(column))
    query = sql.SQL("SELECT {key}, {columns} FROM {table} ORDER BY 1").format(
        key=key,
        columns=sql.SQL(", ").join(sql.Identifier(name) for name in table.columns),
        table=qualified(table.name),
    )
    cursor = connection.cursor(f"census_{type(table).__name__}", row_factory=_keyed(table.columns))
    for type_name in ("date", "timestamp", "timestamptz"):
        cursor.adapters.register_loader(type_name, _Moment)
    for type_name in ("uuid", "numeric", "json", "jsonb"):
        cursor.adapters.register_loader(type_name, TextLoader)
    await cursor.execute(query)
    return Stream(lambda: cursor.fetchmany(CHUNK))


def _keyed(names: Sequence[str]) -> AsyncRowFactory[Keyed]:
    """Make rows of values: the key first, then the columns as Debezium's JSON has them."""

    def factory(_cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Keyed]:
        return lambda values: Keyed(values[0], dict(zip(names, map(_debezium, values[1:]), strict=True)))

    return factory


def _debezium(value: Any) -> Any:
    return value if type(value) in _SIMPLE else as_debezium(value)
