"""How fast PostgreSQL writes WAL, by looks at its position (pure)."""

from __future__ import annotations

from collections import deque

#: Seconds over which the rate is taken, and the least that two looks have to be apart.
_WINDOW, _LEAST = 300.0, 5.0


def between(earlier: tuple[float, int], later: tuple[float, int]) -> float | None:
    """Bytes a second between two looks (Unix seconds, LSN); None where they are too close, or of two histories."""
    (began, first), (ended, last) = earlier, later
    return (last - first) / (ended - began) if ended - began >= _LEAST and last >= first else None


class WalRate:
    """The looks of the last minutes. The first one may be much older, written down by a worker before."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def see(self, at: float, lsn: int | None) -> None:
        """Take a look in: Unix seconds, and the flushed LSN (None: not known)."""
        if lsn is None:
            return
        if self._looks and (lsn < self._looks[-1][1] or at < self._looks[-1][0]):
            self._looks.clear()  # another history of the database, or another clock
        self._looks.append((at, lsn))
        while len(self._looks) > 2 and self._looks[1][0] <= at - _WINDOW:
            self._looks.popleft()

    def per_second(self) -> float | None:
        """Bytes a second; None while that is not known."""
        return between(self._looks[0], self._looks[-1]) if self._looks else None
