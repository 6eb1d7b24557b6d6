"""Windows of live users: what cidaas refuses, loses or answers wrongly must not lose anybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import SETTINGS, failed, settings_with, user_row
from world import World

from streams.cidaas.answers import Outcome, OutcomeKind
from streams.cidaas.errors import CidaasError, Kind, failure
from streams.cidaas.refusals import Reason
from streams.jobs import Do
from streams.ledger import Entry, Situation, State
from streams.pipeline import Pipeline
from streams.rows import Resync, SetAside
from streams.settings import SelectRule
from streams.snapshots import Snapshot
from streams.state import TableKind, records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.settings import Settings

SETTLE = SETTINGS.cidaas.timeout + 5.0
DONE = Outcome(OutcomeKind.DONE, "CREATED")


def play(path: Path, scenario: Callable[[World], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    """Run a scenario with one worker."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock, settings=settings)
        await scenario(world)
        assert world.tenant.overlaps == [], "two calls of one user at a time"
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


def raising(*kinds: Kind) -> Callable[[list[dict[str, Any]]], None]:
    """A fault that fails the first calls as a whole, then lets everything pass."""
    left = list(kinds)

    def fault(entities: list[dict[str, Any]]) -> None:
        if left:
            raise failure(left.pop(0), "it failed")

    return fault


# -- the main line ---------------------------------------------------------------------------------------------------


def test_a_new_user_is_at_cidaas_and_confirmed(tmp_path: Path) -> None:
    """The job itself."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1)
        await world.in_sync(1, seconds=1.0)
        entity = world.at_cidaas(1)
        assert entity is not None and entity["email"] == "user1@example.org" and entity["password_hash_info"]
        assert world.entry(1).process_state == "CREATED" and world.tenant.count("bulk") == 1

    play(tmp_path, scenario)


def test_ten_changes_while_a_call_is_under_way_are_one_call_afterwards(tmp_path: Path) -> None:
    """Level-triggered: cidaas gets the last state, not the way there."""

    async def scenario(world: World) -> None:
        world.go()
        world.tenant.going.clear()
        await world.sign_up(1)
        await world.until(lambda: bool(world.tenant.calls), "the first call")
        for number in range(10):
            await world.change(1, city=f"city {number}")
        world.tenant.going.set()
        await world.in_sync(1)
        entity = world.at_cidaas(1)
        assert entity is not None and entity["address"]["locality"] == "city 9"
        assert world.tenant.count("bulk") == 2

    play(tmp_path, scenario)


def test_windows_hold_at_most_fifty_users_and_everybody_arrives(tmp_path: Path) -> None:
    """cidaas takes 50 in a call; the 51st must not be dropped."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 131))
        world.go()
        await world.in_sync(*range(1, 131))
        sizes = [len(subs) for _, subs in world.tenant.calls]
        assert max(sizes) == 50 and sum(sizes) == 130

    play(tmp_path, scenario)


def test_who_is_found_while_the_partition_is_being_scanned_is_sent_afterwards(tmp_path: Path) -> None:
    """At a start users are queued while their partition is not owned yet and others are; forgotten, they would stay
    pending until the next start."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.partition.owned.clear()
        world.pipeline.partitions = lambda: [world.partition]  # type: ignore[method-assign]  another one is owned
        world.go()
        await asyncio.sleep(3)
        assert world.tenant.calls == []
        world.partition.owned.set()
        await world.in_sync(1, seconds=5.0)

    play(tmp_path, scenario)


def test_pause_stops_calls_and_resume_loses_nobody(tmp_path: Path) -> None:
    """A person paused for a reason, and resumes without a restart."""

    async def scenario(world: World) -> None:
        world.pipeline.control.state["delivery"] = {"why": "test"}
        world.go()
        await world.sign_up(1, 2)
        await asyncio.sleep(60)
        assert world.tenant.calls == []
        del world.pipeline.control.state["delivery"]
        await world.in_sync(1, 2, seconds=5.0)

    play(tmp_path, scenario)


@pytest.mark.parametrize("only", [("2",), 12])
def test_a_canary_sends_only_whom_it_names(tmp_path: Path, only: Any) -> None:
    """The first contact with a real tenant: one user too many is one e-mail too many."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(2)
        await world.sign_up(1, 3)
        await world.in_sync(2, seconds=5.0)
        await asyncio.sleep(60)
        await world.change(2, city="Ulm")
        await world.in_sync(2, seconds=5.0)
        assert set(world.tenant.users) == {world.sub(2)}
        assert world.where(1) is Situation.PENDING

    play(tmp_path, scenario, settings_with(only=only))


