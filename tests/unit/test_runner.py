"""One partition in the hands of a worker: read, joined, acknowledged and delivered in that order, and in no other."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import new_partition
from world import IDENTITY, World

from streams.control import TABLES
from streams.failpoints import FailpointError, arm
from streams.jobs import Do
from streams.ledger import Situation
from streams.runner import Runner
from streams.source.births import BIRTH_KEY, birth_value
from streams.state import records
from streams.transport import Batch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from streams.state import Partition


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


class Event:
    """A batch as Faust hands it on."""

    def __init__(self, batch: Batch, acknowledged: list[int]) -> None:
        self.value, self._acknowledged = batch, acknowledged

    def ack(self) -> None:
        self._acknowledged.append(self.value[-1].offset)


class Worker:
    """A runner on the partition of a world whose own owner has died, and what it acknowledged."""

    def __init__(self, world: World, path: Path) -> None:
        self.world, self.path = world, path
        self.acknowledged: list[int] = []
        self.crashed: BaseException | None = None
        self.begins = 0
        #: where the source is fetched from next, and where it was asked to begin again.
        self.fetched: int | None = 0
        self.again: list[int] = []
        identified = asyncio.Event()
        identified.set()
        pipeline = SimpleNamespace(
            app=SimpleNamespace(consumer_generation_id=1, refuse=self._crash),
            belonging=SimpleNamespace(identified=identified),
            restores=asyncio.Semaphore(1),
            name="worker",
            open=self._open,
            committed=self._committed,
            highwater=lambda _: world.broker.end(IDENTITY, 0),
            send=world._send,
            join=world.join,
            crash=self._crashed,
            delivery=world.delivery,
            control=world.pipeline.control,
            ends=self._ends,
            position=self._position,
            lag=lambda partition: world.broker.end(IDENTITY, 0) - partition.joined_offset - 1,
            read_from=self._read_from,
        )
        self.runner = Runner(pipeline, 0)  # type: ignore[arg-type]
        world.pipeline.runners[0] = self.runner

    def _open(self, number: int) -> Partition:
        self.world.partition = new_partition(self.world.broker, self.path, number=number)
        return self.world.partition

    async def _committed(self, number: int) -> int:
        return self.begins

    async def _ends(self, numbers: list[int]) -> dict[int, int]:
        return {number: self.world.broker.end(IDENTITY, number) for number in numbers}

    async def _position(self, number: int) -> int | None:
        return self.fetched

    async def _read_from(self, number: int, offset: int) -> None:
        self.again.append(offset)
        self.fetched = offset

    async def look(self, seconds: int) -> None:
        """Look once a second, as the worker does."""
        for _ in range(seconds):
            await asyncio.sleep(1)
            await self.runner.nudge()

    def _crash(self, error: BaseException) -> None:
        self.crashed = error

    async def _crashed(self, error: BaseException) -> None:
        self.crashed = error

    async def owned(self) -> None:
        """Wait until the partition is taken over and scanned."""

        def owned() -> bool:
            return self.runner.partition is not None and self.runner.partition.owned.is_set()

        await self.world.until(owned, "the partition is owned", 5.0)

    async def hand(self, first: int, last: int) -> None:
        """Hand on the records of the source from `first` to `last` as one batch."""
        batch = [record for record in self.world.broker.logs[IDENTITY, 0] if first <= record.offset <= last]
        await self.runner.queue.put(Event(Batch(batch), self.acknowledged))  # type: ignore[arg-type]

    async def end(self) -> None:
        self.runner.task.cancel()
        await asyncio.wait([self.runner.task])
        self.world.broker.confirming.set()
        await self.world.stop()


def play(path: Path, scenario: Callable[[Worker], Awaitable[None]], before: Any = None, *, joined: bool = True) -> None:
    """A worker that takes over from one that was killed; `before` is what that one did, if it has `joined` anything."""
    clock = Clock()

    async def played() -> None:
        dead = await World.start(path / "dead", clock)
        epochs = {"epochs": [(0, 1)], "topic": "t"}
        if joined:
            owner = dead.partition.snapshots.owner
            await dead.partition.snapshots.put([(records.EPOCHS, records.pack(owner, epochs))])
        if before is not None:
            await before(dead)
        await dead.stop()
        world = World(path / "new", clock, dead.settings, dead)
        worker = Worker(world, path / "new")
        await scenario(worker)
        assert worker.crashed is None or isinstance(worker.crashed, FailpointError), worker.crashed
        await worker.end()

    run(played(), clock)


def test_a_batch_is_acknowledged_when_the_broker_and_the_store_have_it(tmp_path: Path) -> None:
    """D1: acknowledged before, a crash would take the change with it; nobody would ever read it again."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        await worker.owned()
        world.put_user(1, "c")
        world.broker.confirming.clear()
        await worker.hand(0, 0)
        await asyncio.sleep(5)
        assert worker.acknowledged == []
        world.broker.confirming.set()
        await world.until(lambda: bool(worker.acknowledged), "acknowledged", 5.0)
        assert world.where(1) is Situation.PENDING

    play(tmp_path, scenario)


