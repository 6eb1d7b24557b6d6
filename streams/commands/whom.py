"""How a person names one user: by its id, its e-mail address, or its sub at cidaas."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import click
from psycopg import sql
from psycopg.rows import scalar_row

from streams.cidaas.answers import normal_sub
from streams.commands import base
from streams.legacy import Legacy, qualified
from streams.mapping import Mapper
from streams.offline import find_user

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import Settings

F = TypeVar("F", bound="Callable[..., None]")

#: Ids in one fetch, and seconds for all of them.
_MANY, _PATIENCE = 20_000, 300.0


def options(command: F) -> F:
    """The argument and the options; `named` takes what they give."""
    for option in (
        click.option("--sub", help="Look the user up by its id at cidaas; the sub of every legacy id is computed."),
        click.option("--email", help="Look the user up by e-mail address in the legacy database."),
        click.argument("user_id", required=False),
    ):
        command = option(command)
    return command


async def named(settings: Settings, user_id: str | None, email: str | None, sub: str | None) -> str:
    """The id of the user that a person named; ends the command when there is none, or more than one."""
    if [user_id, email, sub].count(None) != 2 or not (user_id or email or sub):
        base.fail("name one user, in one way: by its id, by --email, or by --sub")
    if email is not None:
        return await _by_email(settings, email)
    if sub is not None:
        return await _by_sub(settings, sub)
    assert user_id is not None
    return user_id


async def _by_email(settings: Settings, email: str) -> str:
    column = next((f.column for f in settings.mapping.fields if f.target == "email"), None)
    if column is None:
        base.fail("no column is mapped to `email` in pipeline.toml, so a user cannot be looked up by it")
    users = settings.source.users
    query = sql.SQL("SELECT {id}::text AS id FROM {table} WHERE lower({column}) = lower(%s) LIMIT 5").format(
        id=sql.Identifier(users.id), table=qualified(users.name), column=sql.Identifier(column)
    )
    legacy = Legacy(settings, timeout=30.0)
    try:
        rows = await legacy.query(query, (email,))
    finally:
        await legacy.close()
    if not rows:
        base.fail("no row of the legacy database has this address; a deleted user is found by its id", base.WRONG)
    if len(rows) > 1:
        base.fail(f"several users have this address: {', '.join(row['id'] for row in rows)}; name one by its id")
    return str(rows[0]["id"])


async def _by_sub(settings: Settings, sub: str) -> str:
    """A sub cannot be turned back into an id: the sub of each id is computed until it is this one."""
    wanted, sub_of = normal_sub(sub), Mapper(settings).sub_of
    if settings.cidaas.sub == "id":
        return wanted

    def fits(user_id: str) -> bool:
        return sub_of(user_id) == wanted

    found = await in_table(settings, fits) or await _deleted(settings, sub, fits)
    if found is None:
        base.fail(
            "no user has this sub, neither among the rows of the legacy database nor among the users that the pipeline "
            "knows: is it of another tenant, or was cidaas.sub_namespace another one?",
            base.WRONG,
        )
    return found


async def in_table(settings: Settings, fits: Callable[[str], bool]) -> str | None:
    """The first id of the legacy users table for which `fits` is true; all ids are read, a part at a time."""
    users = settings.source.users
    query = sql.SQL("SELECT {id}::text FROM {table}").format(id=sql.Identifier(users.id), table=qualified(users.name))
    legacy = Legacy(settings, timeout=30.0, patience=_PATIENCE)
    try:
        async with legacy.moment() as connection, connection.cursor("ids", row_factory=scalar_row) as cursor:
            await cursor.execute(query)
            while ids := await cursor.fetchmany(_MANY):
                for user_id in ids:
                    if fits(user_id):
                        return str(user_id)
    finally:
        await legacy.close()
    return None


async def _deleted(settings: Settings, sub: str, fits: Callable[[str], bool]) -> str | None:
    """Whoever has no row any more is still among the users that the workers know; without workers, in the topics."""
    try:
        answers = await base.ask_all(f"/sync/whose?{urlencode({'sub': sub})}")
    except base.Away:
        click.echo("no worker answers: the topics are read, which takes a while", err=True)
        return await find_user(settings, fits)
    return next((user_id for body in answers for user_id in body["users"].values()), None)
