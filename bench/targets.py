"""The targets of the figures (pure): what must hold, what is aimed at, and what was measured.

Ratios are medians of the ratios within each round, absolute figures the best of the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from bench.contenders import CONCURRENCY, OURS, PAIR, WINDOW
from bench.figures import Row, number, of, ratio, rows, values

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.results import Results


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, in words, and whether it is enough; `aim` is None where there is none.

    `workers`: how many of ours it takes for what must hold.
    """

    text: str
    must: bool
    aim: bool | None
    workers: int = 1


@dataclass(frozen=True, slots=True)
class Target:
    """One target; `key` is that of its reason in bench/reasons.toml. `judge` returns None before it was measured."""

    key: str
    figure: str
    must: str
    aim: str
    judge: Callable[[Results], Measured | None]


def _against(peer: str, results: Results, *, must: float = 0.0, aim: float | None = None) -> Measured | None:
    """Users a second from process start over a peer's, of one worker and of two: peers are given both cores."""
    runs = rows(results, "deliver", latency_ms=0)
    if (one := ratio(runs, peer, "per_second")) is None:
        return None
    two = ratio(runs, peer, "per_second", PAIR)
    text = f"{one} ×" + (f"; two workers {two} ×" if two is not None else "")
    most = max(one.median, two.median if two is not None else 0.0)
    workers = 1 if one.median >= (must or aim or 0.0) else 2
    return Measured(text, most >= must, None if aim is None else most >= aim, workers)


def _slow_target(results: Results) -> Measured | None:
    runs = rows(results, "deliver", latency_ms=50)
    found = {name: share for name in (OURS, PAIR) if (share := _share(runs, name)) is not None}
    if OURS not in found:
        return None
    text = "; ".join(f"{'two workers ' if name == PAIR else ''}{words}" for name, (words, _) in found.items())
    return Measured(text, any(most >= 0.9 for _, most in found.values()), None, 1 if found[OURS][1] >= 0.9 else 2)


def _share(runs: list[Row], name: str) -> tuple[str, float] | None:
    """What they brought of the ideal and of plain aiokafka, in words, and the greater of both shares."""
    ours = of([row for row in runs if row["contender"] == name], "per_second_from_first_call")
    if ours is None:
        return None
    ideal = ours.most / (CONCURRENCY * WINDOW / 0.05)
    text = f"{number(ours.most)} users/s, {ideal:.0%} of the ideal"
    if (same := ratio(runs, "plain", "per_second_from_first_call", name)) is None:
        return text, ideal
    return f"{text}, {same.median:.0%} of plain aiokafka", max(ideal, same.median)


def _live_slow(results: Results) -> Measured | None:
    runs = rows(results, "live", rate=50)
    p50, p99 = values(runs, "p50_ms"), values(runs, "p99_ms")
    if not p50:
        return None
    a, b = min(p50), min(p99)
    return Measured(f"p50 {number(a)} ms, p99 {number(b)} ms", a <= 60 and b <= 150, a <= 40 and b <= 80)


def _live_fast(results: Results) -> Measured | None:
    runs = [row for row in rows(results, "live", rate=2000) if "problem" not in row]
    if not runs:
        return None
    p99 = min(values(runs, "p99_ms"))
    # The second half waits longer than the first: by more than half, and by more than chance would make it.
    grows = all(row["second_half_p50_ms"] > 1.5 * row["first_half_p50_ms"] + 50 for row in runs)
    text = f"p99 {number(p99)} ms, the lag {'grows' if grows else 'does not grow'}"
    return Measured(text, p99 <= 2000 and not grows, p99 <= 1000 and not grows)


def _restart(results: Results, *, local_state: bool, must: float, aim: float) -> Measured | None:
    found = values(
        rows(results, "restart", contender=OURS, users=200_000, local_state=local_state),
        "ready_after_assignment_seconds",
    )
    return Measured(f"{number(min(found))} s", min(found) <= must, min(found) <= aim) if found else None


def _memory(results: Results) -> Measured | None:
    found = values(rows(results, "memory", users=1_000_000), "peak_mb")
    found = found or values(rows(results, "growth", users=1_000_000, part="deliver"), "peak_mb")
    return Measured(f"{number(min(found))} MB", min(found) <= 600, min(found) <= 350) if found else None


def _backlog(results: Results) -> Measured | None:
    found = values(rows(results, "backlog"), "users_per_call")
    return Measured(number(max(found)), max(found) >= 45, max(found) >= 49) if found else None


def _reconcile(results: Results) -> Measured | None:
    runs = rows(results, "reconcile", users=200_000)
    if not (found := values(runs, "seconds")):
        return None
    alarms = sum(int(one) for one in values(runs, "false_alarms"))
    text = f"{number(max(found))} s at most, {alarms:,} false alarms in {len(found)} of {len(runs)} runs"
    return Measured(text, max(found) <= 60 and not alarms and len(found) == len(runs), None)


def _census(results: Results) -> Measured | None:
    found = values(rows(results, "census", users=1_000_000), "seconds")
    return Measured(f"{number(min(found))} s", min(found) <= 120, None) if found else None


TARGETS = (
    Target(
        "deliver_textbook",
        "deliver, 0 ms, against the textbook Faust app",
        "≥ 5 ×",
        "",
        partial(_against, "textbook", must=5.0),
    ),
    Target(
        "deliver_kafka_streams",
        "deliver, 0 ms, against Kafka Streams",
        "≥ 1.2 ×",
        "",
        partial(_against, "kafka_streams", must=1.2),
    ),
    Target(
        "deliver_plain", "deliver, 0 ms, against plain aiokafka", "", "≥ 1.0 ×", partial(_against, "plain", aim=1.0)
    ),
    Target(
        "deliver_50ms",
        "deliver, 50 ms, 8 calls, from the first call on",
        "≥ 90 % of the ideal 8 × 50 / 0.05 s, or of plain aiokafka",
        "",
        _slow_target,
    ),
    Target(
        "live_50",
        "live, 50 changes/s, target at 0 ms",
        "p50 ≤ 60 ms, p99 ≤ 150 ms",
        "p50 ≤ 40 ms, p99 ≤ 80 ms",
        _live_slow,
    ),
    Target("live_2000", "live, 2,000 changes/s", "p99 ≤ 2 s, no growing lag", "p99 ≤ 1 s", _live_fast),
    Target(
        "restart_with_state",
        "restart with local state, 200,000 users, from assignment to ready",
        "≤ 4 s",
        "≤ 2 s",
        lambda results: _restart(results, local_state=True, must=4.0, aim=2.0),
    ),
    Target(
        "restart_without_state",
        "restart without local state, 200,000 users, from assignment to ready",
        "≤ 12 s",
        "≤ 6 s",
        lambda results: _restart(results, local_state=False, must=12.0, aim=6.0),
    ),
    Target(
        "reconcile",
        "reconcile without cidaas, 200,000 users, 100 changes/s",
        "≤ 60 s, nobody named who does not differ",
        "",
        _reconcile,
    ),
    Target("census", "census, 1,000,000 users", "≤ 120 s", "", _census),
    Target("memory", "memory, 1,000,000 users", "≤ 600 MB", "≤ 350 MB", _memory),
    Target("backlog", "users per call under backlog", "≥ 45 of 50", "≥ 49", _backlog),
)
