"""The durable tables: what a crash, a late writer or a truncated topic would take away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from clock import Clock, run
from fakes import LEDGER, SNAPSHOTS, Broker, changelog, user_row, users_change
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streams.ledger import Entry, State
from streams.ledger import decode as decode_entry
from streams.snapshots import Merger, Snapshot, decode
from streams.state import Changelog, LostError, Store, Stored, TableKind, TruncatedError, damage, records

if TYPE_CHECKING:
    from pathlib import Path

KEY = b"42"


def snapshot(offset: int, city: str = "Ulm", owner: int = 0) -> bytes:
    """An encoded snapshot, applied up to `offset`."""
    snap = Snapshot()
    Merger(frozenset(), lambda row: True).change(
        snap, users_change("c", offset, user_row(1, city=city)), (1, offset), 1
    )
    return snap.encode(owner)


def city(stored: Stored | None) -> str:
    assert stored is not None
    row = decode(stored.value).user
    assert row is not None and row.values is not None
    return str(row.values["city"])


# -- the store ------------------------------------------------------------------------------------------------------


def test_value_and_offset_survive_a_restart_together(tmp_path: Path) -> None:
    """D1: an offset without its value would skip the change for ever."""
    store = Store(tmp_path / "s")
    assert store.next_offset == 0
    store.write([(KEY, Stored(5, b"value"))], 12)
    store.close()
    again = Store(tmp_path / "s")
    assert (again.next_offset, again.get(KEY), again.get(b"43")) == (12, Stored(5, b"value"), None)
    assert again.get_many([b"43", KEY, b"43"]) == [None, Stored(5, b"value"), None]


def test_a_scan_finds_users_in_order_and_nothing_reserved(tmp_path: Path) -> None:
    """A reserved record taken for a user would be sent to cidaas; a user left out would be lost."""
    store = Store(tmp_path / "s")
    keys = [b"1", b"10", b"9", "ü".encode(), b"\x01"]
    store.write([(key, Stored(1, key)) for key in [*keys, records.OWNER, records.UNREADABLE + b"7"]], 1)
    assert [key for key, _ in store.items()] == sorted(keys)
    assert [key for key, _ in store.items(start=b"2")] == [b"9", "ü".encode()]
    assert [key for key, _ in store.reserved(records.UNREADABLE)] == [records.UNREADABLE + b"7"]


def test_a_store_has_one_user_only(tmp_path: Path) -> None:
    """Two workers on one folder would write each other's offsets."""
    store = Store(tmp_path / "s")
    with pytest.raises(Exception, match=r"(?i)lock"):
        Store(tmp_path / "s")
    store.close()
    Store(tmp_path / "s").close()


# -- writing ----------------------------------------------------------------------------------------------------------


def test_nothing_is_in_the_store_before_the_broker_has_confirmed_it(tmp_path: Path) -> None:
    """D1: delivery sees only the store; what ran ahead of Kafka once sent 1,103 wrong deletes."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        broker.confirming.clear()
        put = asyncio.create_task(log.put([(KEY, snapshot(5))]))
        await asyncio.sleep(1)
        assert not put.done() and log.store.get(KEY) is None and log.store.next_offset == 1
        broker.confirming.set()
        time_ms = await put
        assert city(log.store.get(KEY)) == "Ulm" and log.store.next_offset == 2
        stored = log.store.get(KEY)
        assert stored is not None and stored.time_ms == time_ms == broker.logs[SNAPSHOTS, 0][1].timestamp

    run(scenario())


def test_writes_that_come_while_one_is_on_its_way_leave_together(tmp_path: Path) -> None:
    """A round trip to the broker for every user would take hours for 500,000 of them."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        puts = [asyncio.create_task(log.put([(b"%d" % n, snapshot(n))])) for n in range(1, 40)]
        await asyncio.gather(*puts)
        assert broker.batches[0] == 1 and max(broker.batches) >= 38 and len(broker.batches) <= 3
        assert all(log.store.get(b"%d" % n) for n in range(1, 40))
        assert await log.put([]) == 0

    run(scenario())


def test_a_write_larger_than_a_batch_arrives_whole(tmp_path: Path) -> None:
    """The rest of a batch that was full must not be forgotten."""

    async def scenario() -> None:
        broker = Broker(Clock(), most=7)
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        await log.put([(b"%d" % n, snapshot(n)) for n in range(1, 31)])
        assert all(log.store.get(b"%d" % n) for n in range(1, 31))
        assert log.store.next_offset == broker.end(SNAPSHOTS, 0) == 31

    run(scenario())


