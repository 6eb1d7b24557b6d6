"""Backlog: cidaas is away for a while and changes go on; how fast is it drained when cidaas is back?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from bench.changes import change
from bench.contenders import OURS, Ours
from bench.errors import ContenderError
from bench.scenarios.live import commits, running
from bench.scenarios.rounds import Row, attempt
from streams.mapping import Mapper

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.plan import Plan
    from bench.scenarios.race import Race

_TAIL = 0.25  # changes go on for this share of the time away
_BEFORE = 1.0  # seconds of changes before the target goes
_DRAINED_SHARE = 0.99
_DRAINED = 300  # seconds within which everything must have arrived


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """Our worker; its peers would have to be behind Connect, too."""
    async with running(arena, plan.users) as race:
        return [
            await attempt(
                _backlog(race, run, plan), contender=OURS, run=run, rate=plan.away_rate, away_seconds=plan.away_seconds
            )
            for run in range(1, plan.runs + 1)
        ]


async def _backlog(race: Race, run: int, plan: Plan) -> Row:
    sink, kafka, marker = race.arena.sink, race.arena.kafka, f"backlog-{run}"
    settings = Ours().settings(race.run)
    count = int(plan.away_rate * (_BEFORE + plan.away_seconds * (1 + _TAIL)))
    if count > plan.users:
        raise ContenderError(f"{count:,} changes need as many users")
    since = await kafka.ends(settings.topics.identity)
    sink.reset(goal=count, journal=True)
    changes = asyncio.create_task(
        change(race.arena.stack.env["LEGACY_ADMIN_URL"], marker, range(1, count + 1), plan.away_rate)
    )
    try:
        await asyncio.sleep(_BEFORE)
        back_at = time.time() + plan.away_seconds
        sink.away(plan.away_seconds)
        await changes
    finally:
        changes.cancel()
    await race.until(race.delivered, _DRAINED)
    arrivals = [entry for entry in sink.journal(on=False) if entry[1] == marker]
    streamed = commits(await kafka.read(settings.topics.identity, since), marker)
    mapper = Mapper(settings)
    committed = {mapper.sub_of(key.decode()): at for key, (at, _) in streamed.items()}
    return figures(arrivals, committed, back_at)


def figures(arrivals: list[list[Any]], committed: dict[str, float], back_at: float) -> Row:
    """What happened after the target was back; `arrivals` are the target's (sub, name, received, answered)."""
    answered: dict[str, float] = {}
    calls: Counter[float] = Counter()
    for sub, _, received, at in arrivals:
        answered.setdefault(sub, at)
        calls[received] += received >= back_at
    waiting = {sub for sub, at in committed.items() if at < back_at and answered[sub] >= back_at}
    if not waiting:
        raise ContenderError("nothing waited when the target came back")
    times = sorted(at for at in answered.values() if at >= back_at)
    # Users of calls that were cut off rest for *settle* (C4): the last hundredth is no matter of speed.
    ends = sorted(answered[sub] for sub in waiting)
    first, drained = times[0], ends[int(_DRAINED_SHARE * (len(ends) - 1))]
    sizes = [size for received, size in calls.items() if size and received <= drained]
    took = drained - first
    return {
        "backlog": len(waiting),
        "noticed_seconds": first - back_at,
        "drain_seconds": took,
        "last_seconds": ends[-1] - first,
        "drained_per_second": sum(at <= drained for at in times) / took if took else 0.0,
        "arriving_per_second": sum(first <= at <= drained for at in committed.values()) / took if took else 0.0,
        "users_per_call": sum(sizes) / len(sizes),
        "calls": len(sizes),
    }
