"""The limit on refusals: a wrong setting of the tenant must not push 500,000 users into quarantine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import SETTINGS, Control, failed, settings_with
from hypothesis import given
from hypothesis import strategies as st
from world import World

from streams.cidaas.answers import Outcome, OutcomeKind
from streams.cidaas.errors import Kind, failure
from streams.cidaas.refusals import Reason
from streams.commands.status import _problems
from streams.control import DELIVERY
from streams.ledger import Entry, Situation, State
from streams.refused import LEAST, REMEDY, Refused
from streams.source.look import Look

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.settings import Settings


def play(path: Path, scenario: Callable[[World], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    """Run a scenario with one worker."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock, settings=settings)
        await scenario(world)
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


def everybody(reason: str) -> Callable[[list[dict[str, Any]]], list[Outcome]]:
    """A tenant that refuses each user of each call."""
    return lambda entities: [failed(reason, entity["sub"]) for entity in entities]


def every(one: int, world: World, numbers: range) -> Callable[[list[dict[str, Any]]], list[Outcome]]:
    """A tenant that refuses each user whose number `one` divides."""
    bad = {world.sub(number) for number in numbers if number % one == 0}
    return lambda entities: [
        failed("INVALID_EMAIL", entity["sub"]) if entity["sub"] in bad else world.tenant.store(entity)
        for entity in entities
    ]


def paused(world: World) -> bool:
    return world.delivery.paused is not None


async def many_calls_under_way(world: World) -> None:
    """Four hundred users, many of them in calls, which end with `world.tenant.going`."""
    world.go()
    await world.sign_up(*range(1_001, 2_001))  # how many calls are made at a time grows with each that is answered
    await world.in_sync(*range(1_001, 2_001))
    world.tenant.going.clear()
    await world.sign_up(*range(1, 401))
    await world.until(lambda: len(world.tenant.under_way) >= 150, "several calls", 5.0)


def resume(world: World) -> None:
    """What the command does."""
    world.pipeline.control.state[DELIVERY] = {"paused": False, "at": world.clock.time()}


# -- everybody is refused --------------------------------------------------------------------------------------------


def test_a_tenant_that_refuses_everybody_stops_the_delivery_at_fifty(tmp_path: Path) -> None:
    """Of 600 users 50 are in quarantine, and 550 pending as if nothing had happened, also those on the way."""

    async def scenario(world: World) -> None:
        world.tenant.fault = everybody("BAD_FIELD")
        await world.sign_up(*range(1, 601))
        world.go()
        await world.until(lambda: paused(world), "the pause", 60.0)
        await asyncio.sleep(600)
        counts = world.partition.counts
        assert counts[Situation.QUARANTINED] == LEAST and counts[Situation.PENDING] == 600 - LEAST
        assert world.tenant.count("bulk") <= SETTINGS.delivery.concurrency
        record = world.pipeline.control.state[DELIVERY]
        assert "bad_field 50" in record["why"] and "50 of the last 50" in record["why"]
        world.tenant.fault = None
        resume(world)
        sent = [number for number in range(1, 601) if world.where(number) is Situation.PENDING]
        await world.in_sync(*sent, seconds=60.0)
        assert counts[Situation.QUARANTINED] == LEAST

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", [Kind.BAD_REQUEST, Kind.REFUSED])
def test_calls_that_are_refused_down_to_the_last_user_count_as_well(tmp_path: Path, kind: Kind) -> None:
    """C6: halved until each of fifty stands alone and is blamed for it; the next fifty are not."""

    def fault(entities: list[dict[str, Any]]) -> None:
        raise failure(kind, "it failed")

    async def scenario(world: World) -> None:
        world.tenant.fault = fault
        await world.sign_up(*range(1, 401))
        world.go()
        await world.until(lambda: paused(world), "the pause", 60.0)
        await asyncio.sleep(600)
        assert world.partition.counts[Situation.QUARANTINED] == LEAST
        assert world.partition.counts[Situation.PENDING] == 400 - LEAST
        assert "refused_call 50" in world.pipeline.control.state[DELIVERY]["why"]

    play(tmp_path, scenario)


