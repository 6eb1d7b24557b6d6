"""`resync ID`: sends one user again, whatever the ledger says."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING

import click

from streams import kafka
from streams.commands import base
from streams.offline import read_user
from streams.rows import Resync, write_control

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command("resync", help="Send one user again as it is.  Example: faust -A streams.app resync 42")
    @click.argument("user_id")
    @base.json_option
    @base.run
    async def resync(user_id: str, as_json: bool) -> int:
        key = user_id.encode()
        snap, _, partition = await read_user(settings, key)
        if snap is None:
            base.fail(f"user {user_id} was never seen, so there is nothing to send; is it the right id?", base.WRONG)
        producer = kafka.producer(settings.kafka)
        try:
            await producer.start()
            # Through the user's own partition, so that it stands in order with the user's changes.
            meta = await producer.send_and_wait(
                settings.topics.identity, write_control(Resync(getpass.getuser())), key=key, partition=partition
            )
        finally:
            await producer.stop()
        if as_json:
            base.show_json({"user": user_id, "partition": partition, "offset": meta.offset})
        else:
            click.echo(f"asked for; `user {user_id}` shows what becomes of it")
        return base.OK

    return [resync]
