"""What comes between looking at a user and what is written of it: turns, failures, orders, crashes, new mappings."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clock import Clock, run
from fakes import SETTINGS, failed, settings_with, user_row
from world import World

from streams.cidaas.errors import Kind, failure
from streams.control import DELIVERY
from streams.ledger import Entry, Situation, State
from streams.rows import Resync
from streams.settings import SelectRule
from streams.snapshots import decode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.settings import Settings

SCIM = replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, delete="scim"))
SETTLE = SETTINGS.cidaas.timeout + 5.0
SWAPPING = settings_with(temporary_email="swap+{id}@example.org")
OTHER = "00112233445566aa"


def play(path: Path, scenario: Callable[[World], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    """Run a scenario with one worker."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path / "first", clock, settings=settings)
        await scenario(world)
        assert world.tenant.overlaps == [], "two calls of one user at a time"
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


def test_a_call_carries_what_is_the_newest_when_its_turn_comes(tmp_path: Path) -> None:
    """C5: what was read minutes ago would come after what the next owner sends, who takes it for old and harmless."""
    sent: list[tuple[str, str | None]] = []

    def note(entities: list[dict[str, Any]]) -> None:
        sent.extend((entity["email"], entity["address"]["locality"]) for entity in entities)

    async def scenario(world: World) -> None:
        world.tenant.fault = note
        world.pipeline.member = False
        await world.sign_up(1, 2, 3, city="before")
        world.go()
        await asyncio.sleep(60)
        assert all(world.delivery.why_waiting(world.partition, b"%d" % n) == "its call is on its way" for n in (1, 2))
        await world.change(1, city="after")
        world.pipeline.legacy.rows.clear()
        await world.remove(3)
        world.pipeline.member = True
        await world.in_sync(1, 2, 3, seconds=60)
        assert sorted(sent) == [("user1@example.org", "after"), ("user2@example.org", "before")]

    play(tmp_path, scenario, SCIM)


def test_when_all_were_changed_meanwhile_no_call_is_made_for_nobody(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.pipeline.member = False
        await world.sign_up(1)
        world.go()
        await asyncio.sleep(60)
        await world.change(1, city="after")
        world.pipeline.member = True
        await world.in_sync(1, seconds=10)
        assert world.tenant.calls == [("bulk", (world.sub(1),))]

    play(tmp_path, scenario)


def test_a_mapping_that_deletes_users_who_were_changed_before_it_came_is_braked(tmp_path: Path) -> None:
    """Joined under the former mapping, no record decided these deletes: the brake has counted nothing."""
    wrong = replace(SCIM.mapping, status=replace(SCIM.mapping.status, deleted=frozenset({"gone?"})))

    async def scenario(first: World) -> None:
        first.go()
        await first.sign_up(1, 2)
        await first.in_sync(1, 2)
        await first.pipeline.control.put(DELIVERY, {"paused": True})
        for number in (1, 2):
            await first.change(number, status="gone?")
            first.pipeline.legacy.rows[str(number)] = user_row(number, status="gone?")
        assert first.partition.decisions.upto == -1
        await first.stop()
        settings = replace(SCIM, mapping=wrong)
        world = await World.start(tmp_path / "next", first.clock, settings=settings, former=first, mapping=OTHER)
        await world.pipeline.control.put(DELIVERY, {"paused": False})
        world.go()
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 2, "both are parked", 120)
        assert world.tenant.count("delete") == 0
        await world.stop()

    play(tmp_path, scenario, SCIM)


def test_who_may_be_at_cidaas_is_deleted_when_it_leaves_the_selection(tmp_path: Path) -> None:
    """Left out, selected, sent without an answer, left out again: its entry must not say that nobody was sent."""
    select = SelectRule("country", frozenset({"DE"}), "delete")

    def applied_but_lost(world: World) -> Callable[[list[dict[str, Any]]], None]:
        def fault(entities: list[dict[str, Any]]) -> None:
            for entity in entities:
                world.tenant.store(entity)
            raise failure(Kind.UNCLEAR, "no answer")

        return fault

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1, country="AT")
        await world.in_sync(1)
        world.tenant.fault = applied_but_lost(world)
        await world.change(1, country="DE")
        await world.until(lambda: world.tenant.count("bulk") == 1, "it is sent")
        world.tenant.fault = None
        world.pipeline.legacy.rows["1"] = user_row(1, country="AT")
        await world.change(1, country="AT")
        await world.in_sync(1, seconds=120)
        assert world.at_cidaas(1) is None

    play(tmp_path, scenario, replace(SCIM, mapping=replace(SCIM.mapping, select=select)))


