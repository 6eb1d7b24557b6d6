"""The guard remembers: a fault that a start of the connector would hide stands until it is repaired."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import SETTINGS, Broker, Legacy, Pipeline, credential_row, envelope, owned_partition, user_row
from sights import CONNECTOR, CREDENTIALS, DATABASE, RIGHT, SLOT, USERS, identified, published, seen, stopped

from streams.comparison import Rows
from streams.control import REPAIR, SOURCE, SWEEP
from streams.join import Join
from streams.source.faults import record_name, standing
from streams.source.look import Connector, Look
from streams.source.memory import remember
from streams.source.repair import doubt
from streams.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

IDENTITY = SETTINGS.topics.identity


class Tables(Legacy):
    """The legacy database, asked which rows of its users are there."""

    def __init__(self) -> None:
        super().__init__()
        self.there: dict[str, Rows] = {}

    async def present(self, ids: list[str]) -> dict[str, Rows]:
        return {one: self.there.get(one, Rows()) for one in ids}


class Guarded:
    """A worker that owns partition 0 with a few users, and its guard."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.broker = clock, Broker(clock)
        self.pipeline: Any = Pipeline(SETTINGS)
        self.pipeline.legacy = Tables()
        self.held: list[str] = []

        async def hold(why: str) -> None:
            self.held.append(why)

        self.pipeline.delivery = type("D", (), {"brake": type("B", (), {"hold": staticmethod(hold)})})
        self.pipeline.partition_of = lambda key: 0
        self.pipeline.ends = self._ends
        self.pipeline.control.notifications = []
        self.pipeline.control.heartbeat_at = clock.time()
        self.watch = Watch(self.pipeline)

    async def start(self, users: int = 0) -> Guarded:
        self.partition = await owned_partition(self.broker, None)
        self.pipeline.own(self.partition)
        self.join = Join(SETTINGS, self.pipeline.send, lambda *_: None)
        for number in range(1, users + 1):
            await self.read(str(number).encode(), envelope("c", "credentials", 10, credential_row(number, number)))
            await self.read(str(number).encode(), envelope("c", "users", 10, user_row(number)))
            self.pipeline.legacy.there[str(number)] = Rows(True, frozenset((str(number),)))
        return self

    async def _ends(self, numbers: Iterable[int]) -> dict[int, int]:
        return {number: self.broker.end(IDENTITY, number) for number in numbers}

    async def read(self, key: bytes, value: bytes) -> None:
        record = self.broker.append(IDENTITY, 0, key, value)
        await self.join.process(self.partition, [record])  # type: ignore[list-item]

    async def sees(self, *looks: Look) -> list[str]:
        for look in looks:
            self.clock.now += 2
            self.pipeline.control.heartbeat_at = self.clock.time()
            await self.watch.once(look)
        return [one.slug for one in self.watch.findings or ()]

    @property
    def faults(self) -> list[str]:
        return [fault.slug for fault in standing(self.pipeline.control.state)]

    @property
    def asked(self) -> str:
        return str(self.pipeline.control.state.get(SWEEP, {}).get("why", ""))

    def swept(self) -> None:
        """Every partition answers the last request."""
        wanted = self.pipeline.control.state[SWEEP]
        answer = {"id": wanted["id"], "state": "done", "missing": 0, "gone": 0, "credentials": 0, "why": "", "at": 0}
        for number in range(SETTINGS.partitions):
            self.pipeline.control.state[f"{SWEEP}/{number}"] = answer


def guarded(scenario: Callable[[Guarded], Awaitable[None]], users: int = 0) -> None:
    async def inner() -> None:
        await scenario(await Guarded(clock).start(users))

    clock = Clock()
    run(inner(), clock)


def test_a_fault_stands_after_its_evidence_is_gone() -> None:
    """The gap of a slot that was moved shows no more after the start; the users are lost all the same."""

    async def scenario(world: Guarded) -> None:
        assert await world.sees(RIGHT) == []
        assert "slot_ahead" in await world.sees(seen(stopped(), replace(SLOT, active=False, confirmed=995)))
        assert await world.sees(RIGHT, RIGHT) == []
        assert world.faults == ["slot_ahead"]

    guarded(scenario)


