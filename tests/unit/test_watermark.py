"""The brake judges a delete when all that stood in the source together with it is counted, in all partitions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from clock import Clock, run
from fakes import SETTINGS, Broker, Pipeline, owned_partition

from streams.brake import FIGURE, Brake, Verdict
from streams.commands import status
from streams.pipeline import Pipeline as Real
from streams.source.look import Look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.state import Partition

LIMITS = replace(SETTINGS.brake, floor=5, ceiling=500, share=0.05, window=600.0)
BRAKED = replace(SETTINGS, brake=LIMITS)
MOMENT = 1_700_000_000_000


class Halves:
    """A worker with two partitions; each has its half of a mass delete in one transaction, which is over the limit."""

    def __init__(self, path: Path) -> None:
        self.path, self.pipeline = path, Pipeline(BRAKED)
        self.brake = Brake(LIMITS, self.pipeline)  # type: ignore[arg-type]

    async def start(self) -> None:
        """Own both, joined so far without the delete."""
        broker = Broker(Clock())
        self.first, self.second = [
            await owned_partition(broker, self.path / str(number), number=number) for number in (0, 1)
        ]
        for partition in (self.first, self.second):
            self.pipeline.own(partition)

    async def decide(self, partition: Partition) -> None:
        """Join the four deletes of a partition: one less than the limit."""
        for offset in range(4):
            partition.decisions.add(offset, MOMENT, LIMITS.window)
        await self.brake.publish(partition)

    async def verdict(self, seconds: float = 5.0) -> Verdict:
        """What is said of the first partition's last delete when it is asked for again and again."""
        for _ in range(round(seconds * 4)):
            if (said := await self.brake.verdict(self.first, 3)) is not Verdict.WAIT:
                return said
            await asyncio.sleep(0.25)
        return Verdict.WAIT


def halves(path: Path, scenario: Callable[[Halves], Awaitable[None]]) -> None:
    """Play a scenario with both halves."""
    clock = Clock()

    async def played() -> None:
        both = Halves(path)
        await both.start()
        task = asyncio.create_task(both.brake.watermark.run())
        await scenario(both)
        assert not task.done()
        task.cancel()
        for partition in (both.first, both.second):
            await partition.close()

    run(played(), clock)


def test_the_first_half_of_a_mass_delete_waits_for_the_other_one(tmp_path: Path) -> None:
    """An initial load: one partition is live, the next one waits for its turn, with its half of the DELETE."""

    async def scenario(both: Halves) -> None:
        both.pipeline.behind_ones = {1}
        await both.decide(both.first)
        assert await both.verdict(300) is Verdict.WAIT
        assert both.brake.waits is not None and both.brake.waits["partitions"] == [1]
        assert both.brake.tripped is None
        await both.decide(both.second)
        both.pipeline.behind_ones = set()
        assert await both.verdict() is Verdict.PARK
        assert both.brake.waits is None

    halves(tmp_path, scenario)


def test_what_came_later_is_not_waited_for(tmp_path: Path) -> None:
    """Under load something waits at every moment; the deletes must go all the same."""

    async def scenario(both: Halves) -> None:
        await both.decide(both.first)
        await asyncio.sleep(5)
        both.pipeline.behind_ones = {0, 1}
        assert await both.verdict(0.25) is Verdict.GO

    halves(tmp_path, scenario)


def test_a_delete_that_came_behind_the_mark_waits_for_the_next_one(tmp_path: Path) -> None:
    async def scenario(both: Halves) -> None:
        both.pipeline.source_ends = {0: 3}
        await both.decide(both.first)
        assert await both.verdict(60) is Verdict.WAIT
        both.pipeline.source_ends = {0: 4}
        assert await both.verdict() is Verdict.GO

    halves(tmp_path, scenario)


def test_a_figure_of_another_worker_that_is_on_its_way_is_read_first(tmp_path: Path) -> None:
    """It is committed, so it stands in the topic; this worker's own reader may be late."""

    async def scenario(both: Halves) -> None:
        await both.decide(both.first)
        both.pipeline.control.reading.clear()
        assert await both.verdict(60) is Verdict.WAIT
        both.pipeline.control.reading.set()
        assert await both.verdict() is Verdict.GO

    halves(tmp_path, scenario)


def test_a_broker_that_does_not_answer_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(both: Halves) -> None:
        async def away(numbers: object) -> dict[int, int]:
            raise KafkaConnectionError

        with monkeypatch.context() as patch:
            patch.setattr(both.pipeline, "ends", away)
            await both.decide(both.first)
            assert await both.verdict(60) is Verdict.WAIT
        assert await both.verdict() is Verdict.GO

    halves(tmp_path, scenario)


