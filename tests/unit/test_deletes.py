"""Deletes cannot be taken back: who is deleted by mistake cannot log in, who is not deleted still can."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import MAPPING, SETTINGS, settings_with, user_row
from hypothesis import example, given, settings
from hypothesis import strategies as st
from world import World

from streams import views
from streams.cidaas.client import DeleteOutcome
from streams.cidaas.errors import Kind, failure
from streams.control import REPAIR
from streams.explain import sentence
from streams.ledger import PURGE_NOT_ANSWERED, Situation, State
from streams.legacy import LegacyAwayError
from streams.rows import SetAside, write_control
from streams.source.faults import Fault, record_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.settings import Settings

SCIM = replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, delete="scim"))
PURGE = replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, delete="purge"))
SETTLE = SETTINGS.cidaas.timeout + 5.0


def play(path: Path | None, scenario: Callable[[World], Awaitable[None]], settings: Settings = SCIM) -> None:
    """Run a scenario with one worker whose agents run."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock, settings=settings)
        world.go()
        await scenario(world)
        assert world.tenant.overlaps == [], "two calls of one user at a time"
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


async def there(world: World, *numbers: int) -> None:
    """Users that cidaas has."""
    await world.sign_up(*numbers)
    await world.in_sync(*numbers)


# -- when it leaves --------------------------------------------------------------------------------------------------


def test_a_deleted_user_is_deleted_and_not_sooner_than_two_seconds_after_its_record(tmp_path: Path) -> None:
    """The two seconds let the rest of a mass delete be counted."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        began = world.clock.now
        await world.remove(1)
        await world.until(lambda: world.tenant.count("delete") == 1, "the delete", 10.0)
        assert world.clock.now - began >= 2.0
        await world.in_sync(1)
        assert world.at_cidaas(1) is None and world.entry(1).deleted

    play(tmp_path, scenario)


def test_deletes_wait_while_a_fault_of_the_source_stands(tmp_path: Path) -> None:
    """What is gone from a database that was restored may come back with the repair; everything else goes on."""

    async def scenario(world: World) -> None:
        await there(world, 1, 2)
        fault = Fault("database_restored", "it has gone back in time", "repair", 0.0)
        world.pipeline.control.state[record_name(fault.slug)] = asdict(fault)
        await world.remove(1)
        await world.change(2, given_name="Ada")
        await world.in_sync(2, seconds=10.0)
        await asyncio.sleep(600)
        assert world.at_cidaas(1) is not None and world.tenant.count("delete") == 0
        assert "gone back in time" in world.delivery.why_waiting(world.partition, b"1")
        del world.pipeline.control.state[record_name(fault.slug)]
        await world.in_sync(1, seconds=10.0)
        assert world.at_cidaas(1) is None

    play(tmp_path, scenario)


def test_deletes_wait_until_a_repair_has_ended(tmp_path: Path) -> None:
    """Asked for after a restore that nobody could see: the database may still be half loaded."""

    async def scenario(world: World) -> None:
        await there(world, 1, 2)
        world.pipeline.control.state[REPAIR] = {"id": "r", "at": 0.0, "epoch": 2}
        await world.remove(1)
        await asyncio.sleep(600)
        assert world.tenant.count("delete") == 0
        assert "repair has not ended" in world.delivery.why_waiting(world.partition, b"1")
        world.pipeline.control.state[REPAIR]["ended"] = 1.0
        await world.in_sync(1, seconds=10.0)

    play(tmp_path, scenario)


def test_deletes_that_wait_do_not_hold_up_the_join_that_they_wait_for(tmp_path: Path) -> None:
    """10,000 deletes, looked at four times a second each, kept the worker so busy that it stayed behind."""

    async def scenario(world: World) -> None:
        everybody = range(1, 2_001)
        await there(world, *everybody)
        world.pipeline.is_behind = True
        await world.remove(*everybody)
        await asyncio.sleep(10)
        looks = 0
        plain = world.partition.read

        def read(keys: Any) -> Any:
            nonlocal looks
            looks += len(keys)
            return plain(keys)

        world.partition.read = read  # type: ignore[method-assign]
        await asyncio.sleep(10)
        assert 2_000 <= looks <= 6_000

    play(tmp_path, scenario)


def test_a_soft_deleted_user_is_deleted(tmp_path: Path) -> None:
    """The status says so, and the second look agrees."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.pipeline.legacy.rows["1"] = user_row(1, status="deleted")
        await world.change(1, status="deleted")
        await world.in_sync(1, seconds=10.0)
        assert world.at_cidaas(1) is None

    play(tmp_path, scenario)