def test_an_order_lets_nobody_past_the_canary(tmp_path: Path) -> None:
    """A pipeline for another tenant reads the topic from its beginning, with every `resync` of the former one in it."""

    async def scenario(world: World) -> None:
        await world.sign_up(1, 2, 3)
        for number in (1, 2, 3):
            world.put_control(number, Resync("me"))
        await world.joined()
        world.go()
        await asyncio.sleep(60)
        assert len(world.tenant.users) == 1
        assert sorted(world.where(number).name for number in (1, 2, 3)) == ["IN_SYNC", "PENDING", "PENDING"]

    play(tmp_path, scenario, settings_with(only=12))


# -- C3: an answer is believed per user ------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [Reason.UNMATCHED, Reason.UNREADABLE])
def test_who_is_missing_in_the_answer_goes_again_alone(tmp_path: Path, reason: Reason) -> None:
    """C3: HTTP 200 is not "stored"; alone the answer can be of nobody else."""

    async def scenario(world: World) -> None:
        await world.sign_up(1, 2, 3)

        def fault(entities: list[dict[str, Any]]) -> list[Outcome] | None:
            if len(entities) == 1:
                return None
            lost = Outcome(OutcomeKind.UNCLEAR, reason=reason)
            return [lost if e["sub"] == world.sub(2) else world.tenant.store(e) for e in entities]

        world.tenant.fault = fault
        world.go()
        await world.in_sync(1, 2, 3, seconds=5.0)
        assert ("bulk", (world.sub(2),)) in world.tenant.calls

    play(tmp_path, scenario)


def test_who_must_go_alone_does_not_starve_behind_the_others(tmp_path: Path) -> None:
    """C3: put back to the end of the queue again and again, the user would wait until the whole backlog is through."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 201))
        lonely = world.sub(7)

        def fault(entities: list[dict[str, Any]]) -> list[Outcome] | None:
            if len(entities) == 1:
                return None
            lost = Outcome(OutcomeKind.UNCLEAR, reason=Reason.UNMATCHED)
            return [lost if e["sub"] == lonely else world.tenant.store(e) for e in entities]

        world.tenant.fault = fault
        world.go()
        await world.in_sync(*range(1, 201))
        shared = [subs for _, subs in world.tenant.calls if lonely in subs and len(subs) > 1]
        assert len(shared) == 1 and world.tenant.count("bulk") <= 12

    play(tmp_path, scenario)


def test_no_two_users_with_one_address_are_in_a_call(tmp_path: Path) -> None:
    """C3: answers are matched by address too; case makes no difference to cidaas."""

    async def scenario(world: World) -> None:
        for number, mail in ((1, "A@example.org"), (2, "a@EXAMPLE.org"), (3, "b@example.org")):
            world.put_user(number, "c", email=mail)
            world.put_credential(number, number, "c")
        await world.joined()
        world.tenant.fault = lambda entities: [DONE] * len(entities)
        world.go()
        await world.in_sync(1, 2, 3, seconds=5.0)
        assert not any({world.sub(1), world.sub(2)} <= set(subs) for _, subs in world.tenant.calls)

    play(tmp_path, scenario)


def test_a_permanent_refusal_is_quarantined_and_a_newer_version_leaves_it(tmp_path: Path) -> None:
    """Repeating does not cure it, correcting the row does."""

    async def scenario(world: World) -> None:
        world.tenant.fault = lambda entities: [failed("INVALID_EMAIL")] * len(entities)
        world.go()
        await world.sign_up(1)
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "quarantine", 5.0)
        await asyncio.sleep(900)
        assert world.tenant.count("bulk") == 1
        world.tenant.fault = None
        await world.change(1, email="right@example.org")
        await world.in_sync(1, seconds=5.0)

    play(tmp_path, scenario)


def test_an_unknown_refusal_is_tried_ten_times_over_an_hour(tmp_path: Path) -> None:
    """A message that we misread costs time and not a user."""

    async def scenario(world: World) -> None:
        world.tenant.fault = lambda entities: [failed("UNKNOWN")] * len(entities)
        world.go()
        began = world.clock.now
        await world.sign_up(1)
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "quarantine", 2 * 3_600)
        assert world.tenant.count("bulk") == 10
        assert 2_700 < world.clock.now - began < 5_400

    play(tmp_path, scenario)


def test_a_corrected_row_does_not_wait_for_the_retry_of_the_wrong_one(tmp_path: Path) -> None:
    """The retry may be half an hour away; the correction is what people wait for."""

    async def scenario(world: World) -> None:
        world.tenant.fault = lambda entities: [failed("UNKNOWN")] * len(entities)
        world.go()
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 8, "some tries")
        world.tenant.fault = None
        await world.change(1, city="Ulm")
        await world.in_sync(1, seconds=2.0)

    play(tmp_path, scenario)


# -- C2 --------------------------------------------------------------------------------------------------------------


def test_back_to_the_former_state_is_a_call(tmp_path: Path) -> None:
    """C2: A to B with its answer lost, then A again: a fingerprint would leave B at cidaas."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1)
        await world.in_sync(1)

        def lost(entities: list[dict[str, Any]]) -> None:
            for entity in entities:
                world.tenant.store(entity)
            raise failure(Kind.UNCLEAR, "the answer was lost")

        world.tenant.fault = lost
        await world.change(1, city="B")
        await world.until(lambda: world.tenant.count("bulk") == 2, "the call whose answer is lost")
        world.tenant.fault = None
        await world.change(1)
        await world.in_sync(1)
        entity = world.at_cidaas(1)
        assert entity is not None and entity["address"]["locality"] is None

    play(tmp_path, scenario)