def test_nothing_is_judged_by_the_few_users_that_have_been_read(tmp_path: Path) -> None:
    """5 % of those who are known so far: an ordinary day's deletes would hold all of them for nothing."""

    async def scenario(both: Halves) -> None:
        both.pipeline.behind_ones = {1}
        await both.decide(both.first)
        await both.decide(both.second)
        assert await both.verdict(30) is Verdict.WAIT and both.brake.tripped is None
        both.pipeline.behind_ones, both.second.known = set(), 400
        assert await both.verdict() is Verdict.GO

    halves(tmp_path, scenario)


def test_more_than_any_limit_is_held_at_once_and_without_anybody_asking(tmp_path: Path) -> None:
    """While deliveries are paused no delete is looked at, and the person who paused them has to hear of it."""

    async def scenario(both: Halves) -> None:
        both.pipeline.behind_ones = {1}
        for offset in range(501):
            both.first.decisions.add(offset, MOMENT, LIMITS.window)
        await both.brake.publish(both.first)
        assert both.brake.tripped is not None and both.brake.tripped["why"].startswith("501 deletes within 10 min")
        assert "until 2023-11-14 22:13 UTC" in both.brake.tripped["why"]

    halves(tmp_path, scenario)


def test_a_mass_delete_is_held_when_it_is_counted_without_anybody_asking(tmp_path: Path) -> None:
    async def scenario(both: Halves) -> None:
        await both.decide(both.first)
        await both.decide(both.second)
        await asyncio.sleep(5)
        assert both.brake.tripped is not None and both.brake.tripped["why"].startswith("8 deletes within 10 min")

    halves(tmp_path, scenario)


@pytest.mark.parametrize(
    ("what", "found"),
    [
        ({}, []),
        ({"counted": 6}, [0]),
        ({"told": False}, [0]),
        ({"partition": None}, [0]),
        ({"committed": 8}, [1]),
        ({"committed": None}, [1]),
    ],
)
def test_which_partitions_are_not_counted_up_to_a_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: dict[str, Any], found: list[int]
) -> None:
    """One of this worker is counted when its figure has been read back, one of another when the group says so."""

    async def scenario(both: Halves) -> None:
        both.first.decisions.upto = 5
        upto = 5 if what.get("told", True) else 4
        both.pipeline.control.state[f"{FIGURE}0"] = {"buckets": [], "upto": upto, "known": 0}
        runner = SimpleNamespace(partition=what.get("partition", both.first), counted=what.get("counted", 7))
        both.pipeline.runners = {0: runner}
        both.pipeline.delivery = SimpleNamespace(brake=both.brake)
        committed = what.get("committed", 9)

        async def group(*_: object) -> dict[TopicPartition, int]:
            return {} if committed is None else {TopicPartition(BRAKED.topics.identity, 1): committed}

        monkeypatch.setattr("streams.pipeline.kafka.group_offsets", group)
        assert await Real.uncounted(both.pipeline, {0: 7, 1: 9}) == found  # type: ignore[arg-type]
        assert await Real.uncounted(both.pipeline, {0: 7}) == [n for n in found if n == 0]  # type: ignore[arg-type]

    halves(tmp_path, scenario)


@pytest.mark.parametrize(("seconds", "shown"), [(59, False), (61, True)])
def test_status_says_what_deletes_wait_for(seconds: int, shown: bool) -> None:
    """A backlog of hours: else a person sees pending users, and a brake that does nothing."""
    told = [{"partitions": [7, 3], "since": 1_000.0 - seconds}, None, {"partitions": [3, 4], "since": 999.0}]
    found = status._uncounted([{"deletes_wait": waits} for waits in told])
    body: dict[str, Any] = dict.fromkeys(
        ("paused", "deletes_paused", "brake", "sweep", "foreign_subs", "slot_room", "heartbeat_age_seconds")
    )
    body |= {"users": {}, "faults": [], "at_unix_seconds": 1_000.0, "deletes_wait": found}
    said = [one for one in status._problems(BRAKED, Look(), [], body) if one["slug"] == "deletes_wait"]
    assert bool(said) is shown
    assert all("61 s" in one["what"] or "1 min" in one["what"] for one in said)
    assert all("partitions 3, 4, 7" in one["what"] for one in said)
    assert status._uncounted([{}, {"deletes_wait": None}]) is None
