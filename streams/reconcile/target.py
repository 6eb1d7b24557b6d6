"""Reads users at cidaas, no faster than it is told to: delivery has the right of way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from streams.cidaas.errors import CidaasError, Wait
from streams.identity import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from streams.cidaas.client import Cidaas
    from streams.cidaas.profiles import Cursor

T = TypeVar("T")

#: Users of one page. The documentation names no limit (facts/cidaas-api.md §8), so it is a modest one.
PAGE = 100
#: Tries of one call, and the longest wait between two of them, in seconds.
_TRIES, _LONGEST = 6, 60.0


class Target:
    """A tenant that is only read."""

    def __init__(self, cidaas: Cidaas, rate: float) -> None:
        """`rate` is calls a second, at most."""
        self._cidaas, self._pause = cidaas, 1.0 / rate
        self._not_before = 0.0

    async def everyone(self) -> AsyncIterator[Mapping[str, dict[str, Any]]]:
        """All users, page by page: sub -> profile.

        Raises:
            RefusedError: cidaas does not let us read, or repeats itself.
        """
        cursor: Cursor | None = None
        while (page := await self._patiently(partial(self._cidaas.page, PAGE, cursor))) is not None:
            yield page.users
            if page.next is None:
                return
            if cursor is not None and page.next.after == cursor.after:
                raise RefusedError("cidaas gave the same page of users twice, so its bulk read would never end")
            moment = page.next.moment or (cursor.moment if cursor is not None else "")
            cursor = replace(page.next, moment=moment)

    async def one(self, sub: str) -> dict[str, Any] | None:
        """One user; None where cidaas has none of this sub.

        Raises:
            RefusedError: cidaas does not let us read.
        """
        return await self._patiently(partial(self._cidaas.profile, sub))

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        for nth in range(1, _TRIES + 1):
            await self._turn()
            try:
                return await call()
            except CidaasError as error:
                if nth == _TRIES or error.policy.person or error.policy.wait is Wait.NONE:
                    raise RefusedError(f"cidaas cannot be read: {error}") from None
                self._not_before = time.monotonic() + (error.retry_after or min(_LONGEST, 2.0**nth))
        raise AssertionError

    async def _turn(self) -> None:
        """Wait until the next call may leave."""
        now = time.monotonic()
        await asyncio.sleep(max(0.0, self._not_before - now))
        self._not_before = max(now, self._not_before) + self._pause