def test_refused_deletes_count_as_well(tmp_path: Path) -> None:
    """The right to delete was never given: not one user after the other into quarantine."""
    unbraked = replace(
        SETTINGS,
        brake=replace(SETTINGS.brake, floor=1_000, ceiling=1_000),
        cidaas=replace(SETTINGS.cidaas, delete="scim"),
    )

    def refuse(sub: str) -> None:
        raise failure(Kind.BAD_REQUEST, "it failed")

    async def scenario(world: World) -> None:
        numbers = range(1, 121)  # 120 confirmed before: 50 refused among 170
        await world.sign_up(*numbers)
        world.go()
        await world.in_sync(*numbers)
        world.tenant.delete_fault = refuse
        await world.remove(*numbers)
        await world.until(lambda: paused(world), "the pause", 600.0)
        await asyncio.sleep(600)
        assert world.partition.counts[Situation.QUARANTINED] == LEAST
        world.tenant.delete_fault = None
        resume(world)
        left = [number for number in numbers if world.where(number) is Situation.PENDING]
        await world.in_sync(*left, seconds=600.0)

    play(tmp_path, scenario, unbraked)


def test_answers_with_another_users_sub_count_as_well(tmp_path: Path) -> None:
    """C3: a tenant that gives its own subs to everybody overwrites somebody with each call."""

    def fault(entities: list[dict[str, Any]]) -> list[Outcome]:
        return [Outcome(OutcomeKind.UNCLEAR, "UPDATED", "another", reason=Reason.FOREIGN_SUB) for _ in entities]

    async def scenario(world: World) -> None:
        world.tenant.fault = fault
        await world.sign_up(*range(1, 401))
        world.go()
        await world.until(lambda: paused(world), "the pause", 5.0)
        assert world.partition.counts[Situation.PENDING] == 400
        assert "foreign_sub 50" in world.pipeline.control.state[DELIVERY]["why"]

    play(tmp_path, scenario)


# -- the everyday case -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "pauses"), [(25, False), (6, False), (5, False), (4, True), (2, True)])
def test_the_share_decides(tmp_path: Path, one: int, pauses: bool) -> None:
    """Every 25th, 6th or 5th user is refused as a company's old data go; every 4th is too many."""

    async def scenario(world: World) -> None:
        numbers = range(1, 1_001)
        world.tenant.fault = every(one, world, numbers)
        await world.sign_up(*numbers)
        world.go()
        await world.until(
            lambda: paused(world) or not world.partition.counts[Situation.PENDING], "the end, or the pause", 300.0
        )
        assert paused(world) is pauses
        if not pauses:
            assert world.partition.counts[Situation.QUARANTINED] == 1_000 // one

    play(tmp_path, scenario)


def test_fewer_than_fifty_never_pause(tmp_path: Path) -> None:
    """A first start with a canary of forty, all of them refused, needs no pause to be seen."""

    async def scenario(world: World) -> None:
        world.tenant.fault = everybody("BAD_FIELD")
        await world.sign_up(*range(1, LEAST))
        world.go()
        await world.until(lambda: not world.partition.counts[Situation.PENDING], "all are judged", 60.0)
        assert not paused(world)

    play(tmp_path, scenario)


def test_a_share_of_one_switches_it_off(tmp_path: Path) -> None:
    """`refused_share = 1.0`, as tests and somebody who knows better want it."""

    async def scenario(world: World) -> None:
        world.tenant.fault = everybody("BAD_FIELD")
        await world.sign_up(*range(1, 301))
        world.go()
        await world.until(lambda: world.partition.counts[Situation.QUARANTINED] == 300, "all are refused", 60.0)
        assert not paused(world)

    play(tmp_path, scenario, settings_with(refused_share=1.0))


def test_who_was_refused_before_is_not_counted_again(tmp_path: Path) -> None:
    """A nightly job touches just the rows that cidaas has refused for months."""

    async def scenario(world: World) -> None:
        numbers = range(1, 1_001)
        world.tenant.fault = every(10, world, numbers)
        await world.sign_up(*numbers)
        world.go()
        await world.until(lambda: not world.partition.counts[Situation.PENDING], "all are judged", 300.0)
        for number in numbers[9::10]:
            world.put_user(number, "u", city="Ulm")
        await world.joined()
        await world.until(lambda: not world.partition.counts[Situation.PENDING], "all are judged again", 300.0)
        assert world.partition.counts[Situation.QUARANTINED] == 100 and not paused(world)

    play(tmp_path, scenario)


# -- afterwards ------------------------------------------------------------------------------------------------------


