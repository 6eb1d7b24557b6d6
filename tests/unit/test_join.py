"""The join: every change of every row ends in the right snapshot, whatever is read twice, late or not at all."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import (
    LEDGER,
    SETTINGS,
    SNAPSHOTS,
    Broker,
    Record,
    credential_row,
    envelope,
    new_partition,
    owned_partition,
    user_row,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.join import Join
from streams.ledger import Situation, State
from streams.ledger import decode as decode_entry
from streams.rows import (
    CREDENTIALS,
    UNAVAILABLE,
    Epoch,
    ReadAgain,
    Removal,
    Resync,
    SetAside,
    UnreadableError,
    write_control,
)
from streams.snapshots import Snapshot, decode
from streams.state import Partition, records

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

IDENTITY = SETTINGS.topics.identity


class Reader:
    """A partition, its join, and what the join told and sent."""

    def __init__(self, broker: Broker, partition: Partition) -> None:
        self.broker, self.partition = broker, partition
        self.told: list[tuple[bytes, Situation | None, bool]] = []
        self.sent: list[tuple[bytes, bytes]] = []
        self.join = Join(SETTINGS, self._send, lambda _, *told: self.told.append(told))

    async def _send(self, key: bytes, value: bytes) -> None:
        self.sent.append((key, value))

    async def read(self, *items: tuple[bytes | None, bytes | None]) -> None:
        """Append records to the topic and join them as one batch."""
        start = self.broker.end(IDENTITY, 0)
        for key, value in items:
            self.broker.append(IDENTITY, 0, key, value)
        await self.again(start)

    async def again(self, start: int) -> None:
        """Join everything from `start` on."""
        batch = [record for record in self.broker.logs[IDENTITY, 0] if record.offset >= start]
        await self.join.process(self.partition, batch)  # type: ignore[arg-type]

    def snap(self, key: bytes) -> Snapshot:
        stored = self.partition.snapshots.store.get(key)
        assert stored is not None
        return decode(stored.value)

    def where(self, key: bytes) -> Situation | None:
        ((snap, entry),) = self.partition.read([key])
        return self.partition.situation(snap, entry)


def play(path: Path, scenario: Callable[[Reader], Awaitable[None]]) -> None:
    async def played() -> None:
        broker = Broker(Clock())
        await scenario(Reader(broker, await owned_partition(broker, path)))

    run(played())


def user(op: str, lsn: int, number: int = 1, **fields: Any) -> tuple[bytes, bytes]:
    return b"%d" % number, envelope(op, "users", lsn, user_row(number, **fields))


def credential(op: str, lsn: int, pk: int = 7, number: int = 1, **fields: Any) -> tuple[bytes, bytes]:
    return b"%d" % number, envelope(op, "credentials", lsn, credential_row(pk, number, **fields))


def test_whoever_waits_for_an_answer_gets_a_turn_within_a_batch(tmp_path: Path) -> None:
    """Two partitions at once, of a whole batch each: cidaas' answers wait for neither of them."""

    async def scenario(reader: Reader) -> None:
        for number in range(1, 501):
            reader.broker.append(IDENTITY, 0, *user("r", 10, number))
        batch = list(reader.broker.logs[IDENTITY, 0])
        other = await owned_partition(reader.broker, None, number=1)
        merged: list[int] = []
        work = [asyncio.create_task(reader.join.process(one, batch)) for one in (reader.partition, other)]  # type: ignore[arg-type]
        while not all(task.done() for task in work):
            await asyncio.sleep(0)
            merged.append(reader.join.rows["r"])
        assert merged[-1] == 1_000
        assert max(after - before for before, after in pairwise([0, *merged])) <= 50
        assert [one.known for one in (reader.partition, other)] == [500, 500]

    play(tmp_path, scenario)


def test_a_user_is_pending_only_when_its_snapshot_is_confirmed(tmp_path: Path) -> None:
    """D1: the delivery must never see what Kafka has not."""

    async def scenario(reader: Reader) -> None:
        reader.broker.confirming.clear()
        task = asyncio.create_task(reader.read(user("c", 10)))
        await asyncio.sleep(1)
        assert not task.done() and reader.told == [] and reader.partition.snapshots.store.get(b"1") is None
        reader.broker.confirming.set()
        await task
        assert reader.told == [(b"1", Situation.PENDING, True)] and reader.partition.joined_offset == 0

    play(tmp_path, scenario)


