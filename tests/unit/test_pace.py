"""Slots: who waits, who goes, and what the limits learn from the end of a call. Time is the loop's, and made up."""

from __future__ import annotations

import asyncio
import selectors
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from streams.cidaas.errors import CidaasError, Kind, failure
from streams.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Coroutine


class _Selector(selectors.SelectSelector):
    """Does not wait: it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everybody waits for something that never happens"
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.made_up = _Selector()
        super().__init__(self.made_up)

    def time(self) -> float:
        return self.made_up.now


def run(story: Coroutine[Any, Any, Any]) -> Any:
    loop = _Loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(story, 3600))
    finally:
        loop.close()


def pace(cap: int = 4, **more: Any) -> Pace:
    return Pace(cap, clock=asyncio.get_running_loop().time, **more)


async def call(pace: Pace, seconds: float = 0.1, error: CidaasError | None = None, lane: str = "") -> None:
    async with pace.slot(lane):
        await asyncio.sleep(seconds)
        if error is not None:
            raise error


def test_no_more_than_the_cap_and_all_of_it() -> None:
    async def story() -> None:
        line, now, most = pace(4), 0, 0

        async def one() -> None:
            nonlocal now, most
            async with line.slot():
                now += 1
                most = max(most, now)
                await asyncio.sleep(0.1)
                now -= 1

        await asyncio.gather(*(one() for _ in range(100)))
        assert most == 4
        assert asyncio.get_running_loop().time() < 4

    run(story())


def test_a_429_reaches_the_caller_and_holds_the_others_back() -> None:
    async def story() -> None:
        line, loop = pace(), asyncio.get_running_loop()
        with pytest.raises(CidaasError):
            await call(line, error=failure(Kind.RATE_LIMITED, "slow down", retry_after=7.0))
        await call(line)
        assert 7 <= loop.time() < 8

    run(story())


@pytest.mark.parametrize("probed", [True, False])
def test_while_cidaas_is_away_there_is_one_trial_a_second_at_most(probed: bool) -> None:
    """With a probe no real call is risked, and 50 waiting callers are on their way a second after the return."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        back_at, probes, calls = 30.0, list[float](), list[float]()

        async def probe() -> bool:
            probes.append(loop.time())
            return loop.time() >= back_at

        line = pace(8, probe=probe if probed else None)

        async def stubborn() -> float:
            while True:
                try:
                    async with line.slot():
                        calls.append(loop.time())
                        await asyncio.sleep(0.01)
                        if loop.time() < back_at:
                            raise failure(Kind.UNAVAILABLE, "refused")
                        return loop.time()
                except CidaasError:
                    pass

        done = await asyncio.gather(*(stubborn() for _ in range(50)))
        early = [at for at in calls if at < back_at]
        trials = probes if probed else [at for at in early if at > 1]
        assert min(b - a for a, b in pairwise(trials)) >= 0.999
        if probed:
            assert len(early) <= 10
            assert max(done) < back_at + 3
        else:
            assert max(done) < back_at + 20

    run(story())


def test_a_caller_that_is_cancelled_gives_its_place_back() -> None:
    async def story() -> None:
        line = pace(1)
        holder = asyncio.create_task(call(line, 1000))
        waiter = asyncio.create_task(call(line, 1000))
        await asyncio.sleep(1)
        waiter.cancel()
        holder.cancel()
        await asyncio.gather(holder, waiter, return_exceptions=True)
        await call(line)
        assert line.limits.in_flight == 0

    run(story())


def test_a_probe_that_is_cancelled_gives_its_place_back() -> None:
    async def story() -> None:
        line = pace(1, probe=lambda: asyncio.sleep(1000, False))
        for _ in range(3):
            with pytest.raises(CidaasError):
                await call(line, error=failure(Kind.UNCLEAR, "cut"))
        assert line.away
        waiter = asyncio.create_task(call(line))
        await asyncio.sleep(5)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        assert line.limits.in_flight == 0
        assert line.limits.wait(asyncio.get_running_loop().time()) <= 1

    run(story())


def test_a_missing_scope_for_deletes_does_not_hold_upserts() -> None:
    async def story() -> None:
        line, loop = pace(), asyncio.get_running_loop()
        with pytest.raises(CidaasError):
            await call(line, error=failure(Kind.FORBIDDEN, "no scope"), lane="deletes")
        await asyncio.gather(*(call(line, lane="upserts") for _ in range(10)))
        assert loop.time() < 5
        await call(line, lane="deletes")
        assert 60 <= loop.time() < 62

    run(story())


@pytest.mark.parametrize("kind", [Kind.BAD_REQUEST, Kind.REFUSED, Kind.TOO_LARGE, Kind.SERVER])
def test_what_is_not_the_lines_fault_slows_nobody(kind: Kind) -> None:
    async def story() -> None:
        line = pace()
        for _ in range(20):
            with pytest.raises(CidaasError):
                await call(line, 0.0, failure(kind, "no"))
        assert not line.away
        assert asyncio.get_running_loop().time() == 0

    run(story())
