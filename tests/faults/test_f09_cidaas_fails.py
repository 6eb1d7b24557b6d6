"""F9: cidaas fails with 5xx, is slow, answers too late, resets in the middle of an answer, answers half."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conftest import ADDRESS
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena
    from tests.faults.kit.load import Load

pytestmark = pytest.mark.fault("F9")

RATE = 30.0  # changes a second

Faults = list[tuple[str, dict[str, Any]]]
#: cidaas.timeout of the tests is 3 s: these answers come in time, or when nobody listens any more.
SLOW, LATE = 1.5, 4.0


def failing(share: float) -> Faults:
    """5xx of every kind, for this share of all calls; the gateway's 503 comes after the call was applied."""
    each = {"probability": share / 3}
    return [
        ("status", {"status": 500, **each}),
        ("status", {"status": 502, **each}),
        ("status", {"status": 503, "when": "after", **each}),
    ]


def struck(arena: Arena, load: Load, faults: Faults, *, endpoint: str = "*", changes: int = 150) -> None:
    """Let these faults meet at least one call, and a while of the load; end them, and wait until all is well."""
    cidaas = arena.sync.cidaas
    numbers: list[int] = []
    arena.strike(lambda: numbers.extend(cidaas.fault(endpoint, action, **keys) for action, keys in faults))
    load.more(changes)
    until(lambda: any(cidaas.fired(number) for number in numbers), "a call that met the fault", 90)
    for number in numbers:
        cidaas.end_fault(number)
    arena.recovered(since=time.monotonic())


@pytest.mark.smoke
def test_5xx_at_10_1_and_50_percent(arena: Arena) -> None:
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            struck(arena, load, failing((0.10, 0.01, 0.50)[number]))
    arena.judge()


def test_calls_at_10_percent_failures(arena: Arena) -> None:
    """The same changes twice, without failures and with: how many calls more?

    Five users a call: of few large calls the number says little.
    """
    arena.sync.ensure(delivery__temporary_email=ADDRESS, delivery__window="5")
    made = []
    for share in (0.0, 0.10):
        arena.sync.cidaas.cure()
        before = arena.calls().total()
        with arena.load(rate=RATE) as load:
            if share:
                arena.strike(lambda: [arena.sync.cidaas.fault("*", name, **keys) for name, keys in failing(0.10)])
            load.more(900)
        arena.sync.assert_equal(90)
        made.append(arena.calls().total() - before)
    ends = arena.calls()
    failed = sum(ends[status] for status in ("500", "502", "503"))
    assert failed > 0.05 * made[1], f"hardly a call failed: {dict(ends)}"
    arena.figure("calls at 10 % failures, ×", made[1] / made[0])
    assert made[1] < 1.2 * made[0], made
    arena.judge()


def test_slow_answers_and_time_outs(arena: Arena) -> None:
    """Slow but in time; applied, and answered too late; answered too late and applied by then: a late writer (C4)."""
    late = {"seconds": LATE, "probability": 0.3}
    delays = ({"seconds": SLOW, "jitter": 1.0}, late | {"when": "after"}, late | {"when": "before"})
    with arena.load(rate=RATE, latency=0.0) as load:  # a call takes the first delay that fires
        for number in arena.strikes(load):
            struck(arena, load, [("latency", delays[number])], endpoint="bulk")
    arena.judge()


def test_connections_that_break(arena: Arena) -> None:
    """Before the call was applied, after it by a reset, and in the middle of the answer."""
    breaks = ("drop-before", "drop-after", "partial-answer")
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            struck(arena, load, [(breaks[number], {"reset": True, "probability": 0.3})], endpoint="bulk")
            struck(arena, load, [(breaks[number], {"probability": 0.3})], endpoint="purge", changes=40)
    arena.judge()
