"""Deliver: an initial snapshot waits in the topic; how long from the start until the target has confirmed everybody?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from bench.errors import ContenderError
from bench.scenarios.race import Race

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.contenders import Contender

#: Slower than this is not measured: users a second, and seconds to start.
_SLOWEST, _START = 300, 60
#: Seconds after the last user in which calls that should not be would come.
_QUIET = 1.5


async def deliver(arena: Arena, contender: Contender, users: int, latency: float) -> dict[str, Any]:
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