def test_a_replica_identity_that_is_put_right_again_has_lost_deletes_all_the_same() -> None:
    """A revoked password would stay at cidaas: `cdc enable` alone brings no delete back."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT, identified(CREDENTIALS, "id"))
        assert world.faults == ["replica_identity"]
        assert await world.sees(RIGHT) == []
        assert world.faults == ["replica_identity"] and "a fault of the source" in doubt(world.pipeline.control.state)

    guarded(scenario)


def test_a_replica_identity_whose_index_was_dropped_loses_nothing() -> None:
    """The application's own UPDATE and DELETE fail; once the index is back nothing has to be repaired."""

    async def scenario(world: Guarded) -> None:
        assert await world.sees(RIGHT, identified(CREDENTIALS)) == ["replica_identity_missing"]
        assert await world.sees(RIGHT) == []
        assert world.faults == []

    guarded(scenario)


def test_a_fault_is_written_once_with_the_time_it_was_seen_first() -> None:
    async def scenario(world: Guarded) -> None:
        bad = seen(publication=None)
        await world.sees(RIGHT, bad)
        first = standing(world.pipeline.control.state)[0].since
        await world.sees(bad, bad)
        assert [fault.since for fault in standing(world.pipeline.control.state)] == [first]
        assert world.pipeline.control.puts.count(record_name("publication_missing")) == 1

    guarded(scenario)


def test_what_happened_while_no_worker_ran_is_found() -> None:
    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        world.watch = Watch(world.pipeline)  # another worker, later
        await world.sees(seen(publication=published(oid=99)))
        assert world.faults == ["publication_remade"]

    guarded(scenario)


def test_a_right_source_is_written_down_once_and_its_positions_now_and_then() -> None:
    """Every worker reads the control topic whole at its start."""

    async def scenario(world: Guarded) -> None:
        for step in range(120):  # four minutes
            await world.sees(seen(replace(CONNECTOR, offset=960 + step), lsn=1_000 + step))
        assert 4 <= world.pipeline.control.puts.count(SOURCE) <= 6
        assert world.faults == [] and world.asked == ""

    guarded(scenario)


def test_a_worker_that_was_frozen_writes_nothing() -> None:
    """What it saw before is older than what its successor knows."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        puts = len(world.pipeline.control.puts)
        world.pipeline.member = False
        await world.sees(seen(publication=None))
        assert len(world.pipeline.control.puts) == puts and world.faults == []

    guarded(scenario)


def test_what_a_repair_takes_apart_is_no_fault() -> None:
    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        note = {"id": "r", "at": 0.0, "epoch": 2, "steps": ["stop"]}
        world.pipeline.control.state[REPAIR] = note
        apart = seen(stopped(), None, publication=None)
        assert "repair_unfinished" in await world.sees(apart)
        assert world.faults == []
        learnt = replace(remember(None, seen(Connector("STOPPED"), None, lsn=10)), epoch=2).body()
        world.pipeline.control.state[REPAIR] = {**note, "memory": learnt, "resumed_at": 1.0}
        await world.sees(seen(replace(CONNECTOR, offset=20), replace(SLOT, restart=12, confirmed=15), lsn=30))
        assert world.faults == [], "an older position belongs to the database of before"
        assert world.pipeline.control.state[SOURCE]["epoch"] == 2
        await world.sees(seen(replace(CONNECTOR, offset=20), None, lsn=40))
        assert world.faults == ["slot_dropped"], "after the start it watches again"

    guarded(scenario)


def test_a_fault_that_comes_again_during_the_repair_of_the_first_outlives_it() -> None:
    """Its evidence lasts a second; taken for the one that stands already, the repair's end would clear it."""

    async def scenario(world: Guarded) -> None:
        moved = seen(stopped(), replace(SLOT, active=False, confirmed=995))
        await world.sees(RIGHT, moved, RIGHT)
        assert [fault.epoch for fault in standing(world.pipeline.control.state)] == [1]
        learnt = replace(remember(None, seen(Connector("STOPPED"), None)), epoch=2).body()
        note = {"id": "r", "at": 0.0, "epoch": 2, "memory": learnt, "resumed_at": world.clock.time() + 300}
        world.pipeline.control.state[REPAIR] = note
        await world.sees(RIGHT, moved, RIGHT)
        assert [fault.epoch for fault in standing(world.pipeline.control.state)] == [2]

    guarded(scenario)