# -- C4: unclear ends settle -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.UNCLEAR, Kind.SERVER])
@pytest.mark.parametrize("after", ["nothing", "change", "delete"])
def test_after_an_unclear_end_nothing_goes_out_for_these_users(tmp_path: Path, kind: Kind, after: str) -> None:
    """C4: the request may still be on its way; what overtakes it is overwritten by the older state."""

    async def scenario(world: World) -> None:
        world.tenant.fault = raising(kind)
        world.go()
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 1, "the first call")
        ended = world.clock.now
        await asyncio.sleep(1)
        if after == "change":
            await world.change(1, city="Ulm")
        elif after == "delete":
            await world.remove(1)
        await world.sign_up(2)
        await world.in_sync(2, seconds=10.0)
        await asyncio.sleep(max(0.0, SETTLE - 1 - (world.clock.now - ended)))
        assert world.calls(1) == ["bulk"], "nothing goes out before it has settled"
        await world.in_sync(1)
        assert world.calls(1) == (["bulk", "delete"] if after == "delete" else ["bulk", "bulk"])

    play(tmp_path, scenario)


def test_a_worker_that_leaves_within_the_settling_time_leaves_no_settled_record(tmp_path: Path) -> None:
    """C5: the next owner has to wait for the request that may be on its way."""

    async def scenario(world: World) -> None:
        world.tenant.fault = raising(Kind.UNCLEAR)
        world.go()
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 1, "the call")
        await asyncio.sleep(1)
        await world.delivery.drain(4.0)
        await world.partition.settle()
        second = await World.start(world.path / "second", world.clock, former=world)
        facts = second.partition.take_over_facts
        assert facts is not None and not facts.settled
        await second.stop()

    play(tmp_path, scenario)


def test_what_is_refused_before_it_is_read_goes_again_without_settling(tmp_path: Path) -> None:
    """A 429 or a refused connection leaves nothing on its way: 15 s for everybody would be 15 s for nothing."""

    async def scenario(world: World) -> None:
        world.tenant.fault = raising(Kind.RATE_LIMITED, Kind.UNAVAILABLE)
        world.go()
        await world.sign_up(1)
        await world.in_sync(1, seconds=SETTLE - 2)

    play(tmp_path, scenario)


