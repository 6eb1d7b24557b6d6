"""`connector`: the Debezium connector in Kafka Connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import base
from streams.source import connector as source_connector
from streams.source import guard
from streams.source.connect import Connect, ConnectError, ConnectRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.settings import Settings

#: findings after which the tables must be read again
_LOST = frozenset(("slot_dropped", "slot_lost", "slot_moved"))

_WHERE = (
    "The database's address and password stand in the Connect worker's own environment: LEGACY_DB_HOST, "
    "LEGACY_DB_PORT, LEGACY_DB_NAME, LEGACY_DB_SSLMODE and CDC_DEBEZIUM_PASSWORD. Start it again after a change."
)


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("connector", help="Register, look at, stop or remove the Debezium connector.")
    def connector() -> None:
        pass

    name = settings.source.name

    async def with_connect(act: Callable[[Connect], Awaitable[int]]) -> int:
        try:
            async with Connect(settings.connect_url) as connect:
                return await act(connect)
        except ConnectError as error:
            base.fail(str(error), base.WRONG)

    @connector.command("config", help="Print the connector's configuration, made from pipeline.toml.")
    def config() -> None:
        click.echo(source_connector.render(settings), nl=False)

    @connector.command("apply", help="Register the connector, change it or start it again; wait until its task runs.")
    @base.run
    async def apply() -> int:
        async def act(connect: Connect) -> int:
            try:
                made = await connect.put_config(name, source_connector.connector_config(settings))
            except ConnectRefused as error:
                base.fail(f"{error}\n{_WHERE}", base.WRONG)
            again = await _start_again(settings, connect)
            await connect.wait_running(name, seconds=60)
            what = "made or changed" if made else "started again" if again else "there, as it must be"
            click.echo(f"connector {name} {what}; its task runs")
            return base.OK

        return await with_connect(act)

    @connector.command("status", help="Show connector and task state.")
    @base.run
    async def status() -> int:
        async def act(connect: Connect) -> int:
            found = await connect.status(name)
            if found is None:
                click.echo(f"connector {name} is not registered: `connector apply` does it")
                return base.WRONG
            click.echo(base.table([("connector", found.state), ("task", ", ".join(found.tasks) or "none")]))
            return base.WRONG if found.failed else base.OK

        return await with_connect(act)

    @connector.command("remove", help="Remove the connector; slot and publication stay until `cdc disable`.")
    @click.option("--yes", is_flag=True, help="Do it; without it only say what would happen.")
    @base.run
    async def remove(yes: bool) -> int:
        async def act(connect: Connect) -> int:
            if not yes:
                click.echo(f"connector {name} would be stopped and removed. Repeat with --yes to do it.")
                return base.OK
            if await connect.status(name) is not None:
                await connect.stop(name)
                await connect.delete_offsets(name)
            gone = await connect.delete(name)
            click.echo(f"connector {name} removed" if gone else f"connector {name} was not there")
            return base.OK

        return await with_connect(act)

    return [connector]


async def _start_again(settings: Settings, connect: Connect) -> bool:
    """Start a connector that failed or was stopped, unless its slot has lost changes: a start would hide that."""
    name = settings.source.name
    status = await connect.status(name)
    if status is None or not (status.failed or status.state in ("STOPPED", "PAUSED")):
        return False
    for finding in guard.findings(settings, await guard.look(settings)):
        if finding.slug in _LOST:
            base.fail(f"not started: {finding.what}. {finding.remedy}", base.WRONG)
    if status.failed:
        await connect.restart(name)
    else:
        await connect.resume(name)
    return True
