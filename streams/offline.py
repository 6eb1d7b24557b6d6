"""Reads one user from the topics when no worker runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import TopicPartition
from aiokafka.partitioner import murmur2

from streams import kafka
from streams.control import Control
from streams.state import TableKind
from streams.state.changelog import rank

if TYPE_CHECKING:
    from streams.settings import Settings


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


async def _newest(settings: Settings, kind: TableKind, topic: str, number: int, key: bytes) -> bytes | None:
    tp = TopicPartition(topic, number)
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        await consumer.seek_to_beginning(tp)
        best: bytes | None = None
        while await consumer.position(tp) < end:
            for record in (await consumer.getmany(tp, timeout_ms=1_000, max_records=5_000)).get(tp, ()):
                if record.key != key:
                    continue
                if best is None or rank(kind, key, record.value) >= rank(kind, key, best):
                    best = record.value
        return best
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