# -- C6: halving -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.BAD_REQUEST, Kind.TOO_LARGE, Kind.REFUSED])
@pytest.mark.parametrize("guilty", [1, 26, 50])
def test_one_guilty_user_in_fifty_is_found_and_nobody_else_suffers(tmp_path: Path, kind: Kind, guilty: int) -> None:
    """C6: at most 12 further calls, one user set aside, 49 stored at once."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 51))

        def fault(entities: list[dict[str, Any]]) -> None:
            if any(entity["sub"] == world.sub(guilty) for entity in entities):
                raise failure(kind, "cidaas refused the call", status=400)

        world.tenant.fault = fault
        world.go()
        others = [number for number in range(1, 51) if number != guilty]
        await world.in_sync(*others, seconds=5.0)
        await world.until(lambda: world.where(guilty) is Situation.QUARANTINED, "the guilty one", 5.0)
        assert world.tenant.count("bulk") <= 1 + 12
        assert world.partition.counts[Situation.QUARANTINED] == 1

    play(tmp_path, scenario)


def test_a_500_is_halved_when_the_same_window_fails_twice_while_others_succeed(tmp_path: Path) -> None:
    """C6: one user that cidaas stumbles over must not keep 49 others out for ever."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 51))

        def fault(entities: list[dict[str, Any]]) -> None:
            if any(entity["sub"] == world.sub(30) for entity in entities):
                raise failure(Kind.SERVER, "cidaas answered 500", status=500)

        world.tenant.fault = fault
        world.go()
        others = [number for number in range(1, 51) if number != 30]
        for number in range(100, 140):  # others succeed, now and then
            await asyncio.sleep(10)
            await world.sign_up(number)
            if world.where(30) is Situation.QUARANTINED:
                break
        assert world.where(30) is Situation.QUARANTINED
        await world.in_sync(*others)
        assert world.partition.counts[Situation.QUARANTINED] == 1

    play(tmp_path, scenario)


@pytest.mark.parametrize("guilty", [1, 30, 50])
def test_a_half_that_fails_is_judged_by_the_other_half(tmp_path: Path, guilty: int) -> None:
    """C6: with nobody else to tell that cidaas is well, each halving still costs one failed call, and no more."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 51))
        failed = 0

        def fault(entities: list[dict[str, Any]]) -> None:
            nonlocal failed
            if any(entity["sub"] == world.sub(guilty) for entity in entities):
                failed += 1
                raise failure(Kind.SERVER, "cidaas answered 500", status=500)

        world.tenant.fault = fault
        world.go()
        await world.until(lambda: failed == 1, "the first failure")
        await world.sign_up(100)
        await world.until(lambda: world.where(guilty) is Situation.QUARANTINED, "the guilty one", 10 * SETTLE)
        assert failed <= 2 + 6, "once whole, once again, then one for each halving"
        await world.in_sync(*(number for number in range(1, 51) if number != guilty))

    play(tmp_path, scenario)


def test_while_nothing_succeeds_nobody_is_blamed(tmp_path: Path) -> None:
    """C6: an outage that answers 500 must not put 500,000 users into quarantine."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 6))
        world.tenant.fault = raising(*[Kind.SERVER] * 8)
        world.go()
        await world.in_sync(*range(1, 6))
        assert world.delivery.figures.outcomes["quarantined"] == 0

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", [Kind.UNCLEAR, Kind.UNAVAILABLE, Kind.RATE_LIMITED])
def test_trouble_on_the_way_blames_nobody(tmp_path: Path, kind: Kind) -> None:
    """C6: 502, 503, 504, time-outs and 429 are never halved and never quarantined, however long they last."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 4))
        world.tenant.fault = raising(*[kind] * 15)
        world.go()
        await world.in_sync(*range(1, 4))
        assert world.delivery.figures.outcomes["quarantined"] == 0

    play(tmp_path, scenario)


@pytest.mark.parametrize("kind", [Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.NOT_FOUND_ENDPOINT, Kind.CREDENTIALS])
def test_what_only_a_person_can_cure_is_tried_once_a_minute_and_loses_nobody(tmp_path: Path, kind: Kind) -> None:
    """C6: a wrong client secret for an hour is 60 calls and no quarantine; the reason is shown."""

    async def scenario(world: World) -> None:
        world.tenant.fault = raising(*[kind] * 10)
        world.go()
        began = world.clock.now
        await world.sign_up(1)
        await asyncio.sleep(30)
        assert world.delivery.calls.trouble and world.tenant.count("bulk") == 1
        await world.in_sync(1)
        assert world.clock.now - began > 9 * 60
        assert world.delivery.figures.outcomes["quarantined"] == 0 and not world.delivery.calls.trouble

    play(tmp_path, scenario)


def test_a_delete_that_succeeds_does_not_hide_that_upserts_are_forbidden(tmp_path: Path) -> None:
    """C6: scopes are per kind of call, and the reason is to be read until it is cured."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.go()
        await world.in_sync(1)
        world.tenant.fault = raising(Kind.FORBIDDEN)
        await world.sign_up(2)
        await world.until(lambda: bool(world.delivery.calls.trouble), "the upsert was forbidden")
        await world.remove(1)
        await world.in_sync(1, seconds=30)
        assert "scopes" in world.delivery.calls.trouble
        assert "scopes" in world.delivery.why_waiting(world.partition, b"2")
        await world.in_sync(2)
        assert not world.delivery.calls.trouble

    play(tmp_path, scenario)


