"""Taking a partition over: calls of a dead worker may still land, and nobody who is pending may be overlooked (C5)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from clock import Clock, run
from fakes import LEDGER, MAPPING, SNAPSHOTS, Broker, new_partition, owned_partition, user_row, users_change

from streams.ledger import Entry, Situation, State
from streams.snapshots import Merger, Snapshot
from streams.state import Partition, records

if TYPE_CHECKING:
    from pathlib import Path

SETTLE = 15.0
OTHER = "00112233445566aa"
_MERGER = Merger(frozenset(), lambda row: True)


async def write(partition: Partition, key: bytes, offset: int) -> None:
    """A new version of one user."""
    snap = Snapshot()
    change = users_change("c", offset, user_row(1))
    _MERGER.change(snap, change, (1, offset), 1)
    await partition.snapshots.put([(key, snap.encode(partition.snapshots.owner))])


async def confirm(partition: Partition, key: bytes, offset: int, state: State = State.CONFIRMED) -> None:
    entry = Entry(version=(1, offset), mapping_id=partition.mapping_id, state=state)
    log = partition.ledger
    await log.put([(key, entry.encode(log.owner, log.next_count()))])


async def take(partition: Partition) -> list[tuple[bytes, Situation]]:
    """Take over and scan, as the pipeline does."""
    await partition.take_over("worker")
    found = [(key, where) async for some in partition.scan() for key, where, _ in some]
    partition.owned.set()
    return found


def waits(partition: Partition, key: bytes, changed_ms: int, clock: Clock) -> float:
    """Seconds that a user has to wait."""
    until = partition.not_before(key, changed_ms)
    return max(0.0, until - clock.now)


# -- what a scan finds -----------------------------------------------------------------------------------------------


def test_a_scan_finds_everybody_who_is_not_in_sync(tmp_path: Path) -> None:
    """After a crash the scan is all there is: who is overlooked here is not sent any more."""

    async def scenario() -> None:
        broker = Broker(Clock())
        first = await owned_partition(broker, tmp_path / "a")
        for number in range(1, 40):
            await write(first, b"%d" % number, number)
            if number % 2:
                await confirm(first, b"%d" % number, number)
        await confirm(first, b"8", 7)
        await confirm(first, b"9", 9, State.QUARANTINED)
        second = new_partition(broker, tmp_path / "b")
        found = dict(await take(second))
        pending = {b"%d" % number for number in range(2, 40, 2)}
        assert {key for key, where in found.items() if where is Situation.PENDING} == pending
        assert found[b"9"] is Situation.QUARANTINED and b"1" not in found
        assert (second.known, second.gone, second.counts[Situation.PENDING]) == (39, 0, len(pending))

    run(scenario())


def test_who_is_in_the_ledger_alone_has_lost_the_snapshot(tmp_path: Path) -> None:
    """O4: first, between and last in the order of keys; each has to be read again, or is never updated any more."""

    async def scenario() -> None:
        broker = Broker(Clock())
        first = await owned_partition(broker, tmp_path)
        for key in (b"2", b"4"):
            await write(first, key, 5)
        for key in (b"1", b"3", b"5", b"6"):
            await confirm(first, key, 5)
        await first.close()
        again = new_partition(broker, tmp_path)
        await take(again)
        assert again.orphans == [b"1", b"3", b"5", b"6"]

    run(scenario())


def test_a_snapshot_that_lost_its_users_row_is_found_out(tmp_path: Path) -> None:
    """O4: with credentials only it is never pending, so the scan has to see that the ledger knows more."""

    async def scenario() -> None:
        broker = Broker(Clock())
        first = await owned_partition(broker, tmp_path)
        await first.snapshots.put([(b"1", Snapshot(applied=(1, 5), version=(1, 5)).encode(first.snapshots.owner))])
        await confirm(first, b"1", 9)
        await first.close()
        again = new_partition(broker, tmp_path)
        await take(again)
        assert again.orphans == [b"1"]

    run(scenario())


def test_where_users_stand_is_counted_once(tmp_path: Path) -> None:
    """The figures of `status` have to add up, or nobody believes them on the day of the switch."""

    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        for where in (Situation.PENDING, Situation.PENDING, Situation.QUARANTINED, Situation.IN_SYNC, None):
            partition.moved(b"1", where)
            assert sum(partition.counts.values()) == len(partition.situations)
        assert not partition.situations

    run(scenario())


# -- epochs ----------------------------------------------------------------------------------------------------------


def test_a_records_epoch_is_found_by_its_own_offset(tmp_path: Path) -> None:
    """M8: a record of before the repair that is read again after it still belongs to the old epoch."""

    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        partition.epochs = [(0, 1), (100, 2), (250, 3)]
        assert [partition.epoch_of(offset) for offset in (0, 99, 100, 249, 250, 999)] == [1, 1, 2, 2, 3, 3]

    run(scenario())


def test_epochs_survive_the_worker(tmp_path: Path) -> None:
    """M8: forgotten, all changes after the restore would count as stale."""

    async def scenario() -> None:
        broker = Broker(Clock())
        first = await owned_partition(broker, tmp_path / "a")
        body = {"epochs": [(0, 1), (100, 2)], "topic": "t"}
        await first.snapshots.put([(records.EPOCHS, records.pack(first.snapshots.owner, body))])
        second = await owned_partition(broker, tmp_path / "b")
        assert second.epochs == [(0, 1), (100, 2)]

    run(scenario())


# -- settled or not (C5) ---------------------------------------------------------------------------------------------


def test_a_first_start_waits_for_nobody(tmp_path: Path) -> None:
    """C5: there was no worker before whose calls could be on their way."""
    clock = Clock()

    async def scenario() -> None:
        partition = new_partition(Broker(clock), tmp_path)
        await take(partition)
        assert partition.take_over_facts is not None and partition.take_over_facts.settled
        assert waits(partition, b"1", clock.ms, clock) == 0

    run(scenario(), clock)


def test_after_a_clean_stop_nobody_waits(tmp_path: Path) -> None:
    """C5: the settled record says that no call is on its way; a deployment costs no delay."""
    clock = Clock()

    async def scenario() -> None:
        broker = Broker(clock)
        first = await owned_partition(broker, tmp_path / "a")
        await write(first, b"1", 1)
        await first.settle()
        await first.close()
        second = new_partition(broker, tmp_path / "b")
        await take(second)
        assert second.take_over_facts is not None and second.take_over_facts.settled
        assert waits(second, b"1", clock.ms, clock) == 0

    run(scenario(), clock)


@pytest.mark.parametrize("case", ["in flight", "unclear", "not owned"])
def test_a_stop_with_a_call_on_its_way_is_not_settled(tmp_path: Path, case: str) -> None:
    """C5: a settled record over a lost request would let a newer version be overtaken by it."""
    clock = Clock()

    async def scenario() -> None:
        broker = Broker(clock)
        first = await owned_partition(broker, tmp_path / "a")
        await write(first, b"1", 1)
        if case == "in flight":
            first.calls = 1
        elif case == "unclear":
            first.unclear_until = clock.now + 1
        else:
            first.owned.clear()
        await first.settle()
        second = new_partition(broker, tmp_path / "b")
        await take(second)
        assert second.take_over_facts is not None and not second.take_over_facts.settled

    run(scenario(), clock)


def test_the_settled_record_of_an_earlier_owner_says_nothing_of_the_last_one(tmp_path: Path) -> None:
    """C5: A left cleanly, B crashed: B's calls may be on their way."""
    clock = Clock()

    async def scenario() -> None:
        broker = Broker(clock)
        one = await owned_partition(broker, tmp_path / "a")
        await one.settle()
        await owned_partition(broker, tmp_path / "b")
        three = new_partition(broker, tmp_path / "c")
        await take(three)
        assert three.take_over_facts is not None and not three.take_over_facts.settled

    run(scenario(), clock)


