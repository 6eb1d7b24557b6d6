"""`source`: what concerns the legacy database as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import base
from streams.commands.status import sweep_words
from streams.control import SWEEP
from streams.offline import Controls
from streams.sweep import request, summary

if TYPE_CHECKING:
    from streams.control import Control
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("source", help="Compare the legacy database with what is known of it.")
    def source() -> None:
        pass

    @source.command("sweep", help="Compare the rows of all users on both sides.  Example: source sweep --wait")
    @click.option("--wait", is_flag=True, help="Wait until every partition has been compared, and say what was found.")
    @click.option("--why", default="by hand", help="A note for `status`.")
    @base.json_option
    @base.run
    async def sweep(wait: bool, why: str, as_json: bool) -> int:
        async with Controls(settings) as control:
            body = request(why)
            await control.put(SWEEP, body)
            if not as_json:
                click.echo(
                    "asked for: users whose rows are gone will be deleted at cidaas (behind the delete brake), "
                    "those who are missing or have other credential rows will be read again; nothing else changes"
                )
            if wait:
                await _wait(settings, control, str(body["id"]), say=not as_json)
            answer = summary(control.state, range(settings.partitions))
        if as_json:
            base.show_json(answer)
        return base.OK

    return [source]


async def _wait(settings: Settings, control: Control, wanted: str, *, say: bool) -> None:
    """Wait for the answers of all partitions, or until somebody else asks anew."""
    said = ""
    while True:
        answer = summary(control.state, range(settings.partitions))
        assert answer is not None
        if answer["id"] != wanted:
            base.fail("another sweep was asked for meanwhile; `status` shows it", base.WRONG)
        if say and (words := sweep_words(answer)) != said:
            said = words
            click.echo(words)
        if answer["state"] == "done":
            return
        await control.wait_changed()
