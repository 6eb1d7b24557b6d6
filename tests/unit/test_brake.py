"""The brake: one wrong statement in the legacy database must not empty cidaas, and a person's answer must hold."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from clock import Clock, run
from fakes import SETTINGS, Broker, Pipeline, owned_partition
from hypothesis import given
from hypothesis import strategies as st
from world import World

from streams.brake import FIGURE, TRIPPED, Brake, Verdict, answer, total, worst
from streams.ledger import Situation, State
from streams.parked import answer_brake
from streams.state.decisions import Decisions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


LIMITS = replace(SETTINGS.brake, floor=5, ceiling=500, share=0.05, window=600.0)
BRAKED = replace(SETTINGS, brake=LIMITS, cidaas=replace(SETTINGS.cidaas, delete="scim"))


def play(path: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    """Run a scenario with one worker whose brake allows 5 deletes in 10 minutes."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock, settings=BRAKED)
        world.go()
        task = asyncio.create_task(answer_brake(world.delivery))
        await scenario(world)
        task.cancel()
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


async def answered(world: World, *, allow: bool) -> None:
    """What the command `deletes allow` or `deletes reject` does."""
    control = world.pipeline.control
    await control.put(TRIPPED, answer(control.state, LIMITS, allow=allow, who="test"))


# -- counting --------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(1, 3)), max_size=30))
def test_every_decision_of_the_window_is_counted(steps: list[tuple[int, int]]) -> None:
    """Forgotten decisions let a slow mass delete through; the record of them survives a restart."""
    decisions, now, times = Decisions(), 1_700_000_000_000, []
    for offset, (seconds, count) in enumerate(steps):
        now += seconds * 1000
        for _ in range(count):
            decisions.add(offset, now, LIMITS.window)
            times.append(now)
        decisions = Decisions.load(decisions.body())
        inside = sum(1 for at in times if at > now - LIMITS.window * 1000 + 10_000)
        figures = {f"{FIGURE}0": {**decisions.body(), "known": 0}}
        assert inside <= total(figures, LIMITS)[0] <= len(times)
        assert decisions.upto == offset


def test_decisions_of_hours_are_kept_and_the_figure_stays_small() -> None:
    """A figure stands in every record of its kind; whatever is in the window is never dropped."""
    seconds = 10
    for window, kept in ((600.0, 300), (30_000.0, 3_001)):
        decisions = Decisions()
        for offset in range(5_000):
            decisions.add(offset, offset * seconds * 1000, window)
        assert min(decisions.buckets) <= (4_999 - kept + 2) * seconds * 1000
        assert kept <= len(decisions.buckets) <= kept + 2


def test_partitions_are_added_up_and_the_limit_follows_the_known_users() -> None:
    """Twelve partitions with 19 deletes each are 228 deletes."""
    at = 1_700_000_000_000
    state = {f"{FIGURE}{n}": {"buckets": [(at, 19)], "upto": 9, "known": 583} for n in range(12)}
    assert total(state, LIMITS) == (228, 361)
    assert total({f"{FIGURE}0": {"buckets": [(at, 1)], "upto": 9, "known": 10}}, LIMITS)[1] == 5
    assert total({f"{FIGURE}0": {"buckets": [(at, 1)], "upto": 9, "known": 900_000}}, LIMITS)[1] == 500


def test_decisions_of_ten_minutes_ago_are_not_shown_but_judged() -> None:
    """A night's backlog: who is read first has a deletion of this morning, the mass delete of the night is in all."""
    night = 1_700_000_000_000
    state = {f"{FIGURE}{n}": {"buckets": [(night, 50)], "upto": 9, "known": 100} for n in range(11)}
    state[f"{FIGURE}11"] = {"buckets": [(night + 21_600_000, 1)], "upto": 9, "known": 100}
    assert total(state, LIMITS) == (1, 60)
    assert worst(state, LIMITS) == (550, 87, night)


BUCKETS = st.dictionaries(st.integers(0, 200).map(lambda n: n * 10_000), st.integers(1, 9), max_size=12)


