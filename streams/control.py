"""What all workers must know: the compacted `control` topic, and the heartbeats and markers of the source.

Every worker reads these topics whole and outside the consumer group. What a command or the owner of partition 0
writes there holds for all of them, and survives every one of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.kafka import confirmed
from streams.rows import after_commit

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiokafka import AIOKafkaProducer
    from aiokafka.structs import ConsumerRecord

    from streams.settings import Topics

log = logging.getLogger(__name__)

IDENTITY = "identity"
DELIVERY = "delivery"
#: the same for deletes alone.
DELETES = "delivery/deletes"
#: the go-live (streams/cutover/record.py), and, with a user behind it, who may stay as it is.
CUTOVER = "cutover"
SIGN_OFFS = "cutover/sign-off/"
BRAKE = "brake"
#: the last request for a sweep, and, with /PARTITION behind it, what the owner of a partition answers.
SWEEP = "sweep"
#: what the last `reconcile` found.
RECONCILE = "reconcile"
#: when it runs by itself, and how its last run ended.
RECONCILE_PLAN = "reconcile/plan"
RECONCILE_RAN = "reconcile/ran"
#: what the guard remembers of the source, each fault that stands until a repair (its slug behind it), the repair, and
#: which tables with credentials are read.
SOURCE = "source"
FAULTS = "source/fault/"
REPAIR = "source/repair"
TABLES = "source/tables"


class Control:
    """The control topic as a dictionary, and how far the source is."""

    def __init__(self, topics: Topics, producer: AIOKafkaProducer, consumer: Callable[[], AIOKafkaConsumer]) -> None:
        self._topics, self._producer, self._new_consumer = topics, producer, consumer
        self.state: dict[str, dict[str, Any]] = {}
        #: LSN of the newest heartbeat or marker, and of the last commit before it: what was committed until then is in
        #: Kafka (C7).
        self.source_lsn = 0
        self.source_after_commit = 0
        self.heartbeat_at = 0.0
        #: heartbeats and markers read so far: whoever waits for the next one does not ask a clock.
        self.heartbeats = 0
        #: notifications of the connector about snapshots, newest last.
        self.notifications: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._caught_up = asyncio.Event()
        self._ends: dict[TopicPartition, int] = {}
        self.on_marker: Callable[[str, bytes, int], None] | None = None
        self.on_failure: Callable[[BaseException], None] | None = None

    async def start(self) -> None:
        """Read the control topic to its end, then go on reading in the background."""
        consumer = self._consumer = self._new_consumer()
        await consumer.start()
        control = TopicPartition(self._topics.control, 0)
        notifications = TopicPartition(self._topics.notifications, 0)
        message = TopicPartition(self._topics.message, 0)
        try:
            consumer.assign([control, notifications, message])
            self._ends = await consumer.end_offsets([control, notifications, message])
            await consumer.seek_to_beginning(control, notifications)
        except BaseException:
            await consumer.stop()
            raise
        # One heartbeat back: the newest one says how far the source is.
        consumer.seek(message, max(0, self._ends[message] - 1))
        self._task = asyncio.create_task(self._read(consumer), name="control")
        await self._caught_up.wait()
        self._assert_read()

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def put(self, key: str, body: dict[str, Any] | None) -> None:
        """Write one entry and wait until this worker has read it back."""
        value = None if body is None else orjson.dumps(body)
        async with confirmed(self._topics.control):
            meta = await self._producer.send_and_wait(self._topics.control, value, key=key.encode(), partition=0)
        while self._position <= meta.offset:
            self._assert_read()
            self.changed.clear()
            await self.changed.wait()

    async def read_to_end(self) -> None:
        """Wait until this worker has read what anybody has written by now.

        Raises:
            KafkaError: the broker does not say where the topic ends.
        """
        assert self._consumer is not None, "it has not been started"
        topic = TopicPartition(self._topics.control, 0)
        end = (await self._consumer.end_offsets([topic]))[topic]
        while self._position < end:
            self._assert_read()
            self.changed.clear()
            await self.changed.wait()

    def _assert_read(self) -> None:
        """Whoever waits for what is read must not wait for a reader that is gone."""
        if self._failure is not None:
            raise RuntimeError(f"the topic {self._topics.control} cannot be read: {self._failure}") from self._failure

    async def wait_changed(self) -> None:
        """Wait until something new was read, a second at most."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.changed.wait()

    _position = 0
    _failure: Exception | None = None

    @property
    def identity(self) -> dict[str, Any] | None:
        """The identity record (O5)."""
        return self.state.get(IDENTITY)

    def paused(self, start: str) -> dict[str, Any] | None:
        """Why delivery is paused, or None; `start` is what holds until somebody has paused or resumed (README)."""
        entry = self.state.get(DELIVERY)
        if entry is None:
            return {"why": 'delivery.start = "paused"', "who": "pipeline.toml"} if start == "paused" else None
        return entry if entry.get("paused") else None

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        try:
            await self._caught(consumer)
            while True:
                fetched = await consumer.getmany(timeout_ms=1_000, max_records=5_000)
                for tp, batch in fetched.items():
                    for record in batch:
                        try:
                            self._record(tp.topic, record)
                        except (ValueError, TypeError, AttributeError, IndexError):
                            # None of ours, and it will be there at every start.
                            log.error("unreadable record topic=%s offset=%d", tp.topic, record.offset)
                # Not that of the last record: behind it there may be some that were compacted away.
                self._position = await consumer.position(TopicPartition(self._topics.control, 0))
                await self._caught(consumer)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("the control topic cannot be read")
            self._failure = error
            self._caught_up.set()
            self.changed.set()
            if self.on_failure is not None:
                self.on_failure(error)
        finally:
            await consumer.stop()

    async def _caught(self, consumer: AIOKafkaConsumer) -> None:
        if not self._caught_up.is_set():
            behind = [tp for tp, end in self._ends.items() if await consumer.position(tp) < end]
            if not behind:
                self._caught_up.set()
        self.changed.set()

    def _record(self, topic: str, record: ConsumerRecord) -> None:
        if topic == self._topics.control:
            key = record.key.decode()
            if record.value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = orjson.loads(record.value)
        elif topic == self._topics.notifications:
            if record.value is not None:
                self.notifications.append({**orjson.loads(record.value), "offset": record.offset})
        elif record.value is not None:
            new = record.offset >= self._ends[TopicPartition(topic, record.partition)]
            self._message(orjson.loads(record.value), new=new)

    def _message(self, value: dict[str, Any], *, new: bool) -> None:
        source, message = value.get("source") or {}, value.get("message") or {}
        lsn = int(source.get("lsn") or 0)
        self.source_lsn = lsn
        self.source_after_commit = after_commit(source.get("sequence")) or 0
        if new:  # one that stood there at our start is of any age: it does not make the source look alive
            self.heartbeat_at = time.time()
        self.heartbeats += 1
        if self.on_marker is not None:
            self.on_marker(message.get("prefix", ""), base64.b64decode(message.get("content") or ""), lsn)
