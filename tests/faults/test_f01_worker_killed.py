"""F1: the worker dies by SIGKILL, in bursts and now and then, while changes flow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F1")


@pytest.mark.smoke
def test_now_and_then(arena: Arena) -> None:
    with arena.load() as load:
        for _ in arena.strikes(load):
            arena.strike(arena.sync.worker.kill)
            began = time.monotonic()
            arena.sync.launch()
            arena.recovered(since=began)
    arena.judge()


def test_in_bursts(arena: Arena) -> None:
    """Killed again and again before it has even taken its partitions over."""
    with arena.load() as load:
        for _ in arena.strikes(load):
            arena.strike(arena.sync.worker.kill)
            for _ in range(8):
                worker = arena.sync.launch()
                load.more(arena.rng.randint(6, 60))  # 0.1 to 1 s of the load
                worker.kill()
            began = time.monotonic()
            arena.sync.launch()
            arena.recovered(since=began)
    arena.judge()