@given(st.lists(BUCKETS, min_size=1, max_size=3), BUCKETS, st.integers(0, 2_000))
def test_every_window_is_judged(partitions: list[dict[int, int]], counted: dict[int, int], users: int) -> None:
    """However the partitions are apart in time; what a person has answered is out of it."""
    state = {f"{FIGURE}{n}": {"buckets": [*one.items()], "upto": 1, "known": 0} for n, one in enumerate(partitions)}
    state[f"{FIGURE}0"]["known"] = users
    state[TRIPPED] = {"on": False, "counted": [*counted.items()]}
    left = {
        at: max(0, sum(one.get(at, 0) for one in partitions) - counted.get(at, 0)) for one in partitions for at in one
    }

    def judged(end: int) -> tuple[int, int, int]:
        since = end - LIMITS.window * 1000
        before = users + sum(count for at, count in left.items() if at > since)
        limit = int(max(LIMITS.floor, min(LIMITS.ceiling, LIMITS.share * before)))
        return sum(count for at, count in left.items() if since < at <= end), limit, end

    nothing = (0, int(max(LIMITS.floor, min(LIMITS.ceiling, LIMITS.share * users))), 0)
    windows = {nothing, *map(judged, left)}
    found = worst(state, LIMITS)
    assert found in windows and found[0] - found[1] == max(count - limit for count, limit, _ in windows)


def test_many_small_clean_ups_do_not_add_up() -> None:
    """Each stayed under the limit of its time; that fewer users are left now does not make too many of them."""
    state = {
        f"{FIGURE}0": {"buckets": [(0, 45), *((n * 3_600_000, 20) for n in range(1, 10))], "upto": 9, "known": 700}
    }
    count, limit, _ = worst(state, LIMITS)
    assert count <= limit and LIMITS.share * 700 < 45


def test_the_limit_is_a_share_of_all_users_before_anybody_is_deleted(tmp_path: Path) -> None:
    """Figures used to come with the first decisions only: until then the limit was that of an empty pipeline."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 301))
        await world.in_sync(*range(1, 301))
        await world.until(lambda: total(world.pipeline.control.state, LIMITS) == (0, 15), "5 % of 300 users", 5.0)

    play(tmp_path, scenario)


# -- the line --------------------------------------------------------------------------------------------------------


def test_a_few_deletes_go(tmp_path: Path) -> None:
    """The everyday case needs nobody."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 11))
        await world.in_sync(*range(1, 11))
        await world.remove(1, 2, 3, 4, 5)
        await world.in_sync(1, 2, 3, 4, 5, seconds=20.0)
        assert len(world.tenant.users) == 5

    play(tmp_path, scenario)


@pytest.mark.parametrize("how", ["rows", "status", "status, then another update"])
def test_a_mass_delete_sends_none_and_updates_go_on(tmp_path: Path, how: str) -> None:
    """DELETE without its WHERE, or UPDATE users SET status = 'deleted', with whatever a trigger writes afterwards."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 31))
        await world.in_sync(*range(1, 31))
        for number in range(1, 21):
            if how == "rows":
                world.put_user(number, "d")
            else:
                world.put_user(number, "u", status="deleted")
        if how == "status, then another update":
            for number in range(1, 21):
                world.put_user(number, "u", status="deleted", city="nowhere")
        await world.joined()
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)
        await world.change(25, city="Ulm")
        await world.in_sync(25, seconds=5.0)
        await asyncio.sleep(300)
        assert world.tenant.count("delete") == 0 and len(world.tenant.users) == 30
        assert world.delivery.brake.tripped is not None

    play(tmp_path, scenario)


def test_allowed_deletes_go(tmp_path: Path) -> None:
    """The mass delete was meant."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 31))
        await world.in_sync(*range(1, 31))
        await world.remove(*range(1, 21))
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)
        await answered(world, allow=True)
        await world.in_sync(*range(1, 21), seconds=60.0)
        assert len(world.tenant.users) == 10

    play(tmp_path, scenario)


