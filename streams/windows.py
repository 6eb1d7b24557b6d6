"""Which pending users leave next (pure: the clock is passed in).

A window leaves at once while nothing is in flight; while calls are, it gathers until it is full or its oldest user
has waited `max_wait`. No user leaves before its last row is `quiet` old (C7), none while a call for it is in flight,
none before a wait that a rule demands is over. Changes that people are waiting for go before the backlog.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from typing import Protocol


class _Delivery(Protocol):
    @property
    def window(self) -> int: ...
    @property
    def quiet(self) -> float: ...
    @property
    def max_wait(self) -> float: ...


class Windows:
    """The queue of one kind of call (upserts, or deletes); keys are users, times are monotonic seconds."""

    def __init__(self, limits: _Delivery, size: int | None = None, *, firm: bool = False) -> None:
        """`firm`: a wait holds for newer versions too; else a newer version is looked at when it comes."""
        self._size = size or limits.window
        self._firm = firm
        self._quiet, self._max_wait = limits.quiet, limits.max_wait
        #: user -> when it may leave; insertion order is the order of leaving, because `quiet` is the same for all.
        #: Ordered, because a plain dict looks at all keys that have left, again and again, to find its first.
        self._live: OrderedDict[bytes, float] = OrderedDict()
        self._backlog: OrderedDict[bytes, float] = OrderedDict()
        #: users that must wait for a rule, with the time when they come back.
        self._waiting: dict[bytes, float] = {}
        self._alarms: list[tuple[float, bytes]] = []
        #: users of which a call is in flight; True when something new arrived meanwhile.
        self.flying: dict[bytes, bool] = {}

    def __len__(self) -> int:
        return len(self._live) + len(self._backlog) + len(self._waiting) + len(self.flying)

    def __contains__(self, user: object) -> bool:
        return user in self._live or user in self._backlog or user in self._waiting or user in self.flying

    @property
    def in_flight(self) -> int:
        """Users of which a call is in flight."""
        return len(self.flying)

    @property
    def waiting(self) -> int:
        """Users that wait for a rule's time."""
        return len(self._waiting)

    def add(self, key: bytes, now: float, *, live: bool) -> None:
        """A new version of this user is confirmed in the store; it may leave when it has been quiet for a while."""
        if key in self.flying:
            self.flying[key] = True
            return
        if key in self._waiting:
            if self._firm or not live:
                return
            # A refused version's retry may be an hour away; whoever inspects the newer one asks for C5's wait again.
            del self._waiting[key]
        if live:
            self._backlog.pop(key, None)
            self._live.pop(key, None)
            self._live[key] = now + self._quiet
        elif key not in self._live:
            self._backlog.setdefault(key, now)

    def wait(self, key: bytes, until: float) -> None:
        """Keep the user back until then; a later time of another rule stays."""
        self._live.pop(key, None)
        self._backlog.pop(key, None)
        until = max(until, self._waiting.get(key, 0.0))
        self._waiting[key] = until
        heapq.heappush(self._alarms, (until, key))

    def wake(self, key: bytes, now: float) -> None:
        """What the user waited for has happened: it may leave at once."""
        if self._waiting.pop(key, None) is not None:
            self._live[key] = now

    def discard(self, key: bytes) -> None:
        """The user has nothing to send any more; a call of it that is in flight hears that something new arrived."""
        if key in self.flying:
            self.flying[key] = True
        self._live.pop(key, None)
        self._backlog.pop(key, None)
        self._waiting.pop(key, None)

    def clear(self) -> None:
        """Forget everything, at a revoke; a scan finds it again."""
        self._live.clear()
        self._backlog.clear()
        self._waiting.clear()
        self._alarms.clear()
        self.flying.clear()

    def take(self, now: float, *, idle: bool) -> list[bytes]:
        """Take the next window, marked as in flight; empty when it is better to wait."""
        self._ring(now)
        ready: list[bytes] = []
        oldest = now
        for key, at in self._live.items():
            if at > now or len(ready) == self._size:
                break
            oldest = min(oldest, at)
            ready.append(key)
        for key, at in self._backlog.items():
            if len(ready) == self._size:
                break
            oldest = min(oldest, at)
            ready.append(key)
        if not ready or not (idle or len(ready) == self._size or now - oldest >= self._max_wait):
            return []
        for key in ready:
            if self._live.pop(key, None) is None:
                del self._backlog[key]
            self.flying[key] = False
        return ready

    def due(self, now: float, *, idle: bool) -> float | None:
        """When `take` may next have something: seconds from now, or None when nothing is queued."""
        self._ring(now)
        times = []
        first = next(iter(self._live.values()), None)
        if first is not None:
            times.append(first - now if idle else min(first - now, 0.0) + self._max_wait)
        if self._backlog:
            times.append(0.0 if idle else next(iter(self._backlog.values())) + self._max_wait - now)
        while self._alarms and self._waiting.get(self._alarms[0][1]) != self._alarms[0][0]:
            heapq.heappop(self._alarms)
        if self._alarms:
            times.append(self._alarms[0][0] - now)
        return max(0.0, min(times)) if times else None

    def done(self, key: bytes) -> bool:
        """The call for this user is over; returns True when something new arrived meanwhile."""
        return self.flying.pop(key, False)

    def _ring(self, now: float) -> None:
        while self._alarms and self._alarms[0][0] <= now:
            until, key = heapq.heappop(self._alarms)
            if self._waiting.get(key) == until:
                del self._waiting[key]
                self._live[key] = now
