"""F2: two and three workers are stopped and started again in turn: a rebalance about every 15 s, under load."""

from __future__ import annotations

import itertools
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.kit.pauses import pauses
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F2")

PARTITIONS = 12
#: Changes between two rebalances: about 15 s of the load.
APART = (800, 950)
LONGEST = 10.0  # seconds


@pytest.mark.parametrize("count", [2, 3], ids=["two workers", "three workers"])
def test_stopped_in_turn(arena: Arena, count: int) -> None:
    sync, names = arena.sync, ["one", "two", "three"][:count]
    for name in names[1:]:
        sync.launch(name)
    _shared(arena, count)
    began = time.time()
    with arena.load() as load:
        turn = itertools.cycle(names)
        for _ in arena.strikes(load, APART):
            leaving = sync.workers[next(turn)]
            struck = time.monotonic()
            arena.strike(lambda worker=leaving: worker.kill(signal.SIGTERM))
            assert leaving.wait(25) == 0, leaving.last_lines()
            arena.recovered(since=struck)
            load.more(arena.rng.randint(*APART))
            struck = time.monotonic()
            sync.launch(leaving.name)
            _shared(arena, count)
            arena.recovered(since=struck)
        load.more(300)
        ended = time.time()
    everywhere, slowest = pauses(sync.cidaas.url, began, ended, PARTITIONS)
    arena.figure("longest pause, s", everywhere)
    arena.figure("longest pause of one partition, s", slowest)
    assert slowest <= LONGEST, f"{slowest:.1f} s without a confirmed user in one partition"
    arena.judge()


def _shared(arena: Arena, count: int) -> None:
    """Wait until so many workers run and share all partitions."""

    def shares() -> list[int]:
        owned = [int(worker.status().get("owned", 0)) for worker in arena.sync.alive()]
        return owned if len(owned) == count and sum(owned) == PARTITIONS and min(owned) > 0 else []

    until(shares, f"{count} workers share the partitions", 60)