def test_a_record_is_counted_when_the_figure_of_its_batch_stands(tmp_path: Path) -> None:
    """The brake: before that the deletes of other partitions must not go."""

    async def scenario(worker: Worker) -> None:
        world, control = worker.world, worker.world.pipeline.control
        await worker.owned()
        assert worker.runner.counted == 0
        world.put_user(1, "c")
        await worker.hand(0, 0)
        await world.until(lambda: worker.runner.counted == 1, "counted", 5.0)
        control.reading.clear()
        world.put_user(1, "d")
        await worker.hand(1, 1)
        await asyncio.sleep(5)
        assert worker.runner.counted == 1
        control.reading.set()
        await world.until(lambda: worker.runner.counted == 2, "counted", 5.0)

    play(tmp_path, scenario)


def test_what_is_committed_at_the_take_over_is_counted(tmp_path: Path) -> None:
    """Also when the commit is known later: else the deletes of all others would wait for ever."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        world.put_user(1, "c")
        await worker.owned()
        assert worker.runner.counted == 0
        worker.begins = worker.fetched = 1
        await worker.look(10)
        assert worker.runner.counted == 1

    play(tmp_path, scenario)


@pytest.mark.parametrize("point", ["before-changelog-send", "after-changelog-send", "before-acknowledgement"])
def test_a_batch_that_was_cut_short_is_not_acknowledged(tmp_path: Path, point: str) -> None:
    """D1: wherever the worker dies, the next one reads the batch again."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        await worker.owned()
        arm(f"{point}=raise@1")
        world.put_user(1, "c")
        await worker.hand(0, 0)
        await asyncio.sleep(5)
        assert isinstance(worker.crashed, FailpointError) and worker.acknowledged == []

    play(tmp_path, scenario)


def test_a_batch_with_nothing_to_write_is_not_acknowledged_before_the_one_before_it(tmp_path: Path) -> None:
    """D2: the highest acknowledged offset is committed, and would commit the batch before it too."""

    async def before(dead: World) -> None:
        await dead.sign_up(2)

    async def scenario(worker: Worker) -> None:
        world = worker.world
        await worker.owned()
        world.put_user(1, "c")
        world.broker.append(IDENTITY, 0, *world.broker.logs[IDENTITY, 0][1][4:])  # Connect repeats a credential
        worker.begins = 2
        world.broker.confirming.clear()
        await worker.hand(2, 2)
        await worker.hand(3, 3)
        await asyncio.sleep(5)
        assert worker.acknowledged == []
        world.broker.confirming.set()
        await world.until(lambda: len(worker.acknowledged) == 2, "acknowledged", 5.0)
        assert worker.acknowledged == [2, 3]

    play(tmp_path, scenario, before)