def test_who_is_cancelled_does_not_tear_a_write_that_is_on_its_way(tmp_path: Path) -> None:
    """D1: the record is in Kafka; the store must get it too, or the offsets differ from then on."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        broker.confirming.clear()
        put = asyncio.create_task(log.put([(KEY, snapshot(5))]))
        await asyncio.sleep(1)
        put.cancel()
        await asyncio.wait([put])
        broker.confirming.set()
        await log.put([(b"43", snapshot(6))])
        assert city(log.store.get(KEY)) == "Ulm" and log.store.next_offset == 3

    run(scenario())


def test_a_write_that_fails_for_good_reports_and_writes_nothing(tmp_path: Path) -> None:
    """D4: the worker has to end, everybody who waits has to hear of it, and the store stays behind Kafka."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        failures: list[BaseException] = []
        log.on_failure = failures.append
        broker.fail = [OSError("the broker is away for good")]
        results = await asyncio.gather(
            *(log.put([(b"%d" % n, snapshot(n))]) for n in (1, 2, 3)), return_exceptions=True
        )
        assert [type(result) for result in results] == [OSError] * 3
        assert [str(failure) for failure in failures] == ["the broker is away for good"]
        assert log.store.next_offset == 1 and log.store.get(b"1") is None

    run(scenario())


def test_closing_waits_for_the_write_that_is_on_its_way(tmp_path: Path) -> None:
    """A store closed under a write would lose it until the next restore, and end the worker with an error."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        broker.confirming.clear()
        put = asyncio.create_task(log.put([(KEY, snapshot(5))]))
        await asyncio.sleep(1)
        close = asyncio.create_task(log.close())
        await asyncio.sleep(1)
        assert not close.done()
        broker.confirming.set()
        await asyncio.gather(put, close)
        assert city(Store(tmp_path / "snapshots" / "0").get(KEY)) == "Ulm"

    run(scenario())


# -- reading -----------------------------------------------------------------------------------------------------------


def test_a_new_owner_with_an_empty_disk_reads_everything(tmp_path: Path) -> None:
    """O2: delivery begins only when both changelogs are completely read."""

    async def scenario() -> None:
        broker = Broker(Clock())
        one = changelog(broker, tmp_path / "a")
        await one.take_over("00" * 8, "a")
        await one.put([(b"%d" % n, snapshot(n)) for n in range(1, 20)])
        two = changelog(broker, tmp_path / "b")
        await two.take_over("00" * 8, "b")
        assert [key for key, _ in two.store.items()] == [key for key, _ in one.store.items()]
        assert two.store.next_offset == broker.end(SNAPSHOTS, 0)
        assert two.owner == 20 and two.previous is not None and records.owner_of(two.previous.value) == one.owner

    run(scenario())


def test_a_compacted_changelog_is_read_to_its_end(tmp_path: Path) -> None:
    """Holes in the offsets, also at the end of what is read, must not keep the owner waiting for ever."""

    async def scenario() -> None:
        broker = Broker(Clock())
        one = changelog(broker, tmp_path / "a")
        await one.take_over("00" * 8, "a")
        for n in range(1, 12):
            await one.put([(KEY, snapshot(n)), (b"%d" % n, snapshot(n))])
        await one.put([(KEY, snapshot(90, "Bonn"))])
        broker.compact(SNAPSHOTS, 0)
        two = changelog(broker, tmp_path / "b")
        await two.take_over("00" * 8, "b")
        assert city(two.store.get(KEY)) == "Bonn" and len(list(two.store.items())) == 12

    run(scenario())


def test_only_what_is_new_is_read_again(tmp_path: Path) -> None:
    """A restart of a worker with a full disk takes seconds and not minutes."""

    async def scenario() -> None:
        broker = Broker(Clock())
        one = changelog(broker, tmp_path)
        await one.take_over("00" * 8, "a")
        await one.put([(KEY, snapshot(5))])
        await one.close()
        broker.logs[SNAPSHOTS, 0][1] = broker.logs[SNAPSHOTS, 0][1]._replace(value=b"would be unreadable")
        again = changelog(broker, tmp_path)
        await again.take_over("00" * 8, "a")
        assert city(again.store.get(KEY)) == "Ulm"

    run(scenario())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"b"]), st.integers(1, 6), st.integers(0, 4), st.booleans()),
        max_size=12,
    )
)
def test_of_two_snapshots_of_a_user_the_highest_applied_wins(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[bytes, int, int, bool]]
) -> None:
    """O3: a late writer appends an older state behind the newer one; which came last in the topic proves nothing."""

    async def scenario() -> None:
        broker = Broker(Clock())
        best: dict[bytes, tuple[tuple[int, int, int], str]] = {}
        for position, (key, applied, owner, _) in enumerate(written):
            broker.append(SNAPSHOTS, 0, key, snapshot(applied, f"{position}", owner))
            rank = (applied, owner, position)
            if key not in best or rank > best[key][0]:
                best[key] = (rank, f"{position}")
        log = changelog(broker, tmp_path_factory.mktemp("state"))
        await log.take_over("00" * 8, "w")
        assert {key: city(stored) for key, stored in log.store.items()} == {
            key: name for key, (_, name) in best.items()
        }
        log.store.close()

    run(scenario())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6)), min_size=1, max_size=12), st.integers(0, 12))
def test_of_two_ledger_entries_the_higher_owner_and_count_wins(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[int, int]], cut: int
) -> None:
    """O3: what a frozen worker confirmed before it thawed is older than what its successor found out; also when the
    disk has read part of it before."""

    async def scenario() -> None:
        broker = Broker(Clock())
        folder = tmp_path_factory.mktemp("state")
        for position, (owner, count) in enumerate(written):
            broker.append(LEDGER, 0, KEY, Entry(reason=f"{position}").encode(owner, count))
            if position == cut:
                early = changelog(broker, folder, TableKind.LEDGER)
                await early.take_over("00" * 8, "w")
                early.store.close()
        log = changelog(broker, folder, TableKind.LEDGER)
        await log.take_over("00" * 8, "w")
        stored = log.store.get(KEY)
        assert stored is not None
        best = max((owner, count, position) for position, (owner, count) in enumerate(written))
        assert decode_entry(stored.value).reason == f"{best[2]}"
        log.store.close()

    run(scenario())


def test_forgetting_a_user_is_an_entry(tmp_path: Path) -> None:
    """O3: a tombstone has no owner and no count: a late writer's older entry would come back behind it."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path, TableKind.LEDGER)
        broker.append(LEDGER, 0, KEY, Entry(state=State.FORGOTTEN).encode(5, 2))
        broker.append(LEDGER, 0, KEY, Entry(state=State.CONFIRMED).encode(5, 1))
        await log.take_over("00" * 8, "w")
        stored = log.store.get(KEY)
        assert stored is not None and decode_entry(stored.value).state is State.FORGOTTEN

    run(scenario())


