"""The source guard: looks at slot, publication, database and connector all the time, remembers, and shouts.

Only the owner of partition 0 does it. What means lost changes is written down in the `control` topic and stands there
until `source repair` has ended: after a start of the connector it would show no more (design: The source side). While
it stands no delete leaves, because a delete cannot be taken back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from streams.brake import TRUNCATED
from streams.control import REPAIR, SOURCE, SWEEP
from streams.source import faults, repair, runs
from streams.source.guard import PATIENCE, Finding, findings
from streams.source.look import Eye, Look
from streams.source.memory import Memory, emptied, lost, recall, remember, rewritten
from streams.source.room import Room, room
from streams.source.wal import WalRate
from streams.sweep import request, summary
from streams.truncation import Probe

if TYPE_CHECKING:
    from streams.pipeline import Pipeline

log = logging.getLogger(__name__)

#: Seconds between two looks; closer while nobody reads the slot, when somebody may lay hands on it; and before the
#: first one, because what happens until then (a TRUNCATE) has nothing that it could be compared with.
_EVERY, _CLOSE, _FIRST = 2.0, 1.0, 0.2
#: Seconds between two notes of positions alone, and between two sweeps for the same reason.
_NOTE_EVERY, _SWEEP_EVERY = 60.0, 600.0


#: What takes a memory to see: `status`, which looks by itself, takes these from the worker that watches.
REMEMBERED = frozenset(("connector_hangs", "snapshot_repeated", "repair_unfinished"))


class Watch:
    """Watches the source while this worker owns partition 0."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        #: what is wrong by the last look; None when another worker watches.
        self.findings: list[Finding] | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew after a rebalance: another worker may have watched meanwhile."""
        self.findings = None
        self._before: Look | None = None
        self._memory: Memory | None = None
        self._written: Any = None
        self._noted = 0.0
        self._probes: dict[str, Probe] = {}
        self._inactive_since: float | None = None
        self._began = time.time()
        self.wal = WalRate()

    async def run(self) -> None:
        """Go on until cancelled."""
        eye = Eye(self._pipeline.settings)
        try:
            while True:
                # A poll: none of what is looked at can call back.
                await asyncio.sleep(self._interval())
                await self._pipeline.belonging.follow()
                if not self._watches():
                    self.forget()
                    continue
                repaired = self._pipeline.control.state.get(REPAIR)
                look = await eye.look()
                # Begun before a step of a repair, it may show what the step has changed: an LSN below the memory that
                # the repair leaves would look like a database that has gone back in time.
                if self._watches() and self._pipeline.control.state.get(REPAIR) == repaired:
                    await self.once(look)
        finally:
            await eye.close()

    def _interval(self) -> float:
        if self._before is None:
            return _FIRST
        return _EVERY if self._inactive_since is None else _CLOSE

    @property
    def room(self) -> Room | None:
        """How long the slot may go unread, by the last look; None while that is not known, or another one watches."""
        database = self._before.database if self._before is not None else None
        return room(database.slot if database is not None else None, self.wal.per_second())

    def _watches(self) -> bool:
        return any(partition.number == 0 for partition in self._pipeline.partitions())

    async def once(self, look: Look) -> None:
        """Judge one look, and write down what has to be remembered."""
        settings, control = self._pipeline.settings, self._pipeline.control
        starts = runs.runs(control.notifications)
        known = self._recall()
        if self._before is None and known is not None and known.at is not None:
            self.wal.see(known.at, known.lsn)
        self.wal.see(look.at, look.database.lsn if look.database is not None else None)
        memory = known or replace(remember(None, look), swept=runs.first_seen(starts))
        note = repair.open_note(control.state)
        blind = note is not None and not note.resumed  # what is taken apart just then is no fault
        found = [] if blind else lost(settings, memory, look, self._before)
        if not found and not blind:
            memory, found = await self._rewritten(memory, look)
            memory = remember(memory, look)
        # The repair asks for a sweep of its own; of what starts after that, none has been asked for.
        memory = replace(memory, swept=max(memory.swept, repair.covered(control.state)))
        memory = self._owed(memory, starts, repairing=note is not None and not note.sweep)
        if not await self._pipeline.still_member():
            return  # a worker that was frozen must not write what it saw before
        await self._raise(found, memory.epoch)
        await self._clear_truncated()
        if note is None:
            memory = await self._pay(memory)
        if not blind:
            await self._keep(memory)
        self._before = look
        self.findings = [*found, *self._now(look, starts, memory, note)]

    def _recall(self) -> Memory | None:
        """The memory: our own while nobody else has written one, and what a repair has left behind it."""
        state = self._pipeline.control.state
        if self._memory is None or state.get(SOURCE) != self._written:
            self._memory, self._written = Memory.of(state.get(SOURCE)), state.get(SOURCE)
        found = recall(state)
        if found is not None and (self._memory is None or found.epoch > self._memory.epoch):
            self._memory, self._before = found, None
            self._probes.clear()
        return self._memory

    async def _keep(self, memory: Memory) -> None:
        """Write the memory down when more than a position has changed, and positions now and then."""
        before = Memory.of(self._written)
        self._memory = memory
        if before is not None and memory.same_place(before) and time.monotonic() - self._noted < _NOTE_EVERY:
            return
        await self._pipeline.control.put(SOURCE, memory.body())
        self._written, self._noted = self._pipeline.control.state.get(SOURCE), time.monotonic()

    async def _raise(self, found: list[Finding], epoch: int) -> None:
        """Write new faults down; they stand from now on."""
        control = self._pipeline.control
        for one in found:
            if (body := faults.new(control.state, one, epoch)) is not None:
                await control.put(faults.record_name(one.slug), body)
                log.error("source fault %s: %s. %s", one.slug, one.what, one.remedy)

    async def _rewritten(self, memory: Memory, look: Look) -> tuple[Memory, list[Finding]]:
        """Find out what happened to tables that have a new file."""
        database, truncated = look.database, []
        if database is None or database.standby:
            return memory, []
        gone = emptied(memory, database)
        for name in rewritten(memory, database):
            probe = self._probes.setdefault(name, Probe(self._pipeline, name, database.tables[name].file))
            verdict = True if name in gone else await probe.step(look)
            if verdict is None:
                continue
            del self._probes[name]
            memory = replace(memory, files={**(memory.files or {}), name: probe.file})
            if verdict:
                truncated.append(name)
            else:
                memory = replace(memory, owed=memory.owed or f"the table {name} was rewritten")
        if truncated:  # also the tables of a truncation that stands: it is one fault for all
            before = [one.what for one in faults.standing(self._pipeline.control.state) if one.slug == faults.TRUNCATED]
            truncated += [name for name in database.tables if name not in truncated and any(name in w for w in before)]
        what = (
            f"rows of {', '.join(truncated)} went without a record (TRUNCATE is not published); nobody was deleted "
            "at cidaas for it"
        )
        remedy = "Bring the rows back, or run `source sweep` and answer the delete brake then."
        return memory, [Finding(faults.TRUNCATED, what, remedy)] if truncated else []

    async def _clear_truncated(self) -> None:
        """A sweep that was asked for since then has found who is gone; a person decides about the deletes."""
        control = self._pipeline.control
        mine = [fault for fault in faults.standing(control.state) if fault.slug == faults.TRUNCATED]
        last = self._last_sweep()
        if not mine or last is None or last["state"] != "done" or last["id"] == mine[0].sweep:
            return
        await self._pipeline.delivery.brake.hold(TRUNCATED)
        await control.put(faults.record_name(faults.TRUNCATED), None)

    def _last_sweep(self) -> dict[str, Any] | None:
        return summary(self._pipeline.control.state, range(self._pipeline.settings.partitions))

    def _owed(self, memory: Memory, starts: list[runs.Run], *, repairing: bool) -> Memory:
        """Owe a sweep for a start of the connector; a repair that has not asked for its own yet is about to."""
        run = runs.to_sweep(starts, memory.swept)
        if run is None:
            return memory
        why = runs.why(run, starts)
        keep = repairing or (memory.owed and run.how == runs.SKIPPED)
        return replace(
            memory, swept=run.ended if run.ended is not None else memory.swept, owed=memory.owed if keep else why
        )

    async def _pay(self, memory: Memory) -> Memory:
        """Ask for the sweep that is owed, unless a fault stands, one still runs, or there was one for this just now."""
        control = self._pipeline.control
        if not memory.owed or faults.standing(control.state):
            return memory
        last = self._last_sweep()
        if last is not None:
            recent = last["asked_for"] == memory.owed and time.time() - (last["asked_at"] or 0) < _SWEEP_EVERY
            if recent or last["state"] != "done":  # one that somebody waits for is not taken away
                return memory
        log.info("a sweep is asked for: %s", memory.owed)
        await control.put(SWEEP, request(memory.owed))
        return replace(memory, owed="")

    # -- what is wrong now ------------------------------------------------------------------------------------------

    def _now(self, look: Look, starts: list[runs.Run], memory: Memory, note: repair.Note | None) -> list[Finding]:
        found = [one for one in findings(self._pipeline.settings, look) if not one.lost and one.slug != "slot_inactive"]
        found += self._inactive(look)
        control = self._pipeline.control
        age = time.time() - (control.heartbeat_at or self._began)
        if age > PATIENCE:
            what = f"the source's last heartbeat came {age:.0f} s ago"
            found.append(Finding("no_heartbeat", what, "Look at `connector status` and the database."))
        last = self._last_sweep()
        sweeping = last is not None and last["asked_for"] == runs.INTERRUPTED and last["state"] != "done"
        if starts and starts[-1].again and starts[-1].how == runs.RUNNING:
            what = "the initial snapshot was interrupted and has begun anew; a sweep follows by itself when it is done"
            found.append(Finding("snapshot_repeated", what, "Wait: the sweep finds users deleted between both runs."))
        elif memory.owed == runs.INTERRUPTED or sweeping:
            what = "the initial snapshot was interrupted and began anew; a sweep compares all users now"
            found.append(Finding("snapshot_repeated", what, "Wait: it finds users deleted between both runs."))
        if note is not None:
            what = f"a source repair has begun and not ended (done so far: {', '.join(note.steps) or 'nothing'})"
            remedy = "If it does not run any more, `source repair --yes` goes on."
            found.append(Finding("repair_unfinished", what, remedy))
        return found

    def _inactive(self, look: Look) -> list[Finding]:
        """A slot that nobody reads for half a minute: the connector hangs, or it does not run."""
        slot = look.database.slot if look.database is not None else None
        if slot is None or slot.active or slot.lost:
            self._inactive_since = None
            return []
        now = time.monotonic()
        self._inactive_since = self._inactive_since or now
        idle = now - self._inactive_since
        running = look.connector is not None and look.connector.running
        if idle <= PATIENCE or (running and look.offset is None):  # the initial snapshot does without it
            return []
        if running:
            what = f"the connector says RUNNING, but has not read its slot for {idle:.0f} s: it hangs"
            return [Finding("connector_hangs", what, "Read the WARN lines of the Connect worker's log; restart it.")]
        what = f"nobody has read the replication slot for {idle:.0f} s; {slot.kept_bytes} bytes of WAL are kept for it"
        return [Finding("slot_inactive", what, "Start Kafka Connect; look at `connector status` and its log.")]
