"""Growth and memory: our worker at several sizes. Is it linear, and how much memory does it take at the largest?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.contenders import OURS, Ours
from bench.scenarios.deliver import deliver
from bench.scenarios.join import join
from bench.scenarios.restart import measured
from bench.scenarios.rounds import Row, attempt

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.plan import Plan


async def growth(arena: Arena, plan: Plan) -> list[Row]:
    """Join, deliver and restart at each size; `part` tells them apart."""
    rows: list[Row] = []
    for users in plan.growth_users:
        for run in range(1, plan.runs + 1):
            what = {"contender": OURS, "run": run, "users": users}
            rows.append(await attempt(join(arena, Ours(), users), **what, part="join"))
            rows.append(await attempt(deliver(arena, Ours(), users, 0.0), **what, part="deliver"))
        rows += [{**row, "part": "restart"} for row in await measured(arena, (OURS,), users, plan.runs)]
    return rows


async def memory(arena: Arena, plan: Plan) -> list[Row]:
    """The peak of a whole initial load."""
    return [
        await attempt(deliver(arena, Ours(), users, 0.0), contender=OURS, run=run, users=users)
        for users in plan.memory_users
        for run in range(1, plan.runs + 1)
    ]
