"""F3: a worker is frozen for a minute with calls under way, another one takes its partitions over, and it thaws."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena
    from tests.integration.workers import Worker

pytestmark = pytest.mark.fault("F3")

FROZEN = 60.0  # seconds
PARTITIONS = 12


def test_frozen_and_thawed(arena: Arena) -> None:
    sync = arena.sync
    sync.launch("two")
    until(lambda: shared(arena), "both workers share the partitions", 60)
    ended = 0
    with arena.load() as load:
        for _ in arena.strikes(load):
            frozen, other = arena.rng.sample(sync.alive(), 2)
            arena.strike(lambda frozen=frozen: freeze(frozen))
            began = time.monotonic()
            try:
                # Its share is the other one's now, and cidaas gets newer states of these users.
                until(lambda other=other: other.status()["owned"] == PARTITIONS, "the other took everything over", 45)
                arena.recovered()
                until(lambda began=began: time.monotonic() >= began + FROZEN, "a minute is over", FROZEN + 5)
            finally:
                frozen.kill(signal.SIGCONT)
            until(lambda frozen=frozen: not frozen.alive or shared(arena), "it ends, or shares the work", 60)
            if not frozen.alive:  # O3: it found out that it had lost its partitions; a service manager starts it again
                assert frozen.code == 1, frozen.last_lines()
                ended += 1
                sync.launch(frozen.name)
                until(lambda: shared(arena), "both workers share the partitions", 60)
            arena.mark()
    arena.figure("thawed workers that ended (exit code 1)", ended)
    arena.judge()


def freeze(worker: Worker) -> None:
    """Stop the process at a moment when it has a call under way."""
    until(lambda: worker.status()["in_flight"] > 0, f"worker {worker.name} has a call under way")
    worker.kill(signal.SIGSTOP)


def shared(arena: Arena) -> bool:
    owned = [int(worker.status().get("owned", 0)) for worker in arena.sync.alive()]
    return len(owned) == 2 and sum(owned) == PARTITIONS and min(owned) > 0
