"""`connector`: the Debezium connector in Kafka Connect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import base
from streams.commands.source import standing
from streams.offline import control_state
from streams.source import connector as source_connector
from streams.source.connect import Connect, ConnectError, ConnectRefused
from streams.source.look import look_once
from streams.source.repair import open_note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.settings import Settings

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

    @connector.command(
        "config",
        help="Print the connector's configuration, made from pipeline.toml.  "
        "Example: faust -A streams.app connector config",
    )
    def config() -> None:
        click.echo(source_connector.render(settings), nl=False)

    @connector.command(
        "apply",
        help="Register the connector, change it or start it again; wait until its task runs.  "
        "Example: faust -A streams.app connector apply",
    )
    @base.run
    async def apply() -> int:
        async def act(connect: Connect) -> int:
            before = await connect.status(name)
            if before is None or not before.running:
                await _assert_nothing_lost(settings)
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

    @connector.command(
        "status",
        help="Show connector and task state.  Example: faust -A streams.app connector status",
    )
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

    @connector.command(
        "remove",
        help="Remove the connector; slot and publication stay until `cdc disable`.  "
        "Example: faust -A streams.app connector remove --yes",
    )
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


async def _assert_nothing_lost(settings: Settings) -> None:
    """Refuse a start after which it would show no more that changes were lost, or in the middle of a repair."""
    state = await control_state(settings)
    if open_note(state) is not None:
        base.fail("not started: a source repair has not ended. `source repair --yes` goes on with it.", base.WRONG)
    for problem in standing(settings, state, await look_once(settings)):
        base.fail(f"not started: {problem['what']}. {problem['remedy']}", base.WRONG)


async def _start_again(settings: Settings, connect: Connect) -> bool:
    """Start a connector that failed or was stopped; nothing was lost, as somebody has made sure before."""
    name = settings.source.name
    status = await connect.status(name)
    if status is None or not (status.failed or status.state in ("STOPPED", "PAUSED")):
        return False
    if status.failed:
        await connect.restart(name)
    else:
        await connect.resume(name)
    return True