def test_deletes_leave_while_upserts_wait_for_a_person(tmp_path: Path) -> None:
    """Their scope is another one; behind a backlog of upserts that are forbidden they would wait as long as those."""

    async def scenario(world: World) -> None:
        await world.sign_up(1, 2)
        world.go()
        await world.in_sync(1, 2)
        world.tenant.fault = raising(Kind.FORBIDDEN)
        await world.sign_up(*range(10, 16))
        await world.until(lambda: world.tenant.count("bulk") > 2, "the upsert was forbidden")
        await world.remove(1)
        await world.change(2, status="deleted")
        await world.change(15, city="Ulm")
        await world.in_sync(1, 2, seconds=10)
        assert world.at_cidaas(10) is None
        began = world.clock.now
        await world.in_sync(*range(10, 16), seconds=70)
        assert world.clock.now > began + 40, "it was tried once a minute"
        entity = world.at_cidaas(15)
        assert entity is not None and entity["address"]["locality"] == "Ulm"

    one_by_one = replace(SETTINGS, delivery=replace(SETTINGS.delivery, concurrency=1, window=1))
    play(tmp_path, scenario, one_by_one)


# -- addresses -------------------------------------------------------------------------------------------------------


async def _swapped(world: World) -> None:
    """Users 1 and 2 are at cidaas and swap their addresses in the legacy database."""
    world.go()
    await world.sign_up(1, 2)
    await world.in_sync(1, 2)
    world.put_user(1, "u", email="user2@example.org")
    world.put_user(2, "u", email="user1@example.org")
    await world.joined()


def test_a_swap_of_addresses_is_broken_by_the_temporary_one(tmp_path: Path) -> None:
    """cidaas accepts the two in no order; without this both would keep the wrong address for ever."""

    async def scenario(world: World) -> None:
        await _swapped(world)
        await world.in_sync(1, 2, seconds=120.0)
        one, two = world.at_cidaas(1), world.at_cidaas(2)
        assert one is not None and two is not None
        assert (one["email"], two["email"]) == ("user2@example.org", "user1@example.org")

    play(tmp_path, scenario, settings_with(temporary_email="swap+{id}@example.org"))


@pytest.mark.parametrize("known", ["nothing", "the address before"])
def test_a_swap_after_an_answer_was_lost_is_broken_too(tmp_path: Path, known: str) -> None:
    """cidaas has stored what nobody wrote down: only cidaas knows which address the users hold."""

    async def scenario(world: World) -> None:
        world.go()
        if known == "the address before":
            await world.sign_up(1, email="old1@example.org")
            await world.sign_up(2, email="old2@example.org")
            await world.in_sync(1, 2)
        world.tenant.fault, world.tenant.late = raising(Kind.UNCLEAR, Kind.UNCLEAR), 0.01
        await world.sign_up(1, 2)
        await world.until(
            lambda: (
                {user["email"] for user in world.tenant.users.values()} == {"user1@example.org", "user2@example.org"}
            ),
            "stored, and not answered",
            5.0,
        )
        world.put_user(1, "u", email="user2@example.org")
        world.put_user(2, "u", email="user1@example.org")
        await world.joined()
        await world.in_sync(1, 2, seconds=120.0)
        one, two = world.at_cidaas(1), world.at_cidaas(2)
        assert one is not None and two is not None
        assert (one["email"], two["email"]) == ("user2@example.org", "user1@example.org")

    play(tmp_path, scenario, settings_with(temporary_email="swap+{id}@example.org"))