def test_what_is_read_from_the_beginning_is_sent_when_all_that_was_there_has_been_read(tmp_path: Path) -> None:
    """C9: with the state lost, a user's old addresses and passwords would go out once more, one after the other; also
    from the worker that goes on with it in the middle."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        world.broker.append(IDENTITY, 0, BIRTH_KEY, birth_value("t"))
        for version in range(5):
            world.put_user(1, "u" if version else "c", city=f"city {version}")
        world.go()
        await worker.owned()
        await worker.hand(0, 3)
        await asyncio.sleep(30)
        assert world.where(1) is Situation.PENDING and not world.tenant.count("bulk")
        assert "joined first" in world.delivery.why_waiting(world.partition, b"1")
        await worker.end()

        world = World(worker.path / "again", world.clock, world.settings, world)
        again = Worker(world, worker.path / "again")
        again.begins = 4
        world.go()
        await again.owned()
        await asyncio.sleep(30)
        assert not world.tenant.count("bulk"), "the next owner does not know"
        await again.hand(4, 5)
        world.partition.unconfirmed.clear()
        await world.in_sync(1)
        assert world.tenant.count("bulk") == 1
        world.put_user(1, "u", city="after it")
        await again.hand(6, 6)
        await world.until(lambda: world.tenant.count("bulk") == 2, "what comes afterwards goes at once", 60.0)
        await again.end()

        world = World(worker.path / "third", world.clock, world.settings, world)
        third = Worker(world, worker.path / "third")
        third.begins = 7
        await third.owned()
        assert world.partition.replay_end == 0, "what has been read to its end is no reason to queue everybody again"
        await third.end()

    play(tmp_path, scenario, joined=False)


@pytest.mark.parametrize("point", ["after-take-over", "between-changelogs", "before-scan"])
def test_nothing_is_sent_or_joined_while_a_partition_is_being_taken_over(tmp_path: Path, point: str) -> None:
    """O2: what is read until then is an older state; sent, it would overwrite a newer one at cidaas."""
    held = tmp_path / "held"
    held.touch()
    said = tmp_path / "held.reached"

    async def before(dead: World) -> None:
        await dead.sign_up(1)

    async def scenario(worker: Worker) -> None:
        world = worker.world
        arm(f"{point}=hold:{held}")
        await world.until(said.exists, "the take-over is held", 5.0)
        arm("")
        world.go()
        world.delivery.found(world.partition, [(b"1", Situation.PENDING, 0)])
        world.put_user(3, "c")
        worker.begins = 2
        await worker.hand(2, 2)
        await asyncio.sleep(30)
        assert world.tenant.calls == [] and worker.acknowledged == []
        held.unlink()
        await world.in_sync(1, 3, seconds=60.0)
        assert worker.acknowledged == [2]

    play(tmp_path, scenario, before)


@pytest.mark.parametrize("point", ["after-take-over", "between-changelogs", "before-scan"])
def test_a_take_over_that_was_cut_short_leaves_no_settled_record(tmp_path: Path, point: str) -> None:
    """C5: it has sent nothing itself, but the calls of the worker before may still be on their way."""

    async def before(dead: World) -> None:
        await dead.sign_up(1)

    async def scenario(worker: Worker) -> None:
        world = worker.world
        arm(f"{point}=raise@1")
        await world.until(lambda: worker.crashed is not None, "cut", 5.0)
        await world.partition.settle()
        arm("")
        following = new_partition(world.broker, tmp_path / "following")
        facts = await following.take_over("following")
        assert not facts.settled
        await following.close()

    play(tmp_path, scenario, before)


@pytest.mark.parametrize(
    "points", ["after-take-over=raise@1", "between-changelogs=raise", "after-take-over=raise@2", "before-scan=raise"]
)
def test_a_worker_that_died_in_a_take_over_leaves_everything_to_the_next(tmp_path: Path, points: str) -> None:
    """O3: a take-over record in one changelog alone, or in both with nothing read, is no obstacle."""

    async def before(dead: World) -> None:
        await dead.sign_up(1)

    async def scenario(worker: Worker) -> None:
        world = worker.world
        arm(points)
        await world.until(lambda: worker.crashed is not None, "cut", 5.0)
        arm("")
        await world.stop()
        following = await World.start(tmp_path / "next", world.clock, former=world)
        following.go()
        await following.in_sync(1, seconds=60.0)
        assert following.at_cidaas(1) is not None
        await following.stop()

    play(tmp_path, scenario, before)


def test_after_a_new_table_was_read_nobody_leaves_before_its_rows_are_joined(tmp_path: Path) -> None:
    """The mapping has changed, so everybody is pending; who has a password only there would be sent without one."""

    async def before(world: World) -> None:
        world.put_user(1, "c")
        await world.joined()

    async def scenario(worker: Worker) -> None:
        world = worker.world
        worker.begins = 1
        world.put_credential(10, 1, "r")
        world.pipeline.control.state[TABLES] = {"credentials": [], "ends": {"0": 2}}
        await worker.owned()
        assert world.partition.replaying and not world.delivery.queues[Do.UPSERT]
        await worker.hand(1, 1)
        await world.until(lambda: worker.acknowledged == [1], "the row is joined")
        assert not world.partition.replaying and len(world.delivery.queues[Do.UPSERT]) == 1

    play(tmp_path, scenario, before)


def test_records_that_were_fetched_and_never_came_are_asked_for_again(tmp_path: Path) -> None:
    """F2: Faust lets go what it fetched when a rebalance began; of a quiet partition nobody would hear any more."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        await worker.owned()
        worker.begins = 2
        for user in (3, 4, 5):
            world.put_user(user, "c")
        await worker.look(10)
        assert worker.again == [], "they are not fetched yet"
        worker.fetched = 5
        await worker.look(3)
        assert worker.again == [], "they may be on their way"
        await worker.look(2)
        assert worker.again == [2], "from the committed offset on, where nothing has come at all"
        await worker.hand(2, 3)
        await world.until(lambda: worker.acknowledged == [3], "joined", 5.0)
        worker.fetched = 5
        await worker.look(5)
        assert worker.again == [2, 4], "behind what has come"
        await worker.hand(4, 4)
        await world.until(lambda: worker.acknowledged == [3, 4], "joined", 5.0)
        worker.fetched = 5
        await worker.look(20)
        assert worker.again == [2, 4], "nothing is missing any more"

    async def before(dead: World) -> None:
        await dead.sign_up(1)

    play(tmp_path, scenario, before)


