"""Second looks gather: no answer is older than its question, and one user's trouble is not another's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from streams.looks import Looks

if TYPE_CHECKING:
    from collections.abc import Sequence


class Database:
    """Notes what it is asked; answers when it is let go."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.error: Exception | None = None
        self.go = asyncio.Event()

    async def users(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        self.asked.append(list(ids))
        rows = dict(self.rows)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {user_id: rows[user_id] for user_id in ids if user_id in rows}


async def test_looks_that_come_meanwhile_are_one_question() -> None:
    database = Database()
    looks = Looks(database.users)
    first = asyncio.create_task(looks.row("1"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(looks.row(str(number))) for number in range(2, 10)]
    await asyncio.sleep(0)
    database.rows["1"] = database.rows["5"] = {"id": "there"}
    again = asyncio.create_task(looks.row("1"))
    await asyncio.sleep(0)
    database.go.set()
    assert await first is None, "asked before the row came"
    assert await again == {"id": "there"}, "asked after it came, so answered by a later question"
    assert [await task for task in rest] == [None, None, None, {"id": "there"}, None, None, None, None]
    assert database.asked == [["1"], [*map(str, range(2, 10)), "1"]]


async def test_an_error_is_everybodys_who_asked_and_nobody_elses() -> None:
    database = Database()
    looks = Looks(database.users)
    database.error = RuntimeError("away")
    both = [asyncio.create_task(looks.row(user)) for user in ("1", "2")]
    await asyncio.sleep(0)
    both[1].cancel()
    database.go.set()
    with pytest.raises(RuntimeError, match="away"):
        await both[0]
    database.error = None
    database.rows["3"] = {}
    assert await looks.row("3") == {}
