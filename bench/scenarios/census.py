"""Census: everything that is in the legacy tables, by the whole command, its start included."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import orjson

from bench.contenders import OURS
from bench.errors import ContenderError
from bench.scenarios.rounds import Row, attempt
from demo.stack.places import ROOT

if TYPE_CHECKING:
    from bench.arena import Arena
    from bench.plan import Plan

_COMMAND = (sys.executable, "-m", "streams", "census", "--json")


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """One size, several runs."""
    users = plan.census_users
    await arena.database(users)
    return [await attempt(_once(arena, users), contender=OURS, run=run, users=users) for run in range(1, plan.runs + 1)]


async def _once(arena: Arena, users: int) -> Row:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        cwd=ROOT,
        env=arena.stack.layout.environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    seconds = time.monotonic() - began
    if process.returncode not in (0, 1):
        raise ContenderError(err.decode().strip() or f"ended with exit code {process.returncode}")
    body: dict[str, Any] = orjson.loads(out)
    if body["users"] != users:
        raise ContenderError(f"only {body['users']:,} users were counted")
    return {"seconds": seconds, "per_second": users / seconds}
