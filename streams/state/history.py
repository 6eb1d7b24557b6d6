"""What the ledger of one partition tells of the past: when users were confirmed, and who was the latest (pure).

Whoever takes a partition over goes on counting from here, so that rates survive a restart without a record of their
own. Of a user that was confirmed twice the ledger knows the second time only.
"""

from __future__ import annotations

import heapq
from collections import Counter

from streams.tally import LONGEST

#: The latest confirmed users of a partition, whose latencies are looked up again.
_LATEST = 1_000


class History:
    """Filled entry by entry while both tables are scanned; times are the broker's, in ms."""

    def __init__(self, now_ms: int) -> None:
        self._now = self._first = now_ms
        self._since = now_ms - LONGEST * 1000
        #: users by the age of their confirmation in whole seconds, of the last quarter of an hour.
        self.by_age: Counter[int] = Counter()
        #: the latest as a heap, and the time that one has to be later than to get in.
        self._latest: list[tuple[int, bytes]] = []
        self._floor = -1

    @property
    def oldest(self) -> float:
        """Seconds since the oldest entry was written; 0 while there is none."""
        return (self._now - self._first) / 1000

    def entry(self, key: bytes, time_ms: int, *, confirmed: bool) -> None:
        """Note an entry of the ledger. A scan does it for every user, so it compares and little more."""
        if time_ms < self._first:
            self._first = time_ms
        if not confirmed:
            return
        if time_ms > self._since:
            self.by_age[max(0, self._now - time_ms) // 1000] += 1
        if time_ms > self._floor:
            heapq.heappush(self._latest, (time_ms, key))
            if len(self._latest) > _LATEST:
                heapq.heappop(self._latest)
                self._floor = self._latest[0][0]

    def latest(self) -> list[bytes]:
        """The users that were confirmed last, the latest at the end; forgotten by this."""
        keys = [key for _, key in sorted(self._latest)]
        self._latest.clear()
        return keys
