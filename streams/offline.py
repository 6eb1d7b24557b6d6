"""Reads users from the topics when no worker runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from streams import kafka, ledger, snapshots
from streams.control import Control
from streams.identity import RefusedError
from streams.mapping import status_of
from streams.standing import Standing
from streams.state import TableKind
from streams.state.changelog import rank
from streams.state.store import RESERVED, Stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka.structs import ConsumerRecord

    from streams.ledger import Situation
    from streams.settings import Settings
    from streams.snapshots import Position

T = TypeVar("T")


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a user: what Kafka's default partitioner says, which Connect uses too."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


async def read_user(settings: Settings, key: bytes) -> tuple[Stored | None, Stored | None, int]:
    """Return the snapshot, the ledger entry and the partition of one user, by reading both changelogs' partition."""
    number = partition_of(key, settings.partitions)
    topics = settings.topics
    snap = await _table(settings, TableKind.SNAPSHOTS, topics.snapshots, number, _stored, only=key)
    entry = await _table(settings, TableKind.LEDGER, topics.ledger, number, _stored, only=key)
    return snap.get(key), entry.get(key), number


async def read_joined(settings: Settings, number: int) -> int:
    """The offset of the first record of a partition that no worker has joined for good; 0 before the first one is."""
    return (await read_joins(settings))[number]


async def find_user(settings: Settings, wanted: Callable[[str], bool]) -> str | None:
    """The first user of those in the snapshots for whose id `wanted` is true, by reading that changelog."""
    for number in range(settings.partitions):
        snaps = await _table(settings, TableKind.SNAPSHOTS, settings.topics.snapshots, number, lambda _: None)
        for key in snaps:
            if wanted(user_id := key.decode(errors="replace")):
                return user_id
    return None


async def read_standing(settings: Settings, situation: Situation, reason: str, limit: int | None) -> Standing:
    """The users in one situation that the ledger knows, by reading both changelogs whole."""
    found, mapping_id = Standing(reason, limit), bytes.fromhex(settings.mapping.id)
    for number in range(settings.partitions):
        snaps = await _table(settings, TableKind.SNAPSHOTS, settings.topics.snapshots, number, _head)
        entries = await _table(settings, TableKind.LEDGER, settings.topics.ledger, number, _value)
        for key, value in entries.items():
            if key in snaps and ledger.situation(snaps[key], ledger.head(value), mapping_id) is situation:
                found.add(number, key, ledger.decode(value))
        found.partitions.append(number)
    return found


class Known(NamedTuple):
    """What a command has to know of each of many users.

    `live`: by its row and the mapping; `sent`: the ledger has an entry, so it left for cidaas before, or was refused.
    """

    version: Position
    live: bool
    sent: bool


async def read_known(settings: Settings, number: int) -> dict[bytes, Known]:
    """All users that the snapshots of this partition know, by reading both changelogs' partition whole."""

    def keep(record: ConsumerRecord) -> tuple[Position, bool]:
        snap = snapshots.decode(record.value)
        row = snap.user.values if snap.user is not None else None
        return snap.version, row is not None and status_of(row, settings) == "live"

    def state(record: ConsumerRecord) -> int:
        return ledger.head(record.value).state

    entries = await _table(settings, TableKind.LEDGER, settings.topics.ledger, number, state)
    snaps = await _table(settings, TableKind.SNAPSHOTS, settings.topics.snapshots, number, keep)
    none = ledger.State.FORGOTTEN
    return {key: Known(*kept, entries.get(key, none) != none) for key, kept in snaps.items()}


async def read_everyone(settings: Settings, number: int) -> dict[bytes, tuple[snapshots.Head | None, bytes | None]]:
    """All users of this partition in the order of their ids: the header of the snapshot, and the ledger entry."""
    snaps = await _table(settings, TableKind.SNAPSHOTS, settings.topics.snapshots, number, _head)
    entries = await _table(settings, TableKind.LEDGER, settings.topics.ledger, number, _value)
    return {key: (snaps.get(key), entries.get(key)) for key in sorted(snaps.keys() | entries.keys())}


