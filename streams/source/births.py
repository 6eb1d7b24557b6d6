"""Birth records: the first record of every partition of `legacy.identity`, by which a re-created topic is found out.

Kafka gives a topic an id of its own, but our client does not speak that part of its protocol. So whoever makes the
topic writes one record into every partition, at offset 0, with one UUID for the whole topic (O5).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING

import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from streams.kafka import connection
from streams.rows import Epoch, write_control

if TYPE_CHECKING:
    from streams.settings import Settings

BIRTH_KEY = b"\x00epoch"
PATIENCE = 10.0  # seconds that another process gets to write the birth records of the topic it has just made
POLL = 0.2


def birth_value(topic: str) -> bytes:
    """Return the value of a birth record; `topic` is the UUID of the whole topic."""
    return write_control(Epoch(1, topic))


def birth_topic(key: bytes | None, value: bytes | None) -> str | None:
    """Return the topic's UUID if this is a birth record."""
    if key != BIRTH_KEY or value is None:
        return None
    try:
        record = orjson.loads(value)
        return str(record["topic"]) if record["__sync"] == "epoch" else None
    except (ValueError, KeyError, TypeError):
        return None


async def read_births(settings: Settings) -> dict[int, str | None]:
    """Return for each partition the UUID of its birth record; None where the partition is empty.

    Raises ValueError, with a remedy, where a partition begins with anything else.
    """
    topic = settings.topics.identity
    consumer = AIOKafkaConsumer(**connection(settings.kafka), enable_auto_commit=False, max_poll_records=1)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
        ends = await consumer.end_offsets(partitions)
        births: dict[int, str | None] = {}
        for partition in partitions:
            births[partition.partition] = None
            if ends[partition] == 0:
                continue
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            record = await asyncio.wait_for(consumer.getone(partition), 30)
            name = birth_topic(record.key, record.value) if record.offset == 0 else None
            if name is None:
                raise ValueError(_not_ours(topic, partition.partition))
            births[partition.partition] = name
        return births
    finally:
        await consumer.stop()


async def complete_births(settings: Settings, *, new: bool) -> str | None:
    """Write the birth records that are missing; return what is wrong, or None.

    Who made the topic (`new`) writes at once. Others wait for it to do so, and step in if it has died half-way.
    """
    deadline = time.monotonic() + (0 if new else PATIENCE)
    try:
        births = await read_births(settings)
        while None in births.values() and time.monotonic() < deadline:
            await asyncio.sleep(POLL)  # the maker of the topic is another process: there is nothing to wait on
            births = await read_births(settings)
    except ValueError as error:
        return str(error)
    names = {name for name in births.values() if name is not None}
    if len(names) > 1:
        return _not_ours(settings.topics.identity, next(iter(births)))
    missing = [partition for partition, name in births.items() if name is None]
    if missing:
        await _write(settings, missing, Epoch(1, names.pop() if names else str(uuid.uuid4())))
    return None


async def begin_epoch(settings: Settings, number: int) -> None:
    """Begin a new source epoch in every partition (M8), and wait until that is durable. Doing it twice is harmless."""
    births = await read_births(settings)
    await _write(settings, sorted(births), Epoch(number, str(births[0])))


async def _write(settings: Settings, partitions: list[int], epoch: Epoch) -> None:
    producer = AIOKafkaProducer(**connection(settings.kafka), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for partition in partitions:
            value = write_control(epoch)
            await producer.send_and_wait(settings.topics.identity, value, key=BIRTH_KEY, partition=partition)
    finally:
        await producer.stop()


def _not_ours(topic: str, partition: int) -> str:
    return (
        f"topic {topic}, partition {partition}, does not begin with the birth record of this topic: its first records "
        "were deleted, or somebody else made it. Stop everything and follow Repair in "
        "docs/operations.md, which reads the legacy database again."
    )
