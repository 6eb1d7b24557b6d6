"""F4: Kafka Connect dies by SIGKILL: inside the initial snapshot, in the middle of transactions, during a COPY."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.kit import load as loads
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.stack import Stack
    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F4")


def restarted(stack: Stack) -> None:
    """Start Connect again after it was killed; its connector comes back by itself."""
    stack.start("connect")


@pytest.mark.smoke
def test_in_the_middle_of_transactions(arena: Arena) -> None:
    with arena.load() as load:
        for _ in arena.strikes(load):
            with loads.held_open(arena.sync.legacy.url):
                arena.strike(lambda: arena.stack.kill("connect"))
                load.more(100)  # committed while nobody reads the WAL
            restarted(arena.stack)
            arena.recovered()
    arena.judge()


def test_during_a_copy_of_5000_rows_and_a_transaction_over_20000(arena: Arena) -> None:
    for large in (loads.copy_rows, loads.large_transaction):
        with arena.load(rate=20) as load:
            running = threading.Thread(target=large, args=(arena.sync.legacy.url,))
            running.start()
            running.join()
            # Committed a moment ago: the connector has begun to hand its rows on, and has not ended.
            arena.strike(lambda: arena.stack.kill("connect"))
            load.more(20)
            restarted(arena.stack)
            arena.recovered()
    arena.judge(180)


def test_in_the_initial_snapshot(ruins: Callable[..., Arena]) -> None:
    """It begins anew by itself; who was deleted between the two runs is found by a sweep, by itself, too."""
    arena = ruins(examples=300, plain=range(2_001, 42_001), capture=False)
    gone = list(range(2_001, 2_011))
    with arena.load(rate=20, latency=0) as load:
        for strike in range(3):
            if strike == 0:
                threading.Thread(target=_register, args=(arena.stack,), daemon=True).start()
            until(lambda: _rows_read(arena) > 500, "rows of the initial snapshot joined", 60)
            arena.strike(lambda: arena.stack.kill("connect"))
            assert "COMPLETED" not in _notified(arena), "the initial snapshot was over before the strike"
            arena.sync.legacy.delete(*gone[strike * 3 : strike * 3 + 3])
            load.more(20)
            began = time.monotonic()
            restarted(arena.stack)
            if strike < 2:
                _begun(arena, strike + 2)
        arena.recovered(since=began, seconds=120)
    arena.judge(180)


def _register(stack: Stack) -> None:
    with contextlib.suppress(Exception):  # it waits for a task that is being killed; it shows in the notifications
        stack.capture()


def _begun(arena: Arena, times: int) -> None:
    until(lambda: _notified(arena).count("STARTED") >= times, f"the initial snapshot began {times} times", 60)


def _rows_read(arena: Arena) -> int:
    return sum(sum(worker.status().get("rows", {}).values()) for worker in arena.sync.alive())


def _notified(arena: Arena) -> list[str]:
    return [note["type"] for note in arena.sync.worker.status()["notifications"]]
