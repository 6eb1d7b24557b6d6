"""Join: rows into durable snapshots, nothing is sent; done when all is committed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.contenders import contenders
from bench.errors import ContenderError
from bench.kafka import covers
from bench.scenarios.race import Race
from bench.scenarios.rounds import Row, attempt, rounds

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.contenders import Contender
    from bench.plan import Plan

_SLOWEST, _START = 300, 90  # users a second, and seconds to start


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """All contenders that can join."""
    who = [one for one in contenders(plan.contenders) if "join" in one.modes]
    await attempt(join(arena, who[0], plan.users), contender=who[0].name, warm_up=True)
    return [
        await attempt(join(arena, one, plan.users), contender=one.name, run=run, users=plan.users)
        for run, one in rounds(who, plan.runs)
    ]


async def join(arena: Arena, contender: Contender, users: int) -> Row:
    """Measure one run.

    Raises:
        ContenderError: it did not do the job; there is no figure then.
    """
    prefix = await arena.topic(users)
    wanted = await asyncio.to_thread(arena.expected, "join", users)
    async with Race(arena, contender, prefix) as race:
        ends = await arena.kafka.ends(race.run.topic)

        async def committed() -> float:
            return time.time() * covers(await arena.kafka.committed(race.run.group, race.run.topic), ends)

        arena.sink.reset()
        race.start("join")
        done_at = await race.until(committed, _START + users / _SLOWEST)
        figures = race.figures(done_at, 2 * users)
        found = await contender.joined(race.run, race.child)
        sent = arena.sink.stats()["sent"]
    if found != wanted:
        raise ContenderError(f"its snapshots differ from what should be there ({found['users']:,} users)")
    if sent:
        raise ContenderError("it sent users, though it was only to join")
    return figures | {"rows": 2 * users, "users": users}
