"""`connector`: the Debezium connector in Kafka Connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import base
from streams.source import connector as source_connector
from streams.source.connect import Connect, ConnectError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.settings import Settings


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

    @connector.command("apply", help="Register the connector, or change it, and wait until its task runs.")
    @base.run
    async def apply() -> int:
        async def act(connect: Connect) -> int:
            made = await connect.put_config(name, source_connector.connector_config(settings))
            await connect.wait_running(name, seconds=60)
            click.echo(f"connector {name} {'made' if made else 'changed'}, its task runs")
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
