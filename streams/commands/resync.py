"""`resync ID`: sends one user again, whatever the ledger says."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from streams.commands import base, orders
from streams.offline import read_user
from streams.rows import Resync

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command("resync", help="Send one user again as it is.  Example: faust -A streams.app resync 42")
    @click.argument("user_id")
    @base.json_option
    @base.run
    async def resync(user_id: str, as_json: bool) -> int:
        snap, _, _ = await read_user(settings, user_id.encode())
        if snap is None:
            base.fail(f"user {user_id} was never seen, so there is nothing to send; is it the right id?", base.WRONG)
        (placed,) = await orders.order(settings, [(user_id, Resync(getpass.getuser()))])
        if as_json:
            base.show_json(placed)
        else:
            click.echo(f"asked for; `user {user_id}` shows what becomes of it")
        return base.OK

    return [resync]
