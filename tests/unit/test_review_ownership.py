"""Sure ownership (C5): neither a late call nor a user that nobody sends any more."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from clock import Clock, run
from faust.types import TP
from world import World

from streams.service import App
from streams.transport import BatchConsumer

if TYPE_CHECKING:
    from pathlib import Path


def _app(heartbeat: tuple[float, int], generation: int) -> Any:
    consumer = object.__new__(BatchConsumer)
    consumer._heartbeat_seen = heartbeat
    return SimpleNamespace(
        consumer=consumer,
        conf=SimpleNamespace(broker_session_timeout=10.0),
        consumer_generation_id=generation,
        should_stop=False,
    )


def test_what_is_read_again_is_not_dropped_because_something_behind_it_was_read() -> None:
    """D2: a record that a rebalance left out is sought; Faust's own note of what it has seen would hide it for ever."""
    init = "faust.transport.drivers.aiokafka.Consumer.__init__"
    with patch(init, lambda *_: None), patch.object(BatchConsumer, "batch_topic", "legacy.identity"):
        consumer = BatchConsumer()
    consumer._read_offset[TP("legacy.identity", 3)] = 9
    consumer._read_offset[TP("another", 3)] = 9
    assert consumer._read_offset[TP("legacy.identity", 3)] is None
    assert consumer._read_offset[TP("another", 3)] == 9


def test_after_a_long_rebalance_the_first_heartbeat_proves_the_new_generation() -> None:
    """No heartbeat is sent while a join waits for other members; taken for a loss, 400 users were dropped."""
    clock = Clock()

    async def scenario() -> bool:
        app = _app((clock.now - 9, 3), generation=4)
        waiting = asyncio.create_task(App.still_member(app))
        await asyncio.sleep(1)
        app.consumer._heartbeat_seen = (clock.now, 4)
        return await waiting

    with patch("streams.service.boot_clock", clock.monotonic):
        assert run(scenario(), clock)


def test_a_thawed_worker_whose_generation_is_over_owns_nothing() -> None:
    """C5: the partitions may be another's by now."""
    clock = Clock()

    async def scenario() -> tuple[bool, bool]:
        app = _app((clock.now - 60, 3), generation=3)
        waiting = asyncio.create_task(App.still_member(app))
        await asyncio.sleep(1)
        app.consumer._heartbeat_seen = (clock.now, 5)
        ahead = await waiting
        waiting = asyncio.create_task(App.still_member(_app((clock.now - 60, 3), generation=3)))
        await asyncio.sleep(1)
        assert not waiting.done()
        waiting.cancel()
        again = _app((clock.now - 60, 3), generation=3)
        waiting = asyncio.create_task(App.still_member(again))
        await asyncio.sleep(1)
        again.consumer_generation_id = 5
        return ahead, await waiting

    with patch("streams.service.boot_clock", clock.monotonic):
        assert run(scenario(), clock) == (False, False)


def test_who_was_held_back_for_a_moment_is_sent_afterwards(tmp_path: Path) -> None:
    """Ownership was unsure, but nothing was revoked: nobody else will ever find these users."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        world.pipeline.member = False
        await world.sign_up(1, 2)
        await asyncio.sleep(3)
        assert world.tenant.calls == []
        world.pipeline.member = True
        await world.in_sync(1, 2, seconds=30)
        await world.stop()

    run(scenario(), clock)


@pytest.mark.parametrize("then", ["change", "delete"])
def test_a_call_that_lands_after_its_worker_died_is_not_the_last_word(tmp_path: Path, then: str) -> None:
    """C5: the request of the dead worker takes effect 10 s later; what came since must come after it."""
    clock = Clock()

    async def scenario() -> None:
        dead = await World.start(tmp_path / "dead", clock)
        dead.tenant.late = 10.0
        dead.tenant.going.clear()
        dead.go()
        await dead.sign_up(1)
        await dead.until(lambda: dead.tenant.count("bulk") == 1, "its call is under way", 5.0)
        await dead.stop()
        dead.tenant.going.set()
        world = await World.start(tmp_path / "next", clock, former=dead)
        if then == "change":
            await world.change(1, city="Ulm")
        else:
            await world.remove(1)
        world.go()
        await world.in_sync(1, seconds=60.0)
        await asyncio.sleep(15)
        entity = world.at_cidaas(1)
        if then == "delete":
            assert entity is None
        else:
            assert entity is not None and entity["address"]["locality"] == "Ulm"
        await world.stop()

    run(scenario(), clock)