def test_a_delete_that_comes_during_an_upsert_keeps_its_two_seconds_too(tmp_path: Path) -> None:
    """The rule holds however the user came into the queue of deletes."""

    async def scenario(world: World) -> None:
        world.tenant.going.clear()
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 1, "the upsert")
        began = world.clock.now
        await world.remove(1)
        world.tenant.going.set()
        await world.until(lambda: world.tenant.count("delete") == 1, "the delete", 10.0)
        assert world.clock.now - began >= 2.0
        await world.in_sync(1)
        assert world.calls(1) == ["bulk", "delete"]

    play(tmp_path, scenario)


def test_no_delete_leaves_while_the_join_is_behind(tmp_path: Path) -> None:
    """What is not joined yet may be the other 10,000 deletes of the same transaction, or the user's new sign-up."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.pipeline.is_behind = True
        await world.remove(1)
        await asyncio.sleep(60)
        assert world.tenant.count("delete") == 0
        world.pipeline.is_behind = False
        await world.in_sync(1, seconds=5.0)

    play(tmp_path, scenario)


def test_a_user_nobody_saw_live_needs_no_delete(tmp_path: Path) -> None:
    """C1: soft-deleted for years, cidaas never heard of it: 100,000 deletes for nothing would trip the brake."""

    async def scenario(world: World) -> None:
        world.put_user(1, "r", status="deleted")
        world.put_user(2, "d")
        await world.joined()
        await asyncio.sleep(10)
        assert world.tenant.calls == [] and world.partition.decisions.upto == -1
        assert world.partition.situations[b"1"] is world.partition.situations[b"2"] is Situation.NOTHING_TO_DO
        await world.stop()
        # The agents of the next owner do not run, as while delivery is paused: what counts as pending is counted right.
        second = await World.start(world.path, world.clock, former=world)
        assert second.partition.situations == {b"1": Situation.NOTHING_TO_DO, b"2": Situation.NOTHING_TO_DO}
        assert second.partition.counts[Situation.PENDING] == 0
        await second.stop()

    play(tmp_path, scenario)


def test_a_user_the_ledger_does_not_know_is_deleted_when_it_was_seen_live(tmp_path: Path) -> None:
    """C1: the upsert may have been applied just before a crash, and the entry lost with it."""

    async def scenario(world: World) -> None:
        world.delivery._taking = False
        await world.sign_up(1)
        world.tenant.store({"sub": world.sub(1), "email": "user1@example.org"})
        await world.remove(1)
        world.delivery._taking = True
        await world.in_sync(1, seconds=10.0)
        assert world.at_cidaas(1) is None and world.calls(1) == ["delete"]

    play(tmp_path, scenario)


@pytest.mark.parametrize("on_leave", ["keep", "delete"])
@pytest.mark.parametrize("known", [True, False])
def test_leaving_the_filter_deletes_only_where_it_is_configured(tmp_path: Path, on_leave: Any, known: bool) -> None:
    """M9, C1: leaving is no delete by itself; where it is one, a crash before the entry must not keep the user."""
    from streams.settings import SelectRule

    select = SelectRule("country", frozenset({"DE"}), on_leave)
    selected = replace(SCIM, mapping=replace(SCIM.mapping, select=select))

    async def scenario(world: World) -> None:
        if known:
            await world.sign_up(1, country="DE")
            await world.in_sync(1)
        else:
            world.delivery._taking = False
            await world.sign_up(1, country="DE")
            world.tenant.store({"sub": world.sub(1), "email": "user1@example.org"})
        world.pipeline.legacy.rows["1"] = user_row(1, country="AT")
        await world.change(1, country="AT")
        world.delivery._taking = True
        await world.in_sync(1, seconds=10.0)
        assert (world.at_cidaas(1) is None) == (on_leave == "delete")

    play(tmp_path, scenario, selected)


def test_a_user_outside_the_filter_is_never_sent_nor_deleted(tmp_path: Path) -> None:
    """Another brand's users are none of this tenant's business."""
    from streams.settings import SelectRule

    selected = replace(SCIM, mapping=replace(SCIM.mapping, select=SelectRule("country", frozenset({"DE"}), "delete")))

    async def scenario(world: World) -> None:
        await world.sign_up(1, country="AT")
        await world.in_sync(1, seconds=5.0)
        await world.change(1, country="CH")
        await world.in_sync(1, seconds=5.0)
        assert world.tenant.calls == [] and world.entry(1).process_state == "NOT_SELECTED"

    play(tmp_path, scenario, selected)


# -- second look -----------------------------------------------------------------------------------------------------


def test_a_user_whose_row_is_there_is_not_deleted(tmp_path: Path) -> None:
    """Deleted and signed up again: the delete of the first life must not end the second one."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.pipeline.legacy.rows["1"] = user_row(1)
        await world.remove(1)
        await asyncio.sleep(20)
        assert world.tenant.count("delete") == 0
        await world.sign_up(1)
        await world.in_sync(1, seconds=5.0)
        assert world.at_cidaas(1) is not None and world.tenant.count("delete") == 0

    play(tmp_path, scenario)


