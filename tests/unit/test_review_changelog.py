"""What a failed write, a thawed former owner, a hole or an emptied topic could take away."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from aiokafka import TopicPartition
from clock import Clock, run
from fakes import (
    LEDGER,
    MAPPING,
    SETTINGS,
    SNAPSHOTS,
    Broker,
    changelog,
    new_partition,
    owned_partition,
    user_row,
    users_change,
)

from streams.belonging import Belonging
from streams.failpoints import FailpointError, arm
from streams.identity import RefusedError
from streams.ledger import Entry, Situation, State
from streams.ledger import decode as decode_entry
from streams.pipeline import Pipeline
from streams.runner import Runner
from streams.snapshots import Merger, Snapshot, decode
from streams.state import TableKind, TruncatedError, records

if TYPE_CHECKING:
    from pathlib import Path

    from streams.state import Partition


def _snapshot(offset: int, owner: int = 0) -> bytes:
    snap = Snapshot()
    change = users_change("c", offset, user_row(1, city=f"city {offset}"))
    Merger(frozenset(), lambda row: True).change(snap, change, (1, offset), 1)
    return snap.encode(owner)


def test_after_a_failed_write_no_later_one_moves_the_offset_past_it(tmp_path: Path) -> None:
    """D1: the record may be in the topic although its confirmation failed, but it is not in the store."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over(MAPPING, "w")
        broker.fail.append(OSError("no answer"))
        with pytest.raises(OSError, match="no answer"):
            await log.put([(b"1", _snapshot(5))])
        with pytest.raises(OSError, match="no answer"):
            await log.put([(records.SETTLED, records.pack(log.owner, {}))])
        await log.close()
        again = changelog(broker, tmp_path)
        await again.take_over(MAPPING, "w")
        assert again.store.get(b"1") is not None

    run(scenario())


def test_a_write_that_the_broker_never_confirms_fails(tmp_path: Path) -> None:
    """D4: an idempotent producer tries for ever, and a worker that waits for ever looks alive."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over(MAPPING, "w")
        failures: list[BaseException] = []
        log.on_failure = failures.append
        broker.confirming.clear()
        with pytest.raises(RuntimeError, match="did not confirm"):
            await log.put([(b"1", _snapshot(5))])
        assert len(failures) == 1

    run(scenario())


def test_values_appended_again_are_never_older_than_what_the_join_has_on_its_way(tmp_path: Path) -> None:
    """O3: a late writer is found in the first produce batch of a write whose second batch holds the newer value."""

    async def scenario() -> None:
        broker = Broker(Clock(), most=1)
        broker.append(SNAPSHOTS, 0, records.MARK, records.pack(0, {}))
        partition = await owned_partition(broker, tmp_path)
        snaps = partition.snapshots
        await snaps.put([(b"2", _snapshot(5, snaps.owner))])
        told: list[bytes] = []
        pipeline: Any = object.__new__(Pipeline)
        pipeline._repairs = set()
        pipeline.crash = None
        pipeline.delivery = SimpleNamespace(joined=lambda _, key, *__: told.append(key))
        snaps.on_foreign = lambda keys: pipeline._repair(partition, TableKind.SNAPSHOTS, keys)
        broker.before = lambda: broker.append(SNAPSHOTS, 0, b"2", _snapshot(4, owner=0)) and None
        await snaps.put([(b"1", _snapshot(8, snaps.owner)), (b"2", _snapshot(9, snaps.owner))])
        await asyncio.gather(*pipeline._repairs)
        stored = snaps.store.get(b"2")
        assert stored is not None and decode(stored.value).applied == (1, 9)
        assert told == [b"2"]
        entry = partition.ledger.store.get(b"2")
        assert entry is not None and decode_entry(entry.value).state.name == "IN_DOUBT"
        await partition.close()
        other = new_partition(broker, tmp_path / "other")
        await other.take_over("other")
        stored = other.snapshots.store.get(b"2")
        assert stored is not None and decode(stored.value).applied == (1, 9)
        assert broker.logs[SNAPSHOTS, 0][-2].key == b"2"  # what compaction keeps is the newest value, too

    run(scenario())


def test_a_truncated_changelog_stays_found_out_at_every_start(tmp_path: Path) -> None:
    """O5: each start appends a record; one day there would be as many as were lost."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over(MAPPING, "w")
        await log.put([(b"%d" % n, _snapshot(5)) for n in range(3)])
        await log.close()
        broker.logs.clear()
        for _ in range(8):
            log = changelog(broker, tmp_path)
            with pytest.raises(TruncatedError, match="made anew"):
                await log.take_over(MAPPING, "w")
            await log.close()

    run(scenario())


