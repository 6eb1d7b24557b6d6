"""When a difference between the legacy tables and a snapshot is one, and not just late (pure).

The tables move while they are read, so whoever differs once is only suspected. A suspect is proved when it differs at
two looks one after the other, and nothing of it was joined between them although the pipeline went past the second
reading of its rows: then its snapshot contains all that had been committed before that reading, and is another one.
Whoever was joined meanwhile is looked at once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.reconcile.cases import Case
from streams.reconcile.marks import has_row
from streams.snapshots import Flag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streams.reconcile.tables import Desired

#: No record of the user was ever joined.
_NEVER_JOINED = b""


class Suspects:
    """Users whose rows differ, until that is proved or refuted."""

    def __init__(self, desired: Callable[[bytes], Desired | None]) -> None:
        """`desired` tells what the snapshots say of a user now."""
        self._desired = desired
        #: suspect -> the rank of its snapshot at the last look.
        self._seen: dict[bytes, bytes] = {}
        #: suspect -> what is wrong, and the rank of its snapshot then.
        self._proved: dict[bytes, tuple[Case, bytes]] = {}

    def first(self, there: Mapping[bytes, int], known: Iterable[bytes]) -> None:
        """The first look at everybody: `there` has the marks of the legacy tables, `known` are the users here."""
        for key in known:
            self._look(key, there.get(key, 0))
        for key, mark in there.items():
            if self._desired(key) is None:
                self._look(key, mark)

    def left(self) -> list[bytes]:
        """Who is to be looked at again."""
        return list(self._seen)

    def proved(self) -> dict[bytes, Case]:
        """Who differs; not whoever was joined since that was proved: that may have put it right."""
        return {key: case for key, (case, rank) in self._proved.items() if self._rank(key) == rank}

    def again(self, there: Mapping[bytes, int]) -> None:
        """One more look, after the pipeline has passed the reading of these rows; who is not among them waits."""
        for key, mark in there.items():
            before = self._seen.pop(key, None)
            self._look(key, mark)
            if before is not None and self._seen.get(key) == before:
                del self._seen[key]
                self._proved[key] = _case(mark, self._desired(key)), before

    def _look(self, key: bytes, mark: int) -> None:
        desired = self._desired(key)
        if desired is not None and desired.flags & Flag.ASIDE:
            return  # it is read again as a whole
        if mark != (desired.mark if desired is not None else 0):
            self._seen[key] = self._rank(key)

    def _rank(self, key: bytes) -> bytes:
        desired = self._desired(key)
        return desired.rank if desired is not None else _NEVER_JOINED


def _case(there: int, desired: Desired | None) -> Case:
    here = desired.mark if desired is not None else 0
    if has_row(there) == has_row(here):
        return Case.STALE
    return Case.LOST if has_row(there) else Case.GHOST