def test_a_row_that_is_there_without_a_newer_version_is_read_again(tmp_path: Path) -> None:
    """After a minute of a live source the contradiction is reported and cured, not waited for."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.pipeline.legacy.rows["1"] = user_row(1)
        await world.remove(1)
        await asyncio.sleep(55)
        assert not world.pipeline.sent
        await world.until(lambda: bool(world.pipeline.sent), "the user is set aside", 15.0)
        await world.joined()
        assert world.where(1) is Situation.SET_ASIDE and world.tenant.count("delete") == 0
        await asyncio.sleep(200)
        assert len(world.pipeline.sent) == 1

    play(tmp_path, scenario)


def test_while_the_source_stands_still_nobody_is_read_again(tmp_path: Path) -> None:
    """The newer version is still in PostgreSQL; reading again would be for nothing."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.pipeline.live = False
        world.pipeline.legacy.rows["1"] = user_row(1)
        await world.remove(1)
        await asyncio.sleep(300)
        assert not world.pipeline.sent and world.tenant.count("delete") == 0

    play(tmp_path, scenario)


def test_while_the_legacy_database_is_away_deletes_wait(tmp_path: Path) -> None:
    """That nobody answers is no proof that the user is gone."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.pipeline.legacy.away = LegacyAwayError("down")
        await world.remove(1)
        await asyncio.sleep(600)
        assert world.tenant.count("delete") == 0
        await there(world, 2)
        world.pipeline.legacy.away = None
        await world.in_sync(1, seconds=5.0)

    play(tmp_path, scenario)


def test_the_place_of_a_delete_that_is_over_is_taken_at_once(tmp_path: Path) -> None:
    """Eight at a time, each round waited for a timer: 30 deletes a second, however quick cidaas was."""

    async def scenario(world: World) -> None:
        users = range(1, 201)
        await there(world, *users)
        began = world.clock.now
        await world.remove(*users)
        await world.in_sync(*users)
        assert world.clock.now - began < 2.0 + 2.0

    play(tmp_path, scenario, replace(SCIM, brake=replace(SCIM.brake, floor=1_000)))


# -- calls that end badly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.UNCLEAR, Kind.SERVER, Kind.RATE_LIMITED, Kind.UNAVAILABLE, Kind.FORBIDDEN])
@pytest.mark.parametrize("how", ["purge", "scim"])
def test_a_delete_that_failed_is_sent_again(tmp_path: Path, kind: Kind, how: Any) -> None:
    """A user who was to be deleted and can still log in is somebody's complaint to the data protection office."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        failures = [failure(kind, "it failed")]

        def fault(sub: str) -> None:
            if failures:
                raise failures.pop()

        world.tenant.delete_fault = fault
        await world.remove(1)
        await world.in_sync(1)
        assert world.at_cidaas(1) is None and world.entry(1).deleted

    play(tmp_path, scenario, PURGE if how == "purge" else SCIM)


