"""Live changes, and how long each took from its commit in PostgreSQL to cidaas's answer, measured from outside."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from demo.legacy.changes import Change, Effect, drive, plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from demo.job.peers import Peers
    from demo.job.screen import Stage

_LOGIN_AFTER = 3.0  # seconds of changes before the one that is followed to a log-in
_LOGIN_WITHIN = 60.0
_ARRIVE_WITHIN = 30.0
_STATES = {Effect.STATE: ("CREATED", "UPDATED"), Effect.GONE: ("DELETED",)}


@dataclass(slots=True)
class Live:
    """What the live changes came to; times in seconds, those of users who were deleted apart: they are held back."""

    changes: int = 0
    kinds: int = 0
    latencies: list[float] = field(default_factory=list)
    held: list[float] = field(default_factory=list)
    missed: int = 0  # expected at cidaas and not seen there
    login: tuple[int, float] | None = None  # user, seconds from the commit to the log-in


async def change_for(peers: Peers, stage: Stage, database: str, seconds: float, seed: int) -> tuple[list[Change], Live]:
    """Make the demo's changes for `seconds`, and follow one new password to a log-in at cidaas."""
    rng = Random(seed)
    live, done = Live(), []
    login: asyncio.Task[None] | None = None
    began = time.monotonic()
    try:
        async for change in drive(database, plan(rng), seconds=seconds, rng=rng):
            done.append(change)
            age = time.monotonic() - began
            stage.update(f"{len(done)} changes, newest: {change.kind}", min(age, seconds), seconds)
            if login is None and change.kind == "password" and age > _LOGIN_AFTER:
                login = asyncio.create_task(_log_in(peers, change, live))
        if login is not None:
            await login
    finally:
        if login is not None:
            login.cancel()
    live.changes = len(done)
    live.kinds = len({change.kind for change in done})
    return done, live


async def _log_in(peers: Peers, change: Change, live: Live) -> None:
    while time.time() - change.committed < _LOGIN_WITHIN:
        if await peers.logs_in(change.email, change.password):
            live.login = (change.touched[0], time.time() - change.committed)
            return
        await asyncio.sleep(0.005)  # a poll: a log-in that succeeds is all that tells


async def measure(peers: Peers, changes: Sequence[Change], live: Live, sub_of: Callable[[str], str]) -> None:
    """Look up in the stand-in's history when each change arrived.

    Waits a little for what changes no field at cidaas (TOTP): the check does not see whether it has arrived.
    """
    commits: dict[int, list[float]] = defaultdict(list)
    for change in changes:
        for user in change.touched:
            commits[user].append(change.committed)
    deadline = time.monotonic() + _ARRIVE_WITHIN
    for change in changes:
        for user, effect in change.effects:
            if effect is Effect.NONE:
                continue
            # A later change of the same user may have carried this one, too.
            last = change.committed >= max(commits[user])
            arrived = arrival(await peers.states(sub_of(str(user))), change.committed, effect)
            while arrived is None and last and time.monotonic() < deadline:
                await asyncio.sleep(0.1)  # a poll of the stand-in's history
                arrived = arrival(await peers.states(sub_of(str(user))), change.committed, effect)
            if arrived is not None:
                (live.held if change.held else live.latencies).append(arrived - change.committed)
            elif last:
                live.missed += 1


def arrival(states: Iterable[dict[str, Any]], committed: float, effect: Effect) -> float | None:
    """When the first fitting state after the commit was accepted (Unix seconds), None if there is none."""
    fitting = (state["at_us"] / 1e6 for state in states if state["state"] in _STATES[effect])
    return min((moment for moment in fitting if moment >= committed), default=None)


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of the values lie (nearest rank); 0 for none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
