"""One partition of one changelog: the only writer's view of it (D1, D4, O3).

Writes are grouped: while one batch is on its way, the next one gathers. A batch counts when the broker has confirmed
it and value and offset are in the store. The confirmed offset tells whether somebody else wrote in between.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams import failpoints, ledger, snapshots
from streams.kafka import confirmed
from streams.state import records
from streams.state.late import Late
from streams.state.store import RESERVED, Store, Stored

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

log = logging.getLogger(__name__)

#: What to do when a changelog has lost records.
AGAIN = (
    "Restore it; or, with all workers stopped, delete both changelog topics, empty every APP_DATADIR and set the "
    "consumer group back to the beginning of the source topic: everything is read and sent again (docs/operations.md)."
)

#: Records in one produce batch; a bigger one would hold the event loop for long when it is encoded.
_BATCH = 1_000


class TableKind(enum.Enum):
    """The two tables; they differ in what wins when a key was written twice."""

    SNAPSHOTS = "snapshots"
    LEDGER = "ledger"


#: Failpoints of a write of users: before the send, between broker and store, after both.
_POINTS = {
    TableKind.SNAPSHOTS: ("before-changelog-send", "after-changelog-send", "after-store-write"),
    TableKind.LEDGER: ("before-ledger-write", "after-ledger-send", "after-ledger-write"),
}


class LostError(RuntimeError):
    """Another worker took this partition over while we still wrote to it; only a new start is safe (O3)."""


class GapError(RuntimeError):
    """Records of the changelog that were confirmed are not there to be read."""


class TruncatedError(RuntimeError):
    """The changelog ends before what the local store has read of it: it was truncated or made anew (O5)."""


Items = list[tuple[bytes, bytes]]


class _Write(NamedTuple):
    #: a function makes them when everything before is in the store.
    items: Items | Callable[[], Items]
    done: asyncio.Future[int]


def rank(kind: TableKind, key: bytes, value: bytes) -> tuple[int, ...]:
    """What orders two records of one key (O3): the highest applied, or the highest (owner, count)."""
    if key.startswith(RESERVED):
        return (records.owner_of(value),)
    if kind is TableKind.SNAPSHOTS:
        head = snapshots.head(value)
        return (*head.applied, head.owner)
    entry = ledger.head(value)
    return (entry.owner, entry.nth)


class Changelog:
    """Writes and reads one partition of a changelog, and keeps the store equal to it."""

    def __init__(
        self,
        kind: TableKind,
        topic: str,
        partition: int,
        store: Store,
        producer: AIOKafkaProducer,
        consumer: Callable[[], AIOKafkaConsumer],
    ) -> None:
        self.kind, self.topic, self.partition, self.store = kind, topic, partition, store
        self._producer, self._consumer = producer, consumer
        self._queue: deque[_Write] = deque()
        self._flusher: asyncio.Task[None] | None = None
        #: our number: the offset of our take-over record; 0 before.
        self.owner = 0
        self._count = 0
        self._broken: BaseException | None = None
        #: the take-over record of the owner before us, once we own the partition.
        self.previous: Stored | None = None
        self.late = Late(store)
        #: hears of the keys that a thawed former owner wrote behind ours; the partition puts them right (O3).
        self.on_foreign: Callable[[set[bytes]], None] | None = None
        self.on_failure: Callable[[BaseException], None] | None = None

    def next_count(self) -> int:
        """Count the owner's ledger entries: (owner, count) orders them (O3)."""
        self._count += 1
        return self._count

    # -- writing ---------------------------------------------------------------------------------------------------

    async def put(self, items: Sequence[tuple[bytes, bytes]]) -> int:
        """Write values; returns the broker's time (ms) when they are confirmed and in the store (D1).

        Raises:
            LostError: another worker owns the partition now (O3).
            UnconfirmedError, KafkaError: the broker did not confirm (D4).
        """
        if not items:
            return 0
        return await self._put(list(items))

    async def put_made(self, make: Callable[[], Items]) -> int:
        """Write what `make` says when everything that was queued before is in the store: never an older value after a
        newer one."""
        return await self._put(make)

    async def _put(self, items: Items | Callable[[], Items]) -> int:
        if self._broken is not None:
            # A later write would move the offset past records that were confirmed but are not in the store (D1).
            raise self._broken
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append(_Write(items, done))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush(), name=f"changelog-{self.kind.value}-{self.partition}")
        # Shielded: a caller that is cancelled must not tear a write whose record is already on its way (D1).
        return await asyncio.shield(done)

    async def _flush(self) -> None:
        write: list[_Write] = []
        try:
            while self._queue:
                write = [self._queue.popleft()]
                time_ms = await self._confirmed(self._gathered(write))
                for one in write:
                    if not one.done.done():
                        one.done.set_result(time_ms)
        except BaseException as error:
            self._broken = error
            for one in [*write, *self._queue]:
                if not one.done.done():
                    one.done.set_exception(error)
                    one.done.exception()  # whoever waits sees it; nobody waiting is no reason for a warning
            self._queue.clear()
            if isinstance(error, asyncio.CancelledError):
                raise
            log.error("changelog write failed partition=%d table=%s: %s", self.partition, self.kind.value, error)
            if self.on_failure is not None:
                self.on_failure(error)

    def _gathered(self, write: list[_Write]) -> Items:
        """The items of the first write, and of those behind it that fit; `write` gets them all."""
        first = write[0].items
        if callable(first):
            return first()
        items = list(first)
        while self._queue:
            more = self._queue[0].items
            if callable(more) or len(items) + len(more) > _BATCH:
                break
            write.append(self._queue.popleft())
            items += more
        return items

    async def _confirmed(self, items: list[tuple[bytes, bytes]]) -> int:
        start, time_ms = 0, 0
        while start < len(items):
            await self._passes(0, items)
            sent, base, time_ms = await self._send(items[start:])
            await self._passes(1, items)
            if base != self.store.next_offset:
                await self._gap(base)
            written = items[start : start + sent]
            self.late.write([(key, Stored(time_ms, value)) for key, value in written], base + sent)
            await self._passes(2, items)
            start += sent
        return time_ms

    async def _passes(self, step: int, items: Items) -> None:
        if failpoints.armed and not all(key.startswith(RESERVED) for key, _ in items):
            await failpoints.reach(_POINTS[self.kind][step])

    async def _send(self, items: Sequence[tuple[bytes, bytes]]) -> tuple[int, int, int]:
        """Send as many items as one batch holds; returns their number, the first offset and the broker's time."""
        batch = self._producer.create_batch()
        for key, value in items:
            if batch.append(key=key, value=value, timestamp=None) is None:
                break
        count = batch.record_count()
        batch.close()
        async with confirmed(f"{self.topic} partition {self.partition}"):
            future = await self._producer.send_batch(batch, self.topic, partition=self.partition)
            meta = await future
        return count, meta.offset, meta.timestamp

    async def _gap(self, end: int) -> None:
        """Somebody wrote between our last record and `end`: find out who (O3)."""
        overwritten: set[bytes] = set()
        async for batch in self._read(self.store.next_offset, end):
            for record in batch:
                if record.key == records.OWNER and record.offset != self.owner:
                    raise LostError(self._lost())
                owner = records.owner_of(record.value)
                if owner > self.owner:
                    raise LostError(self._lost())
                if owner < self.owner and record.key not in records.OWNERSHIP:
                    overwritten.add(record.key)
                    self.late.found(record.key, record.offset)
        if overwritten:
            log.warning(
                "late writer found partition=%d table=%s users=%d", self.partition, self.kind.value, len(overwritten)
            )
            if self.on_foreign is not None:
                self.on_foreign(overwritten)

    def _lost(self) -> str:
        return (
            f"partition {self.partition} of {self.topic} was taken over by another worker; this one stops, "
            "and a new start is safe"
        )

    # -- reading ---------------------------------------------------------------------------------------------------

    async def take_over(self, mapping_id: str, worker: str) -> int:
        """Become the owner: append the take-over record, then read everything before it (O2, O3).

        Returns the broker's time of the take-over (ms).
        """
        value = records.pack(0, {"mapping": mapping_id, "worker": worker})
        if self.store.get(records.TRUNCATED) is not None:
            raise TruncatedError(self._truncated())  # before our records of many starts make up for what is missing
        if failpoints.armed:
            await failpoints.reach("before-take-over")
        _, offset, time_ms = await self._send([(records.OWNER, value)])
        if failpoints.armed:
            await failpoints.reach("after-take-over")
        if self.store.next_offset > offset:
            mark = Stored(time_ms, records.pack(0, {"end": offset}))
            self.store.write([(records.TRUNCATED, mark)], self.store.next_offset)
            raise TruncatedError(self._truncated())
        await self._restore(offset)
        self.previous = self.store.get(records.OWNER)
        self.owner = offset
        self._count = 0
        own = records.pack(offset, {"mapping": mapping_id, "worker": worker})
        self.store.write([(records.OWNER, Stored(time_ms, own))], offset + 1)
        return time_ms

    def _truncated(self) -> str:
        return (
            f"{self.topic} partition {self.partition} ends before {self.store.next_offset}, up to where the local "
            f"state has read it: the topic was truncated or made anew. {AGAIN}"
        )

    async def _restore(self, end: int) -> None:
        """Bring the store up to `end`; of two records of one key the higher ranked one stays (O3)."""
        async for batch in self._read(self.store.next_offset, end):
            best: dict[bytes, tuple[tuple[int, ...], Stored]] = {}
            keys = list({record.key for record in batch})
            for key, stored in zip(keys, self.store.get_many(keys), strict=True):
                if stored is not None:
                    best[key] = (rank(self.kind, key, stored.value), stored)
            changed: dict[bytes, Stored] = {}
            for record in batch:
                value = record.value
                if record.key == records.OWNER:  # its number is its offset, which the writer could not know
                    value = records.pack(record.offset, records.unpack(value)[1])
                order = rank(self.kind, record.key, value)
                known = best.get(record.key)
                if known is None or order >= known[0]:
                    stored = Stored(record.timestamp, value)
                    best[record.key] = (order, stored)
                    changed[record.key] = stored
                    self.late.covered(record.key)
                else:
                    self.late.found(record.key, record.offset)
            self.late.write(changed.items(), batch[-1].offset + 1)
            await asyncio.sleep(0)

    async def _read(self, start: int, end: int) -> AsyncIterator[list[ConsumerRecord]]:
        """Yield the records from `start` up to, not including, `end`."""
        if start >= end:
            return
        tp = TopicPartition(self.topic, self.partition)
        consumer = self._consumer()
        await consumer.start()
        try:
            consumer.assign([tp])
            first = (await consumer.beginning_offsets([tp]))[tp]
            if first > start:  # compaction leaves holes, but never moves the beginning
                raise TruncatedError(
                    f"{self.topic} partition {self.partition} begins at {first}, and the local state has read it up to "
                    f"{start} only: its beginning was deleted. {AGAIN}"
                )
            consumer.seek(tp, start)
            while await consumer.position(tp) < end:
                got = await consumer.getmany(tp, timeout_ms=1_000, max_records=2_000)
                batch = [record for record in got.get(tp, ()) if record.offset < end]
                if batch:
                    yield batch
        finally:
            await consumer.stop()

    async def close(self) -> None:
        """Wait for the write that is on its way, then close the store."""
        if self._flusher is not None and not self._flusher.done():
            await asyncio.wait([self._flusher])
        self.store.close()
