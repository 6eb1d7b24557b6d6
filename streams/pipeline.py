"""The worker's heart: takes partitions over, joins their records, and gives them up again (O1, O2, O3).

Faust decides who owns a partition and hands on its records; this module makes ownership safe. A partition is taken
over in the changelogs first, scanned for pending users, and only then joined and delivered.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import socket
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition
from faust.types import TP

from streams import failpoints, kafka
from streams.control import IDENTITY, Control
from streams.delivery import Delivery
from streams.identity import Identity, RefusedError, compare
from streams.join import Join
from streams.legacy import SYSTEM, Legacy, LegacyAwayError
from streams.offline import partition_of
from streams.rereads import Rereads
from streams.rows import SetAside, write_control
from streams.state import AGAIN, Changelog, Partition, Store, TableKind, TruncatedError, damage, records
from streams.state.store import RESERVED
from streams.sweep import Sweep
from streams.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine

    from aiokafka import AIOKafkaConsumer
    from faust.types import EventT

    from streams.service import App

log = logging.getLogger(__name__)

#: Seconds that a revoke waits for the batch being joined (O1).
_JOIN_DEADLINE = 6.0
#: Seconds that a revoke or stop waits for calls in flight before it cancels them (O1).
CALL_DEADLINE = 4.0
#: Partitions whose changelogs are read at the same time when the local state is behind.
_RESTORES = 4
#: Batches that wait for a partition to be taken over; Faust holds the rest back.
_QUEUE = 4
#: Seconds for another worker's identity record to be read, which was written before its first changelog record.
_FIRST_START = 5.0
#: Seconds between the marks that let a late writer be found (O3: at least one an hour).
_MARK_EVERY = 1_800.0


def _last_words(error: BaseException) -> None:
    """Say once more why, below Faust's traceback, where everybody looks first."""
    stream = sys.__stderr__ or sys.stderr  # Faust puts a logger in the place of the other one
    stream.write(f"the worker stopped: {error}\n")


class Runner:
    """Takes one partition over and joins its batches one after the other."""

    def __init__(self, pipeline: Pipeline, number: int) -> None:
        self.number = number
        #: batches of an earlier generation are read again from the committed offset; processed late, they would make
        #: the ones before them look already read (M1).
        self.generation = pipeline.app.consumer_generation_id
        #: where the source was committed when this ownership began, and the offset that has to come next.
        self._first, self._next = -1, -1
        #: the offset behind the last record that was acknowledged in this ownership.
        self.acknowledged = 0
        self.queue: asyncio.Queue[EventT] = asyncio.Queue(_QUEUE)
        self.partition: Partition | None = None
        self._pipeline = pipeline
        self._busy = asyncio.Lock()
        self.task = asyncio.create_task(self._run(), name=f"partition-{number}")

    async def _run(self) -> None:
        try:
            await self._own()
            partition = self.partition
            if partition is None:
                return
            while not partition.closing:
                event = await self.queue.get()
                async with self._busy:
                    if partition.closing:
                        return  # not acknowledged: its next owner reads it again
                    await self._check(event.value)
                    await self._pipeline.join.process(partition, event.value)
                    self._pipeline.delivery.replayed(partition)
                    # At once, and not when the first delete is looked at: all figures of a mass delete must be known
                    # by the time one of its deletes may leave, 2 s after its record.
                    await self._pipeline.delivery.brake.publish(partition)
                    if failpoints.armed:
                        await failpoints.reach("before-acknowledgement")
                    event.ack()
                    self.acknowledged = self._next
        except asyncio.CancelledError:
            raise
        except TruncatedError as error:
            self._pipeline.app.refuse(error)  # O5; every new start would only say so again
        except Exception as error:
            await self._pipeline.crash(error)

    async def _check(self, batch: Any) -> None:
        """Within a generation no record may be left out, from the committed offset on: a hole would be a lost change.

        Reading again what was read is harmless (M1): a commit of the generation before may arrive after Faust has
        looked where to begin. But a topic that ends before the committed offset has lost records, and new ones have
        the offsets of those that are counted as read.
        """
        if self._next < 0:
            self._first = self._next = await self._pipeline.committed(self.number)
            assert self.partition is not None
            # The first record of each partition of the source is an epoch, and what it made is kept for ever.
            if self._first > 0 and self.partition.snapshots.store.get(records.EPOCHS) is None:
                raise TruncatedError(
                    f"the source has been read up to {self._first} in partition {self.number}, but "
                    f"{self.partition.snapshots.topic} does not hold what came of it. {AGAIN}"
                )
        ends = self._pipeline.highwater(self.number) if batch[0].offset < self._first else self._first
        if batch[0].offset > self._next or ends < self._first:
            raise RuntimeError(
                f"partition {self.number} of the source goes on at {batch[0].offset} instead of {self._next}; "
                "a new start reads it again from the committed offset"
            )
        self._next = batch[-1].offset + 1

    async def _own(self) -> None:
        pipeline, number = self._pipeline, self.number
        await pipeline.identified.wait()
        partition = self.partition = pipeline.open(number)
        async with pipeline.restores:
            facts = await partition.take_over(pipeline.name)
        if failpoints.armed:
            await failpoints.reach("before-scan")
        # What was committed is joined. Unknown, a quiet partition would look behind for ever and hold its deletes.
        partition.joined_offset = await pipeline.committed(number) - 1
        if partition.snapshots.store.get(records.EPOCHS) is None:  # nothing was ever joined: it is the first record
            await partition.replay((await pipeline.ends([number]))[number])
        async for found in partition.scan():
            pipeline.delivery.found(partition, found)
        for key in partition.orphans:  # O4
            await pipeline.send(key, write_control(SetAside("its snapshot is missing, but the ledger knows it")))
        partition.owned.set()
        pipeline.delivery.poke()
        log.info(
            "partition owned partition=%d owner=%d users=%d pending=%d settled=%s",
            number,
            partition.ledger.owner,
            partition.known,
            len(partition.situations),
            facts.settled,
        )

    async def give_up(self) -> None:
        """Stop joining; waits a bounded time for the batch that is being joined (O1)."""
        if self.partition is not None:
            self.partition.closing = True
        try:
            async with asyncio.timeout(_JOIN_DEADLINE):
                await self._busy.acquire()
        except TimeoutError:
            await self._pipeline.crash(
                RuntimeError(f"partition {self.number}: a changelog send did not end at a revoke (O1); start again")
            )
        self.task.cancel()
        await asyncio.wait([self.task])
        while not self.queue.empty():  # lets an agent go on that waits to put one more
            self.queue.get_nowait()


