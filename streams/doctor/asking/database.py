"""Asks the legacy database: as the administrator where LEGACY_ADMIN_URL is set, else as the reading role."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo
from psycopg.rows import dict_row

from streams.causes import why
from streams.doctor.asking import AwayError
from streams.doctor.asking.catalog import ask_roles, ask_server, ask_tables, is_enabled
from streams.doctor.roles import Login, Roles
from streams.legacy import SYSTEM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.doctor.server import Server
    from streams.doctor.tables import Tables
    from streams.settings import Settings

#: Seconds for a connection, and for one statement.
CONNECT, STATEMENT = 3, 3


@dataclass(frozen=True, slots=True)
class Database:
    """Everything that was asked of the database. `enabled`: the publication is there."""

    asked_as: str  # user at host/database
    server: Server
    roles: Roles
    tables: Tables
    enabled: bool
    #: what the addresses lead to by variable: a system and database, or why not.
    systems: dict[str, str]
    errors: dict[str, str]


async def ask(settings: Settings) -> Database:
    """Ask for all that can be judged.

    Raises:
        AwayError: no address is set, or none of them works.
    """
    source = settings.source
    secrets = {"LEGACY_ADMIN_URL": source.admin_url, "LEGACY_DATABASE_URL": source.url}
    urls = {name: secret.reveal() for name, secret in secrets.items() if secret is not None}
    if not urls:
        remedy = "Set LEGACY_DATABASE_URL, and LEGACY_ADMIN_URL for this command while nothing is set up yet."
        raise AwayError("neither LEGACY_DATABASE_URL nor LEGACY_ADMIN_URL is set", remedy)
    found, capture = await asyncio.gather(
        asyncio.gather(*(_system(url) for url in urls.values())), _capture(settings, next(iter(urls.values())))
    )
    by_name = dict(zip(urls, found, strict=True))
    systems = {name: system for name, (system, error) in by_name.items() if not error}
    errors = {name: error for name, (_, error) in by_name.items() if error}
    if not systems:
        remedy = "Start it, or correct the address. Before `cdc enable` there is no reading role: set LEGACY_ADMIN_URL."
        raise AwayError("; ".join(f"{name}: {error}" for name, error in errors.items()), remedy)
    reader = Login(
        "LEGACY_DATABASE_URL" in urls, errors.get("LEGACY_DATABASE_URL", ""), "LEGACY_DATABASE_URL is not set"
    )
    # Where they differ, the worker's is asked: then only that they differ is said of the other one.
    differ = len(set(systems.values())) > 1
    url = urls["LEGACY_DATABASE_URL" if differ else next(iter(systems))]
    try:
        async with connected(url) as connection:
            info = connection.info
            return Database(
                asked_as=f"{info.user} at {info.host}:{info.port}/{info.dbname}",
                server=await ask_server(connection, source.name),
                roles=Roles(await ask_roles(connection, source), {source.role: capture, source.read_role: reader}),
                tables=await ask_tables(connection, settings),
                enabled=await is_enabled(connection, source.name),
                systems=systems,
                errors=errors,
            )
    except psycopg.Error as error:
        raise AwayError(words(error, url), "Look at the server's log, and run doctor again.") from None


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """A connection that reads only, and whose statements end in time."""
    connection = await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=CONNECT, row_factory=dict_row, application_name="cidaas-sync-doctor"
    )
    async with connection:
        # By statements and not by `options`: a pooler would refuse those, and is to be named instead.
        await connection.execute("SET default_transaction_read_only = on")
        await connection.execute(f"SET statement_timeout = '{STATEMENT}s'".encode())
        yield connection


async def _system(url: str) -> tuple[str, str]:
    """What an address leads to, or why it does not work."""
    try:
        async with connected(url) as connection:
            found = await (await connection.execute(SYSTEM)).fetchone()
            return str(found["name"]) if found is not None else "", ""
    except (psycopg.Error, OSError) as error:
        return "", words(error, url)


async def _capture(settings: Settings, url: str) -> Login:
    """Log in as the connector does: pg_hba.conf is tried, not read."""
    source = settings.source
    if source.role_password is None:
        return Login(tried=False, why_not="CDC_DEBEZIUM_PASSWORD is not set here, so its log-in was not tried")
    password = source.role_password.reveal()
    try:
        # A parameter of the address, such as sslmode, holds for this log-in too.
        address = conninfo.make_conninfo(
            url,
            user=source.role,
            password=password,
            replication="database",
            connect_timeout=CONNECT,
            application_name="cidaas-sync-doctor",
        )
        connection = await psycopg.AsyncConnection.connect(address, autocommit=True)
        async with connection:
            await connection.execute("IDENTIFY_SYSTEM")
    except (psycopg.Error, OSError) as error:
        return Login(tried=True, error=words(error, url, password))
    return Login(tried=True)


def words(error: Exception, url: str, *secrets: str) -> str:
    """The server's or the driver's words in one line, without a password.

    The driver quotes what it takes for something else, such as the part after an unencoded @ as the host.
    """
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "it is no address: percent-encode special characters of the password"
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    text = primary or str(error).strip().rpartition("\n")[2].strip() or why(error)
    for part in (*(urlsplit(url).password or "").split("@"), *secrets):
        if part:
            text = text.replace(part, "***")
    return text[:300]
