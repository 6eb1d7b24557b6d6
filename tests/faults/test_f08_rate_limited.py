"""F8: cidaas takes so many calls a second, then half of that, then the old number again, and says 429 to the rest."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.faults.conftest import ADDRESS
from tests.faults.kit.load import large_transaction
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F8")

#: Calls a second, and how long at most. With two users a call the load alone is more than that.
LIMITS = ((10.0, 30.0), (5.0, 45.0), (10.0, 60.0))
RATE = 30.0  # changes a second
WINDOW = 5.0  # seconds over which a rate is measured


class Seen(NamedTuple):
    """What the stand-in has counted until a moment, or between two."""

    at: float
    passed: int
    refused: int


def look(arena: Arena) -> Seen:
    calls = arena.calls()
    refused = calls["429"]
    return Seen(time.monotonic(), calls.total() - refused, refused)


def limited(arena: Arena, rate: float, retry_after: float | None) -> int:
    """Set this limit; the fault's number."""
    keys = {} if retry_after is None else {"retry_after": retry_after}
    fault = 0

    def hit() -> None:
        nonlocal fault
        fault = arena.sync.cidaas.fault("*", "rate-limit", rate=rate, **keys)

    arena.strike(hit)
    return fault


def followed(arena: Arena, rate: float, seconds: float, *, to_the_end: bool) -> Seen:
    """Watch for so long that 90 % of the limit is used; what passed meanwhile, and what was refused."""
    looks = [look(arena)]

    def best() -> float:
        looks.append(look(arena))
        last = looks[-1]
        first = next(each for each in reversed(looks) if last.at - each.at >= WINDOW or each is looks[0])
        return (last.passed - first.passed) / max(last.at - first.at, WINDOW)

    reached = 0.0

    def done() -> bool:
        nonlocal reached
        if best() >= 0.9 * rate and not reached:
            reached = looks[-1].at - looks[0].at
        over = looks[-1].at - looks[0].at >= seconds
        return over or (bool(reached) and not to_the_end)

    until(done, "the limit is followed", seconds + 5)
    assert reached, f"90 % of {rate} calls a second not within {seconds} s"
    arena.figure(f"seconds to 90 % of {rate:.0f} calls/s", reached)
    return Seen(*(last - first for first, last in zip(looks[0], looks[-1], strict=True)))


def wasted(arena: Arena, when: str, seen: list[Seen]) -> None:
    """Publish the share of calls that were refused, and hold it to 5 %."""
    refused = sum(each.refused for each in seen)
    calls = refused + sum(each.passed for each in seen)
    arena.figure(f"% of calls wasted {when}", 100 * refused / calls)
    assert refused <= 0.05 * calls, f"{refused} of {calls} calls were refused {when}"


def halved_and_doubled(arena: Arena, retry_after: float | None) -> None:
    sync = arena.sync
    sync.ensure(delivery__temporary_email=ADDRESS, delivery__window="2")
    with arena.load(rate=RATE, latency=0.05) as load:
        large_transaction(sync.legacy.url, 3_000)  # from the first moment on there is more to do than the limit lets
        former, seen = 0, list[Seen]()
        for number in arena.strikes(load):
            rate, seconds = LIMITS[number]
            fault = limited(arena, rate, retry_after)
            if former:
                sync.cidaas.end_fault(former)
            former = fault
            seen.append(followed(arena, rate, seconds, to_the_end=number < len(LIMITS) - 1))
            assert sync.cidaas.fired(fault) or number == len(LIMITS) - 1
        assert sync.worker.count("pending") > 100, "the load was not more than the limit"
        wasted(arena, "in the minute after the limit was halved", seen[1:2])
        wasted(arena, "in all, the discovery of the limit included", seen)
        sync.cidaas.cure()
        sync.ensure(delivery__temporary_email=ADDRESS)
        arena.recovered(since=time.monotonic())
    arena.judge()


def test_halved_and_doubled_without_retry_after(arena: Arena) -> None:
    halved_and_doubled(arena, None)


def test_halved_and_doubled_with_retry_after(arena: Arena) -> None:
    halved_and_doubled(arena, 1)
