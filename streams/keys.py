"""The first look of a sweep: the keys of all legacy rows as of one moment, and up to where the WAL went then."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import tuple_row

from streams import comparison
from streams.credentials import Names
from streams.legacy import ON_STANDBY, STANDBY, Legacy, LegacyAwayError, keys_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import psycopg

    from streams.settings import Settings

#: Rows of one FETCH; its keys are handled before the event loop gets its turn.
_CHUNK = 2_000
#: Seconds for one FETCH, and for everything: a table that lies on a disk is read from it.
_STATEMENT, _WHOLE = 60.0, 900.0
#: The place of the next WAL record. What was visible before is committed, so its commit stands below. (The *written*
#: place would not do: with synchronous_commit = off a commit is visible before it is written.)
LSN = sql.SQL("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS lsn")


@dataclass(slots=True)
class Look:
    """What the legacy tables held: user id -> mark of its rows, and an LSN above all their commits."""

    marks: dict[bytes, int]
    lsn: int


async def first_look(settings: Settings, expected: str, mine: Callable[[bytes], bool]) -> Look:
    """Read the keys of all tables; only the users for whom `mine` says so are kept.

    The keys are written as the connector writes them: a char(n) padded, a UUID in small letters.

    Raises:
        LegacyAwayError: unreachable, refused, too slow, a standby, or another database than `expected`.
    """
    source, names = settings.source, Names(settings.source.credentials)
    legacy = Legacy(settings, timeout=_STATEMENT, patience=_WHOLE)
    legacy.expected = expected
    marks: dict[bytes, int] = {}
    try:
        async with legacy.moment() as connection:
            if (await _one(connection, STANDBY))["standby"]:
                raise LegacyAwayError(ON_STANDBY)
            async for rows in _chunks(connection, keys_of(source.users, source.users.id)):
                for (user_id,) in rows:
                    if mine(key := str(user_id).encode()):
                        marks[key] = comparison.mark(True, ())
            for table in source.credentials:
                prefix = names.prefix(table)
                async for rows in _chunks(connection, keys_of(table, table.user_id, table.id)):
                    for user_id, pk in rows:
                        # A credential without a user is no record's, either (its key would be NULL).
                        if user_id is not None and ((key := str(user_id).encode()) in marks or mine(key)):
                            marks[key] = comparison.more(marks.get(key, 0), f"{prefix}{pk}")
            return Look(marks, int((await _one(connection, LSN))["lsn"]))
    finally:
        await legacy.close()


async def _one(connection: psycopg.AsyncConnection[dict[str, Any]], statement: sql.SQL) -> dict[str, Any]:
    row = await (await connection.execute(statement)).fetchone()
    assert row is not None
    return row


async def _chunks(
    connection: psycopg.AsyncConnection[dict[str, Any]], query: sql.Composed
) -> AsyncIterator[list[tuple[Any, ...]]]:
    async with connection.cursor("sweep", row_factory=tuple_row) as cursor:
        await cursor.execute(query)
        while rows := await cursor.fetchmany(_CHUNK):
            yield rows
            await asyncio.sleep(0)
