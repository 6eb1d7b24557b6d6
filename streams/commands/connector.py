"""`connector`: the Debezium connector in Kafka Connect."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base, consent, recording
from streams.commands.source import standing
from streams.control import IDENTITY, TABLES
from streams.offline import Controls, control_state
from streams.source import connector as source_connector
from streams.source import reading
from streams.source.connect import Connect, ConnectError, ConnectRefused, cause, unregister
from streams.source.keeping import keeping
from streams.source.look import look_once
from streams.source.repair import open_note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from streams.settings import Settings
    from streams.source.connect import ConnectorStatus

_WHERE = (
    "The database's address and password stand in the Connect worker's own environment: LEGACY_DB_HOST, "
    "LEGACY_DB_PORT, LEGACY_DB_NAME, LEGACY_DB_SSLMODE and CDC_DEBEZIUM_PASSWORD. Start it again after a change."
)
_HALTED = ("STOPPED", "PAUSED")


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("connector", help="Register, look at, stop, start or remove the Debezium connector.")
    def connector() -> None:
        pass

    async def with_connect(act: Callable[[Connect], Awaitable[int]]) -> int:
        try:
            async with Connect(settings.connect) as connect:
                return await act(connect)
        except ConnectError as error:
            base.fail(error.sentence, base.WRONG)

    @connector.command(
        "config",
        help="Print its configuration, made from pipeline.toml.  Example: faust -A streams.app connector config",
    )
    def config() -> None:
        click.echo(source_connector.render(settings), nl=False)

    @connector.command(
        "apply",
        help="Register, change or start it, until it runs.  Example: faust -A streams.app connector apply --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def apply(yes: bool, as_json: bool) -> int:
        return await with_connect(lambda connect: _apply(settings, connect, yes=yes, as_json=as_json))

    @connector.command(
        "status",
        help="Show the state of connector and task.  Example: faust -A streams.app connector status --json",
    )
    @base.json_option
    @base.run
    async def status(as_json: bool) -> int:
        return await with_connect(lambda connect: _status(settings, connect, as_json=as_json))

    @connector.command(
        "stop",
        help="Stop it, and say what that costs the database.  Example: faust -A streams.app connector stop --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def stop(yes: bool, as_json: bool) -> int:
        return await with_connect(lambda connect: _stop(settings, connect, yes=yes, as_json=as_json))

    @connector.command(
        "start",
        help="Start it where it was stopped.  Example: faust -A streams.app connector start --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def start(yes: bool, as_json: bool) -> int:
        return await with_connect(lambda connect: _start(settings, connect, yes=yes, as_json=as_json))

    @connector.command(
        "restart",
        help="Start again what has failed of it.  Example: faust -A streams.app connector restart --yes",
    )
    @click.option("--all", "everything", is_flag=True, help="Also what runs.")
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def restart(everything: bool, yes: bool, as_json: bool) -> int:
        return await with_connect(lambda connect: _restart(settings, connect, everything, yes=yes, as_json=as_json))

    @connector.command(
        "remove",
        help="Remove it; slot and publication stay.  Example: faust -A streams.app connector remove --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def remove(yes: bool, as_json: bool) -> int:
        return await with_connect(lambda connect: _remove(settings, connect, yes=yes, as_json=as_json))

    return [connector]


async def _apply(settings: Settings, connect: Connect, *, yes: bool, as_json: bool) -> int:
    name, wanted = settings.source.name, source_connector.connector_config(settings)
    before = await connect.status(name)
    if before is None or not before.running:
        await _assert_nothing_lost(settings)
    await _assert_all_read(settings, connect, wanted)
    steps = _to_apply(name, before, await connect.config(name), wanted)
    if steps and not yes:
        consent.preview(steps, as_json=as_json, connector=name)
        return base.OK
    async with Controls(settings) as control:
        if TABLES not in control.state or reading.differs(control.state, settings):
            await control.put(TABLES, reading.body(settings))  # first: a worker with another file ends
    try:
        made = await connect.put_config(name, wanted)
    except ConnectRefused as error:
        base.fail(f"{error}\n{_WHERE}", base.WRONG)
    again = await _start_again(settings, connect)
    await connect.wait_running(name, seconds=60)
    what = "made or changed" if made else "started again" if again else "there, as it must be"
    consent.done(f"connector {name} {what}; its task runs", as_json=as_json, changed=made or again, connector=name)
    return base.OK


def _to_apply(
    name: str, before: ConnectorStatus | None, there: Mapping[str, str] | None, wanted: Mapping[str, str]
) -> list[str]:
    """What `connector apply` would do; keys are named and values are not, because somebody may have put any there."""
    if before is None or there is None:
        return [f"register the connector {name}: without a stored position it makes its slot and reads the tables"]
    steps = []
    changed = sorted(key for key in wanted.keys() | there.keys() - {"name"} if wanted.get(key) != there.get(key))
    if changed:
        steps.append(f"change {', '.join(changed)} of the connector {name}, whose task starts again")
    if before.failed:
        steps.append(f"start what has failed again: {cause(before.trace)}")
    elif before.state in _HALTED:
        steps.append(f"start the connector {name}, which is {before.state}")
    return steps


async def _status(settings: Settings, connect: Connect, *, as_json: bool) -> int:
    name = settings.source.name
    found = await connect.status(name)
    if as_json:
        known: dict[str, Any] = {"state": None, "tasks": [], "failure": None}
        if found is not None:
            failure = cause(found.trace) if found.failed else None
            known = {"state": found.state, "tasks": list(found.tasks), "failure": failure}
        base.show_json({"connector": name, **known})
    elif found is None:
        click.echo(f"connector {name} is not registered: `connector apply` does it")
    else:
        rows = [("connector", found.state), ("task", ", ".join(found.tasks) or "none")]
        click.echo(base.table([*rows, ("failure", cause(found.trace))] if found.failed else rows))
    return base.OK if found is not None and found.running else base.WRONG


async def _stop(settings: Settings, connect: Connect, *, yes: bool, as_json: bool) -> int:
    name = settings.source.name
    found, kept = await _registered(settings, connect), await keeping(settings)
    body: dict[str, Any] = {"connector": name, "wal": asdict(kept)}
    if found.state == "STOPPED":
        consent.done(f"connector {name} is stopped already. {kept}", as_json=as_json, changed=False, **body)
        return base.OK
    if not yes:
        steps = [
            f"stop the connector {name}: its task ends and lets go of the replication slot",
            f"let every change wait in the database until `connector start`. {kept}",
        ]
        consent.preview(steps, as_json=as_json, **body)
        return base.OK
    await connect.stop(name, seconds=60)
    kept = await keeping(settings)
    said = f"connector {name} is stopped. {kept} `connector start --yes` goes on where it stood."
    consent.done(said, as_json=as_json, connector=name, wal=asdict(kept))
    return base.OK


async def _start(settings: Settings, connect: Connect, *, yes: bool, as_json: bool) -> int:
    name = settings.source.name
    found = await _registered(settings, connect)
    if found.running:
        consent.done(f"connector {name} runs already", as_json=as_json, changed=False, connector=name)
        return base.OK
    if found.failed:
        more = "Cure that, then `connector restart --yes`."
        base.fail(f"connector {name} has failed: {cause(found.trace)}. {more}", base.WRONG)
    await _assert_nothing_lost(settings)
    if not yes:
        step = f"start the connector {name}, which is {found.state}: it goes on where it stood"
        consent.preview([step], as_json=as_json, connector=name)
        return base.OK
    await connect.resume(name)
    await connect.wait_running(name, seconds=60)
    consent.done(f"connector {name} started; its task runs", as_json=as_json, connector=name)
    return base.OK


async def _restart(settings: Settings, connect: Connect, everything: bool, *, yes: bool, as_json: bool) -> int:
    name = settings.source.name
    found = await _registered(settings, connect)
    if found.state in _HALTED:
        base.fail(f"connector {name} is {found.state}: `connector start --yes` starts it", base.WRONG)
    if not found.failed and not everything:
        said = f"nothing of connector {name} has failed; `connector restart --all` starts again what runs, too"
        consent.done(said, as_json=as_json, changed=False, connector=name)
        return base.OK
    await _assert_nothing_lost(settings)  # a start would hide it, of a connector that runs as well
    if not yes:
        why = f"what has failed of it: {cause(found.trace)}" if found.failed else "though nothing of it has failed"
        what = f"start the connector {name} and its task again, {why}" if everything else f"start again {why}"
        consent.preview([what], as_json=as_json, connector=name)
        return base.OK
    await connect.restart(name, only_failed=not everything)
    await connect.wait_running(name, seconds=60)
    consent.done(f"connector {name} started again; its task runs", as_json=as_json, connector=name)
    return base.OK


async def _remove(settings: Settings, connect: Connect, *, yes: bool, as_json: bool) -> int:
    name = settings.source.name
    there = await connect.status(name) is not None
    if there and not yes:
        steps = [
            f"stop the connector {name}, delete its position and remove it",
            "leave slot and publication, for which PostgreSQL keeps WAL, until `cdc disable`",
        ]
        consent.preview(steps, as_json=as_json, connector=name)
        return base.OK
    gone = await unregister(connect, name)
    said = f"connector {name} removed" if gone else f"connector {name} was not there"
    consent.done(said, as_json=as_json, changed=gone, connector=name)
    return base.OK


async def _registered(settings: Settings, connect: Connect) -> ConnectorStatus:
    name = settings.source.name
    found = await connect.status(name)
    if found is None:
        base.fail(f"connector {name} is not registered: `connector apply` does it", base.WRONG)
    return found


async def _assert_nothing_lost(settings: Settings) -> None:
    """Refuse a start after which it would show no more that changes were lost, or in the middle of a repair."""
    state = await control_state(settings)
    if open_note(state) is not None:
        base.fail("not started: a source repair has not ended. `source repair --yes` goes on with it.", base.WRONG)
    for problem in standing(settings, state, await look_once(settings)):
        base.fail(f"not started: {problem['what']}. {problem['remedy']}", base.WRONG)


async def _assert_all_read(settings: Settings, connect: Connect, wanted: Mapping[str, str]) -> None:
    """Refuse tables whose rows this connector would never read, or whose rows would be taken for another's.

    Before any worker has run, one without a position begins with its initial snapshot, which reads them all.
    """
    state, name = await control_state(settings), settings.source.name
    new = []
    if IDENTITY in state:
        if why := reading.misplaced(state, settings):
            base.fail(why)
        new = reading.unread(state, settings)
    there = await connect.config(name)
    if there is not None and await connect.offsets(name):
        before = there.get(source_connector.TABLES, "").split(",")
        listed = zip(settings.source.tables, wanted[source_connector.TABLES].split(","), strict=True)
        new += [table.name for table, one in listed if one not in before and table.name not in new]
    if new:
        what = f"{', '.join(new)} is new, and the rows that are there already would be read by nobody."
        base.fail(f"{what} {reading.READ_ALL}", base.WRONG)


async def _start_again(settings: Settings, connect: Connect) -> bool:
    """Start a connector that failed or was stopped; nothing was lost, as somebody has made sure before."""
    name = settings.source.name
    status = await connect.status(name)
    if status is None or not (status.failed or status.state in _HALTED):
        return False
    if status.failed:
        await connect.restart(name)
    else:
        await connect.resume(name)
    return True
