"""The brake at the moment of a person's answer, and with a figure that went back."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest
from clock import Clock, run
from fakes import SETTINGS
from world import World

from streams.brake import FIGURE, TRIPPED, Verdict, answer
from streams.control import DELIVERY
from streams.ledger import Entry, Situation, State
from streams.parked import answer_brake
from streams.rows import ReadAgain, SetAside
from streams.snapshots import decode
from streams.source.faults import Fault, record_name

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = replace(SETTINGS.brake, floor=2, ceiling=500, share=0.0, window=600.0)
BRAKED = replace(SETTINGS, brake=LIMITS, cidaas=replace(SETTINGS.cidaas, delete="scim"))


@pytest.mark.parametrize("allow", [True, False])
def test_a_delete_that_is_being_parked_when_the_answer_comes_hears_of_it(tmp_path: Path, allow: bool) -> None:
    """Or it stays parked until the next start, although the command said that it leaves now."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock, settings=BRAKED)
        control = world.pipeline.control
        answers = asyncio.create_task(answer_brake(world.delivery))
        world.go()
        await world.sign_up(1, 2, 3)
        await world.in_sync(1, 2, 3)
        await world.remove(1, 2, 3)
        await world.delivery.brake.publish(world.partition)
        world.broker.confirming.clear()
        await world.until(lambda: bool(control.state.get(TRIPPED, {}).get("on")), "the brake holds")
        await asyncio.sleep(0.01)
        await control.put(TRIPPED, answer(control.state, LIMITS, allow=allow, who="test"))
        await asyncio.sleep(1)
        world.broker.confirming.set()
        await asyncio.sleep(10)
        for _ in range(5):  # the real one wakes every second
            control.changed.set()
            await asyncio.sleep(5)
        where = {world.where(number) for number in (1, 2, 3)}
        assert where == {Situation.IN_SYNC if allow else Situation.REJECTED}
        answers.cancel()
        await world.stop()

    run(scenario(), clock)


@pytest.mark.parametrize("why", ["paused", "in doubt"])
def test_deletes_that_had_to_wait_are_counted_where_they_were_decided(tmp_path: Path, why: str) -> None:
    """Judged when they leave, ten minutes later, each would stand alone in the window."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock, settings=BRAKED)
        control = world.pipeline.control
        world.go()
        users = range(1, 11)
        await world.sign_up(*users)
        await world.in_sync(*users)
        name = DELIVERY if why == "paused" else record_name("slot_lost")
        body = {"paused": True} if why == "paused" else asdict(Fault("slot_lost", "lost", "repair", 0.0))
        await control.put(name, body)
        await world.remove(*users[:5])
        await world.delivery.brake.publish(world.partition)  # as `Runner` does, after each batch
        await asyncio.sleep(LIMITS.window + 100)
        await world.remove(users[5])
        await world.delivery.brake.publish(world.partition)
        await control.put(name, {"paused": False} if why == "paused" else None)
        await asyncio.sleep(60)
        assert [user for user in users if "delete" in world.calls(user)] == []
        assert world.partition.counts[Situation.PARKED] == 6
        await world.stop()

    run(scenario(), clock)


@pytest.mark.parametrize("quiet", [False, True])
def test_a_figure_that_went_back_is_published_again(tmp_path: Path, quiet: bool) -> None:
    """A thawed worker wrote its old one: every delete would wait for ever for a figure that is never sent.

    Those of other partitions, too; in a `quiet` one no delete asks for it.
    """
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock, settings=BRAKED)
        control, brake = world.pipeline.control, world.delivery.brake
        await world.sign_up(1)
        await world.remove(1)
        await brake.publish(world.partition)
        upto = world.partition.decisions.upto
        await brake.watermark.look()
        control.state[f"{FIGURE}0"] = {"buckets": [], "upto": upto - 1, "known": 0}
        assert not brake.has_told(world.partition)
        if quiet:
            await brake.refresh(world.partition)
        else:
            assert await brake.verdict(world.partition, upto) is Verdict.GO
        assert brake.has_told(world.partition)
        await world.stop()

    run(scenario(), clock)


@pytest.mark.parametrize("allow", [True, False])
def test_a_mapping_that_deletes_unchanged_users_is_braked(tmp_path: Path, allow: bool) -> None:
    """One wrong word in pipeline.toml: no record decided these deletes, so the brake had counted none of them."""
    clock = Clock()
    everybody = replace(BRAKED.mapping.status, deleted=frozenset({"active"}))
    wrong = replace(BRAKED, mapping=replace(BRAKED.mapping, status=everybody))

    async def scenario() -> None:
        first = await World.start(tmp_path, clock, settings=BRAKED)
        first.go()
        await first.sign_up(1, 2)
        await first.in_sync(1, 2)
        await first.stop()
        world = await World.start(tmp_path, clock, settings=wrong, former=first, mapping="00112233445566aa")
        control = world.pipeline.control
        answers = asyncio.create_task(answer_brake(world.delivery))
        world.go()
        parked = world.partition.counts
        await world.until(lambda: parked[Situation.PARKED] == 2, "both are parked", 60)
        assert world.tenant.count("delete") == 0
        await control.put(TRIPPED, answer(control.state, LIMITS, allow=allow, who="test"))
        where = Situation.IN_SYNC if allow else Situation.REJECTED
        await world.until(lambda: {world.where(1), world.where(2)} == {where}, "the answer holds", 60)
        assert world.tenant.count("delete") == (2 if allow else 0)
        answers.cancel()
        await world.stop()

    run(scenario(), clock)


@pytest.mark.parametrize("lost", [1, 3])
def test_who_is_gone_and_known_to_the_ledger_alone_is_deleted_behind_the_brake(tmp_path: Path, lost: int) -> None:
    """O4: the snapshot was lost, and the reading finds no row: the user would stay at cidaas, counted as right."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock, settings=BRAKED)
        partition, users, gone, nobody = world.partition, range(1, lost + 1), 8, 9
        for number in (*users, gone):
            sub, deleted = world.sub(number), number == gone
            entry = Entry((1, 0), partition.mapping_id, State.CONFIRMED, sub, deleted=deleted)
            log = partition.ledger
            await log.put([(b"%d" % number, entry.encode(log.owner, log.next_count()))])
            if not deleted:
                world.tenant.users[sub] = {"email": f"user{number}@example.org"}
        world.go()
        for number in (*users, gone, nobody):
            world.put_control(number, SetAside("its snapshot is missing, but the ledger knows it"))
        await world.joined()
        for number in (*users, gone, nobody):
            stored = partition.snapshots.store.get(b"%d" % number)
            assert stored is not None
            snap = decode(stored.value)
            assert snap.aside is not None
            world.put_control(number, ReadAgain(snap.aside[0], snap.applied, None, {}))
        await world.joined()
        assert world.where(nobody) is Situation.NOTHING_TO_DO
        assert sum(partition.decisions.buckets.values()) == lost, "what is deleted already is decided no more"
        if lost == 1:
            await world.in_sync(1, gone)
            assert world.at_cidaas(1) is None and world.entry(1).deleted
        else:
            await world.until(lambda: partition.counts[Situation.PARKED] >= lost, "they are parked", 60)
            assert world.tenant.count("delete") == 0
        await world.stop()

    run(scenario(), clock)