async def first_since(settings: Settings, moment: float) -> dict[int, int]:
    """The first offset of each partition of `legacy.identity` that was written at this moment (Unix seconds) or later.

    A partition without any is left out. A snapshot's version is such an offset.
    """
    partitions = [TopicPartition(settings.topics.identity, number) for number in range(settings.partitions)]
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, int(moment * 1000)))
    finally:
        await consumer.stop()
    return {tp.partition: at.offset for tp, at in found.items() if at is not None}


def _stored(record: ConsumerRecord) -> Stored:
    return Stored(record.timestamp, record.value)


def _head(record: ConsumerRecord) -> snapshots.Head:
    return snapshots.head(record.value)


def _value(record: ConsumerRecord) -> bytes:
    return bytes(record.value)


async def _table(
    settings: Settings,
    kind: TableKind,
    topic: str,
    number: int,
    keep: Callable[[ConsumerRecord], T],
    *,
    only: bytes | None = None,
) -> dict[bytes, T]:
    """What counts of each key in one partition of a changelog (O3), as `keep` makes it of the record."""
    tp = TopicPartition(topic, number)
    consumer = kafka.consumer(settings.kafka)
    best: dict[bytes, tuple[tuple[int, ...], T]] = {}
    try:
        await consumer.start()
        consumer.assign([tp])
        ends = await consumer.end_offsets([tp])
        await consumer.seek_to_beginning(tp)
        async for _, batch in kafka.read_until(consumer, ends):
            for record in batch:
                if record.key != only if only is not None else record.key.startswith(RESERVED):
                    continue
                order = rank(kind, record.key, record.value)
                if record.key not in best or order >= best[record.key][0]:
                    best[record.key] = (order, keep(record))
        return {key: kept for key, (_, kept) in best.items()}
    finally:
        await consumer.stop()


class Controls:
    """The control topic for a command: read whole, written to, closed again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Control:
        self._producer = kafka.producer(self._settings.kafka)
        self._control = Control(self._settings.topics, self._producer, lambda: kafka.consumer(self._settings.kafka))
        try:
            await self._producer.start()
            await self._control.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self._control

    async def __aexit__(self, *exc: object) -> None:
        await self._control.stop()
        await self._producer.stop()


async def control_state(settings: Settings, seconds: float = 10.0) -> dict[str, dict[str, Any]]:
    """The control topic as it stands.

    Raises:
        RefusedError: it cannot be read within this time.
    """
    return (await read_control(settings, seconds)).state


async def read_control(settings: Settings, seconds: float = 10.0) -> Control:
    """The control topic, and the connector's notifications, as they stand; it is not read on.

    Raises:
        RefusedError: they cannot be read within this time.
    """
    try:
        async with asyncio.timeout(seconds), Controls(settings) as control:
            return control
    except (KafkaError, OSError, TimeoutError):
        raise RefusedError(
            f"the topic {settings.topics.control} cannot be read: is Kafka running, and is KAFKA_BOOTSTRAP_SERVERS "
            "right? If the topic is not there yet, `topics` makes it."
        ) from None


async def read_behind(settings: Settings) -> int:
    """Records of `legacy.identity` that no worker has joined for good."""
    joined, ends = await read_joins(settings), await read_ends(settings)
    return sum(max(0, end - joined[number]) for number, end in ends.items())


async def read_joins(settings: Settings) -> dict[int, int]:
    """Of each partition the offset of the first record that no worker has joined for good."""
    committed = await kafka.group_offsets(settings.kafka, settings.app_id)
    partitions = {number: TopicPartition(settings.topics.identity, number) for number in range(settings.partitions)}
    return {number: max(0, committed.get(tp, 0)) for number, tp in partitions.items()}


async def read_ends(settings: Settings) -> dict[int, int]:
    """Of each partition of `legacy.identity` the offset that its next record will have."""
    tps = [TopicPartition(settings.topics.identity, number) for number in range(settings.partitions)]
    return {tp.partition: end for tp, end in (await _ends(settings, tps)).items()}


async def read_written(settings: Settings, moment: float) -> int:
    """Records that came into `legacy.identity` at this moment (Unix seconds) or later."""
    first = await first_since(settings, moment)
    ends = await _ends(settings, [TopicPartition(settings.topics.identity, number) for number in first])
    return sum(end - first[tp.partition] for tp, end in ends.items())


async def _ends(settings: Settings, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        return dict(await consumer.end_offsets(tps)) if tps else {}
    finally:
        await consumer.stop()
