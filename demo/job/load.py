"""Watches the initial load until every user of the legacy database is in cidaas, or set aside by the worker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.job.peers import Peers
    from demo.job.screen import Stage

_LOOK = 0.2
_STUCK = 180.0  # seconds without any progress; then the check says what is missing

# Situations of users for whom nothing is to be done now.
_SETTLED = ("in_sync", "quarantined", "dropped", "parked", "rejected", "nothing_to_do", "not_selected")


@dataclass(slots=True)
class Load:
    """What the initial load came to: `users` are at cidaas, of whom `before` were there when it began."""

    before: int = 0
    users: int = 0
    first: float = 0.0  # of its calls, Unix seconds by the stand-in's clock
    last: float = 0.0
    calls: int = 0
    sent: int = 0  # users in these calls
    stuck: bool = False

    @property
    def rate(self) -> float:
        """Users a second from the first call to the last; 0 if they were there before or the stand-in restarted."""
        seconds = self.last - self.first
        return self.users / seconds if self.before == 0 and self.sent >= self.users and seconds > 0 else 0.0

    @property
    def users_per_call(self) -> float:
        """Mean size of the calls; 0 if there were none."""
        return self.sent / self.calls if self.calls and self.before == 0 else 0.0

    def count(self, counters: dict[str, Any]) -> None:
        """Take the stand-in's counters, which it keeps while it lives."""
        self.users = counters["stored"]["users"]
        self.first, self.last = counters["first"] or 0.0, counters["last"] or 0.0
        self.calls = sum(counters["calls"].get("bulk", {}).values())
        self.sent = counters["users_in_calls"]


def settled(status: dict[str, Any], rows: int) -> bool:
    """Tell from the worker's figures whether all of `rows` user rows were read and nothing is to be done."""
    counts = status["counts"]
    # No user is in two situations, and `users` counts every user ever seen, deleted ones too.
    done = sum(counts.get(name, 0) for name in _SETTLED)
    return bool(status["owned"] and counts.get("users", 0) >= rows and done >= counts["users"] and not status["lag"])


async def watch(peers: Peers, stage: Stage, load: Load, rows: int, live: int) -> None:
    """Show the load until it is done; `rows` user rows are in the legacy database, `live` of them not deleted."""
    moved = time.monotonic()
    before: tuple[Any, ...] = ()
    while True:
        status, counters = await asyncio.gather(peers.status(), peers.counters())
        if counters is not None:
            load.count(counters)
        refused = status["counts"].get("quarantined", 0) if status else 0
        seen = (load.users, status and status["counts"])
        if seen != before:
            before, moved = seen, time.monotonic()
        stage.update(_text(load, live, refused, status), min(live, load.users + refused), live)
        if status is not None and settled(status, rows):
            return
        if time.monotonic() - moved > _STUCK:
            load.stuck = True
            return
        await asyncio.sleep(_LOOK)


def _text(load: Load, live: int, refused: int, status: dict[str, Any] | None) -> str:
    read = sum(status["rows"].values()) if status else 0
    if read and not load.users:
        return f"{read:,} rows read (credentials come first)"
    text = f"{load.users:,} of {live:,} users"
    if refused:
        text += f", {refused:,} set aside"
    if status is None:
        return text + ", waiting for the worker"
    rate = status["rate"]["10s"]
    return text + (f", {rate:,.0f} a second" if rate >= 1 else "")
