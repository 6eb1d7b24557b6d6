"""Which partitions the worker reads while some are read from their beginning (C9)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from clock import Clock, run
from faust.types import TP

from streams.transport import AT_A_TIME, BatchConsumer, driver

TOPIC = "legacy.identity"


class Reads:
    """A consumer whose pipeline reads some partitions from their beginning; notes what Faust is asked for."""

    def __init__(self, ends: dict[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends, self.asked, self.clock = ends, list[tuple[set[int], float]](), Clock()
        with patch("faust.transport.drivers.aiokafka.Consumer.__init__", lambda *_: None):
            monkeypatch.setattr(BatchConsumer, "batch_topic", TOPIC)
            self.consumer: Any = BatchConsumer()
        self.consumer.app = SimpleNamespace(pipeline=SimpleNamespace(replays=lambda: self.ends))
        monkeypatch.setattr(driver.Consumer, "_getmany", self._faust, raising=False)

    async def _faust(self, active_partitions: set[TP], timeout: float) -> dict[TP, list[Any]]:
        self.asked.append(({tp.partition for tp in active_partitions}, timeout))
        return {}

    def read(self, *active: int) -> set[int] | None:
        """Ask once, while these are not paused; which of them Faust is asked for, None when it is not asked."""
        self.asked.clear()
        tps = {TP(TOPIC, number) for number in active}
        assert run(self.consumer._getmany(tps, 1.0), self.clock) == {}
        return self.asked[0][0] if self.asked else None

    def handed_on(self, number: int, offset: int) -> None:
        """The last record that was handed on of a partition."""
        self.consumer._read_offset[TP(TOPIC, number)] = offset


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(dict.fromkeys(range(6), 1000), monkeypatch)


def test_a_few_at_a_time_are_read_and_what_is_live_always(reads: Reads) -> None:
    assert reads.read(*range(8)) == {*range(AT_A_TIME), 6, 7}
    assert reads.asked[0][1] < 0.1, "one that goes on must not wait for the time-out of the others"


def test_the_next_one_begins_when_one_has_been_read_not_when_it_has_been_joined(reads: Reads) -> None:
    reads.handed_on(0, 998)
    assert reads.read(*range(6)) == {*range(AT_A_TIME)}
    reads.handed_on(0, 999)
    assert reads.read(*range(6)) == {*range(AT_A_TIME + 1)}, "what comes behind its end is live"


def test_those_whose_turn_it_is_are_waited_for_while_faust_has_paused_them(reads: Reads) -> None:
    before = reads.clock.now
    assert reads.read(*range(AT_A_TIME, 6)) is None, "an empty set would be everything"
    assert reads.clock.now > before, "a loop that does not wait takes the whole core"


def test_nothing_is_changed_while_nothing_is_read_from_its_beginning(reads: Reads) -> None:
    reads.ends = {}
    assert reads.read(*range(6)) == {*range(6)} and reads.asked[0][1] == 1.0


def test_a_partition_that_is_read_again_has_its_turn_again(reads: Reads) -> None:
    """D2: Faust seeks back after a rebalance."""
    for number in range(6):
        reads.handed_on(number, 999)
    assert reads.read(*range(6)) == {*range(6)}
    reads.handed_on(0, 0)
    assert reads.read(*range(6)) == {*range(6)}
    reads.ends = dict.fromkeys(range(6), 2_000)
    assert reads.read(*range(6)) == {*range(AT_A_TIME)}


def test_faust_does_not_call_a_partition_stuck_that_waits_for_its_turn(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would log an error for each of them, every few seconds, from the fifteenth minute on."""
    looked: list[int] = []
    monkeypatch.setattr(driver.Consumer, "verify_event_path", lambda _, now, tp: looked.append(tp.partition))
    for number in range(8):
        reads.consumer.verify_event_path(0.0, TP(TOPIC, number))
    assert looked == [*range(AT_A_TIME), 6, 7]