def test_a_look_that_is_forbidden_holds_no_upsert_back(tmp_path: Path) -> None:
    """The scope for reading is another one; what the ledger knows is enough for most."""

    async def scenario(world: World) -> None:
        world.tenant.read_fault = failure(Kind.FORBIDDEN, "no scope")
        await _swapped(world)
        await world.sign_up(3)
        await world.in_sync(1, 2, 3, seconds=120.0)

    play(tmp_path, scenario, settings_with(temporary_email="swap+{id}@example.org"))


def test_a_swap_without_a_temporary_address_is_explained(tmp_path: Path) -> None:
    """Both stand in quarantine with exactly that explanation, instead of being tried for ever."""

    async def scenario(world: World) -> None:
        await _swapped(world)
        await world.until(
            lambda: all(world.where(number) is Situation.QUARANTINED for number in (1, 2)), "both in quarantine", 300.0
        )
        assert all("swap" in world.entry(number).message for number in (1, 2))

    play(tmp_path, scenario, settings_with(temporary_email=None))


@pytest.mark.parametrize("reason", ["USERNAME_CONFLICT", "MOBILE_CONFLICT", "EMAIL_CONFLICT"])
@pytest.mark.parametrize("temporary", [None, "swap+{id}@example.org"])
def test_a_conflict_with_one_s_own_address_is_no_swap(tmp_path: Path, reason: str, temporary: str | None) -> None:
    """A user name that is taken has nothing to do with the address: neither a false explanation nor a false address."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1)
        await world.in_sync(1)
        seen: list[str] = []

        def fault(entities: list[dict[str, Any]]) -> list[Outcome]:
            seen.extend(entity["email"] for entity in entities)
            return [failed(reason)] * len(entities)

        world.tenant.fault = fault
        await world.change(1, username="taken")
        await asyncio.sleep(600)
        assert world.where(1) is Situation.PENDING and world.entry(1).state is State.RETRYING
        assert set(seen) == {"user1@example.org"} and len(seen) > 8

    play(tmp_path, scenario, settings_with(temporary_email=temporary))


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_clock_that_is_set_makes_nobody_wait_for_hours(tmp_path: Path, hours: int) -> None:
    """The time of the next try stands in the ledger as the clock had it: setting that back would put the user off."""

    async def scenario(world: World) -> None:
        answers = [[failed("EMAIL_CONFLICT")]] * 4
        world.tenant.fault = lambda _: answers.pop() if answers else None
        world.go()
        await world.sign_up(1)
        await world.until(lambda: world.delivery.figures.outcomes["retrying"] == 2, "refused twice")
        world.clock.set_by = hours * 3600.0
        await world.in_sync(1, seconds=60.0)

    play(tmp_path, scenario)


def test_who_waits_for_an_address_is_woken_when_it_is_free(tmp_path: Path) -> None:
    """The wait for a conflict is up to a minute; the moment it is cured is known."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1)
        await world.in_sync(1)
        await world.sign_up(2, email="user1@example.org")
        await asyncio.sleep(600)
        assert world.entry(2).state is State.RETRYING
        await world.change(1, email="new@example.org")
        await world.in_sync(1, 2, seconds=1.0)

    play(tmp_path, scenario)


# -- ownership -------------------------------------------------------------------------------------------------------


def test_without_sure_ownership_no_call_starts(tmp_path: Path) -> None:
    """C5: a worker that was frozen may have lost its partitions; its old state must not go out."""

    async def scenario(world: World) -> None:
        world.pipeline.member = False
        world.go()
        await world.sign_up(1)
        await asyncio.sleep(5)
        assert world.tenant.calls == []

    play(tmp_path, scenario)


