"""How a person names one user: by its id, its e-mail address, or its sub at cidaas."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

import click
from psycopg import sql
from psycopg.rows import scalar_row, tuple_row

from streams.cidaas.answers import normal_sub
from streams.commands import base
from streams.converters import maker
from streams.legacy import Legacy, as_debezium, qualified
from streams.mapping import Mapper
from streams.offline import find_user

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import FieldRule, Settings

F = TypeVar("F", bound="Callable[..., None]")

#: Ids in one fetch, and seconds for all of them.
_MANY, _PATIENCE = 20_000, 300.0
#: Users with one address that are named.
_SEVERAL = 5


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
    rule = next((rule for rule in settings.mapping.fields if rule.target == "email"), None)
    if rule is None:
        base.fail("no column is mapped to `email` in pipeline.toml, so a user cannot be looked up by it")
    plain = not rule.derived and rule.path is None and rule.values is None
    found = await (_with_column(settings, rule.column, email) if plain else _with_made(settings, rule, email))
    if not found:
        base.fail("no row of the legacy database has this address; a deleted user is found by its id", base.WRONG)
    if len(found) > 1:
        base.fail(f"several users have this address: {', '.join(found)}; name one by its id")
    return found[0]


async def _with_column(settings: Settings, column: str, email: str) -> list[str]:
    """The ids of the users whose column holds the address, at most five."""
    users = settings.source.users
    query = sql.SQL("SELECT {id}::text AS id FROM {table} WHERE lower({column}) = lower(%s) LIMIT {several}").format(
        id=sql.Identifier(users.id),
        table=qualified(users.name),
        column=sql.Identifier(column),
        several=sql.Literal(_SEVERAL),
    )
    legacy = Legacy(settings, timeout=30.0)
    try:
        return [str(row["id"]) for row in await legacy.query(query, (email,))]
    finally:
        await legacy.close()


async def _with_made(settings: Settings, rule: FieldRule, email: str) -> list[str]:
    """The same, where the address is made of columns: all rows are read, a part at a time."""
    users, make = settings.source.users, maker(rule, settings.mapping.phone_region)
    key = sql.SQL("{}::text").format(sql.Identifier(users.id))
    query = sql.SQL("SELECT {columns} FROM {table}").format(
        columns=sql.SQL(", ").join([key, *map(sql.Identifier, rule.reads)]), table=qualified(users.name)
    )
    found: list[str] = []
    legacy = Legacy(settings, timeout=30.0, patience=_PATIENCE)
    try:
        async with legacy.moment() as connection, connection.cursor("emails", row_factory=tuple_row) as cursor:
            await cursor.execute(query)
            while len(found) < _SEVERAL and (rows := await cursor.fetchmany(_MANY)):
                made = ((user_id, make([as_debezium(value) for value in values])) for user_id, *values in rows)
                found += [user_id for user_id, one in made if isinstance(one, str) and one.lower() == email.lower()]
    finally:
        await legacy.close()
    return found[:_SEVERAL]


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
