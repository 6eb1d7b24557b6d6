"""Second looks, many in one question: while one is under way, those that come meanwhile gather for the next.

One connection answers one question at a time, and each takes three round trips: deletes left no faster than that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    Row = dict[str, Any]

#: Users in one question.
_MOST = 100


class Looks:
    """Reads the rows of single users through `ask`, which reads those of many."""

    def __init__(self, ask: Callable[[Sequence[str]], Awaitable[dict[str, Row]]]) -> None:
        self._ask = ask
        self._waiting: dict[str, asyncio.Future[Row | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def row(self, user_id: str) -> Row | None:
        """The row of this user, None if there is none; asked after this call began, never before.

        Raises whatever `ask` raises.
        """
        future = self._waiting.setdefault(user_id, asyncio.get_running_loop().create_future())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run(), name="second looks")
        return await asyncio.shield(future)  # another caller may wait for the same user

    async def _run(self) -> None:
        while self._waiting:
            some = {user_id: self._waiting.pop(user_id) for user_id in list(self._waiting)[:_MOST]}
            try:
                rows = await self._ask(list(some))
            except Exception as error:  # each caller's own to judge
                for future in some.values():
                    future.set_exception(error)
                    future.exception()  # whoever asked may be gone
            else:
                for user_id, future in some.items():
                    future.set_result(rows.get(user_id))