def test_a_delete_that_is_refused_is_shown(tmp_path: Path) -> None:
    """Repeating does not cure it; a person has to know that the user is still there."""

    async def scenario(world: World) -> None:
        await there(world, 1)

        def fault(sub: str) -> None:
            raise failure(Kind.BAD_REQUEST, "refused", status=400)

        world.tenant.delete_fault = fault
        await world.remove(1)
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "quarantine", 10.0)
        assert world.tenant.count("delete") == 1

    play(tmp_path, scenario)


def test_no_upsert_goes_out_while_a_delete_is_under_way_or_settling(tmp_path: Path) -> None:
    """C4: a delete that lands after the upsert of the new sign-up deletes a user who is there."""

    async def scenario(world: World) -> None:
        await there(world, 1)

        def fault(sub: str) -> None:
            raise failure(Kind.UNCLEAR, "timed out")

        world.tenant.going.clear()
        await world.remove(1)
        await world.until(lambda: world.tenant.count("delete") == 1, "the delete", 10.0)
        await asyncio.sleep(8)
        await world.sign_up(1)
        await asyncio.sleep(1)
        world.tenant.delete_fault = fault
        ended = world.clock.now
        world.tenant.going.set()
        await world.until(lambda: world.tenant.count("bulk") == 2, "the upsert", 60.0)
        assert world.clock.now - ended >= SETTLE
        await world.in_sync(1)
        assert world.at_cidaas(1) is not None

    play(tmp_path, scenario)


# -- purge (C8) ------------------------------------------------------------------------------------------------------


def accepted(world: World, after: float) -> None:
    """Let purges be answered with 202 and take effect `after` seconds later."""

    def fault(sub: str) -> DeleteOutcome:
        asyncio.get_running_loop().call_later(after, world.tenant.users.pop, sub, None)
        return DeleteOutcome.ACCEPTED

    world.tenant.delete_fault = fault


def test_an_accepted_purge_is_confirmed_only_when_the_user_is_gone(tmp_path: Path) -> None:
    """C8: 202 is a promise."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        accepted(world, 30.0)
        await world.remove(1)
        await asyncio.sleep(20)
        assert world.where(1) is Situation.PENDING and world.tenant.count("delete") == 1
        await world.in_sync(1, seconds=80.0)
        assert world.entry(1).deleted and world.tenant.count("delete") == 1
        assert world.tenant.count("exists") < 10

    play(tmp_path, scenario, PURGE)


async def back_after_a_purge(world: World, effect: float) -> None:
    """User 1 was purged, which takes effect after so many seconds, and has signed up again in the meantime."""
    await there(world, 1)
    accepted(world, effect)
    await world.remove(1)
    await world.until(lambda: world.tenant.count("delete") == 1, "the purge", 10.0)
    await asyncio.sleep(1)
    await world.sign_up(1)


def test_no_upsert_overtakes_a_purge(tmp_path: Path) -> None:
    """C8: the purge would delete the user who has just signed up again, and the ledger would say *confirmed*."""

    async def scenario(world: World) -> None:
        await back_after_a_purge(world, 30.0)
        await asyncio.sleep(20)
        assert world.tenant.count("bulk") == 1, "the purge is not proved yet"
        await world.in_sync(1, seconds=120.0)
        assert world.at_cidaas(1) is not None and not world.entry(1).deleted
        assert world.calls(1).count("delete") == 1

    play(tmp_path, scenario, PURGE)


def test_a_purge_is_remembered_over_a_crash(tmp_path: Path) -> None:
    """C8: the next owner must neither overtake it nor take its acceptance for the end."""

    async def scenario(world: World) -> None:
        await back_after_a_purge(world, 60.0)
        await world.stop()
        second = await World.start(world.path, world.clock, settings=PURGE, former=world)
        second.go()
        await asyncio.sleep(40)
        assert second.tenant.count("bulk") == 1
        await second.in_sync(1, seconds=300.0)
        assert second.at_cidaas(1) is not None
        await second.stop()

    play(tmp_path, scenario, PURGE)


def test_a_user_whose_purge_is_waited_for_is_not_queued_a_second_time(tmp_path: Path) -> None:
    """After a source was read to its end, what is pending is queued once more; in both queues it went in two calls."""

    async def scenario(world: World) -> None:
        await back_after_a_purge(world, 30.0)
        queues, user = world.delivery.queues, world.user(1)
        while world.where(1) is not Situation.IN_SYNC:
            world.partition.replay_end = 1
            world.delivery.replayed(world.partition)
            assert sum(user in queue for queue in queues.values()) == 1
            await asyncio.sleep(0.5)
        assert world.tenant.count("bulk") == 2

    play(tmp_path, scenario, PURGE)


def unanswered(world: World, after: float | None) -> None:
    """Let the next purge end without an answer; it takes effect `after` seconds later, or was never taken."""
    left = [after]

    def fault(sub: str) -> None:
        if left:
            if (seconds := left.pop()) is not None:
                asyncio.get_running_loop().call_later(seconds, world.tenant.users.pop, sub, None)
            raise failure(Kind.UNCLEAR, "no answer")

    world.tenant.delete_fault = fault


def test_a_purge_that_never_arrived_keeps_no_new_life_waiting(tmp_path: Path) -> None:
    """C4, C8: it is not on its way any more, and had time to take effect; it waited for an hour, then for a person."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        unanswered(world, None)
        await world.remove(1)
        await world.until(lambda: world.tenant.count("delete") == 1, "the purge", 10.0)
        await world.sign_up(1, city="Ulm")
        began = world.clock.now
        await world.until(lambda: world.tenant.count("bulk") == 2, "the new life is sent", 90.0)
        assert world.clock.now - began >= SETTLE
        await world.until(lambda: world.entry(1).state is State.IN_DOUBT, "written down", 5.0)
        body = views.describe("1", *(stored and stored.value for stored in world.partition.read([b"1"])[0]), MAPPING)
        assert "never answered" in sentence(body)
        await world.in_sync(1, seconds=1_000.0)
        assert world.tenant.count("bulk") == 2 and world.tenant.count("delete") == 1
        entity = world.at_cidaas(1)
        assert entity is not None and entity["address"]["locality"] == "Ulm"

    play(tmp_path, scenario, PURGE)