class Pipeline:
    """Everything one worker does, between Faust's assignments and cidaas."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.settings = app.pipeline_settings
        self.name = ""
        self.runners: dict[int, Runner] = {}
        self.identified = asyncio.Event()
        self.identity: Identity | None = None
        self.restores = asyncio.Semaphore(_RESTORES)
        self.stopping = False
        self.started_at = time.time()
        #: control records that the broker has confirmed.
        self.sent = 0
        self._source_away = ""
        self._failed = False
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
        self.legacy = Legacy(self.settings)
        self.delivery = Delivery(self)
        self.rereads = Rereads(self)
        self.sweep = Sweep(self)
        self.watch = Watch(self)
        self.join = Join(self.settings, self.send, self.delivery.joined)
        self._upkeep = [
            asyncio.create_task(self._watched(self._mark()), name="marks"),
            asyncio.create_task(self._watched(self.delivery.answer_brake()), name="brake"),
            asyncio.create_task(self._watched(self.rereads.run()), name="rereads"),
            asyncio.create_task(self._watched(self.sweep.run()), name="sweep"),
            asyncio.create_task(self._watched(self.delivery.upserts.conflicts.run()), name="conflicts"),
            asyncio.create_task(self._watched(self.delivery.foreign.run()), name="foreign"),
            asyncio.create_task(self._watched(self.watch.run()), name="watch"),
        ]
        self.identity = Identity.of(self.settings, await self._source(), topic)
        await self._first_or_same()
        await self._assert_not_emptied()
        self._started = True

    async def _source(self) -> str:
        """Name the legacy system and database; "" while it does not answer."""
        try:
            rows = await self.legacy.query(SYSTEM)
        except LegacyAwayError as error:
            log.warning("the source's identity is not checked: %s", error)
            self._source_away = str(error)
            return ""
        return str(rows[0]["name"])

    async def _first_or_same(self) -> None:
        """Compare with the recorded identity, or find that nothing was ever there (O5)."""
        recorded, folder = self.control.identity, self.app.folder
        if recorded is None:
            if folder.identity is not None or await self._state_without_identity():
                raise RefusedError(
                    f"there is state, but the topic {self.settings.topics.control} has no record of whose it is: "
                    "restore that topic, or start over with a new app_id and an empty APP_DATADIR."
                )
            recorded = self.control.identity  # another worker's first start may have been a moment earlier
        if recorded is None:
            if self._source_away:
                raise RefusedError(
                    f"the first start notes which legacy database this pipeline belongs to, but {self._source_away}. "
                    "Start the database, or correct LEGACY_DATABASE_URL."
                )
            log.info("first start: the owner of partition 0 writes the identity")
            return
        self._same(recorded)

    def _same(self, recorded: dict[str, Any]) -> None:
        assert self.identity is not None
        if not self.identity.source:
            self.identity = replace(self.identity, source=recorded["source"])
        self.identity = replace(self.identity, topic_epoch=int(recorded["topic_epoch"]))
        compare(self.identity, recorded, f"the topic {self.settings.topics.control}")
        if (folder := self.app.folder.identity) is not None:
            if folder.get("source") in recorded.get("former_sources", ()):
                folder["source"] = recorded["source"]  # `source repair --accept-database` has moved this pipeline
            compare(self.identity, folder, f"the data folder {self.app.folder.path}")
        self.app.folder.remember(self.identity)
        self.legacy.expected = self.identity.source
        self.identified.set()

    async def follow_identity(self) -> None:
        """Believe the database that a person has accepted as this pipeline's source since the start (M8)."""
        recorded = self.control.identity
        if recorded is None or not self.identified.is_set() or recorded["source"] == self.legacy.expected:
            return
        log.warning("the source is another database now: %s", recorded["source"])
        assert self.identity is not None
        self.identity = replace(self.identity, source=recorded["source"])
        self._same(recorded)
        await self.legacy.close()  # the one of before may still answer

    async def _state_without_identity(self) -> bool:
        """Whether somebody has written to the changelogs, who did not say before whose they are.

        Another worker's first start may be at just this point: its record was written first, but is read later.
        """
        if not await self._changelog_content():
            return False
        deadline = time.monotonic() + _FIRST_START
        while self.control.identity is None and time.monotonic() < deadline:
            await self.control.wait_changed()
        return self.control.identity is None

    async def _changelog_content(self) -> bool:
        return any((await self._changelog_ends()).values())

    async def _changelog_ends(self) -> dict[TopicPartition, int]:
        topics = self.settings.topics
        consumer = self.new_consumer()
        await consumer.start()
        try:
            numbers = range(self.settings.partitions)
            tps = [TopicPartition(topic, n) for topic in (topics.snapshots, topics.ledger) for n in numbers]
            return dict(await consumer.end_offsets(tps))
        finally:
            await consumer.stop()

    async def _assert_not_emptied(self) -> None:
        """Refuse a changelog with nothing in it of a partition that was read: it was deleted, and made anew (O5).

        Before anything is written: with our take-over record in it the next start would find nothing strange.
        """
        committed = await kafka.group_offsets(self.settings.kafka, self.settings.app_id)
        read = {tp.partition: at for tp, at in committed.items() if tp.topic == self.settings.topics.identity and at}
        for tp, end in (await self._changelog_ends()).items() if read else ():
            if end == 0 and tp.partition in read:
                raise RefusedError(
                    f"the source has been read up to {read[tp.partition]} in partition {tp.partition}, but "
                    f"{tp.topic} is empty: it was deleted. {AGAIN}"
                )

    async def _wait_for_identity(self, *, write: bool) -> None:
        assert self.identity is not None
        try:
            if write and self.control.identity is None:
                await self.control.put(IDENTITY, self.identity.body())
            while self.control.identity is None:
                self.control.changed.clear()
                await self.control.changed.wait()
            self._same(self.control.identity)
        except RefusedError as error:
            self.app.refuse(error)

    def new_consumer(self) -> AIOKafkaConsumer:
        """Make a consumer outside the group."""
        return kafka.consumer(self.settings.kafka)

    @property
    def failed(self) -> bool:
        """Whether the worker ends because of an error."""
        return self._failed

    async def crash(self, error: BaseException) -> None:
        """End the worker: restarting is safe, going on is not (D4, O3)."""
        if why := damage(error):  # O5; every new start would only say so again
            self.app.refuse(
                f"the local state in {self.app.folder.path} is damaged ({why}): empty this folder and start again, its "
                "content is read again from Kafka."
            )
        if not self._failed:
            self._failed = True
            log.critical("the worker stops: %s", error)
            atexit.register(_last_words, error)
            await self.app.crash(error)

    def _fail(self, error: BaseException) -> None:
        self._crashing = asyncio.create_task(self.crash(error), name="crash")

    async def send(self, key: bytes, value: bytes) -> None:
        """Append a control record to `legacy.identity` and wait for the broker."""
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
            settings.cidaas.timeout + 5.0,
        )
        if self.identity is not None:
            partition.topic_epoch = self.identity.topic_epoch
        for kind, changelog in logs.items():
            changelog.on_foreign = lambda keys, kind=kind: self._repair(partition, kind, keys)
        return partition

    # -- assignments -----------------------------------------------------------------------------------------------

    async def assigned(self, numbers: set[int]) -> None:
        """Take the newly assigned partitions over, in the background."""
        if self.stopping:
            return
        if not self.identified.is_set():
            work = self._watched(self._wait_for_identity(write=0 in numbers))
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
            async with asyncio.timeout(_JOIN_DEADLINE):
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
        await self.producer.stop()

    # -- upkeep ----------------------------------------------------------------------------------------------------

    def partitions(self) -> list[Partition]:
        """The partitions that are completely owned."""
        return [r.partition for r in self.runners.values() if r.partition is not None and r.partition.owned.is_set()]

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

    async def ends(self, numbers: Collection[int]) -> dict[int, int]:
        """The offsets that the next records of these partitions of the source will have, asked of the broker."""
        tps = [TopicPartition(self.settings.topics.identity, number) for number in numbers]
        consumer = self.new_consumer()
        await consumer.start()
        try:
            return {tp.partition: end for tp, end in (await consumer.end_offsets(tps)).items()}
        finally:
            await consumer.stop()

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

    async def _mark(self) -> None:
        """Append a mark to both changelogs now and then, so that a late writer is found even on a quiet one (O3)."""
        while True:
            await asyncio.sleep(_MARK_EVERY)
            for partition in self.partitions():
                for changelog in (partition.snapshots, partition.ledger):
                    if partition.closing:
                        continue
                    await changelog.put([(records.MARK, records.pack(changelog.owner, {}))])
