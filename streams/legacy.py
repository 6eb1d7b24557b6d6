"""Reads single users in the legacy database: the second look before a delete, and what a sweep compares.

Read-only and short: one connection, autocommit, a statement time-out. The database being away is an answer of its
own, never "the user is gone".
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import Settings

log = logging.getLogger(__name__)


class LegacyAwayError(RuntimeError):
    """The legacy database cannot be asked now; nothing follows from that."""


def qualified(name: str) -> sql.Identifier:
    """Quote `schema.table`."""
    return sql.Identifier(*name.split("."))


def _why(error: BaseException) -> str:
    """The driver's own words in one line; it names host, role and database, never a password."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


class Legacy:
    """A read-only connection to the legacy database, made anew when it broke."""

    def __init__(self, settings: Settings, timeout: float = 5.0) -> None:
        self._settings, self._timeout = settings, timeout
        self._connection: psycopg.AsyncConnection[dict[str, Any]] | None = None
        self._lock = asyncio.Lock()

    async def users(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Read the user rows (all mapped columns, as text) of these ids; an id that is absent is not there.

        Raises:
            LegacyAwayError: unreachable, refused, or too slow.
        """
        users = self._settings.source.users
        query = sql.SQL("SELECT {columns} FROM {table} WHERE {id}::text = ANY(%s)").format(
            columns=sql.SQL(", ").join(
                sql.SQL("{0}::text AS {0}").format(sql.Identifier(name)) for name in users.columns
            ),
            table=qualified(users.name),
            id=sql.Identifier(users.id),
        )
        rows = await self.query(query, (list(ids),))
        return {row[users.id]: row for row in rows}

    async def query(self, query: sql.Composed | sql.SQL, params: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run one reading statement.

        Raises:
            LegacyAwayError: unreachable, refused, or too slow.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(self._timeout):
                    connection = await self._connected()
                    cursor = await connection.execute(query, params)
                    return await cursor.fetchall()
            except (psycopg.Error, OSError, TimeoutError) as error:
                await self.close()
                raise LegacyAwayError(f"the legacy database does not answer: {_why(error)}") from None

    async def _connected(self) -> psycopg.AsyncConnection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            (url,) = self._settings.require("LEGACY_DATABASE_URL")
            self._connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=int(self._timeout),
                application_name="cidaas-sync",
                options="-c default_transaction_read_only=on -c statement_timeout=5000",
            )
        return self._connection

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await asyncio.wait_for(connection.close(), 1.0)
            except (psycopg.Error, OSError, TimeoutError):
                log.debug("the connection to the legacy database broke while it was closed")
