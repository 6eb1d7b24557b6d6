"""The legacy tables come under the connector's keys, and nothing is judged before the pipeline is past a reading."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import SETTINGS, Control, credential_row, user_row
from reconciling import KEY, catalog, silent

from streams.identity import RefusedError
from streams.reconcile import passing
from streams.reconcile import source as sources
from streams.reconcile.marks import Marker
from streams.reconcile.passing import Passing
from streams.reconcile.source import Source
from streams.source.everyone import Everyone
from streams.source.merging import Orphan, User

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

MARKER = Marker(SETTINGS, catalog(), KEY)
(TABLE,) = (table.name for table in SETTINGS.source.credentials)


# -- the tables -------------------------------------------------------------------------------------------------------


async def read(monkeypatch: pytest.MonkeyPatch, *rows: User | Orphan) -> dict[bytes, int]:
    async def bring() -> AsyncIterator[User | Orphan]:
        for one in rows:
            yield one

    @asynccontextmanager
    async def everyone(_: Any) -> AsyncIterator[Everyone]:
        yield Everyone(len(rows), catalog(), bring())

    monkeypatch.setattr(sources, "everyone", everyone)
    return await Source(SETTINGS, "", KEY).everyone(silent)


async def test_everybody_comes_with_all_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = await read(monkeypatch, User("1", user_row(1), {TABLE: [credential_row(7, 1)]}), User("2", user_row(2), {}))
    assert marks == {b"1": MARKER.of(user_row(1), {TABLE: [credential_row(7, 1)]}), b"2": MARKER.of(user_row(2), {})}


async def test_keys_are_written_as_the_connector_writes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A char(n) is ordered without its padding, and its record's key has it."""
    padded: Any = {**user_row(1), "id": "ab   "}
    assert list(await read(monkeypatch, User("ab", padded, {}))) == [b"ab   "]


async def test_credentials_of_nobody_are_compared_too_unless_their_key_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [credential_row(7, 9), credential_row(8, 9)]
    nobody = Orphan(TABLE, {**credential_row(9, 1), "user_id": None})
    marks = await read(monkeypatch, *(Orphan(TABLE, row) for row in rows), nobody)
    assert marks == {b"9": MARKER.of(None, {TABLE: rows})}


async def test_single_users_are_read_in_parts_and_the_lsn_comes_last() -> None:
    source, asked = Source(SETTINGS, "1/legacy", KEY), list[str]()
    source.marker = MARKER

    class Legacy:
        async def rows(self, ids: Sequence[str]) -> dict[str, Any]:
            asked.append(f"{len(ids)} rows")
            return {one: (user_row(int(one)), {"7": credential_row(7, int(one))}) for one in ids if one != "5"}

        async def query(self, _: Any) -> list[dict[str, Any]]:
            asked.append("lsn")
            return [{"lsn": 42}]

    assert source._legacy.expected == "1/legacy"
    source._legacy = Legacy()  # type: ignore[assignment]
    marks, lsn = await source.again([b"%d" % number for number in range(1_001)])
    assert asked == ["500 rows", "500 rows", "1 rows", "lsn"] and lsn == 42
    assert len(marks) == 1_000 and b"5" not in marks, "an id that the key's type does not take says nothing"
    assert marks[b"1"] == MARKER.of(user_row(1), {TABLE: [credential_row(7, 1)]})


# -- past it ----------------------------------------------------------------------------------------------------------


class World:
    """A connector, a slot and a group that go on when they are looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.control = Control()
        self.control.source_after_commit = 0
        self.streams = self.joins = True
        self.confirmed: int | None = 0
        self.ends, self.joined = {0: 10, 1: 4}, {0: 0, 1: 4}
        self.sent, self.looks = 0, 0
        waits = self.control.wait_changed

        async def wait_changed() -> None:
            await waits()
            if self.streams:
                self.control.heartbeats += 1
                self.control.source_after_commit += 60
                self.confirmed = self.control.source_after_commit - 60

        self.control.wait_changed = wait_changed  # type: ignore[method-assign]
        for name in ("read_ends", "read_joins", "read_behind"):
            monkeypatch.setattr(passing, name, getattr(self, name))

    async def query(self, *_: Any) -> list[dict[str, Any]]:
        return [{"lsn": self.confirmed}]

    async def read_ends(self, _: Any) -> dict[int, int]:
        self.looks += 1
        return dict(self.ends)

    async def read_joins(self, _: Any) -> dict[int, int]:
        if self.joins and self.joined[0] < self.ends[0]:
            self.joined[0] += 1
            if self.joined[0] == 10:
                self.ends[0], self.sent = 12, 2  # a credential that moved: the join sends a record (M5)
        return dict(self.joined)

    async def read_behind(self, _: Any) -> int:
        return sum(self.ends.values()) - sum(self.joined.values())

    async def past(self, lsn: int) -> None:
        waiting = Passing(SETTINGS, self.control)  # type: ignore[arg-type]
        waiting._legacy = self  # type: ignore[assignment]
        await waiting.past(lsn)


def test_past_is_streamed_and_confirmed_and_joined_and_what_the_join_sent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.control.heartbeats, world.control.source_after_commit = 7, 1_000  # of another life of the database
    run(world.past(100), Clock())
    assert world.control.heartbeats > 7 and world.confirmed is not None and world.confirmed >= 100
    assert world.joined == {0: 12, 1: 4} and world.looks == 2


@pytest.mark.parametrize("what", ["streams", "confirmed"])
def test_a_connector_that_stands_still_is_said(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    world = World(monkeypatch)
    if what == "streams":
        world.streams = False
    else:

        async def query(*_: Any) -> list[dict[str, Any]]:
            return [{"lsn": None}]

        world.query = query  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match="the connector has not passed"):
        run(world.past(100), Clock())


def test_records_that_nobody_joins_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.joins = False
    with pytest.raises(RefusedError, match="10 records wait to be joined, and no worker joins them"):
        run(world.past(100), Clock())
