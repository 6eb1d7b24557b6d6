"""Joins row changes into snapshots: one partition, one batch at a time, acknowledged when it is durable (D1, D2).

A batch is read, merged in memory, sent to the changelog, and only when the broker has confirmed it and it is in the
store the source batch is acknowledged. Because the next batch of the same partition waits for that, acknowledgements
come in offset order, and the batch's own dictionary is all the overlay there is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streams import failpoints, ledger, snapshots
from streams.ledger import Situation, State
from streams.mapping import status_of
from streams.orders import Order, obey
from streams.rows import (
    CREDENTIALS,
    Answer,
    Epoch,
    ReadAgain,
    Removal,
    Resync,
    RowChange,
    RowReader,
    SetAside,
    UnreadableError,
    key_text,
    write_control,
)
from streams.snapshots import GONE, NEVER, Merge, Merger, Snapshot
from streams.stages import Stage, Stages
from streams.state import records
from streams.state.store import RESERVED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from aiokafka.structs import ConsumerRecord

    from streams.settings import Settings
    from streams.snapshots import Position
    from streams.state import Partition

log = logging.getLogger(__name__)

#: Records that are merged before the event loop gets its turn: each answer of cidaas waits for that several times.
_SLICE = 50

_HELD = (State.PARKED.value, State.REJECTED.value)


@dataclass(slots=True)
class _Batch:
    """What one batch of records did: users to write, records to send, marks to keep."""

    snaps: dict[bytes, Snapshot] = field(default_factory=dict)
    before: dict[bytes, int | None] = field(default_factory=dict)  # flags as stored; None for a new user
    dirty: dict[bytes, bool] = field(default_factory=dict)  # user -> streamed lately
    decided: bool = False
    removals: list[tuple[bytes, bytes]] = field(default_factory=list)
    orders: list[tuple[bytes, Order]] = field(default_factory=list)
    reserved: list[tuple[bytes, bytes]] = field(default_factory=list)


class Join:
    """Merges the records of all partitions that this worker owns."""

    def __init__(
        self,
        settings: Settings,
        send: Callable[[bytes, bytes], Awaitable[None]],
        joined: Callable[[Partition, bytes, Situation | None, bool], None],
        stages: Stages | None = None,
    ) -> None:
        """`send` appends a control record to `legacy.identity` and waits for the broker; `joined` hears of each
        written user, its situation and whether the change was streamed; `stages` of how long each batch took."""
        self._reader = RowReader(settings.source)
        self._live: Callable[[Mapping[str, Any]], bool] = lambda row: status_of(row, settings) == "live"
        self._merger = Merger(settings.source.users.lazy, self._live)
        self._window = settings.brake.window
        self._send, self._joined = send, joined
        self._stages = stages or Stages()
        #: partitions take turns: in one turn of the event loop, a slice of one of them is merged.
        self._turn = asyncio.Lock()
        self.rows: Counter[str] = Counter()
        self.last_commit_us = 0

    async def process(self, partition: Partition, batch: Sequence[ConsumerRecord]) -> None:
        """Make one batch durable; when this returns it may be acknowledged."""
        work, committed, reads = _Batch(), self.last_commit_us, self.rows["r"]
        self._load(partition, batch, work)
        for start in range(0, len(batch), _SLICE):
            async with self._turn:
                for record in batch[start : start + _SLICE]:
                    self._record(partition, record, work)
                await asyncio.sleep(0)
        if work.decided:
            figure = records.pack(partition.snapshots.owner, partition.decisions.body())
            work.reserved.append((records.DELETES, figure))
        items = [(key, work.snaps[key].encode(partition.snapshots.owner)) for key in work.dirty]
        await partition.snapshots.put([*work.reserved, *items])
        await self._obey(partition, work.orders)
        for key, value in work.removals:
            if failpoints.armed:
                await failpoints.reach("before-removal")
            await self._send(key, value)  # M5: awaited before the acknowledgement
            if failpoints.armed:
                await failpoints.reach("after-removal")
        partition.joined_offset = batch[-1].offset
        partition.last_write = time.monotonic()
        self._timed(batch, streamed=self.last_commit_us > committed and self.rows["r"] == reads)
        self._tell(partition, work)

    def _timed(self, batch: Sequence[ConsumerRecord], *, streamed: bool) -> None:
        """Note how long a batch took to Kafka, and from there to its snapshots; one record stands for all.

        `streamed`: its newest commit is the newest of all, and nothing of it was read by an initial snapshot.
        """
        now, in_kafka = time.monotonic(), batch[len(batch) // 2].timestamp / 1000
        self._stages.sample(Stage.JOIN, now, time.time() - in_kafka, len(batch))
        if streamed:
            took = batch[-1].timestamp / 1000 - self.last_commit_us / 1e6
            self._stages.sample(Stage.SOURCE, now, took, len(batch))

    def _is_live(self, snap: Snapshot) -> bool:
        return snap.user is not None and snap.user.values is not None and self._live(snap.user.values)

    @staticmethod
    def _held(partition: Partition, key: bytes, before: Position, after: Position) -> bool:
        """Whether a delete that the brake held, or a person rejected, is decided once more by a newer version."""
        # Who had no version yet had no entry of one either: most users of an initial load.
        stored = partition.ledger.store.get(key) if NEVER != before != after else None
        entry = ledger.head(stored.value) if stored is not None else None
        return entry is not None and entry.version == before and entry.state in _HELD

    @staticmethod
    def _is_owed(partition: Partition, key: bytes) -> bool:
        """Whether the ledger knows the user as one that may be at cidaas; asked when its snapshot was lost (O4)."""
        stored = partition.ledger.store.get(key)
        entry = ledger.decode(stored.value) if stored is not None else None
        return entry is not None and entry.state is not State.FORGOTTEN and not entry.deleted

    def _load(self, partition: Partition, batch: Sequence[ConsumerRecord], work: _Batch) -> None:
        keys = list({record.key for record in batch if record.key and not record.key.startswith(RESERVED)})
        for key, stored in zip(keys, partition.snapshots.store.get_many(keys), strict=True):
            if stored is not None:
                work.snaps[key] = snapshots.decode(stored.value)
                work.before[key] = int(work.snaps[key].flags)

    def _record(self, partition: Partition, record: ConsumerRecord, work: _Batch) -> None:
        at = (partition.topic_epoch, record.offset)
        try:
            change = self._reader.read(record.key, record.value)
        except UnreadableError as why:
            self._unreadable(partition, record, at, str(why), work)
            return
        if isinstance(change, Epoch):
            self._epoch(partition, change, record.offset, work)
            return
        key = record.key
        epoch = partition.epoch_of(record.offset)
        if isinstance(change, RowChange) and change.moved_from is not None and change.lsn is not None:
            # M5: at every reading, whatever became of the row; the broker's order makes the removal right.
            gone = Removal(CREDENTIALS, change.pk, epoch, change.lsn, None, change.after_commit)
            work.removals.append((change.moved_from.encode(), write_control(gone)))
        if isinstance(change, Resync | Answer):
            work.orders.append((key, change))
            return
        snap = work.snaps.get(key)
        if snap is None:
            snap = work.snaps[key] = Snapshot()
        elif at <= snap.applied:
            return  # read already: a replay (M1)
        was_live = self._is_live(snap)
        # C1: a new mapping may have made the row live, and the user may have been sent as such.
        snap.seen_live = snap.seen_live or was_live
        before, row = snap.version, snap.user
        result = self._merge(snap, change, at, epoch)
        if result is not Merge.NOTHING:
            live = was_live if snap.user is row else self._is_live(snap)  # each change of a row makes a new one
            first = row is None and snap.user is not None
            if not live and (
                was_live
                or self._held(partition, key, before, snap.version)
                or (first and self._is_owed(partition, key))
            ):
                partition.decisions.add(record.offset, record.timestamp, self._window)
                work.decided = True
            streamed = isinstance(change, RowChange) and change.op != "r"
            work.dirty[key] = streamed or work.dirty.get(key, False)
        if isinstance(change, RowChange):
            self.rows[change.op] += 1
            self.last_commit_us = max(self.last_commit_us, change.committed_us)

    def _merge(
        self, snap: Snapshot, change: RowChange | Removal | ReadAgain | SetAside, at: tuple[int, int], epoch: int
    ) -> Merge:
        match change:
            case RowChange():
                return self._merger.change(snap, change, at, epoch)
            case Removal():
                return self._merger.removal(snap, change, at)
            case ReadAgain():
                return self._merger.read_again(snap, change, at, epoch)
            case SetAside():
                return self._merger.set_aside(snap, change.reason, at)

    def _unreadable(
        self, partition: Partition, record: ConsumerRecord, at: tuple[int, int], why: str, work: _Batch
    ) -> None:
        """Set the user of an unreadable record aside by its key, or keep its position when there is none (M7)."""
        self.rows["unreadable"] += 1
        log.warning(
            "unreadable record topic=%s partition=%d offset=%d: %s", record.topic, record.partition, record.offset, why
        )
        try:
            key_text(record.key)
        except UnreadableError:
            mark = {"topic": record.topic, "partition": record.partition, "offset": record.offset, "reason": why}
            key = records.UNREADABLE + b"%020d" % record.offset
            if partition.snapshots.store.get(key) is None:  # read twice, it may have been swept meanwhile
                work.reserved.append((key, records.pack(partition.snapshots.owner, mark)))
                partition.unreadable += 1
            return
        snap = work.snaps.setdefault(record.key, Snapshot())
        if at <= snap.applied:
            return
        where = f"{why} (partition {record.partition}, offset {record.offset})"
        self._merger.set_aside(snap, where, at)
        work.dirty.setdefault(record.key, True)

    def _epoch(self, partition: Partition, epoch: Epoch, offset: int, work: _Batch) -> None:
        """A new source epoch begins with this record (M8); the first one is the topic's birth record (O5)."""
        known = dict(partition.epochs)
        known[offset] = epoch.number
        partition.epochs = sorted(known.items())
        body: dict[str, Any] = {"epochs": partition.epochs, "topic": epoch.topic}
        work.reserved.append((records.EPOCHS, records.pack(partition.snapshots.owner, body)))

    async def _obey(self, partition: Partition, orders: list[tuple[bytes, Order]]) -> None:
        """Write what a person, or another user's answer (C3), wants of these users' entries, in order."""
        # Of an id that nobody knows nothing is written: an entry alone would be taken for a lost snapshot (O4).
        keys = list(dict.fromkeys(key for key, _ in orders))
        known = partition.snapshots.store.get_many(keys) if keys else []
        keys = [key for key, snap in zip(keys, known, strict=True) if snap is not None]
        if not keys:
            return

        def made() -> list[tuple[bytes, bytes]]:
            stored = zip(keys, partition.ledger.store.get_many(keys), strict=True)
            entries = {key: ledger.decode(entry.value) if entry is not None else None for key, entry in stored}
            changed: dict[bytes, ledger.Entry] = {}
            for key, order in orders:
                after = obey(entries[key], order, time.time()) if key in entries else None
                if after is not None:
                    entries[key] = changed[key] = after
            log_ = partition.ledger
            return [(key, entry.encode(log_.owner, log_.next_count())) for key, entry in changed.items()]

        # An answer of a call that is under way was given before this; it would confirm what is in doubt from here on.
        partition.doubted.update(key for key, order in orders if isinstance(order, Resync))
        await partition.ledger.put_made(made)  # from what is in the store then: the delivery writes entries, too
        for key, (snap, stored) in zip(keys, partition.read(keys), strict=True):
            self._joined(partition, key, partition.situation(snap, stored), True)

    def _tell(self, partition: Partition, work: _Batch) -> None:
        """Count the users that were written and tell the delivery of those that are pending now."""
        if not work.dirty:
            return
        keys = list(work.dirty)
        for key, entry in zip(keys, partition.ledger.store.get_many(keys), strict=True):
            snap, before = work.snaps[key], work.before.get(key)
            partition.known += before is None
            partition.gone += bool(snap.flags & GONE) - bool((before or 0) & GONE)
            self._joined(partition, key, partition.standing_of(snap, entry and entry.value), work.dirty[key])