async def _after_a_crash(tmp_path: Path, clock: Clock, age: float = 0.0, mapping: str = MAPPING) -> Partition:
    """A partition whose owner died; users 1 is pending, 2 is confirmed; both were written `age` seconds before."""
    broker = Broker(clock)
    dead = await owned_partition(broker, tmp_path / "dead")
    await write(dead, b"1", 1)
    await write(dead, b"2", 2)
    await confirm(dead, b"2", 2)
    await asyncio.sleep(age)
    partition = new_partition(broker, tmp_path / "new", mapping=mapping)
    await take(partition)
    return partition


def test_after_a_crash_a_young_version_waits(tmp_path: Path) -> None:
    """C5: the dead worker may have sent it, and the request may land after ours."""
    clock = Clock()

    async def scenario() -> None:
        partition = await _after_a_crash(tmp_path, clock, age=3.0)
        changed = clock.ms - 3_000
        assert waits(partition, b"1", changed, clock) == pytest.approx(SETTLE, abs=0.01)
        await asyncio.sleep(SETTLE)
        assert waits(partition, b"1", changed, clock) == 0

    run(scenario(), clock)


def test_after_a_crash_an_old_version_goes_at_once(tmp_path: Path) -> None:
    """C5: a request that carries it cannot be overtaken any more, so a restart does not delay the backlog."""
    clock = Clock()

    async def scenario() -> None:
        partition = await _after_a_crash(tmp_path, clock, age=SETTLE + 1)
        assert waits(partition, b"1", clock.ms - int(SETTLE * 1000) - 1_000, clock) == 0

    run(scenario(), clock)


