"""`mapping`: try `pipeline.toml` on the legacy tables before it is put to work; nothing is written anywhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson
from psycopg import sql

from streams.commands import base
from streams.credentials import Names
from streams.divergence import Divergence
from streams.legacy import Legacy, NoSuchIdError, qualified
from streams.preview import preview
from streams.settings import load
from streams.settings.section import sentence
from streams.source import fit
from streams.source.columns import read_tables
from streams.source.everyone import everyone, wanted
from streams.source.merging import User

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.source.catalog import Table

#: Users between two looks at the progress bar.
_STEP = 1_000
_NEW_COLUMNS = "`cdc enable`, `connector apply`, then `source repair` bring their values (docs/mapping.md)."


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("mapping", help="Try pipeline.toml on the legacy tables. Changes nothing.")
    def mapping() -> None:
        pass

    @mapping.command(
        "check",
        help="Compare pipeline.toml with the legacy tables: names, columns, types, keys; 1 if something is wrong.  "
        "Example: faust -A streams.app mapping check",
    )
    @base.json_option
    @base.run
    async def check(as_json: bool) -> int:
        legacy = Legacy(settings, timeout=30.0)
        try:
            body = checked(settings, await read_tables(settings, legacy))
        finally:
            await legacy.close()
        if as_json:
            base.show_json(body)
        else:
            click.echo(_check_text(settings, body))
        return base.WRONG if body["problems"] else base.OK

    @mapping.command(
        "preview",
        help="Show what one user would become at cidaas, read from the legacy tables. Shows personal values, and no "
        "secret; 1 if there is no such user, or cidaas would refuse it.  "
        "Example: faust -A streams.app mapping preview 42",
    )
    @click.argument("user")
    @base.json_option
    @base.run
    async def preview_(user: str, as_json: bool) -> int:
        body = await _preview(settings, user)
        if as_json:
            base.show_json(body)
        else:
            click.echo(_preview_text(body))
        return base.WRONG if any(note["note"] == "no_identifier" for note in body["notes"]) else base.OK

    @mapping.command(
        "diff",
        help="Say what pipeline.toml would change for how many users, against another such file. Reads all tables "
        "once; 1 if it would change something.  Example: faust -A streams.app mapping diff pipeline.before.toml",
    )
    @click.argument("old", type=click.Path(path_type=Path), metavar="OLD.toml")
    @click.option("--sample", type=click.IntRange(min=1), metavar="N", help="Read about N users, chosen at random.")
    @base.json_option
    @base.run
    async def diff(old: Path, sample: int | None, as_json: bool) -> int:
        body = await _diff(settings, old, sample, say=not as_json)
        if as_json:
            base.show_json(body)
        else:
            click.echo(_diff_text(body))
        return base.WRONG if body["differ"] else base.OK

    return [mapping]


# -- check -------------------------------------------------------------------------------------------------------------


def checked(settings: Settings, tables: dict[str, Table | None]) -> dict[str, Any]:
    """Judge what the catalog says of the tables."""
    found = fit.faults(settings, tables)
    return {
        "file": str(settings.path),
        "tables": fit.covered(settings, (table for table in tables.values() if table is not None)),
        "problems": fit.described(settings, (fault for fault in found if fault.wrong)),
        "notes": fit.described(settings, (fault for fault in found if not fault.wrong)),
    }


def _check_text(settings: Settings, body: dict[str, Any]) -> str:
    def said(mark: str, one: dict[str, Any]) -> str:
        return f"{mark} {sentence(settings.path.name, one['line'], one['key'], one['what'], one['remedy'])}"

    lines = []
    for table in body["tables"]:
        left = table["not_mapped"]
        lines.append(f"{table['name']}: {table['columns'] - len(left)} of {table['columns']} columns are mapped")
        if left:
            lines.append(f"  not mapped, and never read: {', '.join(left)}")
    lines += [said("-", note) for note in body["notes"]]
    lines += [said("!", problem) for problem in body["problems"]]
    return "\n".join(lines if body["problems"] else [*lines, "nothing is wrong with the mapping"])


# -- preview -----------------------------------------------------------------------------------------------------------


async def _preview(settings: Settings, user: str) -> dict[str, Any]:
    users = settings.source.users
    legacy = Legacy(settings, timeout=30.0)
    try:
        # As the database writes it: a person may type 042, or a UUID in capital letters.
        ids = await legacy.query(
            sql.SQL("SELECT {id}::text AS id FROM {table} WHERE {id} = {user}").format(
                id=sql.Identifier(users.id), table=qualified(users.name), user=sql.Literal(user)
            )
        )
        user = ids[0]["id"] if ids else user
        row, credentials = (await legacy.rows([user]))[user]
    except NoSuchIdError:
        base.fail(f"{user!r} is no id: it does not fit the type of {users.name}.{users.id}")
    finally:
        await legacy.close()
    if row is None:
        orphans = f"; {len(credentials)} credential rows are there, and wait for it" if credentials else ""
        base.fail(f"{users.name} has no row with this {users.id}{orphans}", base.WRONG)
    return preview(settings, str(row[users.id]), row, Names(settings.source.credentials).by_table(credentials))


def _preview_text(body: dict[str, Any]) -> str:
    lines = [f"user {body['user']}: {body['sentence']}", ""]
    rows = [("sub", body["sub"]), ("status", body["status"]), ("credential rows", str(body["credential_rows"]))]
    lines.append(base.table(rows))
    if body["entity"] is not None:
        lines += ["", orjson.dumps(body["entity"], option=orjson.OPT_INDENT_2).decode()]
    if body["empty"]:
        lines += ["", "without a value:", base.table([(f"  {one['field']}", one["what"]) for one in body["empty"]])]
    if body["notes"]:
        rows = [(f"  {one['note']}", one["what"]) for one in body["notes"]]
        lines += ["", "notes:", base.table(rows)]
        lines += dict.fromkeys(f"! {one['remedy']}" for one in body["notes"] if one["remedy"])
    return "\n".join([*lines, "", f"What cidaas has of it by now: `user {body['user']}`."])


# -- diff --------------------------------------------------------------------------------------------------------------


async def _diff(settings: Settings, old: Path, sample: int | None, *, say: bool) -> dict[str, Any]:
    other = _other(old)
    wanted(other, settings)  # of other tables nothing need be compared
    divergence = Divergence(other, settings)
    body: dict[str, Any] = {
        "before": str(old),
        "after": str(settings.path),
        "mapping_ids": [other.mapping.id, settings.mapping.id],
        "users": None,
        "new_columns": _new_columns(other, settings),
    }
    if other.mapping.id != settings.mapping.id:  # otherwise both make the same of every row: nothing need be read
        async with everyone(other, settings, sample=sample) as found:
            body["users"] = found.users
            length, quiet = min(sample or found.users, found.users), not say or not sys.stderr.isatty()
            with click.progressbar(length=length, label="users", file=sys.stderr, hidden=quiet) as bar:
                async for one in found.rows:
                    if isinstance(one, User):  # a credential without a user is nobody's
                        divergence.add(one.id, one.row, one.credentials)
                        if divergence.read % _STEP == 0:
                            bar.update(_STEP)
    return body | divergence.report()


def _other(path: Path) -> Settings:
    if not path.is_file():
        base.fail(f"{path}: there is no such file. Name the pipeline.toml to compare with.")
    return load(path)


def _new_columns(before: Settings, after: Settings) -> list[str]:
    tables = [one.source.tables for one in (before, after)]
    known, wanted = ({f"{table.name}.{name}" for table in some for name in table.columns} for some in tables)
    return sorted(wanted - known)


def _diff_text(body: dict[str, Any]) -> str:
    before, after = body["mapping_ids"]
    lines = [f"{body['after']} (mapping {after}) against {body['before']} (mapping {before})"]
    if before == after:
        return "\n".join([*lines, "both make the same of every user; nothing would be sent again"])
    if body["read"] < body["users"]:
        lines.append(f"a sample: {body['read']:,} of {body['users']:,} users were read, and are counted here")
    lines.append(
        f"{body['read']:,} users: {body['same']:,} come out the same (noted, without a call), "
        f"{body['sent_again']:,} would be sent, {body['differ'] - body['sent_again']:,} would be deleted or left out"
    )
    lines += [f"  {one['before']} -> {one['after']}: {one['users']:,} ({_such(one)})" for one in body["outcomes"]]
    if body["fields"]:
        rows = [(f"  {one['field']}", one["change"], f"{one['users']:,}", _such(one)) for one in body["fields"]]
        lines += ["", "fields of the users that are sent before and after:", _columns(rows)]
    if body["notes"]:
        lines += ["", "notes, as users before -> after:"]
        lines += [f"  {one['note']}: {one['before']:,} -> {one['after']:,} ({one['what']})" for one in body["notes"]]
    if any(one["field"] == "sub" for one in body["fields"]):
        lines += ["", "! sub changes: these would be other users at cidaas. Keep cidaas.sub and cidaas.sub_namespace."]
    if body["new_columns"]:
        lines += ["", f"! columns that were not read before: {', '.join(body['new_columns'])}. {_NEW_COLUMNS}"]
    return "\n".join(lines)


def _such(one: dict[str, Any]) -> str:
    return f"such as {', '.join(one['examples'])}"


def _columns(rows: list[tuple[str, str, str, str]]) -> str:
    """Align all columns, the third one to its right."""
    widths = [max(len(row[place]) for row in rows) for place in range(3)]
    return "\n".join(f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}  {d}" for a, b, c, d in rows)
