"""The worker's heart: everything that one worker does, between Faust's assignments and cidaas (O1).

Faust decides who owns a partition and hands on its records; a `Runner` for each one makes ownership safe.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from faust.types import TP

from streams import failpoints, kafka
from streams.audit.logbook import Logbook
from streams.belonging import Belonging
from streams.causes import why
from streams.control import Control
from streams.delivery import Delivery
from streams.join import Join
from streams.legacy import Legacy
from streams.offline import partition_of
from streams.parked import answer_brake
from streams.recurring import Recurring
from streams.rereads import Rereads
from streams.runner import JOIN_DEADLINE, Runner
from streams.state import Changelog, Partition, Store, TableKind, damage, records
from streams.state.store import RESERVED
from streams.sweep import Sweep
from streams.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Mapping

    from aiokafka import AIOKafkaConsumer
    from faust.types import EventT

    from streams.service import App

log = logging.getLogger(__name__)

#: Seconds that a revoke or stop waits for calls in flight before it cancels them (O1).
CALL_DEADLINE = 4.0
#: Partitions whose changelogs are read at the same time when the local state is behind.
_RESTORES = 4
#: Seconds between the marks that let a late writer be found (O3: at least one an hour).
_MARK_EVERY = 1_800.0
#: Seconds between two looks for records that were fetched and have not come, and for an answer where reading is.
_NUDGE_EVERY, _POSITION = 1.0, 5.0


def _last_words(error: BaseException) -> None:
    """Say once more why, below Faust's traceback, where everybody looks first."""
    stream = sys.__stderr__ or sys.stderr  # Faust puts a logger in the place of the other one
    stream.write(f"the worker stopped: {error}\n")


