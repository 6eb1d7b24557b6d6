"""F18: two workers whose clocks are wrong by up to five minutes, each its own way, and jump while they run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena
    from tests.integration.workers import Worker

pytestmark = pytest.mark.fault("F18")

WRONG = 300.0  # seconds
PARTITIONS = 12
CLOCK = Path(__file__).parent / "kit" / "clock"


def test_wrong_and_jumping(arena: Arena) -> None:
    """At each strike the clocks change sides and one worker is killed: the other goes on ten minutes away from it."""
    sync = arena.sync
    sync.stop()
    for name in ("one", "two"):
        offset(arena, name).write_text("0")
        launch(arena, name)
    until(lambda: shared(arena), "both workers share the partitions", 60)
    with arena.load() as load:
        side = arena.rng.choice((1, -1))
        for _ in arena.strikes(load):
            side = -side
            before = {worker.name: (time.monotonic(), uptime(worker)) for worker in sync.alive()}
            arena.strike(lambda side=side: jump(arena, side))
            for worker in sync.alive():
                was = before[worker.name]
                until(lambda worker=worker, was=was: jumped(worker, *was), f"the clock of {worker.name} jumps")
            arena.mark()
            victim = arena.rng.choice(sync.alive())
            victim.kill()
            arena.recovered()
            load.more(60)
            launch(arena, victim.name)
            until(lambda: shared(arena), "both workers share the partitions", 60)
    arena.judge()


def offset(arena: Arena, name: str) -> Path:
    return arena.sync.folder / f"clock-{name}"


def jump(arena: Arena, side: int) -> None:
    for name, seconds in (("one", side * WRONG), ("two", -side * WRONG)):
        file = offset(arena, name)
        part = file.with_suffix(".part")
        part.write_text(str(seconds))
        part.rename(file)


def launch(arena: Arena, name: str) -> Worker:
    return arena.sync.launch(name, PYTHONPATH=str(CLOCK), FAULT_CLOCK=str(offset(arena, name)))


def jumped(worker: Worker, at: float, before: float) -> bool:
    """Whether the worker's clock has moved by minutes more than time went by."""
    return abs(uptime(worker) - before - (time.monotonic() - at)) > 0.9 * WRONG


def uptime(worker: Worker) -> float:
    """What the worker takes for its age: it says what its clock says."""
    return float(worker.status()["uptime"])


def shared(arena: Arena) -> bool:
    owned = [int(worker.status().get("owned", 0)) for worker in arena.sync.alive()]
    return len(owned) == 2 and sum(owned) == PARTITIONS and min(owned) > 0
