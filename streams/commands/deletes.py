"""`deletes`: answers the delete brake."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click

from streams import brake
from streams.commands import base
from streams.offline import Controls

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("deletes", help="Answer the delete brake.")
    def deletes() -> None:
        pass

    @deletes.command("list", help="Show whether deletes are parked, why, and how many decisions were counted.")
    @base.json_option
    @base.run
    async def list_(as_json: bool) -> int:
        async with Controls(settings) as control:
            state = control.state.get(brake.TRIPPED, {"on": False})
            count, limit = brake.total(control.state, settings.brake)
        body = {"parked": bool(state.get("on")), "why": state.get("why"), "decisions": count, "limit": limit}
        if as_json:
            base.show_json(body)
        elif body["parked"]:
            click.echo(f"parked: {body['why']}. `deletes allow` sends them, `deletes reject` keeps these users.")
        else:
            click.echo(f"not parked: {count} delete decisions within the window, the limit is {limit}")
        return base.WRONG if body["parked"] else base.OK

    @deletes.command("allow", help="Send every delete decided until now.  Example: deletes allow --yes")
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would happen.")
    @base.json_option
    @base.run
    async def allow(yes: bool, as_json: bool) -> int:
        return await _answer(settings, allow=True, yes=yes, as_json=as_json)

    @deletes.command("reject", help="Keep these users at cidaas until a newer version of them comes.")
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would happen.")
    @base.json_option
    @base.run
    async def reject(yes: bool, as_json: bool) -> int:
        return await _answer(settings, allow=False, yes=yes, as_json=as_json)

    return [deletes]


async def _answer(settings: Settings, *, allow: bool, yes: bool, as_json: bool) -> int:
    async with Controls(settings) as control:
        count, _ = brake.total(control.state, settings.brake)
        if not yes:
            verb = "be sent" if allow else "be rejected: these users stay at cidaas"
            click.echo(f"{count} deletes decided within the window would {verb}. Repeat with --yes to do it.")
            return base.OK
        body: dict[str, Any] = brake.answer(control.state, settings.brake, allow=allow, who=getpass.getuser())
        await control.put(brake.TRIPPED, body)
    if as_json:
        base.show_json(body)
    else:
        click.echo("allowed: the parked deletes leave now" if allow else "rejected: these users stay at cidaas")
    return base.OK
