"""What a night brings: row changes of the last hours in the topic, and of how many users."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import TopicPartition

from streams import kafka
from streams.offline import first_since
from streams.rows import RowChange, RowReader, UnreadableError

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord

    from streams.settings import Settings


class Night(NamedTuple):
    """Row changes and users of so many hours; fewer than asked for where the topic is younger."""

    hours: float
    changes: int
    users: int


async def look(settings: Settings, hours: float) -> Night:
    """Read the topic from so many hours ago on; what an initial snapshot has read is no change."""
    begin = time.time() - hours * 3_600
    firsts = await first_since(settings, begin)
    tps = [TopicPartition(settings.topics.identity, number) for number in firsts]
    reader, users, changes, oldest = RowReader(settings.source), set[str](), 0, time.time()
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, firsts[tp.partition])
        ends = await consumer.end_offsets(tps) if tps else {}
        async for _, batch in kafka.read_until(consumer, ends):
            for record in batch:
                if (user := _changed(reader, record)) is not None:
                    users.add(user)
                    changes += 1
                    oldest = min(oldest, record.timestamp / 1000)
    finally:
        await consumer.stop()
    return Night(min(hours, (time.time() - oldest) / 3_600), changes, len(users))


def _changed(reader: RowReader, record: ConsumerRecord) -> str | None:
    """The user of a row change, None for any other record."""
    try:
        change = reader.read(record.key, record.value)
    except UnreadableError:
        return None
    return change.user_id if isinstance(change, RowChange) and change.op != "r" else None