def test_after_a_crash_a_newer_version_of_a_pending_user_waits(tmp_path: Path) -> None:
    """C5: the lost request carries the older version; it must not arrive behind the newer one."""
    clock = Clock()

    async def scenario() -> None:
        partition = await _after_a_crash(tmp_path, clock, age=SETTLE + 1)
        await asyncio.sleep(5)
        assert waits(partition, b"1", clock.ms, clock) == pytest.approx(SETTLE - 5, abs=0.01)

    run(scenario(), clock)


def test_after_a_crash_a_confirmed_user_goes_at_once(tmp_path: Path) -> None:
    """C5: nothing of it is on its way; people do not wait 15 s for their new password because a worker died."""
    clock = Clock()

    async def scenario() -> None:
        partition = await _after_a_crash(tmp_path, clock)
        await asyncio.sleep(1)
        assert waits(partition, b"2", clock.ms, clock) == 0
        assert waits(partition, b"new user", clock.ms, clock) == 0

    run(scenario(), clock)


def test_after_a_crash_with_a_new_mapping_also_old_versions_wait(tmp_path: Path) -> None:
    """C5: the lost request carries the old mapping's entity of the same version."""
    clock = Clock()

    async def scenario() -> None:
        partition = await _after_a_crash(tmp_path, clock, age=SETTLE + 1, mapping=OTHER)
        assert partition.take_over_facts is not None and partition.take_over_facts.mapping_changed
        assert waits(partition, b"1", clock.ms - 16_000, clock) == pytest.approx(SETTLE, abs=0.01)

    run(scenario(), clock)


def test_two_crashes_in_a_row_make_everybody_wait(tmp_path: Path) -> None:
    """C5: the first dead worker may have sent what the second one never noticed as pending."""
    clock = Clock()

    async def scenario() -> None:
        broker = Broker(clock)
        await owned_partition(broker, tmp_path / "dead1")
        dead = await owned_partition(broker, tmp_path / "dead2")
        await write(dead, b"2", 2)
        await confirm(dead, b"2", 2)
        await asyncio.sleep(5)
        partition = new_partition(broker, tmp_path / "new")
        await take(partition)
        assert waits(partition, b"2", clock.ms, clock) == pytest.approx(SETTLE - 5, abs=0.01)
        await asyncio.sleep(SETTLE)
        assert waits(partition, b"2", clock.ms, clock) == 0

    run(scenario(), clock)


def test_a_short_owner_who_left_cleanly_does_not_end_the_wait(tmp_path: Path) -> None:
    """C5: a clean stop 5 s after a take-over says nothing of the calls of the worker that had crashed before."""
    clock = Clock()

    async def scenario() -> None:
        broker = Broker(clock)
        dead = await owned_partition(broker, tmp_path / "dead")
        await write(dead, b"1", 1)
        short = await owned_partition(broker, tmp_path / "short")
        await asyncio.sleep(5)
        await short.settle()
        await short.close()
        partition = new_partition(broker, tmp_path / "new")
        await take(partition)
        assert waits(partition, b"1", clock.ms, clock) == pytest.approx(SETTLE - 5, abs=0.01)

    run(scenario(), clock)


def test_taking_over_appends_to_both_changelogs(tmp_path: Path) -> None:
    """O3: the record's offset is the owner's number; without it a late writer is not told from the owner."""

    async def scenario() -> None:
        broker = Broker(Clock())
        partition = new_partition(broker, tmp_path)
        await partition.take_over("worker")
        for topic in (SNAPSHOTS, LEDGER):
            assert broker.logs[topic, 0][-1].key == records.OWNER
        assert partition.snapshots.store.next_offset == partition.ledger.store.next_offset == 1

    run(scenario())
