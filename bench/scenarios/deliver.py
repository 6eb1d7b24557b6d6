"""Deliver: an initial snapshot waits in the topic; how long from the start until the target has confirmed everybody?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.contenders import contenders
from bench.errors import ContenderError
from bench.scenarios.race import Race
from bench.scenarios.rounds import Row, attempt, rounds

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.contenders import Contender
    from bench.plan import Plan

#: Slower than this is not measured: users a second, and seconds to start.
_SLOWEST, _START = 300, 60
#: Seconds after the last user in which calls that should not be would come.
_QUIET = 1.5


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """All contenders, at each latency of the target."""
    rows: list[Row] = []
    for latency, users, names in plan.deliver:
        chosen = names if plan.contenders is None else plan.contenders
        who = [one for one in contenders(chosen) if "deliver" in one.modes]
        if not rows:
            await attempt(deliver(arena, who[0], users, latency), contender=who[0].name, warm_up=True)
        for run, one in rounds(who, plan.runs):
            what = {"contender": one.name, "run": run, "users": users, "latency_ms": round(latency * 1000)}
            rows.append(await attempt(deliver(arena, one, users, latency), **what))
    return rows


async def deliver(arena: Arena, contender: Contender, users: int, latency: float) -> Row:
    """Measure one run; `latency` of the target in seconds.

    Raises:
        ContenderError: it did not do the job; there is no figure then.
    """
    prefix = await arena.topic(users)
    wanted = await asyncio.to_thread(arena.expected, "deliver", users)
    if contender.reads == "database":
        await arena.database(users)
    async with Race(arena, contender, prefix) as race:
        arena.sink.reset(latency=latency, goal=users)
        race.start("deliver")
        done_at = await race.until(race.delivered, _START + users / _SLOWEST)
        figures = race.figures(done_at, users)
        if race.child.code is None:
            await asyncio.sleep(_QUIET)
        stats, digest = arena.sink.stats(), arena.sink.digest()
    if digest != wanted:
        raise ContenderError("what arrived at the target differs from what should be there")
    return figures | {
        "first_call_seconds": stats["first_call_at"] - race.child.started_at,
        "per_second_from_first_call": users / (done_at - stats["first_call_at"]),
        "calls": stats["calls"],
        "users_per_call": stats["sent"] / stats["calls"],
        "sent_twice": stats["sent"] - users,
        "most_in_flight": stats["most_in_flight"],
    }
