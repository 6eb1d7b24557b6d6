"""Delivers what is pending: two queues, bounded concurrency, and nothing that is not owned.

The agents for upserts and for deletes take windows from their queues; between taking and answering a user belongs to
one call only. What lives here is memory and nothing else: after a crash a scan of the two tables finds it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any, TypeVar

from streams import snapshots
from streams.brake import UNCOUNTED, Brake
from streams.calls import Calls, NotOursError
from streams.cidaas.client import Cidaas
from streams.deletes import Deletes
from streams.figures import Figures
from streams.foreign import Foreign
from streams.jobs import Do, Inspector, Job
from streams.ledger import Entry, Situation, State
from streams.only import Only
from streams.pace import Pace
from streams.refused import Refused
from streams.rows import SetAside, write_control
from streams.source.repair import doubt
from streams.upserts import Upserts
from streams.windows import Windows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence

    from streams.pipeline import Pipeline
    from streams.settings import Settings
    from streams.state import Partition

log = logging.getLogger(__name__)

T = TypeVar("T")

#: A delete leaves no sooner than this after its record (design: Deletes are different), in seconds.
DELETE_QUIET = 2.0


def pack(partition: Partition, key: bytes) -> bytes:
    """Name a user of one partition in the queues."""
    return partition.number.to_bytes(2, "big") + key


class Delivery:
    """The queues of this worker and what all its calls have in common."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.settings: Settings = pipeline.settings
        settings = self.settings
        self.cidaas: Cidaas = Cidaas(settings.cidaas, concurrency=settings.delivery.concurrency)
        self.inspector = Inspector(settings, pipeline.control, pipeline.behind)
        pace = Pace(settings.delivery.concurrency, probe=self.cidaas.reachable)
        self.calls = Calls(pace, settings.cidaas.settle, pipeline.still_member)
        self.queues = {Do.UPSERT: Windows(settings.delivery), Do.DELETE: Windows(settings.delivery, size=1, firm=True)}
        self.upserts = Upserts(self)
        self.brake = Brake(settings.brake, pipeline)
        self.deletes = Deletes(self)
        self.only = Only(settings.delivery.only, settings.partitions)
        self.refused = Refused(settings.delivery, pipeline.control)
        self.foreign = Foreign(pipeline)
        self._tasks: set[asyncio.Task[None]] = set()
        self._poke = asyncio.Event()
        self._taking = True
        #: windows at a time. More than calls: while some are in flight, others are read, encoded and written down.
        self._cap = settings.delivery.concurrency + (settings.delivery.concurrency + 1) // 2
        #: users who wait until a person has made upserts possible.
        self._held: set[bytes] = set()
        self.figures = Figures(pipeline.control)

    # -- what is pending -------------------------------------------------------------------------------------------

    def found(self, partition: Partition, users: Iterable[tuple[bytes, Situation, int]]) -> None:
        """Queue what a scan found, as backlog."""
        if partition.replaying:
            return  # `replayed` queues them (C9)
        for key, situation, _ in users:
            if situation is Situation.PENDING:
                self._add(pack(partition, key), live=False)

    async def taken_over(self, partition: Partition) -> None:
        """Learn what its tables tell, before the partition counts as owned.

        Users with nothing to do are told from pending ones here: while delivery is paused, nobody else looks at them.
        """
        for start in range(0, len(partition.never_live), 500):
            keys = partition.never_live[start : start + 500]
            for key, (snap, known) in zip(keys, partition.read(keys), strict=True):
                if (
                    snap is not None
                    and known is None
                    and self.inspector.has_nothing_to_do(snapshots.decode(snap.value))
                ):
                    self.joined(partition, key, Situation.NOTHING_TO_DO, False)
            await asyncio.sleep(0)
        self.figures.learn(partition)

    def joined(self, partition: Partition, key: bytes, situation: Situation | None, streamed: bool) -> None:
        """Hear of a user whose snapshot or entry was written just now."""
        partition.moved(key, situation)
        user = pack(partition, key)
        if situation is not Situation.PENDING:
            for queue in self.queues.values():
                queue.discard(user)
            return
        if not partition.replaying:
            self._add(user, live=streamed)
            self.poke()

    def replayed(self, partition: Partition) -> None:
        """Queue who became pending while the partition was read from its beginning, as soon as it has been (C9)."""
        if partition.replay_end and not partition.replaying:
            partition.replay_end = 0
            self.found(partition, ((key, situation, 0) for key, situation in partition.situations.items()))
            self.poke()

    def _queue(self, do: Do) -> Windows:
        return self.queues[do]

    def _add(self, user: bytes, *, live: bool, do: Do = Do.UPSERT) -> None:
        """Queue a user, in one queue only: in both of them, the end of one call would let it go in a second one."""
        now = time.monotonic()
        for other, queue in self.queues.items():
            if other is not do and user in queue:
                queue.add(user, now, live=live)  # it stays in its queue; `prepare` moves it if it must
                return
        self._queue(do).add(user, now, live=live)

    def poke(self) -> None:
        """Something may have become sendable."""
        self._poke.set()

    def wake(self, user: bytes) -> None:
        """What the user waited for has happened."""
        self.inspector.woken.add(user)
        for queue in self.queues.values():
            queue.wake(user, time.monotonic())
        self.poke()

    # -- agents ----------------------------------------------------------------------------------------------------

    async def run(self, do: Do) -> None:
        """Take windows of one kind and send them, until the worker stops."""
        queue = self._queue(do)
        act = self.upserts.window if do is Do.UPSERT else self.deletes.window
        while True:
            flying = sum(1 for task in self._tasks if task.get_name() == do.value)
            window: list[bytes] = []
            held = self._hold_back(do, flying)
            if self._may_take() and (flying < self._cap or held):
                window = queue.take(time.monotonic(), idle=flying == 0 or held)
            if window and held:
                await self._window(queue, self._sort(window), window)
                continue
            if window:
                task = asyncio.create_task(self._window(queue, act(window), window), name=do.value)
                self._tasks.add(task)
                task.add_done_callback(self._ended)
                await asyncio.sleep(0)
                continue
            wait = queue.due(time.monotonic(), idle=flying == 0) if self._may_take() else None
            if flying >= self._cap:
                wait = None
            await self._poked(0.25 if wait is None else max(0.001, min(wait, 0.25)))

    def _hold_back(self, do: Do, flying: int) -> bool:
        """Whether upserts that are queued have to wait for a person; when that is over, they leave."""
        if do is not Do.UPSERT:
            return False
        blocked = self.calls.pace.blocked(do.value)
        if not blocked:
            self._let_go(len(self._held))
        elif flying == 0:
            self._let_go(1)  # somebody has to try
        return blocked and flying >= self._cap

    def _let_go(self, most: int) -> None:
        for _ in range(min(most, len(self._held))):
            self._queue(Do.UPSERT).wake(self._held.pop(), time.monotonic())

    async def _sort(self, users: Sequence[bytes]) -> None:
        """Let deletes out from among users who wait for upserts: nothing stands in their way."""
        for job in await self.prepare(users, Do.UPSERT):
            self._held.add(job.user)
            self.wait(job, math.inf)

    async def _poked(self, timeout: float) -> None:
        self._poke.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._poke.wait()

    def _may_take(self) -> bool:
        return self._taking and self.paused is None and bool(self.pipeline.partitions())

    @property
    def paused(self) -> dict[str, Any] | None:
        """Why nothing is sent, or None."""
        return self.pipeline.control.paused(self.settings.delivery.start)

    async def _window(self, queue: Windows, work: Coroutine[Any, Any, None], users: list[bytes]) -> None:
        try:
            await work
        except NotOursError:
            for user in users:
                queue.done(user)  # its next owner finds it
        except Exception as error:
            await self.pipeline.crash(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Free the place of a window that is over; told any sooner, `run` would find it taken, and sleep on."""
        self._tasks.discard(task)
        self.poke()

    # -- one window --------------------------------------------------------------------------------------------------

    async def prepare(self, users: Sequence[bytes], do: Do) -> list[Job]:
        """Look at users that are in flight; those that have something else to do than `do` are released."""
        by_partition: dict[int, list[bytes]] = {}
        for user in users:
            by_partition.setdefault(int.from_bytes(user[:2], "big"), []).append(user)
        jobs: list[Job] = []
        for number, members in by_partition.items():
            runner = self.pipeline.runners.get(number)
            partition = runner.partition if runner is not None else None
            if partition is None or partition.closing:
                for user in members:
                    self._land(user)
                continue
            if not partition.owned.is_set():  # its scan goes on; dropped, they would stay until the next start
                for user in members:
                    self._land(user)
                    self._queue(do).wait(user, time.monotonic() + 0.25)
                continue
            keys = [user[2:] for user in members]
            for user, key, (snap, entry) in zip(members, keys, partition.read(keys), strict=True):
                if not self.only.admits(partition, key, entry):
                    self._land(user)
                    continue
                job = self.inspector.inspect(partition, user, key, snap, entry)
                if do is Do.UPSERT and job.do is do:
                    partition.doubted.discard(key)  # a call that begins from here on is a proof
                jobs.append(job)
        return await self._sorted(jobs, do)

    async def _sorted(self, jobs: list[Job], do: Do) -> list[Job]:
        mine: list[Job] = []
        records: list[tuple[Job, Entry]] = []
        for job in jobs:
            if job.do is do:
                mine.append(job)
            elif job.do is Do.WAIT:
                self._land(job.user)
                self._queue(do).wait(job.user, job.until)
            elif job.do is Do.RECORD and job.record is not None:
                records.append((job, job.record))
            elif job.do in (Do.UPSERT, Do.DELETE):
                self._land(job.user)
                # A delete leaves no sooner than 2 s after its record.
                if job.do is Do.DELETE:
                    self._queue(Do.DELETE).wait(job.user, time.monotonic() + DELETE_QUIET)
                else:
                    self._queue(job.do).add(job.user, time.monotonic(), live=True)
            elif job.do is Do.SET_ASIDE:
                await self._stale(job)
            else:
                job.partition.moved(job.key, job.situation)
                if self._land(job.user):
                    self._add(job.user, live=True)
        if records:
            await self.write(records)
            self.release([job for job, _ in records])
        return mine

    async def _stale(self, job: Job) -> None:
        """O4: the ledger knows more than the snapshot, so the snapshot is stale: set the user aside."""
        self.figures.outcomes["stale_snapshot"] += 1
        log.error("stale snapshot found user=%s partition=%d", job.id, job.partition.number)
        entry = job.entry or Entry()
        entry.version, entry.state, entry.reason = (0, 0), State.IN_DOUBT, "the snapshot was stale"
        await self.pipeline.send(job.key, write_control(SetAside("its snapshot was older than what cidaas had")))
        await self.write([(job, entry)])
        self._land(job.user)

    async def call(
        self,
        jobs: Sequence[Job],
        do: Do,
        request: Callable[[], Awaitable[T]],
        holds: Callable[[], Awaitable[bool]] | None = None,
        lane: str = "",
    ) -> T:
        """Make one call for these users, unless delivery was paused, or `holds` says no, when its turn comes.

        `lane`: what a person has to cure apart from all other calls, if not what `do` says.
        """
        partitions = {job.partition.number: job.partition for job in jobs}.values()
        return await self.calls.make(partitions, lane or do.value, request, holds or self._goes_on)

    async def _goes_on(self) -> bool:
        return self.paused is None

    async def settle(self, jobs: list[Job], do: Do) -> list[Job]:
        """Rest until no request of these users can be on its way (C4), then look at them again."""
        await asyncio.sleep(self.calls.settle)
        return await self.prepare([job.user for job in jobs], do)

    async def write(self, results: Sequence[tuple[Job, Entry]]) -> None:
        """Write entries to the ledger; what belongs to a partition that was given up is dropped."""
        by_partition: dict[int, list[tuple[Job, Entry]]] = {}
        for job, entry in results:
            by_partition.setdefault(job.partition.number, []).append((job, entry))
        await asyncio.gather(*(self._write(members[0][0].partition, members) for members in by_partition.values()))

    async def _write(self, partition: Partition, results: list[tuple[Job, Entry]]) -> None:
        if partition.closed:
            return  # its next owner finds these users pending
        for job, result in results:
            if job.key in partition.doubted and (result.state is State.CONFIRMED or job.do is Do.RECORD):
                result.state, result.reason = State.IN_DOUBT, "put in doubt while its call was under way"
        changelog = partition.ledger
        owner, count = changelog.owner, changelog.next_count
        items = [(job.key, entry.encode(owner, count())) for job, entry in results]
        await changelog.put(items)
        newer: list[bytes] = []
        for (job, _), (key, entry) in zip(results, items, strict=True):
            # What is joined from here on is told to us; what was joined while the user was in flight was told before.
            if job.snap is None or any(queue.flying.get(job.user) for queue in self.queues.values()):
                newer.append(key)
            else:
                partition.moved(key, partition.standing_of(job.snap, entry))
        for key, (snap, stored) in zip(newer, partition.read(newer) if newer else [], strict=True):
            partition.moved(key, partition.situation(snap, stored))

    def wait(self, job: Job, seconds: float) -> None:
        """Put a user that is in flight back, to be looked at again later."""
        self._land(job.user)
        self._queue(job.do).wait(job.user, time.monotonic() + seconds)
        self.poke()

    def release(self, jobs: Iterable[Job]) -> None:
        """The call for these users is over: who is still pending, or pending again, goes back into the queue."""
        for job in jobs:
            again = self._land(job.user)
            if job.partition.closing:
                continue
            if again or job.partition.situations.get(job.key) is Situation.PENDING:
                self._add(job.user, live=again or job.snap is None or job.snap.streamed)
        self.poke()

    def _land(self, user: bytes) -> bool:
        """Take the user out of flight, in whichever queue; True when something new arrived meanwhile."""
        landed = [queue.done(user) for queue in self.queues.values()]
        return True in landed

    def why_waiting(self, partition: Partition, key: bytes) -> str:
        """Why a pending user has not left yet, as far as this worker's memory knows; "" when it is just queued."""
        user = pack(partition, key)
        if partition.replaying:
            return "what waits in the topic is joined first: cidaas may have a newer state than what was read yet"
        if partition.not_before(key, int(time.time() * 1000)) and key in partition.unconfirmed:
            return "a call of the worker before may still be on its way (C5)"
        do = next((do for do, queue in self.queues.items() if user in queue), Do.UPSERT)
        if trouble := self.calls.troubles.get(do.value):  # before flying: a window that waits for its turn is that, too
            return f"cidaas does not take calls: {trouble}"
        if user in self.queues[do].flying:
            return "its call is on its way"
        waits = user in self.queues[Do.DELETE]
        if waits and (why := doubt(self.pipeline.control.state) or (UNCOUNTED if self.brake.waits else "")):
            return f"deletes wait: {why}"
        return self.only.why_not(partition, key)

    # -- giving up (O1) ----------------------------------------------------------------------------------------------

    async def stop_taking(self) -> None:
        """No new call starts from now on."""
        self._taking = False

    async def drain(self, deadline: float) -> None:
        """Give the calls in flight a bounded time; cancel what has not ended (O1)."""
        await self.calls.drain(deadline)
        tasks = list(self._tasks)
        if tasks:  # those with an answer write it down; those that rest or wait are cancelled
            await asyncio.wait(tasks, timeout=0.5)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=2.0)

    def forget(self) -> None:
        """Forget what was queued, after a revoke; the next scan finds it again."""
        for queue in self.queues.values():
            queue.clear()
        self._held.clear()
        self.upserts.forget()
        self.figures.forget()

    async def stop(self) -> None:
        """Close the connections to cidaas."""
        await self.cidaas.aclose()
