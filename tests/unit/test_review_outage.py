"""An outage of many hours is nothing but a wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from clock import Clock, run
from world import World

from streams.cidaas.errors import Kind, failure

if TYPE_CHECKING:
    from pathlib import Path


def test_a_day_of_500_ends_no_worker(tmp_path: Path) -> None:
    """The same window is repeated every 15 s; nested calls would end it after some hours, for each worker anew."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        bad = True

        def fault(_: Any) -> None:
            if bad:
                raise failure(Kind.SERVER, "cidaas answered 500")

        world.tenant.fault = fault
        world.go()
        await world.sign_up(1, 2)
        await asyncio.sleep(24 * 3_600)
        assert world.pipeline.crashed is None
        bad = False
        await world.in_sync(1, 2, seconds=600)
        await world.stop()

    run(scenario(), clock)
