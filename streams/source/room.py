"""How long the replication slot may go unread before PostgreSQL gives it up, or its disk is full (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.quantities import duration, size

if TYPE_CHECKING:
    from streams.source.look import Slot


@dataclass(frozen=True, slots=True)
class Room:
    """What is kept for the slot and what may come; None is *not known*, or, of `limit_bytes`, *no limit*.

    `left_bytes` is by PostgreSQL's own word (`safe_wal_size`), or the free disk where there is no limit. `read`:
    somebody reads the slot, so `seconds_left` begin when nobody does.
    """

    kept_bytes: int | None
    limit_bytes: int | None
    left_bytes: int | None
    wal_bytes_per_second: float | None
    read: bool

    @property
    def seconds_left(self) -> float | None:
        """How long the rest lasts at the rate at which WAL is written now."""
        if self.left_bytes is None or not self.wal_bytes_per_second:
            return None
        return max(0.0, self.left_bytes / self.wal_bytes_per_second)

    def body(self) -> dict[str, float | bool | None]:
        """As JSON, with the units in the names."""
        return {
            "kept_bytes": self.kept_bytes,
            "limit_bytes": self.limit_bytes,
            "left_bytes": self.left_bytes,
            "wal_bytes_per_second": self.wal_bytes_per_second,
            "seconds_left": self.seconds_left,
            "read": self.read,
        }

    def __str__(self) -> str:
        """In words, without an end of a sentence."""
        if self.limit_bytes is None and self.left_bytes is None:
            pace = f", {self._pace()} are written" if self.wal_bytes_per_second else ""
            return (
                "the slot has no limit (max_slot_wal_keep_size is not set): the database's disk is its limit, and how "
                f"full that is can only be seen there{pace}"
            )
        left = f"{size(self.left_bytes)} are left" if self.left_bytes is not None else "how much is left is not known"
        if self.seconds_left is None:
            end = "the slot reaches its limit" if self.limit_bytes is not None else "the disk is full"
            known = self.wal_bytes_per_second is not None
            return f"{left} until {end}; {'no WAL is written' if known else 'how fast WAL is written is not known yet'}"
        return f"{self._when(duration(self.seconds_left))} ({left}, {self._pace()} are written)"

    def _when(self, last: str) -> str:
        if self.limit_bytes is not None:
            if self.read:
                return f"the slot would reach its limit {last} after the connector stops"
            return f"nobody reads the slot: it reaches its limit in {last}"
        if self.read:
            return f"the slot has no limit: the database's disk would be full {last} after the connector stops"
        return f"nobody reads the slot, which has no limit: the database's disk is full in {last}"

    def _pace(self) -> str:
        return f"{size((self.wal_bytes_per_second or 0.0) * 3600)} an hour"


def room(slot: Slot | None, rate: float | None, free: int | None = None) -> Room | None:
    """Put together what a look at the slot says; None where there is no slot, or it is lost already.

    `rate`: bytes of WAL a second. `free`: bytes free on the disk of the WAL, where that can be seen.
    """
    if slot is None or slot.lost:
        return None
    left = slot.safe_bytes if slot.limit_bytes is not None else free
    return Room(slot.kept_bytes, slot.limit_bytes, left, rate, slot.active)