def test_a_rejection_holds_for_everything_that_is_parked(tmp_path: Path) -> None:
    """Also for users whose version is newer than the last decision: they were parked, so they were rejected."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 21))
        await world.in_sync(*range(1, 21))
        for city in ("first", "second"):
            for number in range(1, 21):
                world.put_user(number, "u", status="deleted", city=city)
            await world.joined()
            await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)
        await answered(world, allow=False)
        await asyncio.sleep(60)
        assert world.tenant.count("delete") == 0 and world.partition.counts[Situation.REJECTED] == 20

    play(tmp_path, scenario)


def test_rejected_deletes_keep_the_users_until_a_newer_version(tmp_path: Path) -> None:
    """It was a mistake, and is repaired in the legacy database by signing them up again."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 31))
        await world.in_sync(*range(1, 31))
        await world.remove(*range(1, 21))
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)
        await answered(world, allow=False)
        await world.until(lambda: world.partition.counts[Situation.REJECTED] == 20, "all are rejected", 30.0)
        assert world.tenant.count("delete") == 0 and world.entry(1).state is State.REJECTED
        await world.sign_up(1, city="Ulm")
        await world.in_sync(1, seconds=5.0)
        assert world.at_cidaas(1) is not None

    play(tmp_path, scenario)


def test_after_an_answer_a_second_mass_delete_is_braked_again(tmp_path: Path) -> None:
    """The person allowed the first thousand, not the next; also when the first have left the window meanwhile."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 41))
        await world.in_sync(*range(1, 41))
        await world.remove(*range(1, 21))
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)
        await asyncio.sleep(500)
        await answered(world, allow=True)
        await world.in_sync(*range(1, 21), seconds=60.0)
        await asyncio.sleep(200)
        await world.remove(*range(21, 36))
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 15, "parked again", 30.0)
        assert len(world.tenant.users) == 20

    play(tmp_path, scenario)


def test_after_an_answer_a_few_deletes_go_on(tmp_path: Path) -> None:
    """What was answered does not trip the brake again for the next ten minutes."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 41))
        await world.in_sync(*range(1, 41))
        await world.remove(*range(1, 21))
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)
        await answered(world, allow=True)
        await world.in_sync(*range(1, 21), seconds=60.0)
        await world.remove(21, 22)
        await world.in_sync(21, 22, seconds=20.0)

    play(tmp_path, scenario)


def test_a_restart_forgets_no_decision(tmp_path: Path) -> None:
    """Ten deletes before and ten after a restart are twenty."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 31))
        await world.in_sync(*range(1, 31))
        await world.remove(*range(1, 5))
        await world.in_sync(*range(1, 5), seconds=20.0)
        await world.stop()
        second = await World.start(world.path, world.clock, settings=BRAKED, former=world)
        second.go()
        await second.remove(*range(5, 9))
        await second.until(lambda: second.partition.counts[Situation.PARKED] == 4, "parked", 60.0)
        await second.stop()

    play(tmp_path, scenario)


# -- before the figure is read back ----------------------------------------------------------------------------------


def test_no_delete_leaves_before_a_figure_that_contains_it_was_read_back(tmp_path: Path) -> None:
    """Otherwise each of several workers would let its own share of a mass delete out."""

    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        pipeline = Pipeline(BRAKED)
        brake = Brake(LIMITS, pipeline)  # type: ignore[arg-type]
        partition.decisions.add(7, 1_700_000_000_000, LIMITS.window)
        pipeline.control.reading.clear()
        first = asyncio.create_task(brake.verdict(partition, 7))
        await asyncio.sleep(1)
        assert not first.done()
        assert await brake.verdict(partition, 7) is Verdict.WAIT
        pipeline.control.reading.set()
        await brake.watermark.look()
        assert await first is Verdict.GO
        assert pipeline.control.puts == [f"{FIGURE}0"]

    run(scenario())


def test_a_delete_whose_version_is_newer_than_its_decision_waits_for_the_figure_too(tmp_path: Path) -> None:
    """An update of a deleted user moves its version behind the last decision, which counts all the same."""

    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        pipeline = Pipeline(BRAKED)
        brake = Brake(LIMITS, pipeline)  # type: ignore[arg-type]
        for offset in range(6):
            partition.decisions.add(offset, 1_700_000_000_000, LIMITS.window)
        await brake.watermark.look()
        assert pipeline.control.puts == []
        assert await brake.verdict(partition, 9) is Verdict.PARK
        assert pipeline.control.puts == [f"{FIGURE}0", TRIPPED]

    run(scenario())