def test_a_new_life_that_a_late_purge_takes_is_sent_again(tmp_path: Path) -> None:
    """C8: cidaas had accepted it, the answer was lost, and it takes effect minutes later; over a crash, too."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        unanswered(world, 300.0)
        await world.remove(1)
        await world.until(lambda: world.tenant.count("delete") == 1, "the purge", 10.0)
        await world.sign_up(1)
        await world.until(lambda: world.tenant.count("bulk") == 2, "the new life is sent", 90.0)
        await world.until(lambda: world.entry(1).reason == PURGE_NOT_ANSWERED, "written down", 5.0)
        await world.stop()
        second = await World.start(world.path, world.clock, settings=PURGE, former=world)
        second.go()
        await second.change(1, city="Ulm")
        await second.until(lambda: second.at_cidaas(1) is None, "the purge takes effect", 300.0)
        await second.until(lambda: second.at_cidaas(1) is not None, "it is there again", 70.0)
        await second.in_sync(1, seconds=10.0)
        entity = second.at_cidaas(1)
        assert entity is not None and entity["address"]["locality"] == "Ulm"
        assert second.entry(1).process_state == "CREATED" and "purge_unanswered" not in second.entry(1).extra
        await second.stop()

    play(tmp_path, scenario, PURGE)


def test_a_clock_that_is_set_back_does_not_ask_for_a_new_life_all_the_time(tmp_path: Path) -> None:
    """What was written down lies in the future then, and cidaas was asked every few milliseconds until it came."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        unanswered(world, None)
        await world.remove(1)
        await world.until(lambda: world.tenant.count("delete") == 1, "the purge", 10.0)
        await world.sign_up(1)
        await world.until(lambda: world.entry(1).reason == PURGE_NOT_ANSWERED, "written down", 120.0)
        world.clock.set_by = -1_800.0
        await asyncio.sleep(60)  # until it is looked at next
        before = world.tenant.count("exists")
        await asyncio.sleep(60)
        assert 0 < world.tenant.count("exists") - before <= 60

    play(tmp_path, scenario, PURGE)


