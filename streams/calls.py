"""One call to cidaas: at the pace that cidaas takes, never without sure ownership, and never forgotten when unclear.

Every call of the worker passes here, so that the limits are the tenant's and not each agent's (C4, C5, C6).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, TypeVar

from streams.cidaas.errors import CidaasError, Kind
from streams.limiter import Limiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from streams.limiter import Call
    from streams.state import Partition

log = logging.getLogger(__name__)

T = TypeVar("T")


class NotOursError(Exception):
    """The partition was given up before the call started; its next owner sends these users."""


class Calls:
    """Starts calls and learns from how they end."""

    def __init__(self, cap: int, settle: float, still_member: Callable[[], Awaitable[bool]]) -> None:
        """`cap` is the hard limit of calls in flight, `settle` the rest after an unclear end in seconds (C4)."""
        self.limiter = Limiter(cap)
        self.settle = settle
        self._still_member = still_member
        self._ended = asyncio.Event()
        self._running: set[asyncio.Task[Any]] = set()
        self.successes = 0
        self.outcomes: Counter[str] = Counter()
        self.users_per_call: deque[int] = deque(maxlen=1_000)
        #: what is wrong with cidaas now, in one sentence; "" while it answers.
        self.trouble = ""

    async def make(
        self, partitions: Collection[Partition], lane: str, users: int, request: Callable[[], Awaitable[T]]
    ) -> T:
        """Wait for this call's turn, then make it.

        Raises:
            CidaasError: it failed as a whole; what follows stands in the table of `cidaas/errors.py`.
            NotOursError: one of the partitions was given up before the call started.
        """
        await self._turn(lane)
        if not await self._still_member() or any(partition.closing for partition in partitions):
            raise NotOursError
        call = self.limiter.start(time.monotonic(), lane)
        for partition in partitions:
            partition.calls += 1
        task = asyncio.ensure_future(request())
        self._running.add(task)
        unclear = True
        try:
            answer = await task
        except CidaasError as error:
            unclear = error.policy.settle
            self._failed(call, error)
            raise
        except BaseException:
            self.limiter.ended(call)
            raise
        else:
            unclear = False
            self.limiter.ok(call, time.monotonic())
        finally:
            self._running.discard(task)
            for partition in partitions:
                partition.calls -= 1
                if unclear:
                    partition.unclear_until = time.monotonic() + self.settle
            self._ended.set()
        self.successes += 1
        self.trouble = ""
        self.users_per_call.append(users)
        return answer

    async def _turn(self, lane: str) -> None:
        while (wait := self.limiter.wait(time.monotonic(), lane)) > 0:
            self._ended.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if wait == math.inf else wait):
                    await self._ended.wait()

    def _failed(self, call: Call, error: CidaasError) -> None:
        now = time.monotonic()
        self.outcomes[f"call_{error.kind.value}"] += 1
        if self.trouble != str(error):
            self.trouble = str(error)
            log.warning("call failed kind=%s: %s", error.kind.value, error)
        if error.kind is Kind.RATE_LIMITED:
            self.limiter.rate_limited(call, now, error.retry_after)
        elif error.policy.person:
            self.limiter.blocked(call, now)
        elif error.policy.away:
            self.limiter.failed(call, now)
        else:
            self.limiter.ended(call)

    async def drain(self, deadline: float) -> None:
        """Give the calls in flight a bounded time; cancel what has not ended (O1)."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=deadline)
        for task in list(self._running):
            task.cancel()
