"""The sweep finds who came or went while changes were being lost, and removes nobody who is there (M9)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
from clock import Clock, run
from fakes import SETTINGS, SEVERAL, Record, credential_row, envelope, user_row
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from world import IDENTITY, World

from streams import comparison
from streams.comparison import Found, Rows, judge, rows_of
from streams.control import SWEEP
from streams.credentials import Names
from streams.keys import Look
from streams.ledger import Situation
from streams.legacy import LegacyAwayError
from streams.rows import ReadAgain, Removal, RowReader, SetAside, write_control
from streams.snapshots import Flag, Snapshot, decode, head
from streams.state import records
from streams.sweep import Sweep, answer_name, request, summary

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from streams.settings import Settings


class Source:
    """The legacy tables, the way of their changes to Kafka, and the join: each goes on only when it is told to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.users: dict[int, dict[str, Any]] = {}
        tables = world.settings.source.credentials
        #: by the tables' names without their schema; keys repeat from one to the other.
        self.tables: dict[str, dict[int, dict[str, Any]]] = {table.name.split(".")[1]: {} for table in tables}
        self.prefixes = dict(zip(self.tables, map(Names(tables).prefix, tables), strict=True))
        self.credentials = self.tables["credentials"]
        #: committed, not in Kafka yet: (commit LSN, key, value).
        self.wire: list[tuple[int, bytes, bytes]] = []
        self.lsn, self.streamed, self.joined_upto = 100, 0, 0
        self.away = False
        #: what the broker has confirmed, if it is not everything that was streamed.
        self.confirmed: int | None = None
        #: happens at each step of the sweep that takes time.
        self.meanwhile: Callable[[], Awaitable[None]] = self.arrive
        self.looks: list[list[str]] = []
        self._joining = asyncio.Lock()
        pipeline = world.pipeline
        pipeline.ends = self._ends  # type: ignore[attr-defined]
        pipeline.legacy = self  # type: ignore[assignment]
        self._send, pipeline.send = pipeline.send, self._sending  # type: ignore[method-assign]
        pipeline.control.wait_changed = self._wait_changed  # type: ignore[method-assign]
        self.expected = ""

    # -- the application -------------------------------------------------------------------------------------------

    def change(self, op: str, table: str, row: dict[str, Any], *, lost: bool = False, **extra: Any) -> None:
        """Commit one change; one that is lost never reaches Kafka."""
        self.lsn += 10
        number = row["id"] if table == "users" else row["user_id"]
        rows = self.users if table == "users" else self.tables[table]
        if op == "d":
            del rows[row["id"]]
        else:
            rows[row["id"]] = row
        if not lost:
            value = envelope(op, table, self.lsn, row, after_commit=self.lsn - 10, **extra)
            self.wire.append((self.lsn, b"%d" % number, value))

    def sign_up(self, number: int, *credentials: int, table: str = "credentials", lost: bool = False) -> None:
        self.change("c", "users", user_row(number), lost=lost)
        for pk in credentials:
            self.change("c", table, credential_row(pk, number), lost=lost)

    def leave(self, number: int, *, lost: bool = False) -> None:
        for table, rows in self.tables.items():
            for pk in [pk for pk, row in rows.items() if row["user_id"] == number]:
                self.change("d", table, rows[pk], lost=lost)
        self.change("d", "users", self.users[number], lost=lost)

    def hand(self, pk: int, number: int, *, table: str = "credentials", lost: bool = False) -> None:
        before = self.tables[table][pk]["user_id"]
        row = {**self.tables[table][pk], "user_id": number}
        self.change("u", table, row, lost=lost, __before_user_id=before)

    def named(self, number: int) -> dict[str, dict[str, Any]]:
        """The credential rows of a user, by their names."""
        return {
            f"{self.prefixes[table]}{pk}": row
            for table, rows in self.tables.items()
            for pk, row in rows.items()
            if row["user_id"] == number
        }

    # -- the way to the join -----------------------------------------------------------------------------------------

    def stream(self, most: int = 1_000) -> None:
        """Bring some committed changes to Kafka; a heartbeat follows that knows of them."""
        for lsn, key, value in self.wire[:most]:
            self.world.broker.append(IDENTITY, 0, key, value)
            self.streamed = lsn
        del self.wire[:most]
        if not self.wire:
            self.streamed = self.lsn
        control = self.world.pipeline.control
        control.heartbeats += 1
        control.source_after_commit = self.streamed

    async def join(self, most: int = 1_000) -> None:
        """Join some of what is in Kafka."""
        async with self._joining:  # one batch after the other, as a runner does
            log = self.world.broker.logs[IDENTITY, 0]
            batch: list[Record] = [record for record in log if record.offset >= self.joined_upto][:most]
            if batch and not self.world.partition.closing:
                self.joined_upto = batch[-1].offset + 1
                await self.world.join.process(self.world.partition, batch)  # type: ignore[arg-type]

    async def arrive(self) -> None:
        """Stream and join everything, also what a join sends (M5)."""
        self.stream()
        while self.joined_upto < self.world.broker.end(IDENTITY, 0) and not self.world.partition.closing:
            await self.join()

    # -- what the sweep asks ---------------------------------------------------------------------------------------

    async def first_look(self, _: Any, __: str, mine: Callable[[bytes], bool]) -> Look:
        self._answers()
        marks = {key: comparison.mark(rows.user, rows.credentials) for key, rows in self.all().items() if mine(key)}
        look = Look(marks, self.lsn)
        await self.meanwhile()
        return look

    async def present(self, ids: Sequence[str]) -> dict[str, Rows]:
        self._answers()
        self.looks.append(list(ids))
        everybody = self.all()
        there = {one: everybody.get(one.encode(), Rows()) for one in ids}
        await self.meanwhile()
        return there

    async def query(self, *_: Any) -> list[dict[str, Any]]:
        self._answers()
        return [{"lsn": self.streamed if self.confirmed is None else self.confirmed}]

    def _answers(self) -> None:
        if self.away:
            raise LegacyAwayError("the legacy database does not answer")

    def all(self) -> dict[bytes, Rows]:
        numbers = self.users.keys() | {row["user_id"] for rows in self.tables.values() for row in rows.values()}
        return {b"%d" % number: self.rows(number) for number in numbers}

    def rows(self, number: int) -> Rows:
        return Rows(number in self.users, frozenset(self.named(number)))

    async def _ends(self, _: Any) -> dict[int, int]:
        ends = {0: self.world.broker.end(IDENTITY, 0)}
        await self.meanwhile()
        return ends

    async def _sending(self, key: bytes, value: bytes) -> None:
        await self._send(key, value)
        await self.meanwhile()

    async def _wait_changed(self) -> None:
        await asyncio.sleep(1.0)
        await self.meanwhile()

    # -- what came of it -------------------------------------------------------------------------------------------

    def snap(self, number: int) -> Snapshot | None:
        stored = self.world.partition.snapshots.store.get(b"%d" % number)
        return None if stored is None else decode(stored.value)

    async def read_again(self) -> None:
        """What the rereads do, for everybody who is set aside."""
        for _ in range(10):
            await self.arrive()
            aside = self.world.partition.standing(Situation.SET_ASIDE)
            if not aside:
                return
            for key in aside:
                snap = self.snap(int(key))
                assert snap is not None and snap.aside is not None
                again = ReadAgain(snap.aside[0], snap.applied, self.users.get(int(key)), self.named(int(key)))
                await self._send(key, write_control(again))
        raise AssertionError("users stay set aside")

    def assert_same(self) -> None:
        """Both sides have the same rows of everybody."""
        known = {int(key) for key, _ in self.world.partition.snapshots.store.items()}
        numbers = known | {int(key) for key in self.all()}
        assert {n: rows_of(self.snap(n)) for n in numbers} == {n: self.rows(n) for n in numbers}

    def sent(self) -> list[tuple[int, Any]]:
        """The control records that were sent."""
        reader = RowReader(self.world.settings.source)
        return [(int(key), reader.read(key, value)) for key, value in self.world.pipeline.sent]