# -- the source ---------------------------------------------------------------------------------------------------


def _runner(partition: Partition | None, committed: int, highwater: int = 99) -> Any:
    runner: Any = object.__new__(Runner)
    runner.number, runner.partition = 0, partition
    runner._first = runner._next = -1
    runner._holes = 0

    async def offset(_: int) -> int:
        return committed

    async def read_from(_: int, offset: int) -> None:
        runner.sought.append(offset)

    runner.sought = []
    runner._pipeline = SimpleNamespace(committed=offset, highwater=lambda _: highwater, read_from=read_from)
    return runner


def _batch(first: int, last: int) -> list[Any]:
    return [SimpleNamespace(offset=offset) for offset in range(first, last + 1)]


def test_the_first_batch_begins_where_the_source_is_committed(tmp_path: Path) -> None:
    """D2: whatever a rebalance dropped before the first batch would be committed with it, and lost."""

    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        runner = _runner(partition, 0)
        assert not await runner._check(_batch(7, 9))
        assert runner.sought == [0]
        await partition.snapshots.put([(records.EPOCHS, records.pack(0, {"epochs": [(0, 1)], "topic": ""}))])
        runner = _runner(partition, 7)
        assert await runner._check(_batch(7, 9))
        assert await runner._check(_batch(10, 12))
        assert await runner._check(_batch(8, 9))  # read again: harmless
        assert not runner.sought
        assert not await runner._check(_batch(14, 15))
        assert not await runner._check(_batch(16, 16)), "it had been fetched before the seek"
        assert runner.sought == [13, 13]
        assert await runner._check(_batch(13, 16))
        with pytest.raises(RuntimeError, match="goes on at 18 instead of 17"):
            for _ in range(1_000):  # it never comes: better a new start than a worker that only looks alive
                await runner._check(_batch(18, 19))
        with pytest.raises(RuntimeError, match="goes on at 0 instead of 7"):
            # the topic lost records, and gives their offsets out again
            await _runner(partition, 7, highwater=4)._check(_batch(0, 3))
        await _runner(partition, 7)._check(_batch(5, 9))  # the last commit arrived after Faust had looked: harmless

    run(scenario())


def test_an_emptied_snapshots_topic_is_found_out(tmp_path: Path) -> None:
    """O5: what the source has sent will not be sent again; going on would know only the users who change."""

    async def scenario() -> None:
        partition = await owned_partition(Broker(Clock()), tmp_path)
        with pytest.raises(TruncatedError, match="read up to 7"):
            await _runner(partition, 7)._check(_batch(7, 9))

    run(scenario())


@pytest.mark.parametrize("emptied", [SNAPSHOTS, LEDGER])
@pytest.mark.parametrize("read", [0, 7])
def test_an_emptied_changelog_of_what_was_read_is_refused_before_anything_is_written(emptied: str, read: int) -> None:
    """O5: a deleted ledger would be made anew, and with it what people decided and what calls may be on their way."""

    async def scenario() -> None:
        belonging: Any = Belonging(SimpleNamespace(settings=SETTINGS))  # type: ignore[arg-type]
        ends = {TopicPartition(topic, n): 9 for topic in (SNAPSHOTS, LEDGER) for n in range(12)}
        ends[TopicPartition(emptied, 3)] = 0

        async def changelog_ends() -> dict[TopicPartition, int]:
            return ends

        async def committed(*_: Any) -> dict[TopicPartition, int]:
            return {TopicPartition(SETTINGS.topics.identity, n): read if n == 3 else 5 for n in range(12)}

        belonging._changelog_ends = changelog_ends
        with patch("streams.kafka.group_offsets", committed):
            if not read:  # a partition that nobody has read yet: the first start was cut short
                await belonging._assert_not_emptied()
                return
            with pytest.raises(RefusedError, match=f"read up to 7 in partition 3, but {emptied} is empty"):
                await belonging._assert_not_emptied()

    run(scenario())


# -- late writers, and a compaction a day later (O3) ------------------------------------------------------------------


def _entry(owner: int, count: int, state: State, version: int = 9) -> bytes:
    return Entry(version=(1, version), mapping_id=MAPPING, state=state).encode(owner, count)