def test_a_topic_that_ends_before_our_disk_is_found_out(tmp_path: Path) -> None:
    """O5: a topic that was truncated or made anew has lost users; going on would hide it."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        await log.put([(KEY, snapshot(5)), (b"43", snapshot(6))])
        await log.close()
        broker.logs.clear()
        again = changelog(broker, tmp_path)
        with pytest.raises(TruncatedError, match="made anew"):
            await again.take_over("00" * 8, "w")

    run(scenario())


def test_a_topic_whose_beginning_was_deleted_is_found_out_by_who_needs_it(tmp_path: Path) -> None:
    """O5: an empty disk would be filled with half of the users, silently; a disk that has it all lacks nothing."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path / "whole")
        await log.take_over("00" * 8, "w")
        await log.put([(KEY, snapshot(5)), (b"43", snapshot(6))])
        await log.close()
        broker.first[SNAPSHOTS, 0] = 2
        for _ in range(2):
            empty = changelog(broker, tmp_path / "empty")
            with pytest.raises(TruncatedError, match="begins at 2"):
                await empty.take_over("00" * 8, "w")
            await empty.close()
        whole = changelog(broker, tmp_path / "whole")
        await whole.take_over("00" * 8, "w")
        assert whole.store.get(KEY) is not None

    run(scenario())