def test_rows_of_one_batch_build_on_each_other(tmp_path: Path) -> None:
    """D1: the second row of a sign-up sees the first one although nothing is confirmed yet."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10), credential("c", 20), user("u", 30, city="Ulm"))
        snap = reader.snap(b"1")
        assert snap.user is not None and snap.user.values is not None and snap.user.values["city"] == "Ulm"
        assert len(snap.live_credentials()) == 1 and reader.broker.end(SNAPSHOTS, 0) == 2

    play(tmp_path, scenario)


def test_reading_a_batch_again_writes_nothing(tmp_path: Path) -> None:
    """A crash before the commit costs a reading, no call and no write."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10), credential("c", 20), user("r", 5, number=2), user("d", 40, number=3))
        before, end = dict(reader.partition.snapshots.store.items()), reader.broker.end(SNAPSHOTS, 0)
        reader.told.clear()
        await reader.again(0)
        assert dict(reader.partition.snapshots.store.items()) == before
        assert reader.broker.end(SNAPSHOTS, 0) == end and reader.told == []

    play(tmp_path, scenario)


def test_the_figures_count_each_user_once(tmp_path: Path) -> None:
    """`status` has to agree with a census of the legacy database."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10), user("c", 20, number=2), credential("c", 30))
        await reader.read(user("u", 40, city="Ulm"), user("d", 50, number=2))
        partition = reader.partition
        assert (partition.known, partition.gone) == (2, 1)
        await reader.read(user("c", 60, number=2))
        assert (partition.known, partition.gone) == (2, 0)

    play(tmp_path, scenario)


# -- M5: credentials that move ---------------------------------------------------------------------------------------


def moved(lsn: int, pk: int, before: int, number: int, **fields: Any) -> tuple[bytes, bytes]:
    row = credential_row(pk, number, **fields)
    return b"%d" % number, envelope("u", "credentials", lsn, row, __before_user_id=before)


def test_a_removal_is_sent_at_every_reading_of_a_move(tmp_path: Path) -> None:
    """M5: the worker may have died between its write and the removal; whatever became of the row since."""

    async def scenario(reader: Reader) -> None:
        await reader.read(moved(100, 7, 1, 2), credential("d", 200, number=2))
        await reader.again(0)
        removal = write_control(Removal(CREDENTIALS, "7", 1, 100, None, 99))
        assert reader.sent == [(b"1", removal)] * 2

    play(tmp_path, scenario)


def test_a_removal_that_cannot_be_sent_leaves_the_batch_unread(tmp_path: Path) -> None:
    """M5: acknowledged without it, the password would stay with the former user for ever."""

    async def scenario(reader: Reader) -> None:
        async def broken(key: bytes, value: bytes) -> None:
            raise OSError("the broker is away")

        reader.join._send = broken
        with pytest.raises(OSError, match="away"):
            await reader.read(moved(100, 7, 1, 2))
        assert reader.partition.joined_offset == -1

    play(tmp_path, scenario)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.sampled_from([7, 8]), st.sampled_from([1, 2, 3])),
        st.tuples(st.just("update"), st.sampled_from([7, 8]), st.none()),
        st.tuples(st.just("delete"), st.sampled_from([7, 8]), st.none()),
        st.tuples(st.just("read"), st.sampled_from([1, 2, 3]), st.integers(1, 4)),
        st.tuples(st.just("restart"), st.sampled_from([1, 2, 3]), st.integers(0, 3)),
        st.tuples(st.just("connect repeats"), st.integers(1, 4), st.none()),
    ),
    max_size=16,
)


@settings(max_examples=100)
@given(_STEPS)
def test_credentials_may_move_to_and_fro(steps: list[Any]) -> None:
    """M5: A to B to A, each user in a partition of its own that is read at its own pace, restarts and repeats: at the
    end every password is where PostgreSQL has it, and nowhere else."""

    async def scenario() -> None:
        broker = Broker(Clock())
        topics: dict[int, list[Record]] = {1: [], 2: [], 3: []}
        done = dict.fromkeys(topics, 0)
        partitions = {number: await owned_partition(broker, None, number=number) for number in topics}

        def append(key: bytes, value: bytes) -> None:
            log = topics[int(key)]
            log.append(Record(IDENTITY, int(key), len(log), 0, key, value))

        async def send(key: bytes, value: bytes) -> None:
            append(key, value)

        join = Join(SETTINGS, send, lambda *_: None)

        async def read(number: int, most: int) -> None:
            batch = topics[number][done[number] : done[number] + most]
            if batch:
                await join.process(partitions[number], batch)  # type: ignore[arg-type]
                done[number] += len(batch)

        written: list[tuple[bytes, bytes]] = []

        def write(record: tuple[bytes, bytes]) -> None:
            written.append(record)
            append(*record)

        lsn = 10
        for number in topics:
            write(user("c", lsn, number=number))
        there: dict[int, tuple[int, str]] = {}
        for what, one, other in steps:
            lsn += 10
            if what == "move":
                before = there.get(one)
                there[one] = (other, f"hash{lsn}")
                if before is None:
                    write(credential("c", lsn, one, other, secret=f"hash{lsn}"))
                elif before[0] != other:
                    write(moved(lsn, one, before[0], other, secret=f"hash{lsn}"))
                else:
                    write(credential("u", lsn, one, other, secret=f"hash{lsn}"))
            elif what == "update" and one in there:
                there[one] = (there[one][0], f"hash{lsn}")
                write(credential("u", lsn, one, there[one][0], secret=f"hash{lsn}"))
            elif what == "delete" and one in there:
                write(credential("d", lsn, one, there.pop(one)[0]))
            elif what == "read":
                await read(one, other)
            elif what == "restart":
                done[one] = max(0, done[one] - other)
            elif what == "connect repeats":
                for record in written[-one:]:
                    append(*record)
        for _ in range(1_000):
            if all(done[number] == len(log) for number, log in topics.items()):
                break
            for number in topics:
                await read(number, 3)
        for number, partition in partitions.items():
            stored = partition.snapshots.store.get(b"%d" % number)
            assert stored is not None
            found = {row["id"]: row["secret"] for row in decode(stored.value).live_credentials().values()}
            assert found == {pk: secret for pk, (owner, secret) in there.items() if owner == number}
            await partition.close()

    run(scenario())


# -- M7 --------------------------------------------------------------------------------------------------------------


def test_an_unreadable_record_sets_its_user_aside_and_no_other(tmp_path: Path) -> None:
    """M7: by its key; the users around it go on."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10), user("c", 20, number=2))
        await reader.read((b"1", b"{"), user("u", 30, number=2, city="Ulm"))
        assert reader.where(b"1") is Situation.SET_ASIDE and reader.where(b"2") is Situation.PENDING
        aside = reader.snap(b"1").aside
        assert aside is not None and "not JSON" in aside[1] and "offset 2" in aside[1]
        assert reader.join.rows["unreadable"] == 1

    play(tmp_path, scenario)