class Pipeline:
    """Everything one worker does, between Faust's assignments and cidaas."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.settings = app.pipeline_settings
        self.name = ""
        self.runners: dict[int, Runner] = {}
        self.belonging = Belonging(self)
        self.restores = asyncio.Semaphore(_RESTORES)
        self.stopping = False
        self.started_at = time.time()
        #: control records that the broker has confirmed.
        self.sent = 0
        self._failed = False
        self._why = ""
        self._started = False
        self._identify: asyncio.Task[None] | None = None
        self._repairs: set[asyncio.Task[None]] = set()

    async def start(self, topic: str) -> None:
        """Connect to Kafka, read the control topic, and find out whether this state is ours (O5).

        `topic` is the birth id of `legacy.identity`.

        Raises:
            RefusedError: the state belongs to another place.
        """
        self.name = f"{socket.gethostname()}:{self.app.conf.web_port}"
        self.producer = kafka.producer(self.settings.kafka)
        await self.producer.start()
        self.control = Control(self.settings.topics, self.producer, self.new_consumer)
        self.control.on_failure = self._fail
        await self.control.start()
        self.logbook = Logbook(self.settings, self.producer, self.name, str(self.app.folder.path.resolve()))
        self.legacy = Legacy(self.settings)
        self.delivery = Delivery(self)
        self.rereads = Rereads(self)
        self.sweep = Sweep(self)
        self.watch = Watch(self)
        self.recurring = Recurring(self)
        self.join = Join(self.settings, self.send, self.delivery.joined, self.delivery.figures.stages)
        upkeep = {
            "marks": self._mark(),
            "nudges": self._nudge(),
            "brake": answer_brake(self.delivery),
            "watermark": self.delivery.brake.watermark.run(),
            "conflicts": self.delivery.upserts.conflicts.run(),
            "foreign": self.delivery.foreign.run(),
        }
        if not self.settings.rehearsal:  # what looks after the source is the live pipeline's
            upkeep |= {
                "rereads": self.rereads.run(),
                "sweep": self.sweep.run(),
                "watch": self.watch.run(),
                "recurring": self.recurring.run(),
            }
        self._upkeep = [asyncio.create_task(self._watched(work), name=name) for name, work in upkeep.items()]
        await self.belonging.find_out(topic)
        self.logbook.begin()
        self._started = True

    def new_consumer(self) -> AIOKafkaConsumer:
        """Make a consumer outside the group."""
        return kafka.consumer(self.settings.kafka)

    @property
    def failed(self) -> bool:
        """Whether the worker ends because of an error."""
        return self._failed

    async def crash(self, error: BaseException) -> None:
        """End the worker: restarting is safe, going on is not (D4, O3)."""
        if damaged := damage(error):  # O5; every new start would only say so again
            self.app.refuse(
                f"the local state in {self.app.folder.path} is damaged ({damaged}): empty this folder and start "
                "again, its content is read again from Kafka."
            )
        if not self._failed:
            self._failed, self._why = True, why(error)
            log.critical("the worker stops: %s", error)
            atexit.register(_last_words, error)
            await self.app.crash(error)

    def _fail(self, error: BaseException) -> None:
        self._crashing = asyncio.create_task(self.crash(error), name="crash")

    async def send(self, key: bytes, value: bytes) -> None:
        """Append a control record to `legacy.identity` and wait for the broker; a rehearsal leaves that topic alone."""
        if self.settings.rehearsal:
            return
        async with kafka.confirmed(self.settings.topics.identity):
            await self.producer.send_and_wait(self.settings.topics.identity, value, key=key)
        self.sent += 1

    def open(self, number: int) -> Partition:
        """Open both tables of one partition."""
        topics, settings = self.settings.topics, self.settings
        logs = {}
        for kind, topic in ((TableKind.SNAPSHOTS, topics.snapshots), (TableKind.LEDGER, topics.ledger)):
            store = Store(self.app.folder.path / "tables" / kind.value / str(number))
            changelog = Changelog(kind, topic, number, store, self.producer, self.new_consumer)
            changelog.on_failure = self._fail
            logs[kind] = changelog
        partition = Partition(
            number,
            logs[TableKind.SNAPSHOTS],
            logs[TableKind.LEDGER],
            settings.mapping.id,
            settings.cidaas.settle,
        )
        if self.belonging.identity is not None:
            partition.topic_epoch = self.belonging.identity.topic_epoch
        for kind, changelog in logs.items():
            changelog.on_foreign = lambda keys, kind=kind: self._repair(partition, kind, keys)
        return partition

    # -- assignments -----------------------------------------------------------------------------------------------

    async def assigned(self, numbers: set[int]) -> None:
        """Take the newly assigned partitions over, in the background."""
        if self.stopping:
            return
        if not self.belonging.identified.is_set():
            work = self._watched(self.belonging.wait(write=0 in numbers))
            self._identify = asyncio.create_task(work, name="identity")
        for number in sorted(numbers - self.runners.keys()):
            self.runners[number] = Runner(self, number)

    async def revoked(self) -> None:
        """Give every partition up: Faust's rebalances always revoke all of them (O1)."""
        runners = list(self.runners.values())
        if failpoints.armed and runners:
            await failpoints.reach("revoke")
        began = time.monotonic()
        for runner in runners:
            if runner.partition is not None:
                runner.partition.closing = True
        await asyncio.gather(self.delivery.drain(CALL_DEADLINE), *(runner.give_up() for runner in runners))
        partitions = [runner.partition for runner in runners if runner.partition is not None]
        await asyncio.gather(*(self._leave(partition) for partition in partitions))
        self.delivery.forget()
        self.rereads.forget()
        self.watch.forget()
        self.runners.clear()
        if runners:
            log.info("partitions given up count=%d seconds=%.2f", len(runners), time.monotonic() - began)

    async def _leave(self, partition: Partition) -> None:
        try:
            async with asyncio.timeout(JOIN_DEADLINE):
                await partition.settle()
                await partition.close()
        except Exception as error:
            # Without its settled record the next owner waits (C5); nothing is lost.
            log.warning("partition left without a settled record partition=%d: %s", partition.number, error)

    async def enqueue(self, event: EventT) -> None:
        """Hand a batch to its partition; waits when that partition is busy, which holds Faust back."""
        runner = self.runners.get(event.message.partition)
        if runner is not None and event.message.generation_id == runner.generation:
            await runner.queue.put(event)

    async def stop(self) -> None:
        """End within the deadlines, with a settled record wherever no call is on its way (C5, D4)."""
        self.stopping = True
        if not self._started:
            return
        await self.delivery.stop_taking()
        await self.revoked()
        for task in self._upkeep:
            task.cancel()
        await self.delivery.stop()
        await self.control.stop()
        await self.legacy.close()
        crashed = bool(self.app.crashed or self._failed)
        written = await self.logbook.end(int(crashed), self._why or ("it crashed" if crashed else "stopped"))
        with contextlib.suppress(TimeoutError):
            # It would wait two minutes for a record that the broker does not take.
            async with asyncio.timeout(None if written else 1.0):
                await self.producer.stop()

    # -- upkeep ----------------------------------------------------------------------------------------------------

    def partitions(self) -> list[Partition]:
        """The partitions that are completely owned, and can be read."""
        return [r.partition for r in self.runners.values() if r.partition is not None and r.partition.readable]

    def partition_of(self, key: bytes) -> int:
        """The partition of a user."""
        return partition_of(key, self.settings.partitions)

    @property
    def source_epoch(self) -> int:
        """The newest source epoch that any partition of this worker has seen (M8)."""
        return max((partition.epochs[-1][1] for partition in self.partitions()), default=1)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """Run upkeep whose failure would otherwise go unseen: it ends the worker."""
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            log.exception("upkeep failed")
            await self.crash(error)

    def replays(self) -> dict[int, int]:
        """The partitions that are read from their beginning, and up to where before anybody of them leaves (C9)."""
        return {one.number: one.replay_end for one in self.partitions() if one.replaying}

    def lag(self, partition: Partition) -> int | None:
        """Records of this partition that wait to be joined; None while that is not known yet."""
        tp = TP(self.settings.topics.identity, partition.number)
        highwater = self.app.consumer.highwater(tp)
        if highwater is None:
            return None
        return int(max(0, highwater - partition.joined_offset - 1))

    def highwater(self, number: int) -> int:
        """The offset that the next record of a partition of the source will have, as of the last fetch."""
        return int(self.app.consumer.highwater(TP(self.settings.topics.identity, number)) or 0)

    async def committed(self, number: int) -> int:
        """The committed offset of a partition of the source, asked of the broker.

        Faust's own note of it is empty for a while when one rebalance follows another.
        """
        return int(await self.app.consumer.committed(TP(self.settings.topics.identity, number)))

    async def uncounted(self, ends: Mapping[int, int]) -> list[int]:
        """The partitions in which records before these ends are not counted yet by the brake, whoever owns them.

        Of partitions of other workers only the group knows: they are committed when their figure stands.
        """
        others: dict[TopicPartition, int] = {}
        if ends.keys() - self.runners.keys():
            others = await kafka.group_offsets(self.settings.kafka, self.settings.app_id)
        found = []
        for number, end in ends.items():
            runner = self.runners.get(number)
            if runner is None:
                counted = others.get(TopicPartition(self.settings.topics.identity, number), 0)
            elif runner.partition is not None and self.delivery.brake.has_told(runner.partition):
                counted = runner.counted
            else:
                counted = 0
            if counted < end:
                found.append(number)
        return found

    async def ends(self, numbers: Collection[int]) -> dict[int, int]:
        """The offsets that the next records of these partitions of the source will have, asked of the broker."""
        tps = [TopicPartition(self.settings.topics.identity, number) for number in numbers]
        consumer = self.new_consumer()
        await consumer.start()
        try:
            return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()

    async def position(self, number: int) -> int | None:
        """The offset that a partition of the source is fetched from next; None while that is not known."""
        try:
            async with asyncio.timeout(_POSITION):
                found = await self.app.consumer.position(TP(self.settings.topics.identity, number))
        except Exception:  # given up meanwhile, or the broker is away: the next look asks again
            return None
        return None if found is None else int(found)

    async def read_from(self, number: int, offset: int) -> None:
        """Go on with a partition of the source at this offset."""
        await self.app.consumer.seek_wait({TP(self.settings.topics.identity, number): offset})

    def noted_commit(self, number: int) -> int | None:
        """The offset of a partition of the source that was committed last, as this worker knows; None before one is."""
        noted: int | None = self.app.consumer.noted_commit(TP(self.settings.topics.identity, number))
        return noted

    def behind(self, partition: Partition) -> bool:
        """Whether records of this partition may wait to be joined."""
        return self.lag(partition) != 0

    def source_is_live(self) -> bool:
        """Whether the source's heartbeat has arrived lately."""
        return time.time() - self.control.heartbeat_at < 10.0

    async def still_member(self) -> bool:
        """Whether this worker's ownership is sure (C5)."""
        return await self.app.still_member()

    def _repair(self, partition: Partition, kind: TableKind, keys: set[bytes]) -> None:
        """A thawed former owner wrote into our changelog: append our newest values again, in doubt (O3)."""
        work = self._watched(self._append_again(partition, kind, sorted(keys)))
        self._repairs.add(task := asyncio.create_task(work, name="append-again"))
        task.add_done_callback(self._repairs.discard)

    async def _append_again(self, partition: Partition, kind: TableKind, keys: list[bytes]) -> None:
        if partition.closed:
            return  # its next owner reads both writers' records, and appends the winner again
        await partition.append_again(kind, keys)
        if not partition.closed:
            keys = [key for key in keys if not key.startswith(RESERVED)]
            for key, (snap, stored) in zip(keys, partition.read(keys), strict=True):
                self.delivery.joined(partition, key, partition.situation(snap, stored), True)

    async def _nudge(self) -> None:
        """Look at each partition that stands still although records wait."""
        while True:
            await asyncio.sleep(_NUDGE_EVERY)  # a poll: what does not come calls nobody
            for runner in list(self.runners.values()):
                await runner.nudge()

    async def _mark(self) -> None:
        """Append a mark to both changelogs now and then, so that a late writer is found even on a quiet one (O3)."""
        while True:
            await asyncio.sleep(_MARK_EVERY)
            for partition in self.partitions():
                for changelog in (partition.snapshots, partition.ledger):
                    if partition.closing:
                        continue
                    await changelog.put([(records.MARK, records.pack(changelog.owner, {}))])
