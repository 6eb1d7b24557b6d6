"""Takes one partition over and joins its records, batch by batch (D2, O1, O2, O3)."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

from streams import failpoints
from streams.rows import SetAside, write_control
from streams.source import reading
from streams.state import AGAIN, Partition, TruncatedError, records

if TYPE_CHECKING:
    from faust.types import EventT

    from streams.pipeline import Pipeline

log = logging.getLogger(__name__)

#: Seconds that a revoke waits for the batch being joined (O1).
JOIN_DEADLINE = 6.0
#: Batches that wait for a partition to be taken over; Faust holds the rest back.
_QUEUE = 4
#: Seconds in which records that were fetched have not come, until they are asked for again.
_QUIET = 3.0
#: Batches behind a hole that are let go in a row before the worker gives up; one new reading should be enough.
_HOLES = 100


class Runner:
    """Takes one partition over and joins its batches one after the other."""

    def __init__(self, pipeline: Pipeline, number: int) -> None:
        self.number = number
        #: batches of an earlier generation are read again from the committed offset; processed late, they would make
        #: the ones before them look already read (M1).
        self.generation = pipeline.app.consumer_generation_id
        #: where the source was committed when this ownership began, and the offset that has to come next.
        self._first, self._next = -1, -1
        #: batches in a row that stood behind a hole.
        self._holes = 0
        #: where reading and joining stood at a look without anything under way, and since when.
        self._still: tuple[tuple[int, int], float] | None = None
        #: the offset behind the last record that was acknowledged in this ownership.
        self.acknowledged = 0
        #: the offset behind the last record whose decisions stand in the brake's figure.
        self.counted = 0
        self.queue: asyncio.Queue[EventT] = asyncio.Queue(_QUEUE)
        self.partition: Partition | None = None
        self._pipeline = pipeline
        self._busy = asyncio.Lock()
        self.task = asyncio.create_task(self._run(), name=f"partition-{number}")

    async def _run(self) -> None:
        try:
            await self._own()
            partition = self.partition
            if partition is None:
                return
            while not partition.closing:
                event = await self.queue.get()
                async with self._busy:
                    if partition.closing:
                        return  # not acknowledged: its next owner reads it again
                    if not await self._check(event.value):
                        continue  # not acknowledged either
                    await self._pipeline.join.process(partition, event.value)
                    self._pipeline.delivery.replayed(partition)
                    # At once, and not when the first delete is looked at: all figures of a mass delete must be known
                    # by the time one of its deletes may leave, 2 s after its record.
                    await self._pipeline.delivery.brake.publish(partition)
                    self.counted = self._next
                    if failpoints.armed:
                        await failpoints.reach("before-acknowledgement")
                    event.ack()
                    self.acknowledged = self._next
        except asyncio.CancelledError:
            raise
        except TruncatedError as error:
            self._pipeline.app.refuse(error)  # O5; every new start would only say so again
        except Exception as error:
            await self._pipeline.crash(error)

    async def _check(self, batch: Any) -> bool:
        """Within a generation no record may be left out, from the committed offset on: a hole would be a lost change.

        False when there is one: what it lacks is asked for, and the batch comes again behind that.

        Reading again what was read is harmless (M1): a commit of the generation before may arrive after Faust has
        looked where to begin. But a topic that ends before the committed offset has lost records, and new ones have
        the offsets of those that are counted as read.
        """
        if self._next < 0:
            await self._begin()
        ends = self._pipeline.highwater(self.number) if batch[0].offset < self._first else self._first
        hole = batch[0].offset > self._next
        self._holes = self._holes + 1 if hole else 0
        if ends < self._first or self._holes > _HOLES:
            raise RuntimeError(
                f"partition {self.number} of the source goes on at {batch[0].offset} instead of {self._next}; "
                "a new start reads it again from the committed offset"
            )
        if hole:
            log.warning("read again partition=%d offset=%d found=%d", self.number, self._next, batch[0].offset)
            await self._read_again(self._next)
            return False
        self._next = max(self._next, batch[-1].offset + 1)
        return True

    async def _begin(self) -> None:
        self._first = self._next = await self._pipeline.committed(self.number)
        assert self.partition is not None
        # The first record of each partition of the source is an epoch, and what it made is kept for ever.
        if self._first > 0 and self.partition.snapshots.store.get(records.EPOCHS) is None:
            raise TruncatedError(
                f"the source has been read up to {self._first} in partition {self.number}, but "
                f"{self.partition.snapshots.topic} does not hold what came of it. {AGAIN}"
            )

    async def _read_again(self, offset: int) -> None:
        """Seek what a hole lacks: under load, Faust left records out that arrived while a rebalance went on (F2)."""
        assert self.partition is not None
        try:
            await self._pipeline.read_from(self.number, offset)
        except Exception:
            if not self.partition.closing:  # else its next owner reads it
                raise

    async def nudge(self) -> None:
        """Find out why nothing comes although records wait, and go on; without this the watchdog would end the worker.

        A partition that is quiet shows no hole by itself: of what Faust has let go when a rebalance began (F2) nobody
        would hear any more, nor of a commit that came late.
        """
        partition, now = self.partition, time.monotonic()
        if partition is None or partition.closing or not partition.owned.is_set() or not self._is_idle(partition):
            self._still = None
            return
        position = await self._pipeline.position(self.number)
        if position is None or partition.closing or not self._is_idle(partition):
            self._still = None
            return
        mark = (position, partition.joined_offset)
        if self._still is None or self._still[0] != mark:
            self._still = (mark, now)
        elif now - self._still[1] >= _QUIET:
            self._still = None
            await self._go_on(partition, position)

    async def _go_on(self, partition: Partition, position: int) -> None:
        committed = await self._pipeline.committed(self.number)
        if partition.closing or not self._is_idle(partition):
            return
        if position > (expected := max(self._next, committed)):
            log.warning("read again partition=%d offset=%d fetched=%d", self.number, expected, position)
            await self._read_again(expected)
        elif committed - 1 > partition.joined_offset:
            # A commit of the generation before came after this take-over had asked. What is committed is joined (D2).
            log.info("joined before partition=%d offset=%d", self.number, committed - 1)
            partition.joined_offset, self.counted = committed - 1, committed
            self._pipeline.delivery.replayed(partition)

    def _is_idle(self, partition: Partition) -> bool:
        """Whether records wait in the source, and none of them is on its way here."""
        return self.queue.empty() and not self._busy.locked() and bool(self._pipeline.lag(partition))

    async def _own(self) -> None:
        pipeline, number = self._pipeline, self.number
        await pipeline.belonging.identified.wait()
        partition = self.partition = pipeline.open(number)
        async with pipeline.restores:
            facts = await partition.take_over(pipeline.name)
        if failpoints.armed:
            await failpoints.reach("before-scan")
        # What was committed is joined. Unknown, a quiet partition would look behind for ever and hold its deletes.
        self.counted = await pipeline.committed(number)
        partition.joined_offset = self.counted - 1
        if partition.snapshots.store.get(records.EPOCHS) is None:  # nothing was ever joined: it is the first record
            await partition.replay((await pipeline.ends([number]))[number])
        elif reading.is_behind(pipeline.control.state, number, partition.joined_offset):
            # Its users lack the rows of a table that was read for the first time: null would be sent as their password.
            await partition.replay((await pipeline.ends([number]))[number])
        elif not partition.replaying:
            partition.replay_end = 0  # an owner before us has read it to its end: what the scan finds is all there is
        async for found in partition.scan():
            pipeline.delivery.found(partition, found)
        for key in partition.orphans:  # O4
            await pipeline.send(key, write_control(SetAside("its snapshot is missing, but the ledger knows it")))
        await pipeline.delivery.taken_over(partition)
        partition.owned.set()
        pipeline.delivery.poke()
        log.info(
            "partition owned partition=%d owner=%d users=%d pending=%d settled=%s",
            number,
            partition.ledger.owner,
            partition.known,
            len(partition.situations),
            facts.settled,
        )

    async def give_up(self) -> None:
        """Stop joining; waits a bounded time for the batch that is being joined (O1)."""
        if self.partition is not None:
            self.partition.closing = True
        try:
            async with asyncio.timeout(JOIN_DEADLINE):
                await self._busy.acquire()
        except TimeoutError:
            await self._pipeline.crash(
                RuntimeError(f"partition {self.number}: a changelog send did not end at a revoke (O1); start again")
            )
        self.task.cancel()
        await asyncio.wait([self.task])
        while not self.queue.empty():  # lets an agent go on that waits to put one more
            self.queue.get_nowait()