@pytest.mark.parametrize("files", ["CURRENT", "MANIFEST-*", "*.sst"])
@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_store_says_so_and_a_full_disk_is_none(tmp_path: Path, files: str, gone: bool) -> None:
    """A damaged copy has to be emptied by a person; a new start would fail for ever."""
    for number in (1, 2):  # the second opening writes what the first one held in its log to a file
        store = Store(tmp_path / "store")
        store.write([(KEY, Stored(1, b"value"))], number)
        store.close()
    for file in (tmp_path / "store").glob(files):
        if gone:
            file.unlink()
        else:
            file.write_bytes(b"broken" * 40)
    with pytest.raises(Exception, match=r"^(Corruption|IO error)") as raised:
        store = Store(tmp_path / "store")
        list(store.items())
    assert damage(raised.value)
    assert not damage(Exception("IO error: No space left on device: While appending to file: x.log"))
    assert not damage(OSError("Corruption"))


# -- two writers ----------------------------------------------------------------------------------------------------


async def _two(tmp_path: Path, kind: TableKind = TableKind.SNAPSHOTS) -> tuple[Broker, Changelog, Changelog]:
    """A former owner that does not know it yet, and the owner."""
    broker = Broker(Clock())
    former = changelog(broker, tmp_path / "former", kind)
    await former.take_over("00" * 8, "former")
    owner = changelog(broker, tmp_path / "owner", kind)
    await owner.take_over("00" * 8, "owner")
    return broker, former, owner


def test_who_lost_the_partition_stops_at_its_next_write(tmp_path: Path) -> None:
    """O3: only one may write; the one with the lower number ends, and nothing of it reaches its own store."""

    async def scenario() -> None:
        _, former, owner = await _two(tmp_path)
        failures: list[BaseException] = []
        former.on_failure = failures.append
        with pytest.raises(LostError, match="taken over by another worker"):
            await former.put([(KEY, snapshot(5, "stale"))])
        assert isinstance(failures[0], LostError) and former.store.get(KEY) is None
        assert owner.store.get(KEY) is None

    run(scenario())


def test_who_lost_the_partition_stops_although_only_values_of_the_owner_are_in_between(tmp_path: Path) -> None:
    """O3: the take-over record itself may have been compacted away behind a later one."""

    async def scenario() -> None:
        broker, former, owner = await _two(tmp_path)
        await owner.put([(KEY, snapshot(5, "Bonn", owner.owner))])
        broker.logs[SNAPSHOTS, 0] = [r for r in broker.logs[SNAPSHOTS, 0] if r.offset != owner.owner]
        with pytest.raises(LostError):
            await former.put([(KEY, snapshot(4, "stale", former.owner))])

    run(scenario())


def test_what_a_thawed_former_owner_wrote_is_found_and_named(tmp_path: Path) -> None:
    """O3: its values are the newest in the topic and would win after compaction; they have to be written over."""

    async def scenario() -> None:
        broker, former, owner = await _two(tmp_path)
        await owner.put([(KEY, snapshot(9, "new", owner.owner))])
        foreign: list[set[bytes]] = []
        owner.on_foreign = foreign.append
        broker.append(SNAPSHOTS, 0, KEY, snapshot(4, "stale", former.owner))
        broker.append(SNAPSHOTS, 0, b"7", snapshot(4, "stale", former.owner))
        broker.append(SNAPSHOTS, 0, records.MARK, records.pack(former.owner, {}))
        await owner.put([(b"1", snapshot(10, "own", owner.owner))])
        assert foreign == [{KEY, b"7"}]
        assert city(owner.store.get(KEY)) == "new" and city(owner.store.get(b"1")) == "own"
        assert owner.store.next_offset == broker.end(SNAPSHOTS, 0)
        await owner.put([(b"2", snapshot(11, "own", owner.owner))])
        assert len(foreign) == 1, "what was found once is not found again"

    run(scenario())


def test_a_retry_of_our_own_is_no_other_writer(tmp_path: Path) -> None:
    """A batch that the broker has twice, because its first answer was lost, must not end the worker."""

    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        await log.take_over("00" * 8, "w")
        foreign: list[set[bytes]] = []
        log.on_foreign = foreign.append
        broker.append(SNAPSHOTS, 0, KEY, snapshot(5, "Ulm", log.owner))
        await log.put([(KEY, snapshot(5, "Ulm", log.owner))])
        assert foreign == [] and city(log.store.get(KEY)) == "Ulm" and log.store.next_offset == 3

    run(scenario())


def test_counts_of_an_owner_go_up(tmp_path: Path) -> None:
    """O3: (owner, count) orders a user's entries; two with the same number would have no order."""
    log = changelog(Broker(Clock()), tmp_path, TableKind.LEDGER)
    assert [log.next_count() for _ in range(3)] == [1, 2, 3]
