"""What a repair does to the legacy database, through LEGACY_ADMIN_URL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql as text
from psycopg.rows import dict_row

from streams.legacy import SYSTEM
from streams.offline import read_ends
from streams.source import sql
from streams.source.births import begin_epoch
from streams.source.look import look_once
from streams.source.repair import RepairError, wait_until_free

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.source.look import Look

_PID = text.SQL("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s")
_DROP = text.SQL("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s")


class Admin:
    """The tools of a repair. Raises RepairError with the database's own words."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError when LEGACY_ADMIN_URL is not set."""
        self._settings = settings
        (self._url,) = settings.require("LEGACY_ADMIN_URL")

    async def system(self) -> str:
        """Name the system and the database that LEGACY_ADMIN_URL leads to."""
        try:
            async with await self._connect() as connection:
                found = await (await connection.execute(SYSTEM)).fetchone()
        except psycopg.Error as error:
            raise RepairError(f"LEGACY_ADMIN_URL does not work: {_words(error)}") from None
        return str(found["name"]) if found is not None else ""

    async def look(self) -> Look:
        """Look at the source."""
        return await look_once(self._settings)

    async def drop_slot(self) -> bool:
        """Drop the slot once nobody reads it; return whether there was one."""
        name = (self._settings.source.name,)
        try:
            async with await self._connect() as connection:

                async def active_pid() -> int | None:
                    row = await (await connection.execute(_PID, name)).fetchone()
                    return None if row is None else row["active_pid"]

                await wait_until_free(active_pid)
                return await (await connection.execute(_DROP, name)).fetchone() is not None
        except psycopg.Error as error:
            raise RepairError(f"the slot could not be dropped: {_words(error)}") from None

    async def enable(self) -> None:
        """Do what `cdc enable` does; a role whose password is not in the environment keeps what it has."""
        source = self._settings.source
        passwords = {} if source.role_password is None else {source.role: source.role_password.reveal()}
        reader = "" if source.url is None else unquote(urlsplit(source.url.reveal()).password or "")
        if reader:
            passwords[source.read_role] = reader

        def run() -> None:
            with psycopg.connect(self._url, autocommit=True, connect_timeout=10) as connection:
                sql.enable(connection, self._settings, passwords)

        try:
            await asyncio.to_thread(run)
        except psycopg.Error as error:
            raise RepairError(f"`cdc enable` was refused by the legacy database: {_words(error)}") from None

    async def begin_epoch(self, number: int) -> None:
        """Write an epoch record into every partition of `legacy.identity`."""
        await begin_epoch(self._settings, number)

    async def ends(self) -> dict[int, int]:
        """The offset that comes next in each partition of `legacy.identity`."""
        return await read_ends(self._settings)

    async def _connect(self) -> psycopg.AsyncConnection[dict[str, Any]]:
        return await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=10, row_factory=dict_row
        )


def _words(error: psycopg.Error) -> str:
    """The server's own words, or the last line of the driver's, in which an address may stand but no password."""
    return error.diag.message_primary or str(error).strip().splitlines()[-1]