def test_a_record_without_a_key_is_kept_and_counted_once(tmp_path: Path) -> None:
    """M7: nobody knows whose it was; it stays in sight over restarts until a comparison has run."""

    async def scenario(reader: Reader) -> None:
        await reader.read((None, b"{"), (b"\xff", b"{}"), user("c", 10))
        await reader.again(0)
        assert reader.partition.unreadable == 2 and reader.where(b"1") is Situation.PENDING
        marks = [key for key, _ in reader.partition.snapshots.store.reserved(records.UNREADABLE)]
        assert marks == [records.UNREADABLE + b"%020d" % offset for offset in (0, 1)]
        _, body = records.unpack(next(reader.partition.snapshots.store.reserved(records.UNREADABLE))[1].value)
        assert (body["topic"], body["partition"], body["offset"]) == (IDENTITY, 0, 0)

    play(tmp_path, scenario)


def test_read_again_makes_the_user_pending_with_a_new_version(tmp_path: Path) -> None:
    """M7: it is sent even if the reading found what was known, because something was in doubt."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10), (b"1", write_control(SetAside("doubt"))))
        snap = reader.snap(b"1")
        assert snap.aside is not None
        assert snap.user is not None
        again = ReadAgain(snap.aside[0], snap.applied, snap.user.values, {})
        await reader.read((b"1", write_control(again)))
        assert reader.where(b"1") is Situation.PENDING and reader.snap(b"1").version > snap.version

    play(tmp_path, scenario)


def test_a_placeholder_of_a_user_row_keeps_the_known_value(tmp_path: Path) -> None:
    """M4: over a restart, too: the known value is in the store."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10, street_address="a very long street"))
        await reader.read(user("u", 20, street_address=UNAVAILABLE, city="Ulm"))
        row = reader.snap(b"1").user
        assert row is not None and row.values is not None and row.values["street_address"] == "a very long street"

    play(tmp_path, scenario)