def test_a_closing_partition_sends_nothing_and_its_next_owner_everything(tmp_path: Path) -> None:
    """O1: what was queued and what was under way is found by the next owner's scan."""

    async def scenario(world: World) -> None:
        world.go()
        world.tenant.going.clear()
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 1, "a call under way")
        await world.sign_up(2)
        world.partition.closing = True
        await world.delivery.drain(0.5)
        await asyncio.sleep(5)
        assert world.tenant.count("bulk") == 1
        second = await World.start(world.path / "second", world.clock, former=world)
        second.tenant.going.set()
        second.go()
        await second.in_sync(1, 2)
        assert second.clock.now > SETTLE
        await second.stop()

    play(tmp_path, scenario)


def test_an_answer_that_comes_after_the_partition_was_given_up_is_not_written(tmp_path: Path) -> None:
    """O3: an entry of a former owner must not stand beside the ones of the next."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        jobs = await world.delivery.prepare([world.user(1)], Do.UPSERT)
        end = world.broker.end(SETTINGS.topics.ledger, 0)
        world.partition.closed = True
        await world.delivery.upserts._answered(jobs, [DONE])
        assert world.broker.end(SETTINGS.topics.ledger, 0) == end

    play(tmp_path, scenario)


# -- a new mapping ---------------------------------------------------------------------------------------------------


def test_a_new_mapping_that_changes_nothing_costs_no_call(tmp_path: Path) -> None:
    """C2: 500,000 users get a new entry and no call."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1, 2)
        await world.in_sync(1, 2)
        await world.partition.settle()
        second = await World.start(world.path / "b", world.clock, former=world, mapping="00112233445566aa")
        assert second.where(1) is Situation.PENDING
        second.tenant.calls.clear()
        second.go()
        await second.in_sync(1, 2)
        assert second.tenant.calls == []
        await second.stop()

    play(tmp_path, scenario)


def test_a_new_mapping_that_changes_the_user_is_sent_and_in_doubt_before(tmp_path: Path) -> None:
    """C2: after a crash in the call and a return to the former mapping the entry must not look confirmed."""

    async def scenario(world: World) -> None:
        world.go()
        await world.sign_up(1)
        await world.in_sync(1)
        await world.partition.settle()
        rule = replace(SETTINGS.mapping.fields[0], target="nickname")
        changed = replace(
            SETTINGS, mapping=replace(SETTINGS.mapping, fields=(*SETTINGS.mapping.fields, rule), id="00112233445566aa")
        )
        second = await World.start(world.path / "b", world.clock, former=world, settings=changed)
        second.tenant.calls.clear()
        second.tenant.going.clear()
        second.go()
        await second.until(lambda: second.tenant.count("bulk") == 1, "the call")
        assert second.entry(1).state is State.IN_DOUBT
        second.tenant.going.set()
        await second.in_sync(1)
        await second.stop()

    play(tmp_path, scenario)


@pytest.mark.parametrize("former", ["deleted", "not_selected"])
def test_who_is_live_by_a_new_mapping_alone_is_remembered_after_a_crash_and_a_return(
    tmp_path: Path, former: str
) -> None:
    """C1: the former mapping never saw the user live, so only a note from before the call tells that it was sent."""
    mapping = SETTINGS.mapping
    if former == "deleted":
        narrow = replace(mapping, status=replace(mapping.status, deleted=frozenset({"odd"})))
    else:
        narrow = replace(mapping, select=SelectRule("country", frozenset({"DE"}), "delete"))
    before = replace(SETTINGS, mapping=narrow, cidaas=replace(SETTINGS.cidaas, delete="scim"))
    wide = replace(before, mapping=replace(mapping, id="00112233445566aa"))

    async def scenario(first: World) -> None:
        first.pipeline.legacy.rows["1"] = user_row(1, status="odd", country="AT")
        first.go()
        await first.sign_up(1, status="odd", country="AT")
        await first.until(lambda: not first.delivery.queues[Do.UPSERT], "it was looked at")
        assert first.tenant.calls == []
        await first.stop()

        second = await World.start(first.path / "b", first.clock, settings=wide, former=first)
        second.tenant.late = 0.5  # the call takes effect although its worker is killed in it
        second.tenant.going.clear()
        second.go()
        await second.until(lambda: second.calls(1) == ["bulk"], "the call")
        assert second.entry(1).state is State.IN_DOUBT
        await second.stop()
        await asyncio.sleep(1)
        assert second.at_cidaas(1) is not None

        second.tenant.going.set()
        third = await World.start(first.path / "c", first.clock, settings=before, former=second)
        third.go()
        if former == "deleted":  # a mapping that deletes users whose rows have not changed is for a person to judge
            await third.until(lambda: third.where(1) is Situation.PARKED, "its delete is parked")
        else:
            await third.in_sync(1)
            assert third.at_cidaas(1) is None and third.calls(1) == ["bulk", "delete"]
        await third.stop()

    play(tmp_path, scenario, before)


