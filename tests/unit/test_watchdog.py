"""The watchdog: a worker that only looks alive ends, and no other does."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import Broker, new_partition, owned_partition

from streams import watchdog
from streams.kafka import UnconfirmedError
from streams.pipeline import Pipeline
from streams.watchdog import COMMIT, JOIN, LOOP, TAKE_OVER, Sign, Watchdog, signs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.state import Partition

ROOT = Path(__file__).parents[2]


class Signs:
    """One sign of life, or what a test makes of it."""

    def __init__(self) -> None:
        self.mark: Any = 0
        self.error: Exception | None = None

    def __call__(self) -> Iterator[Sign]:
        if self.error is not None:
            raise self.error
        if self.mark is not None:
            yield Sign("it", self.mark, 300.0, "it has not moved")


def looks(dog: Watchdog, seconds: int) -> str:
    """Look for some seconds while the event loop turns."""
    for _ in range(seconds):
        dog._ticks += 1
        if why := dog.look(1.0):
            return why
    return ""


def test_what_stands_still_for_too_long_ends_the_worker() -> None:
    signs = Signs()
    dog = Watchdog(signs)
    assert looks(dog, 300) == ""
    signs.mark = 1
    assert looks(dog, 300) == ""
    assert looks(dog, 2) == "it has not moved for 301 s"


def test_what_is_not_wanted_any_more_begins_anew() -> None:
    """A partition that was joined, waits for hours, and then gets a record, has not stood still."""
    signs = Signs()
    dog = Watchdog(signs)
    looks(dog, 299)
    signs.mark = None
    looks(dog, 1)
    signs.mark = 0
    assert looks(dog, 300) == ""
    assert looks(dog, 2) != ""


def test_an_event_loop_that_stands_still_ends_the_worker() -> None:
    dog = Watchdog(Signs())
    said = [dog.look(1.0) for _ in range(int(LOOP) + 2)]
    assert said[:-1] == [""] * (int(LOOP) + 1)
    assert said[-1].startswith("the event loop has stood still") and said[-1].endswith("for 61 s")


def test_a_machine_that_slept_or_a_process_that_was_stopped_is_no_stall() -> None:
    """C5 looks after the partitions; ended as well, every frozen worker would cost a restart."""
    dog = Watchdog(Signs())
    assert [dog.look(3_600.0) for _ in range(int(LOOP) // 2)] == [""] * (int(LOOP) // 2)
    assert dog.look(3_600.0) == "" and dog.look(1.0) != ""


def test_a_moment_in_which_nothing_can_be_seen_neither_ends_the_worker_nor_the_watch() -> None:
    """The thread looks at what the event loop is about to take down."""
    signs = Signs()
    dog = Watchdog(signs)
    looks(dog, 290)
    signs.error = RuntimeError("dictionary changed size during iteration")
    assert looks(dog, 5) == ""
    signs.error = None
    assert looks(dog, 10) == "it has not moved for 301 s"


# -- what has to move ------------------------------------------------------------------------------------------------


class Worker:
    """What the watchdog looks at in a pipeline."""

    def __init__(self, partition: Partition | None) -> None:
        self.runner = SimpleNamespace(number=0, partition=partition, queue=asyncio.Queue(), acknowledged=0)
        self.runners = {0: self.runner}
        self.failed = False
        self.sent = 0
        self.waiting: int | None = 0
        self.committed: int | None = None

    def lag(self, partition: Partition) -> int | None:
        return self.waiting

    def partitions(self) -> list[Partition]:
        return [runner.partition for runner in self.runners.values() if runner.partition is not None]

    def noted_commit(self, number: int) -> int | None:
        return self.committed

    def names(self) -> dict[str, Sign]:
        return {sign.name: sign for sign in signs(self)}  # type: ignore[arg-type]


def test_a_worker_at_rest_has_nothing_that_must_move(tmp_path: Path) -> None:
    async def scenario() -> None:
        worker = Worker(await owned_partition(Broker(Clock()), tmp_path))
        assert worker.names() == {}
        worker.runner.acknowledged, worker.committed = 7, 7
        assert worker.names() == {}

    run(scenario())


def test_a_take_over_moves_with_every_record_that_is_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        broker = Broker(Clock())
        worker = Worker(None)
        assert worker.names()["take-over"].limit == TAKE_OVER
        partition = worker.runner.partition = new_partition(broker, tmp_path)
        marks = [worker.names()["take-over"].mark]
        await partition.snapshots.take_over("00" * 8, "w")
        marks.append(worker.names()["take-over"].mark)
        await partition.ledger.take_over("00" * 8, "w")
        marks.append(worker.names()["take-over"].mark)
        partition.known += 2_000
        marks.append(worker.names()["take-over"].mark)
        assert len(set(marks)) == 4
        partition.owned.set()
        assert worker.names() == {}

    run(scenario())


def test_records_that_wait_have_to_be_joined(tmp_path: Path) -> None:
    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        worker = Worker(partition)
        worker.waiting = 3
        first = worker.names()["join 0"]
        assert first.limit == JOIN and first == worker.names()["join 0"]
        partition.joined_offset += 1
        second = worker.names()["join 0"]
        worker.sent += 1  # a batch with many removals (M5)
        assert len({first.mark, second.mark, worker.names()["join 0"].mark}) == 3
        worker.waiting = None
        assert worker.names() == {}, "not known is not behind"
        worker.runner.queue.put_nowait("batch")
        assert "join 0" in worker.names()
        worker.runners[1] = SimpleNamespace(number=1, partition=None)
        assert list(worker.names()) == ["take-over"], "the batches of the other one may be in the way"
        del worker.runners[1]
        partition.closing = True
        assert worker.names() == {}

    run(scenario())


def test_partitions_that_take_turns_stand_still_together_only(tmp_path: Path) -> None:
    """C9: in a big initial load the last one waits for much longer than the limit, while others are read."""

    async def scenario() -> None:
        broker = Broker(Clock())
        worker = Worker(await owned_partition(broker, tmp_path))
        first, last = worker.runner.partition, await owned_partition(broker, tmp_path, number=1)
        assert first is not None
        worker.runners[1] = SimpleNamespace(number=1, partition=last, queue=asyncio.Queue(), acknowledged=0)
        worker.waiting, first.replay_end, last.replay_end = 3, 5, 5
        before = worker.names()["join 1"].mark
        first.joined_offset += 1
        assert worker.names()["join 1"].mark != before
        first.joined_offset = last.joined_offset = 4  # both are read to their end, and new records wait
        before = worker.names()["join 1"].mark
        first.joined_offset += 1
        assert worker.names()["join 1"].mark == before

    run(scenario())


def test_what_is_acknowledged_has_to_be_committed(tmp_path: Path) -> None:
    """A worker that goes on while nothing is committed reads all of that again at its next start."""

    async def scenario() -> None:
        worker = Worker(await owned_partition(Broker(Clock()), tmp_path))
        worker.runner.acknowledged, worker.committed = 12, 7
        sign = worker.names()["commit 0"]
        assert sign.limit == COMMIT and "up to 12, and 7 is committed" in sign.sentence
        worker.committed = 9
        assert worker.names()["commit 0"].mark != sign.mark

    run(scenario())


def test_a_worker_that_has_failed_has_to_end() -> None:
    """D4: the stop may hang before it reaches its own deadline."""
    worker = Worker(None)
    worker.failed = True
    assert list(worker.names()) == ["end"]


def test_a_control_record_that_is_never_confirmed_ends_with_a_sentence() -> None:
    """D4: a bare time-out would end the worker with an empty reason."""

    async def scenario() -> None:
        pipeline: Any = object.__new__(Pipeline)
        pipeline.settings = SimpleNamespace(topics=SimpleNamespace(identity="legacy.identity"), rehearsal=False)
        pipeline.producer = SimpleNamespace(send_and_wait=lambda *_, **__: asyncio.sleep(9_999))
        with pytest.raises(UnconfirmedError, match=r"legacy\.identity: .* not confirm a write within 120 s"):
            await pipeline.send(b"1", b"{}")

    run(scenario())


# -- a real process --------------------------------------------------------------------------------------------------

_PROGRAM = """
import asyncio, logging, sys, time
from streams import watchdog
logging.basicConfig(format="%(message)s")
watchdog.ROUND, watchdog.LOOP, watchdog.SAY = 0.05, 0.6, 0.3

async def main():
    watchdog.Watchdog(lambda: []).start()
    print("ready", flush=True)
    await asyncio.sleep(0.2)
    if "log" in sys.argv:
        logging.root.handlers[0].acquire()
    if "stall" in sys.argv:
        time.sleep(60)
    await asyncio.sleep(1.5)

asyncio.run(main())
"""


def _start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _PROGRAM, *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_stalled_process_says_where_it_stands_and_ends_with_1() -> None:
    process = _start("stall")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = said.splitlines()
    assert "the event loop has stood still in main (<string>:" in line and line.endswith("a new start is safe")


def test_a_process_that_is_stuck_in_its_log_ends_with_1() -> None:
    process = _start("stall", "log")
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (1, "")


def test_a_process_that_was_stopped_for_a_while_goes_on() -> None:
    process = _start()
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.0)
    process.send_signal(signal.SIGCONT)
    assert process.wait(30) == 0


def test_limits_leave_room_for_a_pause_of_the_broker() -> None:
    """F6: under 60 s no worker exits, and D4's own deadline speaks first."""
    from streams.kafka import SEND_DEADLINE

    assert min(TAKE_OVER, COMMIT, JOIN) > SEND_DEADLINE > 60 and watchdog.LOOP >= 60