def test_resume_counts_afresh(tmp_path: Path) -> None:
    """The person has looked; another fifty must be refused before it is paused again."""

    async def scenario(world: World) -> None:
        world.tenant.fault = everybody("BAD_FIELD")
        await world.sign_up(*range(1, 301))
        world.go()
        for number in (1, 2, 3):
            await world.until(lambda: paused(world), f"pause {number}", 60.0)
            await asyncio.sleep(30)
            assert world.partition.counts[Situation.QUARANTINED] == number * LEAST
            resume(world)

    play(tmp_path, scenario)


def test_a_restart_forgets_the_count_and_not_the_pause(tmp_path: Path) -> None:
    """A service manager that starts the worker again must not let the next fifty out."""

    async def scenario(world: World) -> None:
        world.tenant.fault = everybody("BAD_FIELD")
        await world.sign_up(*range(1, 301))
        world.go()
        await world.until(lambda: paused(world), "the pause", 60.0)
        await world.stop()
        calls = world.tenant.count("bulk")
        second = await World.start(world.path, world.clock, former=world)
        second.go()
        await asyncio.sleep(600)
        assert paused(second) and second.tenant.count("bulk") == calls
        assert second.partition.counts[Situation.QUARANTINED] == LEAST
        resume(second)
        await second.until(lambda: paused(second), "the second pause", 60.0)
        assert second.partition.counts[Situation.QUARANTINED] == 2 * LEAST
        await second.stop()

    play(tmp_path, scenario)


def test_another_workers_pause_holds_for_what_is_on_the_way_here(tmp_path: Path) -> None:
    """Calls of fifty each are under way in each worker when one of them finds out."""

    async def scenario(world: World) -> None:
        await many_calls_under_way(world)
        world.tenant.fault = everybody("BAD_FIELD")
        world.pipeline.control.state[DELIVERY] = {"paused": True, "limit": True, "why": "the other one", "at": 1.0}
        world.tenant.going.set()
        await asyncio.sleep(60)
        assert world.partition.counts[Situation.QUARANTINED] == 0
        assert world.entry(1).state is State.RETRYING and world.where(1) is Situation.PENDING
        assert world.pipeline.control.state[DELIVERY]["why"] == "the other one"

    play(tmp_path, scenario)


def test_a_persons_pause_keeps_its_reason(tmp_path: Path) -> None:
    """What comes in while somebody has paused says nothing new to the one who looks already."""

    async def scenario(world: World) -> None:
        await many_calls_under_way(world)
        world.tenant.fault = everybody("BAD_FIELD")
        world.pipeline.control.state[DELIVERY] = {"paused": True, "why": "lunch", "at": 1.0}
        world.tenant.going.set()
        await asyncio.sleep(60)
        assert world.pipeline.control.state[DELIVERY]["why"] == "lunch"
        assert world.partition.counts[Situation.QUARANTINED] == LEAST

    play(tmp_path, scenario)


def test_status_says_why_and_what_to_look_at() -> None:
    """A pause that nobody ordered must not read like one that somebody did."""
    source = Look()
    body = {
        "paused": {"paused": True, "limit": True, "why": "50 of the last 60"},
        "deletes_paused": None,
        "brake": None,
        "sweep": None,
        "foreign_subs": 0,
        "users": {},
        "faults": [],
        "heartbeat_age_seconds": None,
        "slot_room": None,
    }
    found = _problems(SETTINGS, source, [], body)
    (said,) = [problem for problem in found if problem["slug"] == "refusals"]
    assert "50 of the last 60" in said["what"] and said["remedy"] == REMEDY
    assert "paused" not in {problem["slug"] for problem in found}


@given(st.lists(st.booleans(), max_size=400), st.integers(50, 120), st.floats(0.0, 1.0))
def test_it_pauses_as_soon_as_the_last_users_say_so_and_never_before(
    judged: list[bool], window: int, share: float
) -> None:
    """Counted one by one, it is what one would count by looking at the last users each time."""

    async def scenario() -> None:
        control = Control()
        limits = replace(SETTINGS.delivery, refused_share=share, refused_window=window)
        limit = Refused(limits, control)  # type: ignore[arg-type]
        for number, refused in enumerate(judged, 1):
            last = judged[max(0, number - window) : number]
            state = State.QUARANTINED if refused else State.CONFIRMED
            entry = Entry(state=state, reason="bad_field" if refused else "")
            await limit.judge([(SimpleNamespace(entry=None), entry)])  # type: ignore[list-item]
            expected = sum(last) >= LEAST and sum(last) > share * len(last)
            assert bool(control.puts) is expected
            if expected:
                return

    run(scenario())