def test_who_is_set_aside_while_its_call_is_under_way_stays_set_aside(tmp_path: Path) -> None:
    """F17, M7: counted as in sync by the answer to what it was before, the user would never be read again."""

    async def scenario(world: World) -> None:
        world.tenant.going.clear()
        world.go()
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 1, "the call")
        world.put_control(1, SetAside("a sweep found other rows"))
        await world.joined()
        world.tenant.going.set()
        await world.until(lambda: world.delivery.queues[Do.UPSERT].in_flight == 0, "the answer")
        assert world.where(1) is Situation.SET_ASIDE
        assert world.partition.standing(Situation.SET_ASIDE) == [b"1"]
        await asyncio.sleep(1)
        assert world.tenant.count("bulk") == 1 and not world.delivery.queues[Do.UPSERT]

    play(tmp_path, scenario)


def test_an_error_that_nobody_expects_ends_the_worker(tmp_path: Path) -> None:
    """A window that dies in silence would keep its users in flight for ever."""

    async def scenario(world: World) -> None:
        def fault(entities: list[dict[str, Any]]) -> None:
            raise RuntimeError("a bug")

        world.tenant.fault = fault
        world.go()
        await world.sign_up(1)
        await asyncio.sleep(1)
        assert str(world.pipeline.crashed) == "a bug" and not isinstance(world.pipeline.crashed, CidaasError)
        world.pipeline.crashed = None

    play(tmp_path, scenario)


# -- a late writer (O3) ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [TableKind.SNAPSHOTS, TableKind.LEDGER])
def test_what_a_thawed_worker_wrote_is_written_over_and_the_users_are_sent_again(
    tmp_path: Path, kind: TableKind
) -> None:
    """O3: its old values stand last in the topic and would be all that is left after compaction; and it may have sent
    what it wrote."""

    async def scenario(first: World) -> None:
        first.go()
        await first.sign_up(1, 2)
        await first.change(1, city="Ulm")
        await first.in_sync(1, 2)
        former = first.partition.snapshots.owner
        world = await World.start(tmp_path / "owner", first.clock, former=first)
        world.go()
        log = world.partition.snapshots if kind is TableKind.SNAPSHOTS else world.partition.ledger
        repairs: list[Any] = []
        log.on_foreign = lambda keys: repairs.append(
            asyncio.create_task(
                Pipeline._append_again(world, world.partition, kind, sorted(keys))  # type: ignore[arg-type]
            )
        )
        newest = world.partition.snapshots.store.get(b"1")
        stale = Snapshot(applied=(1, 0), version=(1, 0)).encode(former)
        if kind is TableKind.LEDGER:
            stale = Entry(version=(1, 0), state=State.QUARANTINED).encode(former, 99)
        world.broker.append(log.topic, 0, b"1", stale)
        calls = len(world.calls(1))
        await log.put([(records.MARK, records.pack(log.owner, {}))])
        await world.until(lambda: len(world.calls(1)) > calls, "user 1 is sent again", 60.0)
        assert [repair.exception() for repair in repairs] == [None]
        await world.in_sync(1, 2)
        world.broker.compact(log.topic, 0)
        third = await World.start(tmp_path / "next", world.clock, former=world)
        again = third.partition.snapshots.store.get(b"1")
        assert third.where(1) is Situation.IN_SYNC
        assert again is not None and newest is not None and again.value[8:] == newest.value[8:]
        await third.stop()
        await world.stop()

    play(tmp_path, scenario)
