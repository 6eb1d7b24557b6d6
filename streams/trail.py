"""One user's records in the topic `legacy.identity`: those that made its snapshot, and those that wait to be joined."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from streams import kafka
from streams.credentials import Names
from streams.rows import USERS, Answer, ReadAgain, Removal, Resync, RowChange, RowReader, SetAside, UnreadableError
from streams.views import lsn

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiokafka import AIOKafkaConsumer
    from aiokafka.structs import ConsumerRecord

    from streams.rows import Control
    from streams.settings import Settings

#: Seconds for one record, and for those that wait; in 10 s some hundred thousand are read.
_ONE, _WAITING = 5.0, 10.0

_OPS = {"c": "insert into", "u": "update of", "d": "delete from", "r": "snapshot read of"}
_CONTROLS = {
    Removal: "a row of it is gone",
    ReadAgain: "all of its rows, read again from the database",
    SetAside: "set aside, to be read again",
    Resync: "to be sent again",
    Answer: "a person's answer",
}


@dataclass(slots=True)
class Trail:
    """What the topic says. `waiting` is the first of the user's records that are not joined, None for none.

    `looked` is how far that was looked for: less than `end` when too many records wait.
    """

    partition: int
    joined: int
    end: int = 0
    looked: int = 0
    waiting: int | None = None
    records: dict[int, dict[str, Any]] = field(default_factory=dict)


async def read_trail(settings: Settings, user_id: str, partition: int, offsets: Collection[int], joined: int) -> Trail:
    """Read the records at these offsets, where they are this user's, and look among those that wait.

    `joined` is the offset of the first record that waits. Of this user none does up to the last one of `offsets`.
    """
    tp, trail = TopicPartition(settings.topics.identity, partition), Trail(partition, joined)
    consumer = kafka.consumer(settings.kafka)
    try:
        await consumer.start()
        consumer.assign([tp])
        trail.end = (await consumer.end_offsets([tp]))[tp]
        for offset in offsets:
            record = await _record(consumer, tp, offset)
            if record is not None and record.key == user_id.encode():
                trail.records[offset] = describe(settings, record)
        await _look(consumer, tp, user_id.encode(), trail)
    finally:
        await consumer.stop()
    return trail


async def _record(consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> ConsumerRecord | None:
    """The record at an offset; None if it is not there."""
    consumer.seek(tp, offset)
    for record in (await consumer.getmany(tp, timeout_ms=int(_ONE * 1000), max_records=1)).get(tp, ()):
        if record.offset == offset:
            return record
    return None


async def _look(consumer: AIOKafkaConsumer, tp: TopicPartition, key: bytes, trail: Trail) -> None:
    """Find the first record of the user that waits, as far as there is time."""
    trail.looked = max(trail.joined, *(offset + 1 for offset in trail.records), 0)
    consumer.seek(tp, trail.looked)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAITING
    while trail.looked < trail.end and loop.time() < deadline:
        for record in (await consumer.getmany(tp, timeout_ms=1_000, max_records=5_000)).get(tp, ()):
            if record.key == key:
                trail.waiting = record.offset
                return
        trail.looked = await consumer.position(tp)


def describe(settings: Settings, record: ConsumerRecord) -> dict[str, Any]:
    """What a record is, without the values of its row; times are Unix seconds."""
    said: dict[str, Any] = {"offset": record.offset, "at": record.timestamp / 1000, "kind": "change"}
    try:
        change = RowReader(settings.source).read(record.key, record.value)
    except UnreadableError as why:
        return said | {"kind": "unreadable", "what": f"cannot be read: {why}"}
    if not isinstance(change, RowChange):
        return said | {"kind": "control", "what": _control(change)}
    source = settings.source
    table = source.users.name if change.table == USERS else Names(source.credentials).table(change.pk)
    return said | {
        "op": change.op,
        "what": f"{_OPS[change.op]} {table}",
        "lsn": lsn(change.lsn),
        "tx": change.tx,
        "committed": change.committed_us / 1e6 if change.committed_us else None,
    }


def _control(control: Control) -> str:
    return _CONTROLS.get(type(control), "a control record")