def test_a_refused_purge_does_not_make_the_one_before_forgotten(tmp_path: Path) -> None:
    """C8: the first may have been accepted; that the second was not says nothing of it."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        ends = [failure(Kind.RATE_LIMITED, "too many"), failure(Kind.UNCLEAR, "no answer")]

        def fault(sub: str) -> None:
            if ends:
                raise ends.pop()

        world.tenant.delete_fault = fault
        await world.remove(1)
        await world.until(lambda: not ends, "both have ended", 60.0)
        await world.sign_up(1)
        await asyncio.sleep(1)
        assert world.entry(1).extra["purged_at"]
        assert world.tenant.count("bulk") == 1, "it was sent at once, and the first purge might have taken it"

    play(tmp_path, scenario, PURGE)


def test_a_purge_without_effect_is_sent_again_and_then_shown(tmp_path: Path) -> None:
    """C8: sent again after 15 minutes, quarantined and shown after an hour."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.tenant.delete_fault = lambda sub: DeleteOutcome.ACCEPTED
        await world.remove(1)
        began = world.clock.now
        await world.until(lambda: world.tenant.count("delete") == 2, "sent again", 1_200.0)
        assert 895 < world.clock.now - began < 1_000
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "shown", 3_600.0)
        assert 3_595 < world.clock.now - began < 3_900
        assert world.tenant.count("delete") == 2

    play(tmp_path, scenario, PURGE)


def test_after_a_lost_purge_a_newer_version_is_sent(tmp_path: Path) -> None:
    """Quarantine is left by a newer version, also when the purge never came to anything."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        world.tenant.delete_fault = lambda sub: DeleteOutcome.ACCEPTED
        await world.remove(1)
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "shown", 8_000.0)
        await world.sign_up(1, city="Ulm")
        await world.in_sync(1, seconds=10.0)
        entity = world.at_cidaas(1)
        assert entity is not None and entity["address"]["locality"] == "Ulm"

    play(tmp_path, scenario, PURGE)


def test_the_address_of_a_deleted_user_is_free_at_once(tmp_path: Path) -> None:
    """Somebody deletes the account and signs up with the same address under a new id: no waiting for a retry."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        await world.sign_up(2, email="user1@example.org")
        await asyncio.sleep(600)
        await world.remove(1)
        await world.in_sync(1, 2, seconds=6.0)

    play(tmp_path, scenario)


# -- set aside -------------------------------------------------------------------------------------------------------


def test_a_user_who_is_set_aside_is_not_deleted(tmp_path: Path) -> None:
    """M7: what is known of it may be wrong; a delete cannot be taken back."""

    async def scenario(world: World) -> None:
        await there(world, 1)
        await world.remove(1)
        await world.pipeline.send(b"1", write_control(SetAside("doubt")))
        await world.joined()
        await asyncio.sleep(30)
        assert world.tenant.count("delete") == 0 and world.where(1) is Situation.SET_ASIDE

    play(tmp_path, scenario)


# -- everything at once ----------------------------------------------------------------------------------------------

_KINDS = [Kind.UNCLEAR, Kind.SERVER, Kind.RATE_LIMITED, Kind.UNAVAILABLE]
#: Seconds until a request whose caller is gone takes effect; within the call's time-out and what C4 adds.
_LATE = st.sampled_from([None, 0.5, 5.0, 9.5])
_EVENTS = st.one_of(
    st.tuples(st.just("change"), st.integers(1, 2)),
    st.tuples(st.just("remove"), st.integers(1, 2)),
    st.tuples(st.just("sign up"), st.integers(1, 2)),
    st.tuples(st.just("wait"), st.sampled_from([0.005, 0.025, 0.3, 2.025, 3.0, 20.0])),
    st.tuples(st.just("hold"), st.booleans()),
    st.tuples(st.just("fail"), st.sampled_from(_KINDS)),
    st.tuples(st.just("lost"), _LATE),
    st.tuples(st.just("crash"), _LATE),
    st.tuples(st.just("stop"), st.none()),
)
_UP, _CHANGE = ("sign up", 1), ("change", 1)
#: A lost request that lands behind a newer one, the one of a dead worker, and a delete that lands behind a sign-up.
_LOST = [("lost", 9.5), _UP, ("wait", 0.3), _CHANGE, ("wait", 20.0)]
_DEAD = [_UP, ("wait", 0.025), ("crash", 9.5), _CHANGE, ("wait", 20.0)]
_GONE = [_UP, ("wait", 3.0), ("remove", 1), ("lost", 9.5), ("wait", 3.0), _UP, ("wait", 20.0)]