def play(scenario: Callable[[Source, Sweep], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    """Run a scenario with a worker that owns the only partition."""
    clock = Clock()

    async def main() -> None:
        world = await World.start(None, clock, settings=settings)
        source = Source(world)
        with patch("streams.sweep.first_look", source.first_look):
            await scenario(source, Sweep(world.pipeline))  # type: ignore[arg-type]

    run(main(), clock)


async def swept(source: Source, sweep: Sweep) -> dict[str, Any]:
    """Ask for a sweep, and let the worker do it."""
    control = source.world.pipeline.control
    await control.put(SWEEP, request("test"))
    await sweep.once()
    found = summary(control.state, [0])
    assert found is not None
    return found


# -- what differs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "there", "found"),
    [
        (Rows(), Rows(), None),
        (Rows(True, frozenset("ab")), Rows(True, frozenset("ba")), None),
        (Rows(True), Rows(), Found.GONE),
        (Rows(True, frozenset("a")), Rows(False, frozenset("a")), Found.GONE),
        (Rows(), Rows(True), Found.MISSING),
        (Rows(False, frozenset("a")), Rows(True, frozenset("a")), Found.MISSING),
        (Rows(True, frozenset("a")), Rows(True, frozenset("b")), Found.CREDENTIALS),
        (Rows(False, frozenset("a")), Rows(), Found.CREDENTIALS),
    ],
)
def test_what_is_wrong_with_a_user(here: Rows, there: Rows, found: Found | None) -> None:
    assert judge(here, there) is found


@given(st.booleans(), st.lists(st.text(max_size=8), unique=True, max_size=6), st.randoms())
def test_a_mark_is_of_the_rows_in_any_order(user: bool, credentials: list[str], random: Any) -> None:
    """The tables are read in the order of the disk, the snapshot in that of the changes."""
    whole = comparison.mark(user, credentials)
    random.shuffle(credentials)
    grown = comparison.mark(user, ())
    for pk in credentials:
        grown = comparison.more(grown, pk)
    assert grown == whole
    assert whole != comparison.mark(not user, credentials)
    assert not credentials or whole != comparison.mark(user, credentials[1:])
    assert (whole == 0) == (not user and not credentials)


# -- what a sweep does ------------------------------------------------------------------------------------------------


def test_a_row_of_one_table_does_not_stand_for_one_of_another_with_the_same_key() -> None:
    """Taken for each other, a lost delete would look like no difference, and the old password would go on to count."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        for table in source.tables:
            source.sign_up(1, 10, table=table)
        source.sign_up(2)
        await source.arrive()
        source.hand(10, 2, table="old_logins", lost=True)
        source.change("d", "credentials", source.credentials[10], lost=True)
        await source.arrive()
        assert rows_of(source.snap(1)).credentials == {"10", "public.old_logins\x0010", "public.seeds\x0010"}
        assert (await swept(source, sweep))["credentials"] == 2
        await source.read_again()
        assert rows_of(source.snap(1)).credentials == {"public.seeds\x0010"}
        assert rows_of(source.snap(2)).credentials == {"public.old_logins\x0010"}
        source.assert_same()

    play(scenario, SEVERAL)


def test_rows_of_a_table_that_is_not_read_any_more_are_swept_out() -> None:
    """Nothing would ever correct them, and they are personal data."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10)
        source.change("c", "old_logins", credential_row(10, 1))
        await source.arrive()
        source.tables["old_logins"].clear()  # as a sweep sees it with a file that does not name the table
        assert (await swept(source, sweep))["credentials"] == 1
        await source.read_again()
        source.assert_same()
        snap = source.snap(1)
        assert snap is not None and set(snap.live_credentials()) == {"10"}

    play(scenario, SEVERAL)


def test_who_was_deleted_unseen_goes_and_who_came_unseen_comes() -> None:
    async def scenario(source: Source, sweep: Sweep) -> None:
        for number in (1, 2, 3, 4):
            source.sign_up(number, number * 10)
        await source.arrive()
        source.leave(1, lost=True)
        source.sign_up(5, 50, lost=True)
        source.hand(20, 3, lost=True)
        source.change("d", "credentials", source.credentials[40], lost=True)
        answer = await swept(source, sweep)
        assert (answer["state"], answer["gone"], answer["missing"], answer["credentials"]) == ("done", 1, 1, 3)
        await source.read_again()
        source.assert_same()
        user = source.snap(5)
        assert user is not None and user.seen_live and user.user is not None and user.user.values == source.users[5]
        assert source.world.where(1) is Situation.PENDING, "its delete is owed"
        assert (await swept(source, sweep))["gone"] == 0, "a second one finds nothing"

    play(scenario)


def test_of_equal_sides_nothing_is_sent() -> None:
    """Also not while everything changes all the time."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        for number in range(1, 50):
            source.sign_up(number, number * 10)
        await source.arrive()
        numbers = iter(range(100, 10_000))

        async def meanwhile() -> None:
            number = next(numbers)
            source.sign_up(number, number * 10)
            source.leave(number - 90)
            await source.arrive()

        source.meanwhile = meanwhile
        answer = await swept(source, sweep)
        assert answer["state"] == "done" and source.looks, "there were candidates"
        assert source.sent() == []
        source.assert_same()

    play(scenario)


def test_a_user_who_came_back_meanwhile_is_not_removed() -> None:
    """The removal is void, and what is left of the former life is found all the same."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10)
        await source.arrive()
        source.leave(1, lost=True)

        async def meanwhile() -> None:
            await source.arrive()
            if source.looks and 1 not in source.users:
                source.sign_up(1, 11)  # after the second look, before the removal stands in the topic
                await source.arrive()

        source.meanwhile = meanwhile
        await swept(source, sweep)
        sent = source.sent()
        assert isinstance(sent[0][1], Removal) and isinstance(sent[1][1], SetAside), sent
        assert not source.world.partition.decisions.buckets, "no delete was decided"
        await source.read_again()
        source.assert_same()
        user = source.snap(1)
        assert user is not None and user.user is not None and user.user.values is not None

    play(scenario)


def test_nothing_is_decided_before_the_source_has_passed_the_first_look() -> None:
    """What is still on its way would be taken for lost, and could come behind a removal."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10)
        await source.arrive()
        source.sign_up(2, 20)
        source.leave(1)

        async def nothing() -> None:
            return

        source.meanwhile = nothing
        await source.world.pipeline.control.put(SWEEP, request("test"))
        task = asyncio.create_task(sweep.once())
        for arrives in (lambda: source.stream(1), lambda: source.stream(1), source.stream):
            await asyncio.sleep(5)
            answer = source.world.pipeline.control.state[answer_name(0)]
            assert answer["state"] == "running" and "waits until the connector" in answer["why"]
            arrives()
        await asyncio.sleep(5)
        assert not source.looks, "in Kafka, and not joined yet"
        await source.join()
        await task
        assert source.sent() == [] and not source.looks
        source.assert_same()

    play(scenario)


def test_a_heartbeat_from_before_the_look_proves_nothing() -> None:
    """After a restore its LSN may be of another life of the database, and far higher."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        control = source.world.pipeline.control
        control.source_after_commit = 1 << 60
        source.sign_up(1, 10)
        source.streamed = source.lsn  # the slot is there already

        async def nothing() -> None:
            return

        source.meanwhile = nothing
        await control.put(SWEEP, request("test"))
        task = asyncio.create_task(sweep.once())
        await asyncio.sleep(30)
        assert not source.looks and not task.done()
        await source.arrive()
        await task
        assert source.sent() == []

    play(scenario)


def test_what_the_broker_has_not_confirmed_may_still_come() -> None:
    """A heartbeat stands in another topic, and may be there before the rows that were streamed before it."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10)
        source.confirmed = 5
        await source.world.pipeline.control.put(SWEEP, request("test"))
        task = asyncio.create_task(sweep.once())
        await asyncio.sleep(30)
        assert not task.done() and source.world.pipeline.control.heartbeats > 20
        source.confirmed = None
        await task

    play(scenario)


def test_a_connector_that_stands_still_is_reported_and_it_is_tried_again() -> None:
    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10, lost=True)

        async def nothing() -> None:
            return

        source.meanwhile = nothing
        answer = await swept(source, sweep)
        assert answer["state"] == "failed" and "the connector has not passed" in answer["why"]
        source.meanwhile = source.arrive
        await sweep.once()
        assert not source.looks, "not at once"
        await asyncio.sleep(11)
        await sweep.once()
        answer = summary(source.world.pipeline.control.state, [0]) or {}
        assert (answer["state"], answer["missing"], answer["why"]) == ("done", 1, "")

    play(scenario)


def test_a_newer_sweep_is_not_kept_waiting_by_one_that_can_never_end() -> None:
    """The first look was of a database that has been restored since: its LSNs do not come again (M8).

    `source repair` waits for the newer one.
    """

    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10, lost=True)

        async def nothing() -> None:
            return

        source.lsn, meanwhile, source.meanwhile = 1_000_000, source.meanwhile, nothing
        control = source.world.pipeline.control
        await control.put(SWEEP, request("of the old life"))
        old = asyncio.create_task(sweep.once())
        await asyncio.sleep(5)
        source.lsn, source.meanwhile = 1_000, meanwhile
        await control.put(SWEEP, request("after a source repair"))
        await asyncio.wait_for(old, 5)
        await sweep.once()
        answer = summary(control.state, [0]) or {}
        assert (answer["state"], answer["missing"]) == ("done", 1)

    play(scenario)


def test_a_database_that_is_away_says_of_nobody_that_it_is_gone() -> None:
    """At the first look or at the second; what was found before is counted once."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        for number in range(1, 8):
            source.sign_up(number, number * 10)
        await source.arrive()
        source.away = True
        answer = await swept(source, sweep)
        assert (answer["state"], answer["why"]) == ("failed", "the legacy database does not answer")
        source.away = False
        source.leave(3, lost=True)

        async def breaks() -> None:
            await source.arrive()
            source.away = bool(source.looks) and not sum(1 for _ in source.sent()) > 1

        source.meanwhile = breaks
        await asyncio.sleep(11)
        await sweep.once()
        source.meanwhile, source.away = source.arrive, False
        await asyncio.sleep(11)
        await sweep.once()
        answer = summary(source.world.pipeline.control.state, [0]) or {}
        assert (answer["state"], answer["gone"]) == ("done", 1)
        source.assert_same()

    play(scenario)


def test_a_partition_that_is_given_up_is_left_to_its_next_owner() -> None:
    """Nothing is answered for it, at whatever step it went."""

    async def scenario(source: Source, sweep: Sweep, steps: int) -> bool:
        world = source.world
        source.sign_up(1, 10)
        await source.arrive()
        source.leave(1, lost=True)
        source.sign_up(2, 20, lost=True)
        left = steps

        async def meanwhile() -> None:
            nonlocal left
            await source.arrive()
            left -= 1
            if left == 0:
                await world.partition.close()

        source.meanwhile = meanwhile
        answer = await swept(source, sweep)
        assert (answer["state"] == "done") == (left > 0)
        if left > 0:
            return True
        heir = await World.start(None, world.clock, former=world)
        after = Source(heir)
        after.users, after.tables, after.lsn = source.users, source.tables, source.lsn
        after.credentials = source.credentials
        after.joined_upto = source.joined_upto
        heir.partition.joined_offset = source.joined_upto - 1
        with patch("streams.sweep.first_look", after.first_look):
            await Sweep(heir.pipeline).once()  # type: ignore[arg-type]
        answer = summary(heir.pipeline.control.state, [0]) or {}
        assert answer["state"] == "done" and answer["gone"] >= 1 and answer["missing"] >= 1
        await after.read_again()
        after.assert_same()
        return False

    over = [False]
    for steps in range(1, 30):

        async def one(source: Source, sweep: Sweep, steps: int = steps) -> None:
            over[0] = await scenario(source, sweep, steps)

        play(one)
        if over[0]:
            break
    assert over[0] and steps > 5, "every step was tried"


def test_a_sweep_waits_until_all_partitions_are_owned() -> None:
    """One look for all, and not one for each partition of a take-over."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        world = source.world
        world.partition.owned.clear()
        assert (await swept(source, sweep))["state"] == "asked"
        world.partition.owned.set()
        await sweep.once()
        answer = summary(world.pipeline.control.state, [0]) or {}
        assert answer["state"] == "done"
        assert (summary(world.pipeline.control.state, [0, 1]) or {})["state"] == "running", "another worker's is not"
        assert summary({}, [0]) is None

    play(scenario)


def test_who_is_set_aside_is_left_to_the_rereads() -> None:
    async def scenario(source: Source, sweep: Sweep) -> None:
        source.sign_up(1, 10)
        await source.arrive()
        source.leave(1, lost=True)
        source.world.put_control(1, SetAside("doubt"))
        await source.join()
        assert (await swept(source, sweep))["gone"] == 0
        assert source.sent() == []
        await source.read_again()
        source.assert_same()

    play(scenario)


# -- what is set aside though nobody knows it, or knows it as gone ----------------------------------------------------


@pytest.mark.parametrize("known", ["never", "gone", "credentials"])
@pytest.mark.parametrize("vanishes", [False, True])
def test_a_missing_user_is_read_again(known: str, vanishes: bool) -> None:
    async def scenario(source: Source, sweep: Sweep) -> None:
        if known == "credentials":
            source.change("c", "credentials", credential_row(10, 1))
        if known == "gone":
            source.sign_up(1, 10)
            await source.arrive()
            source.leave(1)
        await source.arrive()
        source.sign_up(1, 11, lost=True)
        assert (await swept(source, sweep))["missing"] == 1
        if vanishes:
            source.leave(1, lost=True)
        await source.read_again()
        source.assert_same()
        world, snap = source.world, source.snap(1)
        assert snap is not None and snap.aside is None
        if not vanishes:
            assert snap.seen_live and world.where(1) is Situation.PENDING
        elif known == "gone":
            assert world.where(1) is Situation.PENDING, "C1: it was seen live once"
        else:
            assert not snap.seen_live and world.where(1) is Situation.NOTHING_TO_DO, "nobody has to delete it"

    play(scenario)


# -- the brake, and latency -------------------------------------------------------------------------------------------


def test_the_brake_counts_what_a_sweep_removes() -> None:
    """Half of the table has disappeared in a restore: nobody is deleted before a person has looked."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        world = source.world
        numbers = range(1, 61)
        for number in numbers:
            source.sign_up(number, number * 10)
        await source.arrive()
        world.go()
        await world.in_sync(*numbers)
        for number in numbers:
            if number % 2:
                source.leave(number, lost=True)
        brake = world.delivery.brake
        world.pipeline.control.state.clear()
        assert (await swept(source, sweep))["gone"] == 30
        await brake.publish(world.partition)
        assert brake.total()[0] == 30
        source.users = {n: row for n, row in source.users.items() if n % 2 == 0}
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 30, "all are parked")
        assert all(world.at_cidaas(number) for number in numbers)
        snap = source.snap(1)
        assert snap is not None and not snap.streamed, "nobody knows when it went"

    play(scenario)