async def _a_late_writer(tmp_path: Path) -> tuple[Broker, Partition]:
    """User 1 and the epochs as the owner wrote them; behind them what a frozen former owner wrote when it thawed."""
    broker = Broker(Clock())
    former = await owned_partition(broker, tmp_path / "former")
    owner = await owned_partition(broker, tmp_path / "owner")
    two = {"epochs": [(0, 1), (7, 2)], "topic": "t"}
    await owner.snapshots.put([(records.EPOCHS, records.pack(owner.snapshots.owner, two))])
    await owner.snapshots.put([(b"1", _snapshot(9, owner.snapshots.owner))])
    await owner.ledger.put([(b"1", _entry(owner.ledger.owner, 1, State.QUARANTINED))])
    one = {"epochs": [(0, 1)], "topic": "t"}
    broker.append(SNAPSHOTS, 0, records.EPOCHS, records.pack(former.snapshots.owner, one))
    broker.append(SNAPSHOTS, 0, b"1", _snapshot(4, former.snapshots.owner))
    broker.append(LEDGER, 0, b"1", _entry(former.ledger.owner, 99, State.CONFIRMED))
    return broker, owner


async def _a_day_later(broker: Broker, tmp_path: Path) -> None:
    """The owner's values have survived the compaction, and nobody believes that cidaas has the user."""
    broker.compact(SNAPSHOTS, 0)
    broker.compact(LEDGER, 0)
    last = await owned_partition(broker, tmp_path / "last")
    stored = last.snapshots.store.get(b"1")
    assert stored is not None and decode(stored.value).applied == (1, 9)
    assert last.epochs == [(0, 1), (7, 2)]
    assert last.situations == {b"1": Situation.PENDING}
    entry = last.ledger.store.get(b"1")
    assert entry is not None and decode_entry(entry.value).state is State.IN_DOUBT
    await last.close()


@pytest.mark.parametrize("folder", ["owner", "new"])
def test_what_a_late_writer_wrote_before_our_take_over_does_not_survive_a_compaction(
    tmp_path: Path, folder: str
) -> None:
    """O3: the owner's value wins in our store, but the late one is the last in the topic, and would be left alone."""

    async def scenario() -> None:
        broker, owner = await _a_late_writer(tmp_path)
        await owner.close()  # as if killed: it has not noticed
        following = await owned_partition(broker, tmp_path / folder)
        assert following.situations == {b"1": Situation.PENDING}
        await following.close()
        await _a_day_later(broker, tmp_path)

    run(scenario())


@pytest.mark.parametrize("point", ["before-ledger-write", "after-ledger-write", "before-changelog-send"])
@pytest.mark.parametrize("folder", ["following", "other"])
def test_a_crash_while_a_late_writer_is_written_over_forgets_nothing(tmp_path: Path, point: str, folder: str) -> None:
    """O3: the store has passed the late record by then, and the next start does not read it again."""

    async def scenario() -> None:
        broker, owner = await _a_late_writer(tmp_path)
        await owner.close()
        following = new_partition(broker, tmp_path / "following")
        arm(f"{point}=raise@1")
        with pytest.raises(FailpointError):
            await following.take_over("w")
        arm("")
        await following.close()
        await (await owned_partition(broker, tmp_path / folder)).close()
        await _a_day_later(broker, tmp_path)

    run(scenario())


def test_a_late_writer_that_the_owner_found_but_did_not_write_over_is_written_over_by_the_next_start(
    tmp_path: Path,
) -> None:
    """O3: the owner died between finding it and appending again; its store has passed the late record."""

    async def scenario() -> None:
        broker, owner = await _a_late_writer(tmp_path)
        found: list[set[bytes]] = []
        owner.snapshots.on_foreign = owner.ledger.on_foreign = found.append
        for log in (owner.snapshots, owner.ledger):
            await log.put([(records.MARK, records.pack(log.owner, {}))])
        assert found == [{records.EPOCHS, b"1"}, {b"1"}]
        await owner.close()
        again = await owned_partition(broker, tmp_path / "owner")
        assert not again.snapshots.late.offsets and not again.ledger.late.offsets
        await again.close()
        await _a_day_later(broker, tmp_path)

    run(scenario())


def test_what_was_appended_again_is_not_appended_at_every_start(tmp_path: Path) -> None:
    """O3: each start would send the user again."""

    async def scenario() -> None:
        broker, owner = await _a_late_writer(tmp_path)
        await owner.close()
        await (await owned_partition(broker, tmp_path / "new")).close()
        ends = broker.end(SNAPSHOTS, 0), broker.end(LEDGER, 0)
        for folder in ("new", "owner", "empty"):
            await (await owned_partition(broker, tmp_path / folder)).close()
        # one take-over record each, and in the ledger the mark that nobody left it settled
        assert (broker.end(SNAPSHOTS, 0), broker.end(LEDGER, 0)) == (ends[0] + 3, ends[1] + 6)

    run(scenario())