@pytest.mark.parametrize("repaired", [False, True])
def test_a_look_from_before_the_end_of_a_repair_is_not_compared_with_what_it_left(repaired: bool) -> None:
    """Kafka Connect, busy with the start, answers late: the LSN is from before, and nothing has gone back in time."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        state = world.pipeline.control.state

        class Eye:
            def __init__(self, *_: Any) -> None:
                return None

            async def look(self) -> Look:
                await asyncio.sleep(5)
                if repaired and REPAIR not in state:
                    learnt = replace(remember(None, seen(Connector("STOPPED"), None, lsn=5_000)), epoch=2).body()
                    state[REPAIR] = {"id": "r", "at": 0.0, "epoch": 2, "memory": learnt}
                    return RIGHT
                return seen(lsn=6_000)

            async def close(self) -> None:
                return None

        async def follow() -> None:
            return None

        world.pipeline.belonging = SimpleNamespace(follow=follow)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("streams.watch.Eye", Eye)
            task = asyncio.create_task(world.watch.run())
            await asyncio.sleep(60)
            task.cancel()
            await asyncio.wait([task])
        assert world.faults == []
        assert state[SOURCE]["epoch"] == (2 if repaired else 1)

    guarded(scenario)


# -- hanging ----------------------------------------------------------------------------------------------------------


def test_a_connector_that_hangs_is_named_after_half_a_minute() -> None:
    async def scenario(world: Guarded) -> None:
        idle = seen(slot=replace(SLOT, active=False, pid=None))
        assert await world.sees(RIGHT, *[idle] * 15) == []
        assert await world.sees(idle, idle) == ["connector_hangs"]
        assert await world.sees(RIGHT, idle) == []
        assert world.faults == []

    guarded(scenario)


def test_a_heartbeat_that_stands_still_is_named() -> None:
    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        world.clock.now += 31
        await world.watch.once(RIGHT)
        assert [one.slug for one in world.watch.findings or ()] == ["no_heartbeat"]

    guarded(scenario)


# -- sweeps -----------------------------------------------------------------------------------------------------------


def notify(world: Guarded, *kinds: str) -> None:
    notes = world.pipeline.control.notifications
    for kind in kinds:
        notes.append({"type": kind, "offset": len(notes), "additional_data": {}})


def test_a_snapshot_that_began_twice_says_so_until_all_users_are_compared() -> None:
    async def scenario(world: Guarded) -> None:
        notify(world, "STARTED", "IN_PROGRESS", "STARTED")
        assert await world.sees(RIGHT) == ["snapshot_repeated"]
        assert world.asked == ""
        notify(world, "COMPLETED")
        assert await world.sees(RIGHT) == ["snapshot_repeated"]
        assert "interrupted" in world.asked
        world.swept()
        assert await world.sees(RIGHT) == []

    guarded(scenario)


def test_starts_of_the_connector_ask_for_one_sweep_in_ten_minutes() -> None:
    async def scenario(world: Guarded) -> None:
        notify(world, "STARTED", "COMPLETED")
        await world.sees(RIGHT)
        assert world.asked == ""
        asked = []
        for _ in range(310):
            notify(world, "SKIPPED")
            await world.sees(RIGHT)
            asked.append(world.pipeline.control.state[SWEEP]["id"])
            world.swept()
        assert len(set(asked)) == 2

    guarded(scenario)


@pytest.mark.parametrize("again", [False, True])
def test_tables_read_once_more_after_the_sweep_of_a_repair_are_compared_once_more(again: bool) -> None:
    """Connect dies before it has stored that it is done: the sweep of before has not seen who went since."""

    async def scenario(world: Guarded) -> None:
        state = world.pipeline.control.state
        notify(world, "STARTED", "COMPLETED")
        await world.sees(RIGHT)
        learnt = replace(remember(None, seen(Connector("STOPPED"), None)), epoch=2).body()
        note = {"id": "r", "at": 0.0, "epoch": 2, "memory": learnt, "resumed_at": 1.0, "since": 2}
        state[REPAIR] = note
        await world.sees(RIGHT)
        notify(world, "STARTED", "COMPLETED")  # the repair's own; it asks at once, long before the next look
        state[SWEEP] = {"id": "s", "why": "after a source repair", "at": 2.0}
        state[REPAIR] = note = {**note, "sweep": "s", "swept": 3}
        await world.sees(RIGHT)
        if again:
            notify(world, "STARTED", "COMPLETED")
        world.swept()
        await world.sees(RIGHT)
        assert world.asked == "after a source repair", "a repair that has not ended is not held up"
        state[REPAIR] = {**note, "ended": 3.0}
        await world.sees(RIGHT)
        assert world.asked == ("the tables were read again" if again else "after a source repair")

    guarded(scenario)


def test_a_repair_that_ends_between_two_looks_has_compared_what_it_read() -> None:
    """A small database is read, swept and cleared within two seconds."""

    async def scenario(world: Guarded) -> None:
        state = world.pipeline.control.state
        notify(world, "STARTED", "COMPLETED")
        await world.sees(RIGHT)
        notify(world, "STARTED", "COMPLETED")
        state[REPAIR] = {"id": "r", "at": 0.0, "epoch": 2, "sweep": "s", "swept": 3, "ended": 3.0}
        await world.sees(RIGHT)
        assert world.asked == ""

    guarded(scenario)


def test_no_sweep_is_asked_for_while_a_fault_stands() -> None:
    """Half of a database that was restored would be taken for the truth."""

    async def scenario(world: Guarded) -> None:
        notify(world, "STARTED", "COMPLETED")
        await world.sees(RIGHT, seen(lsn=10))
        assert world.faults == ["database_restored"]
        notify(world, "SKIPPED")
        await world.sees(seen(lsn=20), RIGHT)
        assert world.asked == ""
        del world.pipeline.control.state[record_name("database_restored")]
        await world.sees(RIGHT)
        assert world.asked == "the connector was started again", "it is owed and not forgotten"

    guarded(scenario)


# -- TRUNCATE ---------------------------------------------------------------------------------------------------------


def with_file(number: int, filled: bool, table: str = USERS, lsn: int = 1_000) -> Look:
    there = replace(DATABASE.tables[table], file=number, rows=5, filled=filled)
    return seen(tables={**DATABASE.tables, table: there}, lsn=lsn)


def test_a_table_without_any_row_and_with_a_new_file_was_truncated() -> None:
    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        assert "truncated" in await world.sees(with_file(900, False))
        assert world.faults == ["truncated"]
        assert world.asked == "", "a person asks for the sweep"
        world.pipeline.control.state[SWEEP] = {
            "id": "s",
            "why": "by hand",
            "at": world.clock.time() - 300,
        }  # by a clock that is behind
        await world.sees(with_file(900, False))
        assert world.faults == ["truncated"]
        world.swept()
        await world.sees(with_file(900, False))
        assert world.faults == [] and len(world.held) == 1, "the brake asks a person before anybody is deleted"

    guarded(scenario)


def test_a_sweep_of_before_has_not_seen_what_was_truncated_since() -> None:
    """Whatever the clocks of the two machines say: its first look saw the rows."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        world.pipeline.control.state[SWEEP] = {"id": "s", "why": "by hand", "at": world.clock.time() + 300}
        world.swept()
        await world.sees(with_file(900, False), with_file(900, False))
        assert world.faults == ["truncated"] and not world.held

    guarded(scenario)


