"""`deletes`: answers the delete brake, for all users or single ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams import brake
from streams.audit.records import Actor
from streams.commands import base, consent, orders, recording
from streams.control import DELETES
from streams.ledger import Situation
from streams.offline import Controls
from streams.pauses import pause_words
from streams.rows import Answer, Word
from streams.source import faults
from streams.source.repair import open_note

if TYPE_CHECKING:
    from streams.control import Control
    from streams.settings import Settings

_PARKED, _REJECTED = Situation.PARKED, Situation.REJECTED

_users = click.argument("users", nargs=-1, metavar="[USER]...")
_all = click.option("--all", "everybody", is_flag=True, help="All that are parked, as without the name of a user.")


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("deletes", help="Answer the delete brake, for all users or single ones.")
    def deletes() -> None:
        pass

    @deletes.command(
        "list",
        help="Show whether deletes are parked, why and whose.  Example: faust -A streams.app deletes list --limit 5",
    )
    @click.option("--rejected", is_flag=True, help="Those that a person rejected, instead of the parked ones.")
    @click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="So many users.")
    @base.json_option
    @base.run
    async def list_(rejected: bool, limit: int, as_json: bool) -> int:
        return await _list(settings, rejected=rejected, limit=limit, as_json=as_json)

    @deletes.command(
        "allow",
        help="Send every delete decided until now, or single ones.  "
        "Example: faust -A streams.app deletes allow 42 --yes",
    )
    @_users
    @_all
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def allow(users: tuple[str, ...], everybody: bool, yes: bool, as_json: bool) -> int:
        return await _answer(settings, users, everybody, Word.ALLOW, yes=yes, as_json=as_json)

    @deletes.command(
        "reject",
        help="Keep them at cidaas until a newer version comes.  Example: faust -A streams.app deletes reject 42 --yes",
    )
    @_users
    @_all
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def reject(users: tuple[str, ...], everybody: bool, yes: bool, as_json: bool) -> int:
        return await _answer(settings, users, everybody, Word.REJECT, yes=yes, as_json=as_json)

    return [deletes]


async def _list(settings: Settings, *, rejected: bool, limit: int, as_json: bool) -> int:
    async with Controls(settings) as control:
        state = control.state.get(brake.TRIPPED, {"on": False})
        count, most = brake.total(control.state, settings.brake)
        held = _held(settings, control)
    body: dict[str, Any] = {"parked": bool(state.get("on")), "why": state.get("why"), "decisions": count, "limit": most}
    body["held"] = held or None
    found = None
    if rejected or body["parked"]:  # else nobody is, and the topics of a pipeline that stands still are long
        found = await orders.standing(settings, _REJECTED if rejected else _PARKED, limit=limit)
        body |= {"total": found.reasons.total(), "users": found.body()["users"]}
    if as_json:
        base.show_json(body)
        return base.WRONG if body["parked"] else base.OK
    if body["parked"]:
        click.echo(f"deletes are parked: {body['why']}")
        click.echo("  `deletes allow` sends them, `deletes reject` keeps these users; with ids, only those.")
    else:
        click.echo(f"not parked: {count} delete decisions within the window, the limit is {most}")
    if held:
        click.echo(f"! no delete leaves now, whatever is answered here: {held}")
    if found is not None:
        click.echo(f"{found.reasons.total():,} {'rejected' if rejected else 'parked'}")
        if found.users:
            click.echo(f"\n{orders.lines(found)}")
    return base.WRONG if body["parked"] else base.OK


def _held(settings: Settings, control: Control) -> str:
    """What holds every delete beside the brake, and what ends it; "" for nothing."""
    if paused := control.paused(settings.delivery.start):
        return f"delivery is paused: {pause_words(paused)}. `resume` ends it."
    held = control.state.get(DELETES, {})
    if held.get("paused"):
        return f"deletes are paused: {pause_words(held)}. `resume --deletes` ends it."
    for fault in faults.standing(control.state):
        return f"{fault.what}. {fault.remedy}"
    if open_note(control.state) is not None:
        return "a source repair has not ended. `source repair --yes` goes on with it."
    return ""


async def _answer(
    settings: Settings, users: tuple[str, ...], everybody: bool, word: Word, *, yes: bool, as_json: bool
) -> int:
    if users and everybody:
        base.fail("say whom: ids of users, or --all; not both")
    if users:
        return await _answer_users(settings, users, word, yes=yes, as_json=as_json)
    if not yes:
        parked = (await orders.standing(settings, _PARKED, limit=1)).reasons.total()
        would = f"{parked:,} parked deletes, and any other that was decided until now, would {_would(word)}."
        consent.preview(would, as_json=as_json, parked=parked)
        return base.OK
    async with Controls(settings) as control:
        allow, who = word is Word.ALLOW, Actor.here().name
        body: dict[str, Any] = brake.answer(control.state, settings.brake, allow=allow, who=who)
        await control.put(brake.TRIPPED, body)
    said = "allowed: the parked deletes leave now" if allow else "rejected: these users stay at cidaas"
    consent.done(said, as_json=as_json, **body)
    return base.OK


async def _answer_users(settings: Settings, users: tuple[str, ...], word: Word, *, yes: bool, as_json: bool) -> int:
    """Answer for single users, each in its own partition; the brake holds the others as before."""
    about = (_PARKED, _REJECTED) if word is Word.ALLOW else (_PARKED,)
    found = await orders.chosen(settings, users, about, "", False)
    if not yes:
        would = f"the deletes of {orders.many(found)} would {_would(word)}."
        consent.preview(would, as_json=as_json, users=[{"user": user["user"]} for user in found])
        return base.OK
    who = Actor.here().name
    answers = [(user["user"], Answer(word, who, tuple(user["version"]))) for user in found]
    placed = await orders.order(settings, answers)
    said = f"asked for, of {orders.many(placed)}; `deletes list` shows who is still parked"
    consent.done(said, as_json=as_json, users=placed)
    return base.OK


def _would(word: Word) -> str:
    return "be sent" if word is Word.ALLOW else "be rejected: these users stay at cidaas"
