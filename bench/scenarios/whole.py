"""Whole path: a filled database and an empty stack, until everybody is confirmed by a target that takes its time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from bench.contenders import OURS, Ours
from bench.errors import ContenderError
from bench.scenarios.race import Race
from bench.scenarios.rounds import Row, attempt
from demo.stack.capture import register_connector

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.plan import Plan

_START, _SLOWEST = 300, 300  # seconds; users a second


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """Once: each further run would need a stack of its own, and a slot begins only once."""
    what = {"contender": OURS, "run": 1, "users": plan.whole_users, "latency_ms": round(plan.whole_latency * 1000)}
    return [await attempt(_whole(arena, plan), **what)]


async def _whole(arena: Arena, plan: Plan) -> Row:
    users = plan.whole_users
    await arena.database(users)
    wanted = await asyncio.to_thread(arena.expected, "deliver", users)
    async with Race(arena, Ours(), "legacy") as race:
        arena.sink.reset(latency=plan.whole_latency, goal=users)
        began = time.time()
        race.start("deliver")
        await asyncio.to_thread(register_connector, arena.stack.layout)
        done_at = await race.until(race.delivered, _START + users / _SLOWEST)
        figures = race.figures(done_at, users)
        stats, digest = arena.sink.stats(), arena.sink.digest()
    if digest != wanted:
        raise ContenderError("what arrived at the target differs from what should be there")
    return figures | {"whole_seconds": done_at - began, "users_per_call": stats["sent"] / stats["calls"]}
