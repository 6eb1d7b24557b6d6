"""Both changelogs, read from their beginning by a consumer of our own, then followed: what counts of each user (O3).

The topics and not the workers are asked: it works without one, costs the event loop of none, and what stands there is
what the workers go by (D1). Of each user some hundred bytes are kept, and no value of any row.
"""

from __future__ import annotations

import asyncio
import time
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple, Self

from aiokafka import TopicPartition

from streams import kafka, ledger, snapshots
from streams.credentials import Names
from streams.mapping import Mapper
from streams.offline import partition_of
from streams.reconcile import marks
from streams.snapshots import Flag
from streams.state import TableKind, records
from streams.state.changelog import rank
from streams.state.store import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aiokafka.structs import ConsumerRecord

    from streams.mapping import Status
    from streams.reconcile.marks import Marker
    from streams.reconcile.traits import Traits
    from streams.settings import Settings
    from streams.snapshots import Position

#: `rank` as bytes, which compare like it.
_RANKS = {TableKind.SNAPSHOTS: Struct(">IQQ"), TableKind.LEDGER: Struct(">QQ")}
#: rank, version, flags, status, since when, mark; the traits follow.
_DESIRED = Struct(f">20sIQBBd{marks.SIZE}s")
#: rank, version, mapping id, state, deleted, not selected, since when.
_NOTED = Struct(">16sIQ8sB??d")
_STATUS: tuple[Status | None, ...] = (None, "live", "deleted", "not_selected")
#: Records of one fetch; seconds that it waits.
_MANY, _WAIT = 5_000, 1_000


