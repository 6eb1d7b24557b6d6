"""F7: cidaas is away for two minutes under load, then back: hardly a call meanwhile, and a quick drain afterwards."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena
    from tests.faults.kit.load import Load

pytestmark = pytest.mark.fault("F7")

RATE = 30.0  # changes a second
#: How cidaas is away, and for how many seconds.
AWAY = (("refused", 120), ("503", 30), ("drop", 20))


def started(arena: Arena) -> int:
    """Calls and probes that the worker has started."""
    return int(arena.sync.worker.status()["calls"])


def seen(arena: Arena) -> int:
    """Calls and probes that the stand-in has seen; tokens are asked for by calls."""
    calls = arena.sync.cidaas.counters()["calls"]
    return sum(sum(ends.values()) for endpoint, ends in calls.items() if endpoint != "token")


def away(arena: Arena, style: str, seconds: int) -> None:
    """Be away; once the worker has noticed it, at most one call a second leaves."""
    counted = started if style == "refused" else seen  # nobody sees what is refused but who was refused
    arena.strike(lambda: arena.sync.cidaas.away(seconds, style))
    began = time.monotonic()
    until(lambda: arena.sync.worker.status()["away"], "the worker has noticed it", 15)
    first, at = counted(arena), time.monotonic()
    until(lambda: time.monotonic() > began + seconds - 1, "the end is near", seconds)
    calls, lasted = counted(arena) - first, time.monotonic() - at
    arena.figure("calls a second while away", calls / lasted)
    assert calls <= lasted + 1, f"{calls} calls in {lasted:.0f} s ({style})"


def said(status: dict[str, Any]) -> str:
    """What holds the rest, for a message."""
    return str({name: status[name] for name in ("counts", "queued", "waiting", "in_flight", "outcomes", "trouble")})


def drained(arena: Arena, load: Load, arrivals: float) -> None:
    """From the return until a tenth is left: how many users leave for each change that comes?

    Not until all have: of what comes, about two seconds' worth is always pending, a delete waits that long by rule.
    """
    worker = arena.sync.worker
    until(arena.sync.cidaas.answers, "cidaas is back", 10)
    began, changes, backlog = time.monotonic(), load.count, worker.count("pending")
    assert backlog > 5 * arrivals, f"{backlog} users pending: too few to show a drain"
    few = max(backlog / 10, 2 * arrivals)
    until(lambda: worker.count("pending") <= few, lambda: f"{said(worker.status())} of {backlog} pending", 90)
    seconds = time.monotonic() - began
    factor = (backlog - few + load.count - changes) / seconds / arrivals
    arena.figure("users pending at the return", backlog)
    arena.figure("seconds until 90 % of them were sent", seconds)
    arena.figure("at least × the arrivals drained", factor)
    assert factor >= 3, f"{backlog} users in {seconds:.1f} s, {arrivals:.0f} changes a second"


def test_refused_for_2_minutes_503_and_dropped(arena: Arena) -> None:
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            style, seconds = AWAY[number]
            changes, began = load.count, time.monotonic()
            away(arena, style, seconds)
            drained(arena, load, (load.count - changes) / (time.monotonic() - began))
            arena.recovered(since=time.monotonic())
    arena.judge()