def test_a_second_table_truncated_while_a_sweep_runs_for_the_first_needs_another_sweep() -> None:
    """Its rows were there at the sweep's first look; nobody would ever look for them again."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT, with_file(900, False))
        world.pipeline.control.state[SWEEP] = {"id": "s", "why": "by hand", "at": world.clock.time()}
        both = {name: replace(table, file=900, rows=0, filled=False) for name, table in DATABASE.tables.items()}
        await world.sees(seen(tables=both))
        world.swept()
        await world.sees(seen(tables=both))
        (fault,) = standing(world.pipeline.control.state)
        assert USERS in fault.what and CREDENTIALS in fault.what
        world.pipeline.control.state[SWEEP] = {"id": "t", "why": "by hand", "at": world.clock.time()}
        world.swept()
        await world.sees(seen(tables=both))
        assert world.faults == []

    guarded(scenario)


def test_a_table_truncated_and_filled_again_by_half_is_found_out() -> None:
    """A dump that was loaded with half the users: the table is not empty, and no record tells of the others."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        for number in range(11, 21):
            del world.pipeline.legacy.there[str(number)]
        assert await world.sees(*[with_file(900, True)] * 4) == []  # its heartbeat has not come yet
        world.pipeline.control.source_after_commit = 1_001
        await world.sees(with_file(900, True))
        assert world.faults == ["truncated"]

    guarded(lambda world: _before_heartbeat(world, scenario), users=20)


