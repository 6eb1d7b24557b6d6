"""`source repair`: the recipe after which nothing is missing, whatever was lost (facts: debezium-3.7, section 5).

    tables       other tables than before are read from now on; workers end until that is done
    stop         the connector lets go of the slot
    offsets      its position is deleted, so that it reads the tables again
    slot         dropped; the connector makes a new one, and its snapshot is anchored there
    publication  put right, when it was the cause
    epoch        LSNs of before and after compare no more (M8): a record in every partition
    identity     another database is believed from now on, if a person has said so (O5)
    resume       from here on there is no way back
    snapshot     the tables are read
    sweep        finds users deleted while changes were being lost
    clear        the faults of before stand no more

Everything before *resume* may be done twice; a repair that was interrupted there begins anew, and later than that it
goes on. Its note in the `control` topic says how far it is. Of two at once the later one goes on, and the other ends.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from streams import brake
from streams.control import DELETES, IDENTITY, REPAIR, SWEEP, TABLES
from streams.source import faults, reading, runs
from streams.source.connect import cause
from streams.source.memory import Memory, recall, remember
from streams.sweep import request, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.control import Control
    from streams.settings import Settings
    from streams.source.connect import Connect
    from streams.source.look import Look

#: Seconds without any answer of a worker after which that is said.
_SILENT = 30.0


class RepairError(RuntimeError):
    """The repair cannot go on; the text says why, and what to do before it is started again."""


@dataclass(frozen=True, slots=True)
class Note:
    """How far a repair is; the control record `source/repair`."""

    id: str
    at: float
    epoch: int
    steps: tuple[str, ...] = ()
    #: the source as it was left for the connector to start on; the guard remembers from there.
    memory: dict[str, Any] | None = None
    #: notifications of the connector from here on are of the new start.
    since: int = 0
    resumed_at: float = 0.0
    sweep: str = ""
    #: notifications of the connector up to here came before that sweep was asked for, which covers their starts.
    swept: int = -1
    ended: float = 0.0

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Note:
        """Read the control record."""
        known = {name: body[name] for name in cls.__slots__ if name in body}
        return cls(**{**known, "steps": tuple(known.get("steps", ()))})

    @property
    def resumed(self) -> bool:
        """Whether the connector may have been started on the new slot."""
        return self.memory is not None


def open_note(state: Mapping[str, Any]) -> Note | None:
    """The repair that has begun and not ended; `state` is the control topic."""
    body = state.get(REPAIR)
    note = None if body is None else Note.of(body)
    return None if note is None or note.ended else note


def covered(state: Mapping[str, Any]) -> int:
    """The offset up to which the sweep of the last repair covers the connector's starts, also when it has ended."""
    body = state.get(REPAIR)
    return -1 if body is None else Note.of(body).swept


def doubt(state: Mapping[str, Any]) -> str:
    """Why no delete may leave now, "" when it may: what is gone from the tables may come back with the repair."""
    for fault in faults.standing(state):
        return f"a fault of the source stands: {fault.what}"
    if open_note(state) is not None:
        return "a source repair has not ended"
    held = state.get(DELETES, {})
    return f"{held['who']} paused them ({held['why']})" if held.get("paused") else ""


class Tools(Protocol):
    """What a repair does outside Kafka's control topic and Connect."""

    async def look(self) -> Look:
        """Look at the source."""

    async def drop_slot(self) -> bool:
        """Drop the slot once nobody reads it; return whether there was one."""

    async def enable(self) -> None:
        """Do what `cdc enable` does."""

    async def begin_epoch(self, number: int) -> None:
        """Write an epoch record into every partition."""

    async def ends(self) -> dict[int, int]:
        """The offset that comes next in each partition."""