class Desired(NamedTuple):
    """What the snapshots say of a user. `rank` changes with each record that was written; `since` is Unix seconds."""

    rank: bytes
    version: Position
    flags: int
    #: the mapping's word for the user's row; None for no row.
    status: Status | None
    since: float
    mark: int
    #: of the entity that is or was sent; empty where nobody asked for it, or there is none.
    traits: bytes

    @property
    def applied(self) -> Position:
        """Up to which record the user is known."""
        epoch, offset, _ = _RANKS[TableKind.SNAPSHOTS].unpack(self.rank)
        return epoch, offset

    @property
    def seen_live(self) -> bool:
        """Whether some record showed the user live."""
        return bool(self.flags & Flag.SEEN_LIVE)

    def head(self) -> snapshots.Head:
        """The header that the snapshot has."""
        return snapshots.Head(0, self.applied, self.version, self.flags)

    def pack(self) -> bytes:
        """Make it small."""
        mark = self.mark.to_bytes(marks.SIZE)
        status = _STATUS.index(self.status)
        return _DESIRED.pack(self.rank, *self.version, self.flags, status, self.since, mark) + self.traits

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The inverse of `pack`."""
        order, epoch, offset, flags, status, since, mark = _DESIRED.unpack_from(packed)
        traits = packed[_DESIRED.size :]
        return cls(order, (epoch, offset), flags, _STATUS[status], since, int.from_bytes(mark), traits)


class Noted(NamedTuple):
    """What the ledger says of a user; `rank` changes with each entry, `at` is Unix seconds."""

    rank: bytes
    version: Position
    mapping_id: bytes
    state: int
    deleted: bool
    not_selected: bool
    at: float

    def head(self) -> ledger.Head:
        """The header that the entry has."""
        owner, nth = _RANKS[TableKind.LEDGER].unpack(self.rank)
        return ledger.Head(owner, nth, self.version, self.mapping_id, self.state)

    def pack(self) -> bytes:
        """Make it small."""
        more = (self.mapping_id, self.state, self.deleted, self.not_selected, self.at)
        return _NOTED.pack(self.rank, *self.version, *more)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """The inverse of `pack`."""
        order, epoch, offset, *more = _NOTED.unpack(packed)
        return cls(order, (epoch, offset), *more)


class Tables:
    """What counts of each user; open while it is used as an asynchronous context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._mapper, self._names = Mapper(settings), Names(settings.source.credentials)
        self._marker: Marker | None = None
        self._traits: Traits | None = None
        self._asked: Callable[[bytes], bool] = lambda _: False
        self._desired: dict[bytes, bytes] = {}
        self._noted: dict[bytes, bytes] = {}
        #: the newest source epoch of each partition (M8), by the highest owner that wrote one; and when its owner came.
        self._epochs: dict[int, tuple[int, int]] = {}
        self._taken: dict[int, float] = {}

    async def __aenter__(self) -> Self:
        self._consumer = kafka.consumer(self._settings.kafka)
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        topics, numbers = self._settings.topics, range(self._settings.partitions)
        self._snapshots = [TopicPartition(topics.snapshots, number) for number in numbers]
        self._ledger = [TopicPartition(topics.ledger, number) for number in numbers]
        self._consumer.assign([*self._snapshots, *self._ledger])
        await self._consumer.seek_to_beginning(*self._snapshots, *self._ledger)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._consumer.stop()

    def begin(self, marker: Marker, traits: Traits | None, asked: Callable[[bytes], bool]) -> None:
        """Say before the first reading how rows are marked, and of whom traits are wanted."""
        self._marker, self._traits, self._asked = marker, traits, asked

    # -- what is known -------------------------------------------------------------------------------------------------

    def desired(self, key: bytes) -> Desired | None:
        """What the snapshots say of a user."""
        packed = self._desired.get(key)
        return None if packed is None else Desired.unpack(packed)

    def noted(self, key: bytes) -> Noted | None:
        """What the ledger says of a user."""
        packed = self._noted.get(key)
        return None if packed is None else Noted.unpack(packed)

    def users(self) -> Iterator[bytes]:
        """All users that either of them knows."""
        yield from self._desired
        yield from (key for key in self._noted if key not in self._desired)

    def epoch(self, key: bytes) -> int:
        """The source epoch of a removal for this user."""
        return self._epochs.get(partition_of(key, self._settings.partitions), (0, 1))[1]

    def taken(self, key: bytes) -> float:
        """When the partition of this user was taken over last."""
        return self._taken.get(partition_of(key, self._settings.partitions), 0.0)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def waiting(self) -> int:
        """Records, at most, that the next reading reads."""
        tps = [*self._snapshots, *self._ledger]
        ends = await self._consumer.end_offsets(tps)
        begins = await self._consumer.beginning_offsets(tps)
        return sum(ends[tp] - begins[tp] for tp in tps)

    async def read_on(self, done: Callable[[int], None] = lambda _: None) -> None:
        """Read what is there now and was not read yet; `done` hears how many records that were so far."""
        # The ledger's ends first: whatever it says up to there, the snapshots said before (O4).
        ends = await self._consumer.end_offsets(self._ledger)
        ends |= await self._consumer.end_offsets(self._snapshots)
        behind, seen = dict(ends), 0
        while True:
            behind = {tp: end for tp, end in behind.items() if await self._consumer.position(tp) < end}
            if not behind:
                return
            fetched = await self._consumer.getmany(*behind, timeout_ms=_WAIT, max_records=_MANY)
            for tp, batch in fetched.items():
                if batch and batch[-1].offset >= ends[tp]:
                    self._consumer.seek(tp, ends[tp])  # for the next time
                part = [record for record in batch if record.offset < ends[tp]]
                self.take(
                    TableKind.SNAPSHOTS if tp.topic == self._settings.topics.snapshots else TableKind.LEDGER, part
                )
                seen += len(part)
            done(seen)
            await asyncio.sleep(0)

    def take(self, kind: TableKind, batch: Iterable[ConsumerRecord]) -> None:
        """Take records of one changelog; of several of one user only the one that counts is looked into."""
        known = self._desired if kind is TableKind.SNAPSHOTS else self._noted
        best: dict[bytes, tuple[bytes, ConsumerRecord]] = {}
        for record in batch:
            if record.key.startswith(RESERVED):
                self._reserved(kind, record)
                continue
            order = _RANKS[kind].pack(*rank(kind, record.key, record.value))
            if order >= (best[record.key][0] if record.key in best else known.get(record.key, b"")[: len(order)]):
                best[record.key] = order, record
        look = self._of_snapshot if kind is TableKind.SNAPSHOTS else self._of_entry
        for key, (order, record) in best.items():
            known[key] = look(order, record).pack()

    def _of_snapshot(self, order: bytes, record: ConsumerRecord) -> Desired:
        assert self._marker is not None
        snap = snapshots.decode(record.value)
        row = snap.user.values if snap.user is not None else None
        status = self._mapper.status_of(row) if row is not None else None
        traits = b""
        if status == "live" and row is not None and self._traits is not None and self._asked(record.key):
            mapped = self._mapper.map(record.key.decode(), row, self._names.by_table(snap.live_credentials()))
            traits = self._traits.of(mapped.entity or {})
        since = snap.committed_us / 1e6 if snap.streamed and snap.committed_us else record.timestamp / 1000
        mark = self._marker.of_snapshot(snap)
        return Desired(order, snap.version, snap.flags, status, since, mark, traits)

    @staticmethod
    def _of_entry(order: bytes, record: ConsumerRecord) -> Noted:
        head, entry = ledger.head(record.value), ledger.decode(record.value)
        left_out = entry.process_state == "NOT_SELECTED"
        at = record.timestamp / 1000
        return Noted(order, entry.version, head.mapping_id, head.state, entry.deleted, left_out, at)

    def _reserved(self, kind: TableKind, record: ConsumerRecord) -> None:
        number = record.partition
        if record.key == records.EPOCHS:
            owner, body = records.unpack(record.value)
            self._epochs[number] = max(self._epochs.get(number, (0, 1)), (owner, int(body["epochs"][-1][1])))
        elif record.key == records.OWNER and kind is TableKind.LEDGER:
            self._taken[number] = max(self._taken.get(number, 0.0), min(record.timestamp / 1000, time.time()))