def test_credentials_alone_are_missed_too() -> None:
    """Without them every user would lose the password at the next change."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        world.pipeline.legacy.there = dict.fromkeys(world.pipeline.legacy.there, Rows(True))
        world.pipeline.control.source_after_commit = 1_001
        await world.sees(*[with_file(900, True, CREDENTIALS)] * 3)
        assert world.faults == ["truncated"]

    guarded(scenario, users=3)


async def _before_heartbeat(world: Guarded, scenario: Callable[[Guarded], Awaitable[None]]) -> None:
    world.pipeline.control.source_after_commit = 999
    await scenario(world)


def test_a_table_that_was_only_rewritten_is_compared_and_named_by_nobody() -> None:
    """VACUUM FULL keeps the rows; rows deleted meanwhile have records, which come a little later."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        del world.pipeline.legacy.there["1"]
        await world.sees(*[with_file(900, True)] * 3)
        assert world.faults == [], "its record may be on its way"
        await world.read(b"1", envelope("d", "users", 999, {"id": 1}))
        world.pipeline.control.source_after_commit = 1_001
        await world.sees(with_file(900, True))
        assert world.faults == []
        assert world.asked == f"the table {USERS} was rewritten"
        await world.sees(with_file(900, True))
        assert world.pipeline.control.puts.count(SWEEP) == 1

    guarded(lambda world: _before_heartbeat(world, scenario), users=3)


def test_records_that_wait_in_kafka_are_joined_before_anything_is_judged() -> None:
    """The last fetch knew nothing of them: their users would be taken for truncated, and all deletes would wait."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        del world.pipeline.legacy.there["1"]
        world.pipeline.highwater = lambda _: 0
        record = world.broker.append(IDENTITY, 0, b"1", envelope("d", "users", 999, {"id": 1}))
        await world.sees(*[with_file(900, True)] * 3)
        assert world.faults == [] and world.asked == ""
        await world.join.process(world.partition, [record])  # type: ignore[list-item]
        await world.sees(with_file(900, True))
        assert world.faults == [] and world.asked

    guarded(scenario, users=3)


def test_a_source_that_stands_still_is_no_reason_to_be_silent() -> None:
    """Named within a minute, also when no heartbeat comes after it."""

    async def scenario(world: Guarded) -> None:
        await world.sees(RIGHT)
        world.pipeline.legacy.there.clear()
        await world.sees(*[with_file(900, True)] * 20)
        assert world.faults == ["truncated"]

    guarded(lambda world: _before_heartbeat(world, scenario), users=20)


@pytest.mark.parametrize("alone", [False, True])
def test_only_the_owner_of_partition_0_watches(alone: bool) -> None:
    async def scenario(world: Guarded) -> None:
        if not alone:
            world.partition.number = 3
        looked: list[int] = []

        class Eye:
            def __init__(self, *_: Any) -> None:
                return None

            async def look(self) -> Look:
                looked.append(1)
                return RIGHT

            async def close(self) -> None:
                looked.append(-1)

        async def follow() -> None:
            return None

        world.pipeline.belonging = SimpleNamespace(follow=follow)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("streams.watch.Eye", Eye)
            task = asyncio.create_task(world.watch.run())
            await asyncio.sleep(5)
            task.cancel()
            await asyncio.wait([task])
        assert looked == ([1, 1, 1, -1] if alone else [-1]), "at once, then every two seconds"
        assert (world.watch.findings is not None) is alone

    guarded(scenario)
