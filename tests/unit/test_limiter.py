"""The limits find what the tenant bears: simulated against the limiters that servers have."""

from __future__ import annotations

import heapq
import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.backoff import full_jitter
from streams.limiter import Call, Limiter

if TYPE_CHECKING:
    from collections.abc import Callable

    Limit = Callable[[float], float]


class Bucket:
    """A token bucket: so many calls at once, refilled evenly."""

    def __init__(self, limit: Limit, burst: float) -> None:
        self.limit, self.burst, self.level, self.at = limit, burst, burst, 0.0

    def take(self, now: float) -> float | None:
        """None: let through; else seconds until the next one is."""
        limit = self.limit(now)
        self.level = min(self.burst, self.level + (now - self.at) * limit)
        self.at = now
        if self.level < 1:
            return (1 - self.level) / limit
        self.level -= 1
        return None


class Window:
    """So many calls in each window of the clock."""

    def __init__(self, limit: Limit, length: float) -> None:
        self.limit, self.length, self.window, self.count = limit, length, -1, 0

    def take(self, now: float) -> float | None:
        window = int(now / self.length)
        if window != self.window:
            self.window, self.count = window, 0
        if self.count >= self.limit(now) * self.length:
            return (window + 1) * self.length - now
        self.count += 1
        return None


class Sliding:
    """So many calls in any second."""

    def __init__(self, limit: Limit) -> None:
        self.limit, self.calls = limit, list[float]()

    def take(self, now: float) -> float | None:
        self.calls = [at for at in self.calls if at > now - 1]
        if len(self.calls) >= self.limit(now):
            return self.calls[0] + 1 - now
        self.calls.append(now)
        return None


class Tried(NamedTuple):
    at: float
    passed: bool
    in_flight: int


def simulate(server: Bucket | Window | Sliding, until: float, *, latency: float, header: bool) -> list[Tried]:
    """Call as often as the limiter lets us, always with work to do."""
    rng, limiter = random.Random(1), Limiter(cap=8)
    now, log = 0.0, list[Tried]()
    ends: list[tuple[float, int, Call, float | None]] = []
    while now < until:
        if (wait := limiter.wait(now)) == 0:
            call = limiter.start(now)
            refused = server.take(now + latency / 2)
            heapq.heappush(ends, (now + latency * rng.uniform(0.8, 1.2), len(log), call, refused))
            log.append(Tried(now, refused is None, limiter.in_flight))
            continue
        now = max(min(now + wait, ends[0][0] if ends else math.inf), now + 1e-9)
        while ends and ends[0][0] <= now:
            _, _, call, refused = heapq.heappop(ends)
            if refused is None:
                limiter.ok(call, now)
            else:
                limiter.rate_limited(call, now, math.ceil(refused) if header else None)
    return log


def passed(log: list[Tried], start: float, end: float) -> float:
    """Calls let through per second."""
    return sum(tried.passed for tried in log if start <= tried.at < end) / (end - start)


def wasted(log: list[Tried], start: float, end: float) -> float:
    chosen = [tried.passed for tried in log if start <= tried.at < end]
    return 1 - sum(chosen) / len(chosen)


@pytest.mark.parametrize("header", [False, True], ids=["bare", "retry-after"])
@pytest.mark.parametrize("latency", [0.05, 0.3])
@pytest.mark.parametrize("limit", [5, 10, 20])
@pytest.mark.parametrize("kind", ["strict", "bucket", "burst", "window", "sliding"])
def test_the_limit_is_found_and_followed(kind: str, limit: float, latency: float, header: bool) -> None:
    """The limit halves after 200 s and doubles after 400 s."""

    def bound(now: float) -> float:
        return limit / 2 if 200 <= now < 400 else limit

    server = {
        "strict": lambda: Bucket(bound, 1),
        "bucket": lambda: Bucket(bound, 5),
        "burst": lambda: Bucket(bound, 20),
        "window": lambda: Window(bound, 1.0),
        "sliding": lambda: Sliding(bound),
    }[kind]()
    log = simulate(server, 600, latency=latency, header=header)
    assert passed(log, 100, 200) >= 0.65 * limit
    assert wasted(log, 100, 200) <= 0.03
    assert wasted(log, 200, 260) <= 0.05, "the limit has halved"
    assert max(passed(log, at, at + 5) for at in range(400, 460)) >= 0.9 * limit, "the limit has doubled"
    assert max(tried.in_flight for tried in log) <= 8


@pytest.mark.parametrize("length", [10.0, 60.0])
def test_a_quota_per_minute_with_retry_after_is_spread(length: float) -> None:
    log = simulate(Window(lambda _: 10.0, length), 600, latency=0.1, header=True)
    assert wasted(log, 120, 600) <= 0.02
    assert passed(log, 120, 600) >= 8


def test_without_a_429_only_the_cap_limits() -> None:
    log = simulate(Bucket(lambda _: 1e9, 1e9), 60, latency=0.1, header=False)
    assert passed(log, 10, 60) >= 0.95 * 8 / 0.1
    assert log[0].in_flight == 1, "it begins with one call"


def busy(limiter: Limiter, now: float, lane: str = "") -> Call:
    """Start the next call as soon as it may start."""
    assert limiter.wait(now, lane) == 0
    return limiter.start(now, lane)


def test_retry_after_wins() -> None:
    limiter = Limiter(cap=4)
    limiter.rate_limited(busy(limiter, 10.0), 10.5, 30.0)
    assert limiter.wait(11.0) == pytest.approx(29.5)
    assert limiter.wait(40.5) == 0


