"""Which rows of a user are there, in the legacy tables and in its snapshot: what a sweep compares (pure).

Keys only: a sweep finds rows that came or went unnoticed, and no changed value.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.snapshots import Snapshot

#: With the bit for the user's row it fits into what Python stores as two digits; half a million of them are held.
_MASK = (1 << 59) - 1


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one user that are there: its own, and the names of its credential rows."""

    user: bool = False
    credentials: frozenset[str] = frozenset()


class Found(enum.Enum):
    """What is wrong with a user, and the word for it in a sweep's answer."""

    MISSING = "missing"  # its row is in the legacy table, and no record has shown it
    GONE = "gone"  # its row is not in the legacy table, and no record has deleted it
    CREDENTIALS = "credentials"  # other credential rows than those that are known


def mark(user: bool, credentials: Iterable[str]) -> int:
    """A short mark of rows, whatever their order; 0 for none, and comparable within one process only.

    (Odd numbers are added up, because the hash of an empty text is 0.)
    """
    return (sum(hash(pk) | 1 for pk in credentials) & _MASK) << 1 | user


def more(known: int, credential: str) -> int:
    """The mark of the rows of `known` and one credential row more."""
    return ((known >> 1) + (hash(credential) | 1) & _MASK) << 1 | known & 1


def rows_of(snap: Snapshot | None) -> Rows:
    """The rows that are there by a user's snapshot."""
    if snap is None:
        return Rows()
    there = frozenset(pk for pk, row in snap.credentials.items() if row.values is not None)
    return Rows(snap.user is not None and snap.user.values is not None, there)


def judge(here: Rows, there: Rows) -> Found | None:
    """Compare the rows of the snapshot with those of the legacy tables; None when they are the same."""
    if here.user != there.user:
        return Found.GONE if here.user else Found.MISSING
    return Found.CREDENTIALS if here.credentials != there.credentials else None
