"""Counters of what the stand-in saw: calls, users per call, users in two calls at a time, latency.

They start at zero with the process.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_EDGES = [round(0.0001 * 1.2589**step, 7) for step in range(61)]  # seconds, ten a decade, to 100 s
_EXAMPLES = 20


class Latency:
    """A histogram of the time that calls spent here."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(_EDGES) + 1)
        self._count = 0
        self._total = 0.0
        self._largest = 0.0

    def add(self, seconds: float) -> None:
        """Count one call."""
        self._buckets[bisect_left(_EDGES, seconds)] += 1
        self._count += 1
        self._total += seconds
        self._largest = max(self._largest, seconds)

    def to_json(self) -> dict[str, float]:
        """Milliseconds; the percentiles are upper edges of buckets 26 % wide."""
        if not self._count:
            return {}
        return {
            "mean_ms": round(self._total / self._count * 1000, 3),
            "p50_ms": self._percentile(0.50),
            "p99_ms": self._percentile(0.99),
            "max_ms": round(self._largest * 1000, 3),
        }

    def _percentile(self, share: float) -> float:
        wanted, seen = share * self._count, 0
        for edge, number in zip([*_EDGES, self._largest], self._buckets, strict=True):
            seen += number
            if seen >= wanted:
                return round(min(edge, self._largest) * 1000, 3)
        return round(self._largest * 1000, 3)


class Counters:
    """Everything counted since the start or the last reset."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()
        self._subs: dict[str, int] = {}
        self._late: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        """Back to zero; calls that are under way stay under way."""
        self.since = time.time()
        self.calls: dict[str, Counter[str]] = defaultdict(Counter)
        self.latency: dict[str, Latency] = defaultdict(Latency)
        self.max_in_flight: Counter[str] = Counter()
        self.users_per_call: Counter[int] = Counter()
        self.users_in_calls = 0
        self.overlaps = 0
        self.late_overlaps = 0
        self.twice_in_call = 0
        self.email_twice_in_call = 0
        self.examples: dict[str, list[str]] = {"overlap": [], "late_overlap": [], "twice_in_call": []}
        self.faults: Counter[str] = Counter()
        self.first: float | None = None
        self.last: float | None = None

    def start(self, endpoint: str, subs: list[str], emails: list[str]) -> None:
        """A call has been read; `subs` and `emails` are those of its users."""
        running = self._running
        for name in (endpoint, "all"):
            running[name] += 1
            self.max_in_flight[name] = max(self.max_in_flight[name], running[name])
        if not subs:
            return
        now = time.time()
        self.first = self.first or now
        self.last = now
        if endpoint == "bulk":
            self.users_per_call[len(subs)] += 1
            self.users_in_calls += len(subs)
        once = set(subs)
        if len(once) < len(subs):
            self.twice_in_call += len(subs) - len(once)
            self._example("twice_in_call", next(sub for sub, number in Counter(subs).items() if number > 1))
        self.email_twice_in_call += len(emails) - len({email.casefold() for email in emails})
        for sub in once:
            self._enter(sub)

    def _enter(self, sub: str) -> None:
        under_way = self._subs.get(sub, 0)
        if under_way:
            self.overlaps += 1
            self._example("overlap", sub)
        if sub in self._late:
            self.late_overlaps += 1
            self._example("late_overlap", sub)
        self._subs[sub] = under_way + 1

    def end(self, endpoint: str, subs: list[str], status: str, seconds: float) -> None:
        """A call has been answered, or its connection dropped (`status` says so)."""
        self._running[endpoint] -= 1
        self._running["all"] -= 1
        self.calls[endpoint][status] += 1
        self.latency[endpoint].add(seconds)
        if subs:
            self.last = time.time()
            _leave(self._subs, set(subs))

    def late(self, subs: Iterable[str]) -> None:
        """These users' call lost its connection but will still be applied."""
        for sub in subs:
            self._late[sub] = self._late.get(sub, 0) + 1

    def late_end(self, subs: Iterable[str]) -> None:
        """It has been applied."""
        _leave(self._late, subs)

    def _example(self, kind: str, sub: str) -> None:
        if len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(sub)

    def to_json(self) -> dict[str, Any]:
        """All counters; README.md explains each."""
        return {
            "since": self.since,
            "calls": {name: dict(sorted(each.items())) for name, each in sorted(self.calls.items())},
            "latency": {name: each.to_json() for name, each in sorted(self.latency.items())},
            "in_flight": {name: number for name, number in sorted(self._running.items()) if number},
            "max_in_flight": dict(sorted(self.max_in_flight.items())),
            "users_in_calls": self.users_in_calls,
            "users_per_call": {str(size): number for size, number in sorted(self.users_per_call.items())},
            "users_in_two_calls": self.overlaps,
            "users_called_while_late": self.late_overlaps,
            "user_twice_in_call": self.twice_in_call,
            "email_twice_in_call": self.email_twice_in_call,
            "examples": self.examples,
            "faults": dict(sorted(self.faults.items())),
            "first": self.first,
            "last": self.last,
        }


def _leave(table: dict[str, int], subs: Iterable[str]) -> None:
    for sub in subs:
        left = table.get(sub, 0) - 1
        if left > 0:
            table[sub] = left
        else:
            table.pop(sub, None)