@pytest.mark.parametrize("how", ["scim", "purge"])
@settings(max_examples=40)
@given(events=st.lists(_EVENTS, max_size=16))
@example(events=_LOST)
@example(events=_DEAD)
@example(events=_GONE)
def test_whatever_happens_the_end_is_right_and_no_user_has_two_calls(how: str, events: list[tuple[str, Any]]) -> None:
    """Changes, deletes and sign-ups in any order, slow calls, failing calls, requests that take effect long after
    nobody waits for them, workers that stop or die: cidaas ends with what the legacy database has."""
    clock = Clock()
    there: dict[int, str] = {}
    failures: list[Kind] = []

    def fault(_: Any) -> None:
        if failures:
            raise failure(failures.pop(), "it failed")

    async def scenario() -> None:
        world = await World.start(None, clock, settings=PURGE if how == "purge" else SCIM)
        world.go()
        tenant, rows = world.tenant, world.pipeline.legacy.rows

        def purged(sub: str) -> DeleteOutcome:
            fault(sub)
            asyncio.get_running_loop().call_later(5.0, tenant.users.pop, sub, None)
            return DeleteOutcome.ACCEPTED

        tenant.fault = fault
        tenant.delete_fault = purged if how == "purge" else fault
        for step, (what, argument) in enumerate(events):
            match what:
                case "wait":
                    await asyncio.sleep(argument)
                case "hold":
                    (tenant.going.clear if argument else tenant.going.set)()
                case "fail":
                    failures.append(argument)
                case "lost":
                    tenant.late = argument
                    failures.append(Kind.UNCLEAR)
                case "crash" | "stop":
                    tenant.late = argument
                    if what == "stop":
                        world.partition.closing = True
                        await world.delivery.drain(4.0)
                        await world.partition.settle()
                    await world.stop()
                    world = await World.start(None, clock, settings=world.settings, former=world)
                    world.go()
                case "remove" if argument in there:
                    del there[argument], rows[f"{argument}"]
                    await world.remove(argument)
                case "change" | "sign up" if (what == "change") == (argument in there):
                    there[argument] = f"city {step}"
                    rows[f"{argument}"] = user_row(argument)
                    await (world.change if what == "change" else world.sign_up)(argument, city=there[argument])
        tenant.going.set()
        await world.in_sync(*(number for number in (1, 2, 3) if world.where(number) is not None))
        await asyncio.sleep(30)
        assert {world.sub(number): city for number, city in there.items()} == {
            sub: user["address"]["locality"] for sub, user in tenant.users.items()
        }
        assert tenant.overlaps == [] and world.pipeline.crashed is None
        await world.stop()

    run(scenario(), clock)


def test_a_scan_after_a_crash_deletes_whom_it_has_to(tmp_path: Path) -> None:
    """C1, C5: the delete was decided, the worker died; its successor does it, after it has settled."""

    async def scenario(world: World) -> None:
        await there(world, 1, 2)
        world.delivery._taking = False
        await world.remove(1)
        await world.stop()
        second = await World.start(world.path, world.clock, settings=SCIM, former=world)
        began = second.clock.now
        second.go()
        await second.in_sync(1)
        assert second.calls(1) == ["bulk", "delete"] and second.clock.now - began >= SETTLE
        assert second.at_cidaas(2) is not None and second.entry(1).state is State.CONFIRMED
        await second.stop()

    play(tmp_path, scenario)


def test_a_canary_deletes_nobody_else(tmp_path: Path) -> None:
    """`delivery.only` holds for deletes too."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        await world.remove(1)
        await asyncio.sleep(30)
        assert world.tenant.calls == []

    only = settings_with(only=("2",))
    play(tmp_path, scenario, replace(only, cidaas=SCIM.cidaas))