class Repair:
    """One run of the recipe."""

    def __init__(
        self,
        settings: Settings,
        control: Control,
        connect: Connect,
        tools: Tools,
        say: Callable[[str], None],
        config: Mapping[str, str],
    ) -> None:
        """`say` prints what was done; `config` is the connector's configuration."""
        self._settings, self._control, self._connect, self._tools = settings, control, connect, tools
        self._say, self._config = say, config
        self._name = settings.source.name
        self._note = Note("", 0.0, 0)

    async def run(self, look: Look, *, enable: bool) -> None:
        """Do the whole recipe, or what is left of one that was interrupted; `look` was agreed to by a person.

        Raises:
            RepairError: it cannot go on now.
        """
        state = self._control.state
        before = open_note(state)
        again = before is not None and any(one.epoch >= before.epoch for one in faults.standing(state))
        again = again or await self._connect.status(self._name) is None
        # The connector that runs does not know a table that has come into the file since.
        again = again or reading.differs(state, self._settings)
        if before is not None and before.resumed and not again:
            self._say(f"going on with the repair of {_when(before.at)}")
            await self._put(replace(before, id=str(uuid.uuid4())))
        else:
            memory = recall(state) or Memory()
            epoch = before.epoch if before is not None and not before.resumed else memory.epoch + 1
            await self._put(Note(str(uuid.uuid4()), time.time(), epoch))
            await self._take_apart(look, enable=enable)
        await self._snapshot()
        await self._sweep()
        await self._clear()

    async def _put(self, note: Note) -> None:
        self._assert_alone()
        await self._control.put(REPAIR, asdict(note))
        self._note = note

    def _assert_alone(self) -> None:
        """Raise when somebody has begun another repair: two would take apart what the other one has just started."""
        if self._note.id and self._control.state.get(REPAIR, {}).get("id") != self._note.id:
            raise RepairError("another `source repair` was started meanwhile: that one goes on, and this one ends.")

    async def _done(self, step: str, said: str) -> None:
        self._say(f"{step}: {said}")
        await self._put(replace(self._note, steps=(*self._note.steps, step)))

    # -- up to the start ------------------------------------------------------------------------------------------

    async def _take_apart(self, look: Look, *, enable: bool) -> None:
        name, connect = self._name, self._connect
        if reading.differs(self._control.state, self._settings):
            # First of all: workers have seconds to see it, and to end.
            await self._control.put(TABLES, reading.begun(self._settings))
            tables = ", ".join(table.name for table in self._settings.source.tables)
            await self._done("tables", f"{tables} are read from now on")
        if await connect.status(name) is None:
            await connect.create_stopped(name, self._config)
        await connect.stop(name, seconds=60)
        await connect.put_config(name, self._config)
        await self._done("stop", "the connector is stopped and has no task")
        await connect.delete_offsets(name)
        await self._done("offsets", "its position is deleted")
        dropped = await self._tools.drop_slot()
        await self._done("slot", "dropped" if dropped else "there was none")
        if enable:
            await self._tools.enable()
            await self._done("publication", "roles, grants, replica identity and publication are right")
        await self._tools.begin_epoch(self._note.epoch)
        await self._done("epoch", f"source epoch {self._note.epoch} has begun in every partition")
        assert look.database is not None
        await self._identity(look.database.system)
        await self._resume(look.database.system)

    async def _identity(self, system: str) -> None:
        identity = self._control.identity
        if identity is None or identity["source"] == system:
            return
        former = sorted({*identity.get("former_sources", ()), identity["source"]} - {system})
        await self._control.put(IDENTITY, {**identity, "source": system, "former_sources": former})
        await self._done("identity", f"the source is {system} from now on")

    async def _resume(self, system: str) -> None:
        """Start the connector; noted before, so that no second run takes the new slot away again."""
        look = await self._tools.look()
        if look.database is None or look.database.system != system:
            raise RepairError(
                f"the legacy database cannot be seen any more: {look.database_away or 'it is another one'}"
            )
        memory = replace(remember(None, look), epoch=self._note.epoch)
        since = self._notified() + 1
        await self._put(replace(self._note, memory=memory.body(), since=since, resumed_at=time.time()))
        await self._connect.resume(self._name)
        await self._done("resume", "the connector starts, makes a new slot and reads the tables")

    def _notified(self) -> int:
        return max((int(one["offset"]) for one in self._control.notifications), default=-1)

    # -- afterwards -----------------------------------------------------------------------------------------------

    async def _snapshot(self) -> None:
        if "snapshot" in self._note.steps:
            return
        told, checked = "", 0.0
        while not (run := self._last_run()) or run.how != runs.COMPLETED:
            if time.monotonic() - checked > 2.0:
                checked = time.monotonic()
                await self._running()
            words = "" if run is None else f"snapshot: {run.how.lower()} {run.table}".rstrip()
            if words != told:
                self._say(told := words)
            await self._control.wait_changed()
        if reading.is_begun(self._control.state):
            await self._heartbeat()
            await self._control.put(TABLES, reading.done(self._settings, await self._tools.ends()))
        await self._done("snapshot", "the tables have been read")

    async def _heartbeat(self) -> None:
        """Wait for the next one: the last rows of the snapshot have been sent to Kafka before it."""
        seen = self._control.heartbeats
        while self._control.heartbeats == seen:
            await self._running()
            await self._control.wait_changed()

    def _last_run(self) -> runs.Run | None:
        found = [run for run in runs.runs(self._control.notifications) if run.began >= self._note.since]
        return found[-1] if found else None

    async def _running(self) -> None:
        self._assert_alone()
        status = await self._connect.status(self._name)
        if status is None:
            raise RepairError(
                "the connector was removed meanwhile: `connector apply`, then `source repair --yes` goes on."
            )
        if status.state in ("STOPPED", "PAUSED"):
            await self._connect.resume(self._name)
        elif status.failed:
            raise RepairError(
                f"the connector failed: {cause(status.trace)} Cure that, restart the Connect worker, then run "
                "`source repair --yes` again: it goes on."
            )

    async def _sweep(self) -> None:
        """Ask for a sweep and wait until every partition has been compared."""
        if not self._note.sweep:
            body, swept = request("after a source repair"), self._notified()
            await self._control.put(SWEEP, body)
            await self._put(replace(self._note, sweep=str(body["id"]), swept=swept))
        told, began = "", time.monotonic()
        while (last := self._summary())["state"] != "done":
            self._assert_alone()
            words = f"sweep: {last['state']}, {last['done']} of {last['of']} partitions" + (
                f" ({last['why']})" if last["why"] else ""
            )
            if last["state"] == "asked" and time.monotonic() - began > _SILENT:
                words = "sweep: no worker answers; start one, this waits"
            if words != told:
                self._say(told := words)
            await self._control.wait_changed()
        found = f"{last['gone']} users gone, {last['missing']} missing, {last['credentials']} with other credentials"
        await self._done("sweep", f"all users were compared: {found}")

    def _summary(self) -> dict[str, Any]:
        """The last sweep; one that somebody else asked for after ours compares all the same."""
        last = summary(self._control.state, range(self._settings.partitions))
        assert last is not None
        return last

    async def _clear(self) -> None:
        self._assert_alone()
        state = self._control.state
        cured = [one for one in faults.standing(state) if one.epoch < self._note.epoch]
        if any(one.slug == faults.TRUNCATED for one in cured) and not state.get(brake.TRIPPED, {}).get("on"):
            # A person decides, as after a sweep alone.
            await self._control.put(brake.TRIPPED, brake.held(state, brake.TRUNCATED))
        for one in cured:
            await self._control.put(faults.record_name(one.slug), None)
        left = faults.standing(state)
        await self._put(replace(self._note, ended=time.time(), steps=(*self._note.steps, "clear")))
        self._say("clear: " + ("the faults of before stand no more" if not left else f"{left[0].what} since then"))


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


async def wait_until_free(active_pid: Callable[[], Any], seconds: float = 30.0) -> None:
    """Wait until nobody reads the slot; nobody is terminated.

    Raises:
        RepairError: somebody still does.
    """
    deadline = time.monotonic() + seconds
    while (pid := await active_pid()) is not None:
        if time.monotonic() > deadline:
            raise RepairError(
                f"process {pid} of the database still reads the slot: an old task of Kafka Connect lives on, or "
                "somebody else uses it. Restart the Connect worker, then run `source repair --yes` again."
            )
        await asyncio.sleep(0.1)  # the database cannot call back
