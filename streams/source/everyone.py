"""All users of the legacy tables, or a sample of them, with their credentials, in one pass and as of one moment.

Server-side cursors bring all tables in the order of the user's id, and `merging` joins them: who has no
credentials comes, and so do credentials of nobody. The order is that of an index (the primary key's, and those on the
credentials' user columns, which `cdc enable` makes where there are none), or PostgreSQL sorts where that is faster. The
transaction only reads, and holds back vacuum for as long as it lasts, as the initial snapshot does.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import sql

from streams.legacy import Legacy, as_debezium, qualified, written
from streams.settings import ConfigError
from streams.source import fit
from streams.source.catalog import key_kind
from streams.source.columns import existing
from streams.source.merging import Keyed, Stream, joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from psycopg import AsyncConnection, AsyncCursor
    from psycopg.rows import AsyncRowFactory

    from streams.settings import CredentialsTable, Settings, UsersTable
    from streams.source.catalog import Table
    from streams.source.merging import Orphan, User

#: Rows that travel at a time.
_CHUNK = 2_000
#: Seconds to connect, and for all of the reading.
_CONNECT, _LONGEST = 15.0, 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Read:
    """A table to be read: the column with the user's id, by which it comes, and the columns that are read."""

    table: str
    key: str
    columns: tuple[str, ...]


class Everyone(NamedTuple):
    """What is known before the rows come, and the rows. `users` is exact; a sample brings fewer, and no orphans."""

    users: int
    tables: dict[str, Table]
    rows: AsyncIterator[User | Orphan]


@asynccontextmanager
async def everyone(*several: Settings, sample: int | None = None) -> AsyncIterator[Everyone]:
    """Open the legacy tables for what these configurations need together, or for about `sample` users, at random.

    Raises:
        ConfigError: a table or a column is not there, or may not be read.
        ValueError: they name other tables or keys, so their users are not the same.
        LegacyAwayError: unreachable, or refused.
    """
    reads = wanted(*several)
    legacy = Legacy(several[-1], timeout=_CONNECT, patience=_LONGEST)
    try:
        tables: dict[str, Table] = {}
        for settings in several:
            tables |= await existing(settings, legacy)
            if faults := fit.unreadable(settings, tables):
                raise ConfigError(fit.sentences(settings, faults))
        order = order_of(reads, tables)
        async with legacy.moment() as connection:
            # The first rows may have to wait for a sort.
            await connection.execute("SET LOCAL statement_timeout = 0")
            # A cursor is planned for its first rows, which for all of them can be the slowest plan.
            await connection.execute("SET LOCAL cursor_tuple_fraction = 1")
            users = await _count(connection, reads[0].table)
            part = _sample(reads[0], order, sample, users)
            found, *more = [await _stream(connection, at, read, order, part) for at, read in enumerate(reads)]
            credentials = {read.table: stream for read, stream in zip(reads[1:], more, strict=True)}
            yield Everyone(users, tables, joined(found, credentials))
    finally:
        await legacy.close()


def wanted(*several: Settings) -> list[Read]:
    """What these configurations need together, users first.

    Raises:
        ValueError: they name other tables or keys, so their users are not the same.
    """
    sources = [settings.source for settings in several]
    users = {(source.users.name, source.users.id) for source in sources}
    credentials: dict[str, list[CredentialsTable]] = {}
    for table in (table for source in sources for table in source.credentials):
        credentials.setdefault(table.name, []).append(table)
    if len(users) > 1 or any(len({(one.user_id, one.id) for one in same}) > 1 for same in credentials.values()):
        raise ValueError(
            "the two files name other tables or other keys under [tables], so there is nothing to compare user by "
            "user: compare files for the same tables"
        )
    first = sources[0].users
    found = [Read(first.name, first.id, _columns([source.users for source in sources]))]
    return found + [Read(name, same[0].user_id, _columns(same)) for name, same in credentials.items()]


def _columns(tables: Sequence[UsersTable | CredentialsTable]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(column for table in tables for column in table.columns))


def order_of(reads: Sequence[Read], tables: Mapping[str, Table]) -> str:
    """By what all tables are ordered: a kind of key whose order is that of its values in Python, too, else "text"."""
    keys = (tables[read.table].column(read.key) for read in reads)
    kinds = {None if column is None else key_kind(column) for column in keys}
    return "number" if kinds == {"number"} else "uuid" if kinds == {"uuid"} else "text"


async def _count(connection: AsyncConnection[Any], table: str) -> int:
    query = sql.SQL("SELECT count(*) AS users FROM {}").format(qualified(table))
    row = await (await connection.execute(query)).fetchone()
    return int(row["users"]) if row is not None else 0


def _key(read: Read, order: str) -> sql.Composed:
    """As text, keys of all types have one order: that of their bytes."""
    return sql.SQL('{}::text COLLATE "C"' if order == "text" else "{}").format(sql.Identifier(read.key))


def _sample(users: Read, order: str, sample: int | None, there: int) -> sql.Composed | None:
    """Which ids are read; None for all. REPEATABLE brings the same ones to all cursors, and the next time."""
    if sample is None or sample >= there:
        return None
    return sql.SQL("SELECT {} FROM {} TABLESAMPLE BERNOULLI ({}) REPEATABLE (1)").format(
        _key(users, order), qualified(users.table), sql.Literal(100 * sample / there)
    )


async def _stream(
    connection: AsyncConnection[Any], number: int, read: Read, order: str, part: sql.Composed | None
) -> Stream:
    key = _key(read, order)
    query = sql.SQL("SELECT {key}, {columns} FROM {table}{where} ORDER BY 1").format(
        key=key,
        columns=sql.SQL(", ").join(sql.Identifier(column) for column in read.columns),
        table=qualified(read.table),
        where=sql.SQL("") if part is None else sql.SQL(" WHERE {} IN ({})").format(key, part),
    )
    cursor = connection.cursor(f"cidaas_sync_{number}", row_factory=_keyed(read.columns))
    await cursor.execute(query)
    return Stream(lambda: cursor.fetchmany(_CHUNK))


def _keyed(names: Sequence[str]) -> AsyncRowFactory[Keyed]:
    """Make rows of values: the key first, then the columns as Debezium's JSON has them."""

    def factory(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], Keyed]:
        described = cursor.description or ()
        odd = [name for name, column in zip(names, described[1:], strict=bool(described)) if not written(column)]

        def made(values: Sequence[Any]) -> Keyed:
            row = dict(zip(names, values[1:], strict=True))
            for name in odd:
                row[name] = as_debezium(row[name])
            return Keyed(values[0], row)

        return made

    return factory