def test_refused_calls_that_were_under_way_cut_once() -> None:
    limiter = Limiter(cap=8, concurrency=8)
    calls = [busy(limiter, 10.0) for _ in range(8)]
    limiter.rate_limited(calls[0], 10.2)
    rate = limiter.rate
    for call in calls[1:]:
        limiter.rate_limited(call, 10.3)
    assert limiter.rate == rate
    assert limiter.limited == 8


def test_retry_after_of_a_late_answer_still_counts() -> None:
    limiter = Limiter(cap=8, concurrency=8)
    first, second = busy(limiter, 10.0), busy(limiter, 10.0)
    limiter.rate_limited(first, 10.2, 1.0)
    limiter.rate_limited(second, 10.3, 20.0)
    assert limiter.wait(10.3) == pytest.approx(20.0)


def test_refused_again_and_again_it_asks_less_and_less_but_keeps_asking() -> None:
    limiter, now, waits = Limiter(cap=4), 0.0, []
    for _ in range(12):
        wait = limiter.wait(now)
        now += wait
        waits.append(wait)
        limiter.rate_limited(busy(limiter, now), now + 0.1)
        now += 0.1
    assert waits[2:8] == sorted(waits[2:8])
    assert waits[-1] <= 60


# -- breaker ------------------------------------------------------------------------------------------------------


def test_three_failures_in_a_row_and_one_trial_a_second() -> None:
    limiter, now = Limiter(cap=8, concurrency=8), 0.0
    calls = [busy(limiter, now) for _ in range(8)]
    for call in calls:
        limiter.failed(call, now)
    starts = []
    while now < 10:
        if limiter.wait(now) == 0:
            trial = limiter.start(now)
            assert trial.trial
            starts.append(now)
            assert limiter.wait(now) == math.inf, "one trial at a time"
            limiter.ended(trial, now)  # a cheap probe that found nobody
        now += 0.01
    assert 9 <= len(starts) <= 10
    assert min(later - sooner for sooner, later in pairwise(starts)) >= 0.999


def test_trials_with_real_calls_get_rarer() -> None:
    limiter, now, starts = Limiter(cap=8), 0.0, []
    while now < 60:
        if limiter.wait(now) == 0:
            starts.append(now)
            limiter.failed(limiter.start(now), now)
        now += 0.01
    gaps = [later - sooner for sooner, later in pairwise(starts[3:])]
    assert gaps == sorted(gaps)
    assert max(gaps) <= 15.1


def test_one_answer_ends_the_outage() -> None:
    limiter = Limiter(cap=8)
    for now in (0.0, 1.0, 2.0):
        limiter.failed(busy(limiter, now), now)
    assert limiter.away
    trial = busy(limiter, 4.0)
    limiter.ok(trial, 4.1)
    assert not limiter.away
    assert limiter.wait(4.1) == 0


def test_a_lonely_failure_does_not_close_the_line() -> None:
    limiter = Limiter(cap=8)
    limiter.failed(busy(limiter, 0.0), 0.1)
    assert limiter.wait(0.1) == 0


def test_a_lane_that_needs_a_person_is_tried_once_a_minute_and_others_go_on() -> None:
    limiter = Limiter(cap=8, concurrency=8)
    limiter.blocked(busy(limiter, 0.0, "deletes"), 0.0)
    assert limiter.wait(0.0, "upserts") == 0
    assert limiter.wait(0.0, "deletes") == 60
    trial = busy(limiter, 60.0, "deletes")
    assert limiter.wait(60.0, "deletes") == 60, "one call, not all that wait"
    limiter.ok(trial, 60.5)
    assert limiter.wait(60.5, "deletes") == 0


EVENTS = st.sampled_from(["ok", "429", "429+", "failed", "answered", "ended", "blocked", "idle"])


@given(st.lists(st.tuples(EVENTS, st.floats(0, 5)), max_size=60), st.integers(1, 8))
def test_whatever_happens_the_cap_holds_and_it_never_stops_for_good(events: list[tuple[str, float]], cap: int) -> None:
    limiter, now, flying = Limiter(cap), 0.0, list[Call]()
    for event, gap in events:
        now += gap
        while limiter.wait(now) == 0:
            flying.append(limiter.start(now))
            assert len(flying) <= cap
        if not flying or event == "idle":
            continue
        call = flying.pop(0)
        match event:
            case "ok":
                limiter.ok(call, now)
            case "429":
                limiter.rate_limited(call, now)
            case "429+":
                limiter.rate_limited(call, now, gap)
            case "failed":
                limiter.failed(call, now)
            case "answered":
                limiter.answered(call)
            case "ended":
                limiter.ended(call, now)
            case _:
                limiter.blocked(call, now)
        assert limiter.rate > 0
    for call in flying:
        limiter.ended(call, now)
    assert limiter.in_flight == 0
    assert limiter.wait(now) <= 60.001


# -- backoff ------------------------------------------------------------------------------------------------------


@given(st.integers(-3, 10_000), st.floats(0, 1))
def test_full_jitter_stays_within_its_bounds(attempt: int, luck: float) -> None:
    assert 0 <= full_jitter(attempt, base=0.5, cap=60, rng=lambda: luck) <= 60


def test_full_jitter_doubles_and_uses_the_whole_range() -> None:
    assert [full_jitter(n, base=1, cap=10, rng=lambda: 1.0) for n in range(6)] == [1, 2, 4, 8, 10, 10]
    assert full_jitter(3, rng=lambda: 0.0) == 0
