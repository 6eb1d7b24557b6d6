"""Watches the initial load until every user of the legacy database is in cidaas, or set aside by the worker."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.job.peers import Peers
    from demo.job.screen import Stage

_LOOK = 0.2
_STUCK = 180.0  # seconds without any progress; then the check says what is missing

# Situations of users for whom nothing is to be done now.
_SETTLED = ("in_sync", "quarantined", "parked", "rejected", "nothing_to_do", "not_selected")


@dataclass(slots=True)
class Load:
    """What the initial load came to. `users` are those that cidaas has."""

    users: int = 0
    seconds: float = 0.0
    calls: int = 0
    users_per_call: float = 0.0
    stuck: bool = False
    first: float = field(default=0.0, repr=False)

    @property
    def rate(self) -> float:
        """Users a second, from the first to the last one."""
        return self.users / self.seconds if self.seconds else 0.0


def settled(status: dict[str, Any], rows: int) -> bool:
    """Tell from the worker's figures whether all of `rows` user rows were read and nothing is to be done."""
    counts = status["counts"]
    # No user is in two situations, and `users` counts every user ever seen, deleted ones too.
    done = sum(counts.get(name, 0) for name in _SETTLED)
    return bool(status["owned"] and counts.get("users", 0) >= rows and done >= counts["users"] and not status["lag"])


async def watch(peers: Peers, stage: Stage, rows: int, live: int) -> Load:
    """Show the load until it is done; `rows` user rows are in the legacy database, `live` of them not deleted."""
    load = Load()
    began = moved = time.monotonic()
    before: tuple[Any, ...] = ()
    while True:
        status, counters = await asyncio.gather(peers.status(), peers.counters())
        now = time.monotonic()
        if counters is not None:
            _count(load, counters, now)
        refused = status["counts"].get("quarantined", 0) if status else 0
        seen = (load.users, status and status["counts"])
        if seen != before:
            before, moved = seen, now
        stage.update(_text(load, live, refused, status), min(live, load.users + refused), live)
        if status is not None and settled(status, rows):
            break
        if now - moved > _STUCK:
            load.stuck = True
            break
        await asyncio.sleep(_LOOK)
    load.seconds = max(0.001, moved - (load.first or began))
    return load


def _count(load: Load, counters: dict[str, Any], now: float) -> None:
    load.users = counters["stored"]["users"]
    load.first = load.first or (now if load.users else 0.0)
    load.calls = sum(counters["calls"].get("bulk", {}).values())
    load.users_per_call = counters["users_in_calls"] / load.calls if load.calls else 0.0


def _text(load: Load, live: int, refused: int, status: dict[str, Any] | None) -> str:
    text = f"{load.users:,} of {live:,} users"
    if refused:
        text += f", {refused:,} set aside"
    if status is None:
        return text + ", waiting for the worker"
    rate = status["rate"]["10s"]
    return text + (f", {rate:,.0f} a second" if rate >= 1 else "")
