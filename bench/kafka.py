"""What the harness itself does with Kafka: fills topics as Connect would, watches groups, removes what runs left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from bench import people
from streams.offline import partition_of
from streams.source import topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from aiokafka import ConsumerRecord

    from streams.settings import Settings

PARTITIONS = 12
_FLUSH = 2_000  # records of one partition in a batch, if they fit


class Kafka:
    """One broker; `async with`."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    async def __aenter__(self) -> Kafka:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await self._admin.start()
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        await self._consumer.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._consumer.stop()
        await self._admin.close()

    # -- filling ---------------------------------------------------------------------------------------------------

    async def fill(self, settings: Settings, users: int) -> float:
        """Make the topic with its birth records, and write the initial snapshot of users 1 to `users`.

        Returns the mean size of a record's value in bytes.
        """
        await topics.ensure(settings)
        topic, at_us, size = settings.topics.identity, int(time.time() * 1e6), 0
        waiting: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTITIONS)]
        async with self._producer() as producer:
            for key, value in people.records(users, at_us):
                size += len(value)
                number = partition_of(key, PARTITIONS)
                waiting[number].append((key, value))
                if len(waiting[number]) >= _FLUSH:
                    await _send(producer, topic, number, waiting[number])
            for number, items in enumerate(waiting):
                while items:
                    await _send(producer, topic, number, items)
        return size / (2 * users)

    async def append(self, topic: str, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Append records, each to its user's partition, and wait for the broker."""
        async with self._producer() as producer:
            for key, value in items:
                await producer.send_and_wait(topic, value, key=key, partition=partition_of(key, PARTITIONS))

    @contextlib.asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", compression_type="lz4", max_batch_size=512 * 1024
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    # -- watching --------------------------------------------------------------------------------------------------

    async def ends(self, topic: str) -> dict[int, int]:
        """The ends of all partitions."""
        tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return {tp.partition: end for tp, end in (await self._consumer.end_offsets(tps)).items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """What the group has committed."""
        try:
            found = await self._admin.list_consumer_group_offsets(group)
        except KafkaError:
            return {}  # the group is not there yet
        return {tp.partition: int(at.offset) for tp, at in found.items() if tp.topic == topic and at.offset >= 0}

    async def members(self, group: str) -> set[str]:
        """The members that have partitions, once the group is stable; empty before, and for a group without any."""
        try:
            (answer,) = await self._admin.describe_consumer_groups([group])
        except KafkaError:
            return set()
        fields = answer.to_object()["groups"][0]
        if fields["state"] != "Stable":
            return set()
        return {member["member_id"] for member in fields["members"] if member["member_assignment"]}

    async def assigned(self, group: str, before: set[str] | frozenset[str] = frozenset()) -> float:
        """Wait until a new member of the group has partitions; the time at which that was seen (Unix seconds)."""
        while not await self.members(group) - before:
            await asyncio.sleep(0.05)  # a poll: brokers tell nobody
        return time.time()

    async def read(self, topic: str, since: dict[int, int]) -> list[ConsumerRecord]:
        """All records from these offsets on to the present ends."""
        found: list[ConsumerRecord] = []
        ends = await self.ends(topic)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4 * 1024 * 1024
        )
        await consumer.start()
        try:
            for number, end in ends.items():
                tp = TopicPartition(topic, number)
                consumer.assign([tp])
                consumer.seek(tp, since.get(number, 0))
                while await consumer.position(tp) < end:
                    found += (await consumer.getmany(tp, timeout_ms=1_000)).get(tp, [])
        finally:
            await consumer.stop()
        return found

    # -- removing --------------------------------------------------------------------------------------------------

    async def delete(self, names: Iterable[str]) -> None:
        """Delete topics that are there."""
        there = set(await self._admin.list_topics())
        if names := sorted(there & set(names)):
            await self._admin.delete_topics(names)


async def _send(producer: AIOKafkaProducer, topic: str, number: int, items: list[tuple[bytes, bytes]]) -> None:
    """Send what fits into a batch, and take it out of `items`."""
    batch, count, now = producer.create_batch(), 0, int(time.time() * 1000)
    for key, value in items:
        if batch.append(key=key, value=value, timestamp=now) is None:
            break
        count += 1
    batch.close()
    await producer.send_batch(batch, topic, partition=number)
    del items[:count]


def covers(committed: dict[int, Any], ends: dict[int, int]) -> bool:
    """Whether everything up to these ends is committed."""
    return all(committed.get(number, 0) >= end for number, end in ends.items())
