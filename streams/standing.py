"""Lists users in one situation, by reason: ids, positions and redacted messages, never values (pure)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from streams.orders import BY

if TYPE_CHECKING:
    from streams.ledger import Entry
    from streams.snapshots import Snapshot


@dataclass(slots=True)
class Standing:
    """Users in one situation: counted by reason, and shown, the latest first, as far as `limit` goes.

    `reason` leaves all others out; `limit` None shows everybody. `partitions` were looked at completely.
    """

    reason: str = ""
    limit: int | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    users: list[dict[str, Any]] = field(default_factory=list)
    partitions: list[int] = field(default_factory=list)

    def add(self, number: int, key: bytes, entry: Entry) -> None:
        """Take one user of partition `number`."""
        if self.reason and entry.reason != self.reason:
            return
        self._keep({
            "user": key.decode(errors="replace"),
            "reason": entry.reason,
            "since": entry.at,
            "attempts": entry.attempts,
            "message": entry.message,
            "partition": number,
            "version": entry.version,
            "by": entry.extra.get(BY, ""),
        })  # fmt: skip

    def add_aside(self, number: int, key: bytes, snap: Snapshot, since: float) -> None:
        """Take a user of partition `number` that is set aside since then (Unix seconds), which no entry says."""
        reason = snap.aside[1] if snap.aside is not None else ""
        if snap.aside is None or (self.reason and reason != self.reason):
            return
        self._keep({
            "user": key.decode(errors="replace"),
            "reason": reason,
            "since": since,
            "attempts": 0,
            "message": "",
            "partition": number,
            "version": snap.version,
            "by": "",
        })  # fmt: skip

    def _keep(self, user: dict[str, Any]) -> None:
        self.reasons[user["reason"]] += 1
        self.users.append(user)
        if self.limit is not None and len(self.users) >= 2 * self.limit + 100:
            self._cut()

    def merge(self, body: dict[str, Any]) -> None:
        """Take what another worker said with `body`."""
        self.reasons.update(body["reasons"])
        self.users += body["users"]
        self.partitions += body["partitions"]
        self._cut()

    def body(self) -> dict[str, Any]:
        """The answer as JSON."""
        self._cut()
        return {"reasons": dict(self.reasons), "users": self.users, "partitions": sorted(self.partitions)}

    def _cut(self) -> None:
        self.users.sort(key=lambda user: (-user["since"], user["user"]))
        if self.limit is not None:
            del self.users[self.limit :]
