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
from streams.state.store import RESERVED

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.ledger import Situation
    from streams.settings import Settings
    from streams.snapshots import Position

T = TypeVar("T")


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a user: what Kafka's default partitioner says, which Connect uses too."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


async def read_user(settings: Settings, key: bytes) -> tuple[bytes | None, bytes | None, int]:
    """Return the snapshot, the ledger entry and the partition of one user, by reading both changelogs' partition."""
    number = partition_of(key, settings.partitions)
    topics = settings.topics
    snap = await _newest(settings, TableKind.SNAPSHOTS, topics.snapshots, number, key)
    entry = await _newest(settings, TableKind.LEDGER, topics.ledger, number, key)
    return snap, entry, number


async def read_standing(settings: Settings, situation: Situation, reason: str, limit: int | None) -> Standing:
    """The users in one situation that the ledger knows, by reading both changelogs whole."""
    found, mapping_id = Standing(reason, limit), bytes.fromhex(settings.mapping.id)
    for number in range(settings.partitions):
        snaps = await _table(settings, TableKind.SNAPSHOTS, settings.topics.snapshots, number, snapshots.head)
        entries = await _table(settings, TableKind.LEDGER, settings.topics.ledger, number, bytes)
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

    def keep(value: bytes) -> tuple[Position, bool]:
        snap = snapshots.decode(value)
        row = snap.user.values if snap.user is not None else None
        return snap.version, row is not None and status_of(row, settings) == "live"

    entries = await _table(
        settings, TableKind.LEDGER, settings.topics.ledger, number, lambda value: ledger.head(value).state
    )
    snaps = await _table(settings, TableKind.SNAPSHOTS, settings.topics.snapshots, number, keep)
    none = ledger.State.FORGOTTEN
    return {key: Known(*kept, entries.get(key, none) != none) for key, kept in snaps.items()}


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


async def _newest(settings: Settings, kind: TableKind, topic: str, number: int, key: bytes) -> bytes | None:
    return (await _table(settings, kind, topic, number, bytes, only=key)).get(key)


async def _table(
    settings: Settings,
    kind: TableKind,
    topic: str,
    number: int,
    keep: Callable[[bytes], T],
    *,
    only: bytes | None = None,
) -> dict[bytes, T]:
    """What counts of each key in one partition of a changelog (O3), as `keep` makes it of the value."""
    tp = TopicPartition(topic, number)
    consumer = kafka.consumer(settings.kafka)
    best: dict[bytes, tuple[tuple[int, ...], T]] = {}
    try:
        await consumer.start()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        await consumer.seek_to_beginning(tp)
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=1_000, max_records=5_000)).get(tp, ()):
                if record.key != only if only is not None else record.key.startswith(RESERVED):
                    continue
                order = rank(kind, record.key, record.value)
                if record.key not in best or order >= best[record.key][0]:
                    best[record.key] = (order, keep(record.value))
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
    try:
        async with asyncio.timeout(seconds), Controls(settings) as control:
            return dict(control.state)
    except (KafkaError, OSError, TimeoutError):
        raise RefusedError(
            f"the topic {settings.topics.control} cannot be read: is Kafka running, and is KAFKA_BOOTSTRAP_SERVERS "
            "right? If the topic is not there yet, `topics` makes it."
        ) from None
