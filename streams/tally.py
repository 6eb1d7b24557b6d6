"""How much happened when, by whole seconds of the last quarter of an hour (pure: the clock is passed in)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds of the longest window, and of all windows that are shown.
LONGEST = 900
WINDOWS = (10, 60, 300, LONGEST)


class Tally:
    """Counts by second. Costs one addition a call; whoever asks pays for the sum."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        #: when the first of all was counted, also long ago; None before it was.
        self.first: float | None = None

    def add(self, now: float, amount: float) -> None:
        """Count so much now, or at an earlier moment that was learnt of now."""
        second = int(now)
        self._seconds[second] = self._seconds.get(second, 0.0) + amount
        self.first = now if self.first is None else min(self.first, now)
        if len(self._seconds) > 2 * LONGEST:
            newest = max(self._seconds)
            self._seconds = {at: much for at, much in self._seconds.items() if at > newest - LONGEST - 1}

    def learn(self, now: float, by_age: Mapping[int, int], oldest: float) -> None:
        """Take over what others counted: an amount by its age in seconds, and the age of the oldest of all."""
        for age, amount in by_age.items():
            self.add(now - age, amount)
        if oldest:
            self.first = now - oldest if self.first is None else min(self.first, now - oldest)

    def total(self, now: float, seconds: float) -> float:
        """What was counted in the last so many seconds."""
        return sum(amount for at, amount in self._seconds.items() if now - seconds < at + 1 and at <= now)

    def rate(self, now: float, seconds: float) -> float:
        """So much a second over the last so many seconds, or since the first of all if that is not so long ago."""
        if self.first is None:
            return 0.0
        return self.total(now, seconds) / max(1.0, min(seconds, now - self.first))
