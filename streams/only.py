"""Whom `delivery.only` lets out before everybody goes: named users, or the first N (a canary)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams import ledger

if TYPE_CHECKING:
    from streams.state import Partition, Stored


class Only:
    """The users that may be sent; of the first N each partition lets a share out, so that no worker asks another."""

    def __init__(self, only: int | tuple[str, ...] | None, partitions: int) -> None:
        """`only` is a number, ids, or None for everybody."""
        self._only = frozenset(only) if isinstance(only, tuple) else only
        self._partitions = partitions

    def admits(self, partition: Partition, key: bytes, entry: Stored | None) -> bool:
        """Whether this user may leave now; a new one is counted. Whose entry has a version is one of N already, and so
        is who was counted before: a call that failed writes no entry."""
        if self._only is None:
            return True
        if not isinstance(self._only, int):
            return key.decode(errors="replace") in self._only
        if _is_out(entry):
            return True
        return partition.admit(key, self._share(partition, self._only))

    def why_not(self, partition: Partition, key: bytes) -> str:
        """Why this user may not leave; "" if it may."""
        if isinstance(self._only, int):
            full = partition.admitted >= self._share(partition, self._only) and key not in partition.tried
            waits = full and not _is_out(partition.ledger.store.get(key))
            return f"delivery.only lets the first {self._only} users out, and it is not among them" if waits else ""
        waits = self._only is not None and key.decode(errors="replace") not in self._only
        return "delivery.only (or DELIVERY_ONLY) names other users" if waits else ""

    def _share(self, partition: Partition, only: int) -> int:
        return only // self._partitions + (partition.number < only % self._partitions)


def _is_out(entry: Stored | None) -> bool:
    return entry is not None and ledger.asked(entry.value)
