"""How fast cidaas may be called: three limits that find themselves (pure: the clock is passed in).

* **Concurrency**: additive increase, multiplicative decrease, never above a hard cap.
* **Rate**: no limit until the first 429 (cidaas documents none). From then on calls leave evenly, and the rate follows
  CUBIC (RFC 9438), made for the same question: after a 429 it falls to 90 % (deeper if more follow: the limit has
  shrunk), climbs back, rests at the rate that was too much, and then climbs faster and faster, because the limit may
  have grown. `Retry-After` wins over all of it.
* **Breaker**: after three failures in a row cidaas counts as away; one trial at a time, at most one a second, finds
  out when it is back.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

#: A 429 cuts the rate to 90 %, one that follows within so many successes or seconds to half: the limit has shrunk.
_SHALLOW, _DEEP, _SOON_CALLS, _SOON = 0.9, 0.5, 10, 2.5
#: Consecutive 429s that cut; further ones only lengthen the pause, because a spent quota says nothing about the rate.
_MOST_CUTS = 3
#: The climb back to the old rate: calls, and seconds at least and at most. At a constant limit 1 call in about
#: `_CALLS` is wasted; a doubled limit is found after three times as long.
_CALLS, _SHORTEST, _LONGEST = 24.0, 12.0, 60.0
_SLOWEST = 0.02  # calls a second
#: A `Retry-After` from here on speaks of a quota per minute or hour: then the average counts, not the moment.
_QUOTA = 5.0
_REMEMBERED = 60.0
_LONGEST_PAUSE = 30.0  # after a 429 without `Retry-After` that follows others
_AWAY_AFTER = 3
_TRIAL_EVERY = 1.0
_LONGEST_TRIAL_WAIT = 15.0
_MINUTE = 60.0


@dataclass(slots=True)
class Call:
    """One call that is under way; `trial`: it finds out whether cidaas is back."""

    started: float
    lane: str
    trial: bool


@dataclass(slots=True)
class Limiter:
    """Says when the next call may start, and learns from how calls end; all times are monotonic seconds.

    `cap` is the hard limit of calls in flight. `lane` tells kinds of calls apart (upserts, deletes) that a person has
    to cure separately; all other limits are common, because they are the tenant's.
    """

    cap: int
    rate: float = math.inf
    concurrency: float = 1.0
    in_flight: int = 0
    calls: int = 0
    limited: int = 0
    _started_up: bool = False  # the first trouble ends the fast growth of the concurrency
    _next_start: float = 0.0
    _last_start: float = -math.inf
    _pause_until: float = 0.0
    _peak: float = math.inf  # the rate that was too much
    _climbed: float = 0.0  # seconds at the limit since the last cut
    _cut_at: float = -math.inf
    _soon_until: float = -math.inf
    _refused_in_a_row: int = 0
    _oks_since_cut: int = _SOON_CALLS
    _starts: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    _oks: deque[float] = field(default_factory=lambda: deque(maxlen=5000))
    _failures: int = 0
    _trials: int = 0
    _trial_at: float = -math.inf
    _trial_under_way: bool = False
    _blocked: dict[str, float] = field(default_factory=dict)

    # -- may a call start? ----------------------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """Whether cidaas counts as away."""
        return self._failures >= _AWAY_AFTER

    def blocks(self, lane: str) -> bool:
        """Whether this lane's last call failed in a way that only a person can cure."""
        return lane in self._blocked

    def wait(self, now: float, lane: str = "") -> float:
        """Seconds until a call of this lane may start: 0 is now, infinity is when a call has ended."""
        if self.in_flight >= max(1, int(min(self.concurrency, self.cap))) or (self.away and self._trial_under_way):
            return math.inf
        until = max(self._next_start, self._pause_until, self._blocked.get(lane, -math.inf))
        return max(0.0, until - now, self._trial_at - now if self.away else 0.0)

    def start(self, now: float, lane: str = "") -> Call:
        """Note that a call starts; only when `wait` is 0."""
        if self.rate < math.inf:
            interval = 1 / self.rate
            if now - self._next_start < interval:  # it had to wait for its turn: the rate is what limits
                self._climb(min(now - self._last_start, 2 * interval))
            if now - self._next_start > interval / 10:
                self._next_start = now  # a timer's lateness is made up for, an idle time is not: no bursts
            self._next_start += 1 / self.rate
        self._last_start = now
        self._starts.append(now)
        if lane in self._blocked:
            self._blocked[lane] = now + _MINUTE
        self._trial_under_way = self._trial_under_way or self.away
        self.in_flight += 1
        self.calls += 1
        return Call(now, lane, self.away)

    # -- how did it end? ------------------------------------------------------------------------------------------

    def ok(self, call: Call, now: float) -> None:
        """Note that cidaas answered and did what it was asked (refusing single users is an answer too)."""
        self.answered(call)
        self._blocked.pop(call.lane, None)
        self._oks.append(now)
        self._oks_since_cut += call.started > self._cut_at
        self._refused_in_a_row = 0
        step = 1.0 / self.concurrency if self._started_up else 1.0
        if self.in_flight + 2 > self.concurrency:  # it was used: what nobody needs is not allowed blindly
            self.concurrency = min(self.concurrency + step, float(self.cap))

    def answered(self, call: Call) -> None:
        """Note an answer that teaches nothing but that cidaas is there (500)."""
        self._end(call)
        self._failures = self._trials = 0

    def ended(self, call: Call, now: float) -> None:
        """Note an end without an answer that is not cidaas' fault (cancelled), or a cheap probe that got none."""
        self._end(call)
        if call.trial:
            self._trial_at = max(self._trial_at, now + _TRIAL_EVERY)

    def rate_limited(self, call: Call, now: float, retry_after: float | None = None) -> None:
        """Note a 429. Calls that had left before the last cut belong to the same event and cut no more."""
        self.answered(call)
        self.limited += 1
        if retry_after is not None:
            self._pause_until = max(self._pause_until, now + retry_after)
        if call.started <= self._cut_at:
            return
        again = self._oks_since_cut < _SOON_CALLS or now < self._soon_until
        self._refused_in_a_row += 1
        if retry_after is None and self._refused_in_a_row > 1:
            self._pause_until = max(self._pause_until, now + min(2.0 ** (self._refused_in_a_row - 3), _LONGEST_PAUSE))
        if self._refused_in_a_row <= _MOST_CUTS:
            self._cut(now, _DEEP if again else _SHALLOW)
        self._cut_at, self._oks_since_cut = now, 0
        self._soon_until = max(now, self._pause_until) + _SOON
        self._shrink(0.75)

    def failed(self, call: Call, now: float, retry_after: float | None = None) -> None:
        """Note that there was no clear answer: refused connection, time-out, reset, 502, 503, 504."""
        self._end(call)
        self._failures += 1
        self._shrink(0.5)
        self._trials = self._trials + 1 if call.trial else 0
        wait = min(_TRIAL_EVERY * 2.0 ** min(self._trials, 10), _LONGEST_TRIAL_WAIT)
        self._trial_at = max(self._trial_at, now + max(wait, retry_after or 0.0))

    def blocked(self, call: Call, now: float) -> None:
        """Note that only a person can cure it: from now on one call of this lane a minute."""
        self.answered(call)
        self._blocked[call.lane] = now + _MINUTE

    # -- inside ---------------------------------------------------------------------------------------------------

    def _end(self, call: Call) -> None:
        self.in_flight -= 1
        if call.trial:
            self._trial_under_way = False

    def _shrink(self, factor: float) -> None:
        self._started_up = True
        self.concurrency = max(1.0, self.concurrency * factor)

    def _cut(self, now: float, factor: float) -> None:
        tried = self.rate
        if tried == math.inf:
            starts = [at for at in self._starts if at > now - 2.0]
            tried = len(starts) / max(now - starts[0], 0.25) if starts else 1.0
        rate = tried * factor
        pause = self._pause_until - now
        if pause >= _QUOTA:
            lately = [at for at in self._oks if at > now - _REMEMBERED]
            rate = min(rate, len(lately) / (pause + (now - lately[0])) if lately else rate)
        self.rate = max(rate, _SLOWEST)
        self._peak = self.rate / _SHALLOW  # after a deep cut, what was too much says little of what is right
        self._climbed = 0.0
        self._next_start = max(self._next_start, now + 1 / self.rate)

    def _climb(self, seconds: float) -> None:
        """CUBIC: back at the old peak after `rest` seconds at the limit, then beyond it."""
        self._climbed += seconds
        rest = min(max(_CALLS / self._peak, _SHORTEST), _LONGEST)
        self.rate = self._peak * (1 + (1 - _SHALLOW) * (self._climbed / rest - 1) ** 3)
