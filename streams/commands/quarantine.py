"""`quarantine`: the users that cidaas refuses, in a person's hands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.audit.records import Actor
from streams.cidaas.refusals import remedy
from streams.commands import base, consent, orders, recording
from streams.commands.user import look_up, text
from streams.ledger import Situation
from streams.rows import Answer, Resync, Word

if TYPE_CHECKING:
    from streams.settings import Settings

_REFUSED, _DROPPED = Situation.QUARANTINED, Situation.DROPPED

_users = click.argument("users", nargs=-1, metavar="[USER]...")
_reason = click.option("--reason", default="", help="All users that are refused for this reason.")
_all = click.option("--all", "everybody", is_flag=True, help="All refused users.")
_dropped = click.option("--dropped", is_flag=True, help="Those that were signed off, instead of the refused ones.")


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("quarantine", help="Show the users that cidaas refuses, send them again, or sign them off.")
    def quarantine() -> None:
        pass

    @quarantine.command(
        "list",
        help="Count and name them, the latest first.  Example: faust -A streams.app quarantine list --limit 5",
    )
    @click.option("--reason", default="", help="Only those that are refused for this reason.")
    @click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many users.")
    @_dropped
    @base.json_option
    @base.run
    async def list_(reason: str, limit: int, dropped: bool, as_json: bool) -> None:
        found = await orders.standing(settings, _DROPPED if dropped else _REFUSED, reason, limit)
        if as_json:
            base.show_json({"total": found.reasons.total(), **found.body()})
            return
        counted = ", ".join(f"{name} {number:,}" for name, number in found.reasons.most_common())
        what = "signed off" if dropped else "refused by cidaas"
        click.echo(f"{found.reasons.total():,} {what}{': ' if counted else ''}{counted}")
        if found.users:
            click.echo(f"\n{orders.lines(found)}")

    @quarantine.command(
        "show",
        help="Say why one user is refused, and what to do.  Example: faust -A streams.app quarantine show 42",
    )
    @click.argument("user")
    @base.json_option
    @base.run
    async def show(user: str, as_json: bool) -> int:
        body = await look_up(settings, user)
        entry = body["ledger"]
        body["remedy"] = remedy(entry["reason"]) if entry is not None else ""
        if as_json:
            base.show_json(body)
        else:
            first, blank, rest = text(body).partition("\n")
            cure = [f"remedy: {body['remedy']}"] if body["remedy"] else []
            click.echo("\n".join([first, *cure]) + blank + rest)
        return base.OK if body["situation"] in (_REFUSED.value, _DROPPED.value) else base.WRONG

    @quarantine.command(
        "retry",
        help="Send them again as they are.  Example: faust -A streams.app quarantine retry --all --yes",
    )
    @_users
    @_reason
    @_all
    @_dropped
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings, recording.one_named)
    async def retry(
        users: tuple[str, ...], reason: str, everybody: bool, dropped: bool, yes: bool, as_json: bool
    ) -> int:
        situations = (_DROPPED,) if dropped else (_REFUSED, _DROPPED)
        found = await orders.chosen(settings, users, situations, reason, everybody)
        control = Resync(Actor.here().name)
        asked = [(user["user"], control) for user in found]
        yes = recording.one_named(users=users, yes=yes)
        return await _give(settings, asked, found, "sent again", yes=yes, as_json=as_json)

    @quarantine.command(
        "drop",
        help="Sign them off: what is refused now is not sent.  Example: faust -A streams.app quarantine drop 42",
    )
    @_users
    @_reason
    @_all
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings, recording.one_named)
    async def drop(users: tuple[str, ...], reason: str, everybody: bool, yes: bool, as_json: bool) -> int:
        found = await orders.chosen(settings, users, (_REFUSED,), reason, everybody)
        who = Actor.here().name
        asked = [(user["user"], Answer(Word.DROP, who, tuple(user["version"]))) for user in found]
        yes = recording.one_named(users=users, yes=yes)
        return await _give(settings, asked, found, "signed off and not sent in this version", yes=yes, as_json=as_json)

    return [quarantine]


async def _give(
    settings: Settings,
    asked: list[tuple[str, Any]],
    found: list[dict[str, Any]],
    what: str,
    *,
    yes: bool,
    as_json: bool,
) -> int:
    """Give the orders, or say what they would be; `yes` holds for one who was named, too."""
    if found and not yes:
        would = f"{orders.many(found)} would be {what}: {orders.by_reason(found)}."
        consent.preview(would, as_json=as_json, users=[{"user": user["user"]} for user in found])
        return base.OK
    placed = await orders.order(settings, asked)
    said = "nobody is among them, and nothing was asked for"
    if placed:
        where = f"`quarantine show {placed[0]['user']}`" if len(placed) == 1 else "`quarantine list`"
        said = f"asked for, of {orders.many(placed)}; {where} shows what becomes of it"
    consent.done(said, as_json=as_json, changed=bool(placed), users=placed)
    return base.OK
