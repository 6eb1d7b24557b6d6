"""Reconcile: legacy tables against snapshots and ledger, again and again, while changes go on.

Nobody differs, so whoever is named is a false alarm. The time is that of the whole command, its start included.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson

from bench.changes import change
from bench.contenders import OURS, Ours
from bench.errors import ContenderError
from bench.scenarios.live import running
from bench.scenarios.rounds import Row, attempt
from demo.stack.places import ROOT

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.plan import Plan
    from bench.scenarios.race import Race

_COMMAND = (sys.executable, "-m", "streams", "reconcile", "--without-cidaas", "--json")
_LONGEST = 300.0  # seconds of one run


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """All runs one after the other; the changes go on as long as they last."""
    rows: list[Row] = []
    users, rate = plan.reconcile_users, plan.reconcile_rate
    async with running(arena, users) as race:
        changes = asyncio.create_task(_changing(arena.stack.env["LEGACY_ADMIN_URL"], users, rate))
        try:
            for run in range(1, plan.reconcile_runs + 1):
                what = {"contender": OURS, "run": run, "users": users, "rate": rate}
                rows.append(await attempt(_once(race, users, changes), **what))
        finally:
            changes.cancel()
            await asyncio.wait([changes])
    return rows


async def _changing(url: str, users: int, rate: int) -> None:
    """Change everybody in turn, for ever."""
    for turn in range(1_000_000):
        await change(url, f"reconcile-{turn}", range(1, users + 1), rate)


async def _once(race: Race, users: int, changes: asyncio.Task[None]) -> Row:
    began = time.monotonic()
    env = Ours().environment(race.run, "deliver")
    process = await asyncio.create_subprocess_exec(
        *_COMMAND, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(_LONGEST):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        raise ContenderError(f"was not done after {_LONGEST:.0f} s") from None
    if process.returncode not in (0, 1):
        raise ContenderError(err.decode().strip() or f"ended with exit code {process.returncode}")
    if changes.done():
        raise ContenderError(f"the changes ended: {changes.exception()}")
    body: dict[str, Any] = orjson.loads(out)
    if body["users"] != users:
        raise ContenderError(f"only {body['users']:,} users were compared")
    return {"seconds": time.monotonic() - began, "compare_seconds": body["seconds"], "false_alarms": len(body["wrong"])}
