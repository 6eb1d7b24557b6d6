"""What is to be done with one user: the moment before a call decides whether somebody can log in afterwards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import SETTINGS
from world import World

from streams.jobs import Do, Job
from streams.ledger import Entry, Situation, State
from streams.rows import CREDENTIALS, Removal
from streams.snapshots import Snapshot

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.settings import Settings


def play(scenario: Callable[[World], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    clock = Clock()

    async def played() -> None:
        world = await World.start(None, clock, settings=settings)
        await scenario(world)

    run(played(), clock)


def inspect(world: World, number: int) -> Job:
    """Look at a user as a window does."""
    ((snap, entry),) = world.partition.read([b"%d" % number])
    return world.delivery.inspector.inspect(world.partition, world.user(number), b"%d" % number, snap, entry)


async def note(world: World, number: int, entry: Entry) -> None:
    """Write a ledger entry."""
    log = world.partition.ledger
    await log.put([(b"%d" % number, entry.encode(log.owner, log.next_count()))])


# -- C7: never between two rows of one transaction -------------------------------------------------------------------


def test_without_a_password_a_user_waits_for_the_end_of_its_transaction() -> None:
    """C7: a password change may be a delete and an insert; between the two nobody could log in."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.put_credential(10, 1, "d")
        lsn = world.broker.lsn  # the last commit before this transaction stands at lsn - 1
        world.pipeline.control.source_after_commit = lsn - 1
        await world.joined()
        assert inspect(world, 1).do is Do.WAIT
        world.pipeline.control.source_after_commit = lsn
        job = inspect(world, 1)
        assert job.do is Do.UPSERT and job.mapped is not None and job.mapped.entity is not None
        assert job.mapped.entity["password_hash_info"] is None

    play(scenario)


def test_a_heartbeat_proves_nothing_while_records_wait_to_be_joined() -> None:
    """C7: heartbeats come through another topic; the second row may be the next one in ours."""

    async def scenario(world: World) -> None:
        world.put_user(1, "c")
        await world.joined()
        world.pipeline.is_behind = True
        assert inspect(world, 1).do is Do.WAIT
        world.pipeline.is_behind = False
        assert inspect(world, 1).do is Do.UPSERT

    play(scenario)


def test_a_user_with_a_password_does_not_wait_for_heartbeats() -> None:
    """A second of delay for every change would be felt by everybody."""

    async def scenario(world: World) -> None:
        world.pipeline.control.source_after_commit = 0
        await world.sign_up(1)
        assert inspect(world, 1).do is Do.UPSERT

    play(scenario)


def test_snapshot_reads_do_not_wait_for_heartbeats() -> None:
    """C7: they read committed rows; users without a password must not stop the first load."""

    async def scenario(world: World) -> None:
        world.pipeline.control.source_after_commit = 0
        world.put_user(1, "r")
        await world.joined()
        assert inspect(world, 1).do is Do.UPSERT

    play(scenario)


def test_who_loses_the_password_to_another_user_waits_too() -> None:
    """C7, M5: the removal belongs to the transaction of the move."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        lsn = world.lsn()
        world.put_control(1, Removal(CREDENTIALS, "10", 1, lsn, None))
        await world.joined()
        world.pipeline.control.source_after_commit = lsn
        assert inspect(world, 1).do is Do.WAIT
        world.pipeline.control.source_after_commit = lsn + 1
        assert inspect(world, 1).do is Do.UPSERT

    play(scenario)


# -- O4 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["older", "gone"])
def test_a_stale_snapshot_is_never_sent(lost: str) -> None:
    """O4: the ledger knows a newer version: sent from this snapshot, the old password would come back."""

    async def scenario(world: World) -> None:
        if lost == "older":
            await world.sign_up(1)
        entry = Entry(version=(1, 99), mapping_id=world.partition.mapping_id, state=State.CONFIRMED)
        await note(world, 1, entry)
        assert inspect(world, 1).do is Do.SET_ASIDE
        world.go()
        world.delivery.found(world.partition, [(b"1", Situation.PENDING, 0)])
        await world.until(lambda: bool(world.pipeline.sent), "it is set aside", 5.0)
        await asyncio.sleep(1)
        assert world.tenant.calls == [] and world.entry(1).state is State.IN_DOUBT
        assert world.entry(1).version == (0, 0) and world.delivery.figures.outcomes["stale_snapshot"] == 1
        await world.joined()
        assert world.where(1) is Situation.SET_ASIDE

    play(scenario)


# -- C2 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.IN_DOUBT, State.RETRYING, State.QUARANTINED, State.PARKED])
def test_a_fingerprint_excuses_a_call_only_of_a_confirmed_entry(state: State) -> None:
    """C2: the same entity under a new mapping is at cidaas only when cidaas had confirmed it."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        job = inspect(world, 1)
        assert job.snap is not None
        confirmed = Entry(
            version=job.snap.version, mapping_id="00112233445566aa", state=State.CONFIRMED, fingerprint=job.fingerprint
        )
        await note(world, 1, confirmed)
        again = inspect(world, 1)
        assert again.do is Do.RECORD and again.record is not None
        assert again.record.mapping_id == world.partition.mapping_id and again.record.state is State.CONFIRMED
        await note(world, 1, replace(confirmed, state=state))
        assert inspect(world, 1).do is Do.UPSERT

    play(scenario)


@pytest.mark.parametrize("change", [{"version": (0, 1)}, {"fingerprint": "another"}, {"deleted": True}])
def test_another_version_fingerprint_or_a_delete_is_a_call(change: dict[str, Any]) -> None:
    """C2: each of them means that cidaas may have something else."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        job = inspect(world, 1)
        assert job.snap is not None
        confirmed = Entry(
            version=job.snap.version, mapping_id="00112233445566aa", state=State.CONFIRMED, fingerprint=job.fingerprint
        )
        await note(world, 1, replace(confirmed, **change))
        assert inspect(world, 1).do is Do.UPSERT

    play(scenario)


# -- entries ---------------------------------------------------------------------------------------------------------


def test_attempts_count_for_one_version_only() -> None:
    """A corrected row begins with its own patience."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        job = inspect(world, 1)
        first = job.next_entry(State.RETRYING, 100.0)
        job.entry = first
        second = job.next_entry(State.RETRYING, 200.0)
        assert (first.attempts, second.attempts, second.first_try, second.at) == (1, 2, 100.0, 200.0)
        job.snap = Snapshot(version=(1, 77))
        third = job.next_entry(State.RETRYING, 300.0)
        assert (third.attempts, third.first_try, third.version) == (1, 300.0, (1, 77))

    play(scenario)


def test_latency_is_measured_only_where_it_means_something() -> None:
    """Snapshot reads of rows that were committed years ago would spoil the figure that people watch."""

    async def scenario(world: World) -> None:
        world.put_user(1, "r")
        await world.joined()
        assert inspect(world, 1).latency == 0.0

    play(scenario)
