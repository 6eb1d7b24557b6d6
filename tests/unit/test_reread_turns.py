"""Set-aside users are read again: all of them, quickly, and nobody is held back by one who cannot be read (M7)."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aiokafka.errors import MessageSizeTooLargeError
from clock import Clock, run
from fakes import SETTINGS, user_row
from hypothesis import given
from hypothesis import strategies as st
from world import IDENTITY, World

from streams import rereads
from streams.ledger import Situation
from streams.legacy import Legacy, LegacyAwayError, NoSuchIdError
from streams.rereads import ASIDE, Rereads, Turns
from streams.rows import SetAside, write_control

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import pytest
    from psycopg import sql


class Database:
    """The legacy tables: who is in `strange` has an id that the key's type does not take."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.strange: set[str] = set()
        self.slow: set[str] = set()
        self.away = False
        self.joining = asyncio.Event()
        self.joining.set()
        self.asked: list[int] = []

    async def rows(self, ids: Sequence[str]) -> dict[str, Any]:
        self.asked.append(len(ids))
        await asyncio.sleep(0.02)
        if self.away or self.slow.intersection(ids):
            raise LegacyAwayError("the legacy database does not answer")
        return {one: (user_row(int(one)), {}) for one in ids if one not in self.strange}


def play(scenario: Callable[[World, Database], Awaitable[None]]) -> None:
    """Run a scenario with a worker that owns the only partition; its join and its rereads go on by themselves."""
    clock = Clock()

    async def main() -> None:
        world = await World.start(None, clock)
        database = world.pipeline.legacy = Database(world)  # type: ignore[assignment]

        async def joining() -> None:
            while True:
                await database.joining.wait()
                await world.joined()
                await asyncio.sleep(0.1)

        world.pipeline.rereads = again = Rereads(world.pipeline)  # type: ignore[attr-defined,arg-type]
        tasks = [asyncio.create_task(work) for work in (joining(), again.run())]
        try:
            await scenario(world, database)  # type: ignore[arg-type]
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in ended), ended

    run(main(), clock)


def set_aside(world: World, *numbers: int) -> None:
    for number in numbers:
        world.broker.append(IDENTITY, 0, b"%d" % number, write_control(SetAside("doubt")))


def aside(world: World) -> int:
    return world.partition.counts[Situation.SET_ASIDE]


def trouble(world: World) -> str:
    return str(world.pipeline.rereads.trouble)  # type: ignore[attr-defined]


def test_ten_thousand_are_read_again_in_a_minute() -> None:
    """After a sweep as many may wait at once; each list fits into a record."""

    async def scenario(world: World, database: Database) -> None:
        set_aside(world, *range(10_000))
        await world.until(lambda: aside(world) > 0, "set aside")
        await world.until(lambda: aside(world) == 0, "all are read again", 60)
        assert max(database.asked) <= 500
        assert world.pipeline.rereads.done == 10_000, "each once"  # type: ignore[attr-defined]
        assert world.pipeline.control.state[f"{ASIDE}0"] == {"users": {}}

    play(scenario)


def test_a_reading_that_is_still_on_its_way_is_not_repeated() -> None:
    """On a busy worker the join is behind, and each reading costs a call. One that came to nothing is repeated."""

    async def scenario(world: World, database: Database) -> None:
        set_aside(world, *range(30))
        await world.until(lambda: aside(world) == 30, "set aside")
        database.joining.clear()
        world.put_user(7, "u")  # before its reading in the topic, which is void then
        await asyncio.sleep(40)
        database.joining.set()
        await world.until(lambda: aside(world) == 0, "all are read again", 30)
        assert world.pipeline.rereads.done == 31  # type: ignore[attr-defined]

    play(scenario)


def test_users_who_can_never_be_read_hold_nobody_back(caplog: pytest.LogCaptureFixture) -> None:
    """They fill the list that the partition publishes, and were there first."""

    async def scenario(world: World, database: Database) -> None:
        database.strange = {str(number) for number in range(1_200)}
        set_aside(world, *range(1_200))
        await world.until(lambda: aside(world) == 1_200, "set aside")
        await asyncio.sleep(60)
        for first in (2_000, 3_000):
            set_aside(world, *range(first, first + 300))
            await asyncio.sleep(1)
            await world.until(lambda: aside(world) == 1_200, "the others are read again", 60)
            assert "their ids are none" in trouble(world)
        database.strange.clear()
        await world.until(lambda: aside(world) == 0, "and they, when it goes", 240)
        await asyncio.sleep(2)
        assert trouble(world) == ""

    with caplog.at_level(logging.WARNING):
        play(scenario)
    assert 1 <= sum("their ids are none" in record.message for record in caplog.records) < 60, "not at every try"