# -- M8 --------------------------------------------------------------------------------------------------------------


def test_after_an_epoch_record_low_lsns_count(tmp_path: Path) -> None:
    """M8: a restored legacy database begins again with low LSNs; without the record every change would be ignored."""

    async def scenario(reader: Reader) -> None:
        await reader.read((b"epoch", write_control(Epoch(1, "t"))), user("c", 9_000))
        await reader.read((b"epoch", write_control(Epoch(2, "t"))), user("u", 10, city="Ulm"))
        row = reader.snap(b"1").user
        assert row is not None and row.values is not None and (row.epoch, row.values["city"]) == (2, "Ulm")
        assert reader.partition.snapshots.store.get(b"epoch") is None, "it is no user"
        await reader.again(0)
        assert reader.partition.epochs == [(0, 1), (2, 2)]
        await reader.partition.close()
        second = new_partition(reader.broker, reader.path)
        await second.take_over("next")
        assert second.epochs == [(0, 1), (2, 2)]

    async def with_path(reader: Reader) -> None:
        reader.path = tmp_path  # type: ignore[attr-defined]
        await scenario(reader)

    play(tmp_path, with_path)


# -- control records -------------------------------------------------------------------------------------------------


def test_resync_makes_a_confirmed_user_pending(tmp_path: Path) -> None:
    """A person asked for it: somebody changed the user at cidaas by hand."""

    async def scenario(reader: Reader) -> None:
        await reader.read(user("c", 10))
        snap, log = reader.snap(b"1"), reader.partition.ledger
        from streams.ledger import Entry

        entry = Entry(version=snap.version, mapping_id=reader.partition.mapping_id, state=State.CONFIRMED, sub="s")
        await log.put([(b"1", entry.encode(log.owner, log.next_count()))])
        assert reader.where(b"1") is Situation.IN_SYNC
        reader.told.clear()
        await reader.read((b"1", write_control(Resync("me"))))
        stored = log.store.get(b"1")
        assert stored is not None and decode_entry(stored.value).sub == "s"
        assert reader.told == [(b"1", Situation.PENDING, True)]

    play(tmp_path, scenario)


def test_resync_of_an_id_that_nobody_knows_leaves_nothing(tmp_path: Path) -> None:
    """A typing error: an entry without a snapshot would be taken for a lost snapshot at the next start (O4)."""

    async def scenario(reader: Reader) -> None:
        await reader.read((b"99", write_control(Resync("me"))))
        assert reader.broker.end(LEDGER, 0) == 1 and reader.partition.ledger.store.get(b"99") is None

    play(tmp_path, scenario)


def test_deletes_are_counted_where_they_are_decided(tmp_path: Path) -> None:
    """The brake: rows, soft deletes and sweeps count, once each, over restarts; other records do not."""

    async def scenario(reader: Reader) -> None:
        for number in (1, 2, 3):
            await reader.read(user("c", 10 * number, number=number))
        start = reader.broker.end(IDENTITY, 0)
        applied = reader.snap(b"3").applied
        sweep = write_control(Removal("users", "3", 1, None, applied))
        await reader.read(user("d", 50), user("u", 60, number=2, status="deleted"), (b"3", sweep))
        await reader.read(user("u", 70, number=2, status="deleted", city="Ulm"), user("d", 80, number=4))
        await reader.again(start)
        decisions = reader.partition.decisions
        assert (sum(decisions.buckets.values()), decisions.upto) == (3, start + 2)
        await reader.partition.close()
        second = new_partition(reader.broker, tmp_path)
        await second.take_over("next")
        assert second.decisions == decisions

    play(tmp_path, scenario)


def test_nothing_that_the_reader_refuses_stops_the_join(tmp_path: Path) -> None:
    """M7: one record that crashes the join crashes it at every start, for all users of the partition."""

    async def scenario(reader: Reader) -> None:
        def refuse(key: bytes | None, value: bytes | None) -> None:
            raise UnreadableError("no reason")

        reader.join._reader.read = refuse  # type: ignore[assignment]
        await reader.read((b"1", b"x"), (None, None), (b"", b""))
        assert reader.where(b"1") is Situation.SET_ASIDE and reader.partition.unreadable == 2

    play(tmp_path, scenario)