def test_an_order_that_comes_while_an_entry_is_renewed_for_a_new_mapping_is_obeyed(tmp_path: Path) -> None:
    """A person, or the repair of what another user's call has overwritten, wants the user sent: without a call, no."""

    async def scenario(first: World) -> None:
        first.go()
        await first.sign_up(1)
        await first.in_sync(1)
        await first.partition.settle()
        world = await World.start(tmp_path / "next", first.clock, former=first, mapping=OTHER)
        world.tenant.calls.clear()
        world.broker.confirming.clear()
        world.put_control(1, Resync("anna"))
        ordered = asyncio.create_task(world.joined())
        await asyncio.sleep(1)
        world.go()
        await asyncio.sleep(1)
        assert world.tenant.calls == []
        world.broker.confirming.set()
        await ordered
        await world.in_sync(1, seconds=30)
        assert world.calls(1) == ["bulk"]
        await world.stop()

    play(tmp_path, scenario)


def test_a_call_that_fails_takes_one_place_of_the_canary(tmp_path: Path) -> None:
    """At the first contact the scope is missing; when it is granted the first N must still be allowed to leave."""
    left = [Kind.FORBIDDEN, Kind.FORBIDDEN, Kind.UNCLEAR]

    def fault(_: list[dict[str, Any]]) -> None:
        if left:
            raise failure(left.pop(0), "no")

    async def scenario(world: World) -> None:
        world.tenant.fault = fault
        world.go()
        await world.sign_up(1)
        await world.until(lambda: len(left) == 2, "it has failed once")
        assert world.delivery.only.why_not(world.partition, b"1") == ""
        await world.sign_up(2)
        await world.in_sync(1, seconds=600)
        assert set(world.tenant.users) == {world.sub(1)}
        assert "not among them" in world.delivery.only.why_not(world.partition, b"2")

    play(tmp_path, scenario, settings_with(only=12))


async def swapping(world: World) -> None:
    """User 1 stands in a swap, by its present version."""
    world.delivery._taking = False
    await world.sign_up(1)
    ((snap, _),) = world.partition.read([b"1"])
    assert snap is not None
    version = decode(snap.value).version
    mapping, now = world.settings.mapping.id, world.clock.time()
    entry = Entry(version=version, mapping_id=mapping, state=State.RETRYING, at=now, extra={"swap": list(version)})
    log = world.partition.ledger
    await log.put([(b"1", entry.encode(log.owner, log.next_count()))])


def test_a_version_that_went_out_with_a_temporary_address_waits_for_the_call_of_a_dead_worker(tmp_path: Path) -> None:
    """C5: old as it is, it may have been sent in its other form just now."""

    async def scenario(dead: World) -> None:
        await swapping(dead)
        await asyncio.sleep(300)
        await dead.stop()
        world = await World.start(tmp_path / "next", dead.clock, settings=SWAPPING, former=dead)
        began = world.clock.now
        world.go()
        await world.until(lambda: bool(world.tenant.calls), "it is sent")
        assert world.clock.now - began > SETTLE - 1
        await world.stop()

    play(tmp_path, scenario, SWAPPING)


def test_a_newer_version_is_not_sent_with_the_temporary_address_of_an_older_swap(tmp_path: Path) -> None:
    """It may want an address that is free; refused for something else, it would lose the one that it has."""
    sent: list[str] = []

    def refuse_once(entities: list[dict[str, Any]]) -> Any:
        sent.extend(entity["email"] for entity in entities)
        return [failed("UNKNOWN", entity["sub"]) for entity in entities] if len(sent) == 1 else None

    async def scenario(world: World) -> None:
        await swapping(world)
        await world.change(1, email="free@example.org")
        world.tenant.fault, world.delivery._taking = refuse_once, True
        world.go()
        await world.in_sync(1)
        assert sent == ["free@example.org"] * 2

    play(tmp_path, scenario, SWAPPING)
