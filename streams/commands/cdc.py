"""`cdc`: change data capture in the legacy database, as SQL to read or done at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click
import psycopg

from streams.commands import base
from streams.source import sql

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("cdc", help="Enable or take back change data capture in the legacy database.")
    def cdc() -> None:
        pass

    @cdc.command(
        "sql",
        help="Print the SQL for a DBA to read and run.  Example: faust -A streams.app cdc sql enable | psql ...",
    )
    @click.argument("what", type=click.Choice(["enable", "disable"]))
    def sql_(what: str) -> None:
        click.echo(sql.enable_sql(settings) if what == "enable" else sql.disable_sql(settings), nl=False)

    @cdc.command(
        "enable",
        help="Run the SQL of `cdc sql enable` through LEGACY_ADMIN_URL; safe to run twice.  "
        "Example: faust -A streams.app cdc enable",
    )
    def enable() -> None:
        _run(settings, enable=True)

    @cdc.command(
        "disable",
        help="Take everything back; ends by proving that no slot is left.  "
        "Example: faust -A streams.app cdc disable --yes",
    )
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would happen.")
    def disable(yes: bool) -> None:
        if not yes:
            click.echo(
                "This removes slot, publication, replica identity, index and roles of the pipeline from the legacy "
                "database. Remove the connector first (`connector remove --yes`). Repeat with --yes to do it."
            )
            return
        _run(settings, enable=False)

    return [cdc]


def _run(settings: Settings, *, enable: bool) -> None:
    admin, password = settings.require("LEGACY_ADMIN_URL", "CDC_DEBEZIUM_PASSWORD")
    reader = unquote(urlsplit(os.environ.get("LEGACY_DATABASE_URL", "")).password or "")
    if enable and not reader:
        base.fail(
            "LEGACY_DATABASE_URL has no password in it: set it to the address for the role "
            f"{settings.source.read_role}, with the password that this role shall get."
        )
    passwords = {settings.source.role: password, settings.source.read_role: reader}
    try:
        with psycopg.connect(admin, autocommit=True, connect_timeout=10) as connection:
            if enable:
                sql.enable(connection, settings, passwords)
            else:
                sql.disable(connection, settings)
    except psycopg.OperationalError as error:
        base.fail(f"LEGACY_ADMIN_URL does not work: {str(error).strip().splitlines()[-1]}")
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
        base.fail(f"the legacy database refused: {said}.{hint}", base.WRONG)
    click.echo("change data capture is enabled" if enable else "change data capture is taken back; no slot is left")