# -- M7 ---------------------------------------------------------------------------------------------------------------


def test_a_comparison_answers_the_unreadable_records_before_it() -> None:
    """`status` is red until then, and not any more after a restart; a record that is read again stays answered."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        world = source.world
        world.broker.append(IDENTITY, 0, None, b"{")
        await source.join()
        assert world.partition.unreadable == 1
        added = False

        async def meanwhile() -> None:
            nonlocal added
            if not added:
                added = True
                world.broker.append(IDENTITY, 0, b"\xff", b"{}")  # after the look: of this one it says nothing
            await source.arrive()

        source.meanwhile = meanwhile
        await swept(source, sweep)
        assert world.partition.unreadable == 1
        source.joined_upto = 0
        await source.join()
        assert world.partition.unreadable == 1
        log = world.broker.logs[world.settings.topics.snapshots, 0]
        assert all(record.value is not None for record in log), "O3: never a tombstone"
        heir = await World.start(None, world.clock, former=world)
        assert heir.partition.unreadable == 1
        assert [records.unpack(stored.value)[1].get("swept") for _, stored in
                heir.partition.snapshots.store.reserved(records.UNREADABLE)] == [True, None]  # fmt: skip

    play(scenario)


# -- any interleaving -------------------------------------------------------------------------------------------------

NUMBERS = (1, 2, 3)
STEPS = st.lists(st.tuples(st.sampled_from(["sign_up", "leave", "add", "drop", "hand", "edit", "stream", "join"]),
                           *[st.sampled_from(NUMBERS)] * 2, st.integers(0, 2)), max_size=25)  # fmt: skip


def _change(
    source: Source, keys: dict[str, Iterator[int]], what: str, one: int, other: int, at: int, *, lost: bool
) -> None:
    table = list(source.tables)[at % len(source.tables)]
    pks, rows = keys[table], source.tables[table]
    mine = [pk for pk, row in rows.items() if row["user_id"] == one]
    match what:
        case "sign_up" if one not in source.users:
            source.sign_up(one, next(pks), table=table, lost=lost)
        case "leave" if one in source.users:
            source.leave(one, lost=lost)
        case "add" if one in source.users:
            source.change("c", table, credential_row(next(pks), one), lost=lost)
        case "drop" if mine:
            source.change("d", table, rows[mine[0]], lost=lost)
        case "hand" if mine and other != one and other in source.users:
            source.hand(mine[0], other, table=table, lost=lost)
        case "edit" if one in source.users:
            source.change("u", "users", {**source.users[one], "city": str(source.lsn)}, lost=lost)


@pytest.mark.parametrize("settings", [SETTINGS, SEVERAL], ids=["one table", "several"])
@examples(max_examples=150)
@given(before=STEPS, lost=st.sets(st.integers(0, 24)), during=st.lists(STEPS, max_size=8), after=STEPS)
def test_whatever_happens_meanwhile_both_sides_end_equal(
    settings: Settings, before: list[Any], lost: set[int], during: list[list[Any]], after: list[Any]
) -> None:
    """Changes are lost before a sweep; while it runs, changes, the connector and the join go on as they like."""

    async def scenario(source: Source, sweep: Sweep) -> None:
        pks, gone = {table: iter(range(10, 10_000)) for table in source.tables}, set()
        store = source.world.partition.snapshots.store

        async def go(steps: list[Any], lost: set[int]) -> None:
            for at, (what, one, other, table) in enumerate(steps):
                if what == "stream":
                    source.stream(one)
                elif what == "join":
                    await source.join(one)
                else:
                    gone.update({one} if what == "leave" else ())
                    _change(source, pks, what, one, other, table, lost=at in lost)
                for number in set(NUMBERS) - gone:
                    stored = store.get(b"%d" % number)
                    assert stored is None or not head(stored.value).flags & Flag.GONE, "it was there all the time"

        for number in NUMBERS[:2]:
            source.sign_up(number, next(pks["credentials"]))
        await go(before, lost)
        schedule = iter(during)

        async def meanwhile() -> None:
            steps = next(schedule, None)
            if steps is None:
                await source.arrive()
            else:
                await go(steps, set())

        source.meanwhile = meanwhile
        assert (await swept(source, sweep))["state"] == "done"
        await go(after, set())
        await source.read_again()
        source.assert_same()

    play(scenario, settings)