def test_a_user_too_large_for_a_record_ends_no_worker() -> None:
    async def scenario(world: World, database: Database) -> None:
        send = world.pipeline.send

        async def limited(key: bytes, value: bytes) -> None:
            if key == b"7":
                raise MessageSizeTooLargeError
            await send(key, value)

        world.pipeline.send = limited  # type: ignore[method-assign]
        set_aside(world, *range(20))
        await world.until(lambda: aside(world) == 20, "set aside")
        await world.until(lambda: aside(world) == 1, "all but one", 30)
        await asyncio.sleep(30)
        assert "too large" in trouble(world) and world.where(7) is Situation.SET_ASIDE

    play(scenario)


def test_a_user_whose_reading_takes_too_long_holds_nobody_back() -> None:
    async def scenario(world: World, database: Database) -> None:
        database.slow = {"0"}
        set_aside(world, *range(300))
        await world.until(lambda: aside(world) == 300, "set aside")
        await world.until(lambda: aside(world) == 1, "all but one", 120)
        set_aside(world, *range(1_000, 1_020))
        await asyncio.sleep(1)
        await world.until(lambda: aside(world) == 1, "later ones, too", 60)
        assert "cannot be read again yet: the legacy database does not answer" in trouble(world)

    play(scenario)


def test_a_worker_that_does_not_answer_holds_back_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World, database: Database) -> None:
        state = world.pipeline.control.state
        state[f"{ASIDE}1"] = {"users": {f"{number}": 5 for number in range(50_000, 50_100)}}
        set_aside(world, *range(20))
        await world.until(lambda: aside(world) == 20, "set aside")
        await world.until(lambda: aside(world) == 0, "those of this worker", 20)
        assert "do not answer" in trouble(world)
        del state[f"{ASIDE}1"]

    known = rereads.views.applied
    monkeypatch.setattr(
        rereads.views, "applied", lambda pipeline, ids: known(pipeline, [one for one in ids if int(one) < 50_000])
    )
    monkeypatch.setattr(rereads.views, "owner", lambda *_: "http://127.0.0.1:1")
    play(scenario)


def test_a_database_that_is_away_is_asked_again_and_for_less() -> None:
    async def scenario(world: World, database: Database) -> None:
        database.away = True
        set_aside(world, *range(600))
        await world.until(lambda: "does not answer" in trouble(world), "reported")
        await asyncio.sleep(120)
        assert len(database.asked) <= 26 and database.asked[-1] == 1
        assert aside(world) == 600
        database.away = False
        await world.until(lambda: aside(world) == 0, "all are read again", 60)

    play(scenario)


def test_ids_that_the_key_does_not_take_are_left_out_and_the_others_read() -> None:
    """One of them makes the whole statement fail."""

    async def scenario() -> None:
        legacy: Any = Legacy(SETTINGS)

        async def primary(statements: list[sql.Composed]) -> list[list[dict[str, Any]]]:
            text = statements[0].as_string()
            if "'x" in text:
                raise NoSuchIdError
            return [[{"id": n, "status": "active"} for n in range(100) if f"'{n}'" in text], []]

        legacy._primary = primary
        ids = ["x1", *(str(n) for n in range(40)), "x2"]
        found = await legacy.rows(ids)
        assert found.keys() == {str(n) for n in range(40)} and all(row is not None for row, _ in found.values())
        there = await legacy.present(ids)
        assert {one for one, rows in there.items() if rows.user} == found.keys() and len(there) == 42

    asyncio.run(scenario())


@given(st.integers(1, 1_500), st.integers(1, 200), st.integers(0, 2**32))
def test_everybody_has_a_turn(many: int, bytes_of_an_id: int, seed: int) -> None:
    """Within the rounds that it takes, also when nobody ever leaves."""
    turns = Turns()
    everybody = [b"%0*d" % (bytes_of_an_id, n) if bytes_of_an_id > 4 else b"%d" % n for n in range(many)]
    seen: set[bytes] = set()
    for second in range(0, 21 * (many // 500 + 1), 1):
        chosen = turns.of(everybody, float(second))
        assert 0 < len(chosen) <= 500 and len(set(chosen)) == len(chosen)
        seen.update(chosen)
    assert seen == set(everybody)


def test_a_list_fits_into_a_record() -> None:
    assert sum(map(len, Turns().of([b"%05000d" % n for n in range(400)], 0.0))) <= 256 * 1024
