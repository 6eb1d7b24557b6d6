"""`pause` and `resume`: whether anything is sent to cidaas."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base
from streams.control import DELIVERY
from streams.offline import Controls

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "pause",
        help="Hold everything back in all workers.  Example: faust -A streams.app pause --why 'tenant maintenance'",
    )
    @click.option("--why", required=True, help="The reason, shown wherever somebody asks.")
    @base.json_option
    @base.run
    async def pause(why: str, as_json: bool) -> None:
        await _set(settings, as_json, {"paused": True, "why": why})

    @click.command("resume", help="Let delivery go on.  Example: faust -A streams.app resume")
    @base.json_option
    @base.run
    async def resume(as_json: bool) -> None:
        await _set(settings, as_json, {"paused": False})

    return [pause, resume]


async def _set(settings: Settings, as_json: bool, body: dict[str, Any]) -> None:
    body |= {"who": getpass.getuser(), "at": time.time()}
    async with Controls(settings) as control:
        await control.put(DELIVERY, body)
    if as_json:
        base.show_json(body)
    else:
        click.echo("paused: nothing leaves for cidaas until `resume`" if body["paused"] else "resumed")
