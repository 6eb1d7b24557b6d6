"""The audit topic: appended to, and read whole; nothing of it is ever changed or thrown away."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams import kafka
from streams.audit.records import decode, encode
from streams.causes import why
from streams.identity import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaProducer

    from streams.settings import Settings

#: Seconds in which a record must be written, in which one more must be after one was not, and the whole topic be read.
PATIENCE, AGAIN, READING = 5.0, 1.0, 60.0


async def append(producer: AIOKafkaProducer, topic: str, record: Mapping[str, Any]) -> None:
    """Append one record and wait for the broker's confirmation."""
    await producer.send_and_wait(topic, encode(record), key=str(record["id"]).encode(), partition=0)


class Pen:
    """Writes for a command, which may come before there is a Kafka, or a topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None
        self._patience = PATIENCE

    async def write(self, record: Mapping[str, Any]) -> str:
        """Append a record; "" when the broker has confirmed it, else why it was not written."""
        topic = self._settings.topics.audit
        try:
            async with asyncio.timeout(self._patience):
                producer = await self._open()
                # All topics are asked for: asking for one by its name may make it, with other settings.
                if topic not in (await producer.client.fetch_all_metadata()).topics():
                    return f"there is no topic {topic} yet, `topics` makes it"
                await append(producer, topic, record)
        except (KafkaError, OSError, ValueError) as error:
            self._patience = AGAIN
            return f"Kafka did not take it ({why(error)})"
        return ""

    async def _open(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = kafka.producer(self._settings.kafka)
            try:
                await producer.start()
            except BaseException:
                await _stop(producer)
                raise
            self._producer = producer
        return self._producer

    async def close(self) -> None:
        """Close the connections."""
        if self._producer is not None:
            await _stop(self._producer)


async def _stop(producer: AIOKafkaProducer) -> None:
    with contextlib.suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(1.0):  # it would wait two minutes for a record that has not been confirmed
            await producer.stop()


async def read(settings: Settings) -> list[tuple[float, dict[str, Any]]]:
    """Return all records in order, each with the broker's time in Unix seconds.

    Raises:
        RefusedError: the topic is not there, or cannot be read.
    """
    topic = settings.topics.audit
    tp = TopicPartition(topic, 0)
    found: list[tuple[float, dict[str, Any]]] = []
    try:
        async with asyncio.timeout(READING):
            consumer = kafka.consumer(settings.kafka)
            try:
                await consumer.start()
                if topic not in await consumer.topics():
                    raise RefusedError(
                        f"there is no topic {topic} yet: `topics --yes` makes it, a start of a worker too"
                    )
                consumer.assign([tp])
                ends = await consumer.end_offsets([tp])
                await consumer.seek_to_beginning(tp)
                async for _, kept in kafka.read_until(consumer, ends):
                    read_now = ((one.timestamp / 1000, decode(one.value)) for one in kept)
                    found += [(clock, record) for clock, record in read_now if record is not None]
            finally:
                await consumer.stop()
    except (KafkaError, OSError) as error:
        raise RefusedError(
            f"the topic {topic} cannot be read ({why(error)}): is Kafka running, and is KAFKA_BOOTSTRAP_SERVERS right?"
        ) from None
    return found