@pytest.mark.parametrize("why", ["moves", "joins", "not known", "given up"])
def test_nothing_is_asked_for_again_that_may_still_come(tmp_path: Path, why: str) -> None:
    """A slow join, or a rebalance, is no hole; to read again and again would hold everybody up."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        await worker.owned()
        for user in (3, 4, 5):
            world.put_user(user, "c")
        worker.begins, worker.fetched = 2, None if why == "not known" else 5
        if why == "joins":
            world.broker.confirming.clear()
            await worker.hand(2, 4)
        for _ in range(20):
            if why == "moves":
                assert worker.fetched is not None
                worker.fetched += 1
            if why == "given up":
                world.partition.closing = True
            await worker.look(1)
        assert worker.again == []

    async def before(dead: World) -> None:
        await dead.sign_up(1)

    play(tmp_path, scenario, before)


def test_a_commit_that_came_after_the_take_over_counts_as_joined(tmp_path: Path) -> None:
    """C9: the take-over asked too early, so everybody would wait for records that nobody reads any more."""

    async def scenario(worker: Worker) -> None:
        world = worker.world
        world.broker.append(IDENTITY, 0, BIRTH_KEY, birth_value("t"))
        world.put_user(1, "c")
        await worker.owned()
        await worker.hand(0, 1)
        await world.until(lambda: worker.acknowledged == [1], "joined", 5.0)
        world.put_user(2, "c")
        await worker.end()

        world = World(worker.path / "again", world.clock, world.settings, world)
        again = Worker(world, worker.path / "again")
        world.go()
        await again.owned()
        assert world.partition.joined_offset == -1
        again.begins = again.fetched = 2
        await again.look(3)
        assert world.partition.joined_offset == -1, "it may still come"
        await again.look(2)
        assert (world.partition.joined_offset, again.again) == (1, [])
        await again.hand(2, 2)
        world.partition.unconfirmed.clear()
        await world.in_sync(1, 2, seconds=60.0)
        await again.end()

    play(tmp_path, scenario, joined=False)
