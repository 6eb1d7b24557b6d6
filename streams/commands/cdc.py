"""`cdc`: change data capture in the legacy database, as SQL to read or done at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import click
import psycopg

from streams.commands import base, consent, recording
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
        help="Run that SQL; safe to run twice.  Example: faust -A streams.app cdc enable --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def enable(yes: bool, as_json: bool) -> None:
        _run(settings, enable=True, yes=yes, as_json=as_json)

    @cdc.command(
        "disable",
        help="Take it back; ends by proving that no slot is left.  Example: faust -A streams.app cdc disable --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def disable(yes: bool, as_json: bool) -> None:
        _run(settings, enable=False, yes=yes, as_json=as_json)

    return [cdc]


def _run(settings: Settings, *, enable: bool, yes: bool, as_json: bool) -> None:
    """Run the statements, or say what they do; what they need is asked for in both cases."""
    admin, password = settings.require("LEGACY_ADMIN_URL", "CDC_DEBEZIUM_PASSWORD")
    reader = unquote(urlsplit(os.environ.get("LEGACY_DATABASE_URL", "")).password or "")
    if enable and not reader:
        base.fail(
            "LEGACY_DATABASE_URL has no password in it: set it to the address for the role "
            f"{settings.source.read_role}, with the password that this role shall get."
        )
    if not yes:
        consent.preview(_enabling(settings) if enable else _disabling(settings), as_json=as_json)
        return
    kept: list[str] = []
    passwords = {settings.source.role: password, settings.source.read_role: reader}
    try:
        with psycopg.connect(admin, autocommit=True, connect_timeout=10) as connection:
            if enable:
                sql.enable(connection, settings, passwords)
            else:
                sql.disable(connection, settings, kept.append)
    except psycopg.OperationalError as error:
        why = " ".join(str(error).split())
        base.fail(f"LEGACY_ADMIN_URL does not work: {why}")
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error)
        hint = f" {error.diag.message_hint}" if error.diag.message_hint else ""
        if not enable and isinstance(error, psycopg.errors.DependentObjectsStillExist):  # the last step
            done = "; ".join(["slot, publication, indexes and replica identities are taken back", *kept])
            base.fail(
                f"{done}; the legacy database refused to drop a role: {said}. Another pipeline, or somebody else, has "
                "given it rights: it may stay.",
                base.WRONG,
            )
        base.fail(f"the legacy database refused: {said}.{hint}", base.WRONG)
    said = "change data capture is enabled" if enable else "change data capture is taken back; no slot is left"
    consent.done("; ".join([said, *kept]), as_json=as_json)


def _enabling(settings: Settings) -> list[str]:
    source = settings.source
    tables = " and ".join(table.name for table in source.tables)
    steps = [
        f"look at server and tables first, and change nothing if {tables} cannot be captured",
        f"make the roles {source.role} (password: CDC_DEBEZIUM_PASSWORD) and {source.read_role} (password: that of "
        "LEGACY_DATABASE_URL), or correct them",
        f"let both read the mapped columns of {tables}, and no other; {source.role} may read the WAL",
    ]
    steps += [
        f"make an index on {table.name} and its replica identity of it: a short exclusive lock"
        for table in source.credentials
    ]
    steps.append(f"make or correct the publication {source.name} of these columns (statements: `cdc sql enable`)")
    return steps


def _disabling(settings: Settings) -> list[str]:
    source = settings.source
    steps = [f"drop the replication slot and the publication {source.name}; run `connector remove --yes` before"]
    steps += [
        f"give {table.name} its old replica identity, and drop the index, unless another publication has the table"
        for table in source.credentials
    ]
    steps.append(f"drop the roles {source.role} and {source.read_role} (statements: `cdc sql disable`)")
    return steps
