"""One call to cidaas: at the pace that cidaas takes, never without sure ownership, and never forgotten when unclear.

Every call of the worker passes here, so that the limits are the tenant's and not each agent's (C4, C5, C6).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from streams import failpoints
from streams.cidaas.errors import CidaasError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from streams.pace import Pace
    from streams.state import Partition

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds before sure ownership is asked for again (C5).
_AGAIN = 0.5


class NotOursError(Exception):
    """The partition was given up before the call started; its next owner sends these users."""


class ChangedError(Exception):
    """What the call was decided on did not hold any more when its turn came; nothing was sent."""


class Calls:
    """Starts calls and learns from how they end."""

    def __init__(self, pace: Pace, settle: float, still_member: Callable[[], Awaitable[bool]]) -> None:
        """`settle` is the rest after an unclear end, in seconds (C4)."""
        self.pace = pace
        self.settle = settle
        self._still_member = still_member
        self._running: set[asyncio.Task[Any]] = set()
        self.successes = 0
        self.outcomes: Counter[str] = Counter()
        #: of upserts; deletes go one by one.
        self.users_per_call: deque[int] = deque(maxlen=1_000)
        #: lane -> what is wrong with its calls now. A delete that succeeds says nothing of upserts that are forbidden.
        self.troubles: dict[str, str] = {}

    @property
    def trouble(self) -> str:
        """What is wrong with cidaas now, in one sentence for each reason; "" while it answers."""
        return " ".join(dict.fromkeys(self.troubles.values()))

    async def make(
        self,
        partitions: Collection[Partition],
        lane: str,
        request: Callable[[], Awaitable[T]],
        holds: Callable[[], Awaitable[bool]],
    ) -> T:
        """Wait for this call's turn, then make it if what it was decided on still `holds`: a turn may be hours away.

        Raises:
            ChangedError: it does not hold; nothing was sent.
            CidaasError: it failed as a whole; what follows stands in the table of `cidaas/errors.py`.
            NotOursError: one of the partitions was given up before the call started.
        """
        async with self.pace.slot(lane):
            while not await self._still_member():
                # Only a revoke gives users up: then a next owner finds them. Dropped for less, they would stay pending
                # in a worker that owns them, with nobody to send them.
                if any(partition.closing for partition in partitions):
                    raise NotOursError
                await asyncio.sleep(_AGAIN)
            if not await holds():
                raise ChangedError
            if any(partition.closing for partition in partitions):  # last: nothing is awaited from here to the call
                raise NotOursError
            if failpoints.armed:
                request = partial(failpoints.around, "call" if lane == "upsert" else lane, request)
            answer = await self._call(partitions, lane, request)
        self.successes += 1
        self.troubles.pop(lane, None)
        return answer

    async def _call(self, partitions: Collection[Partition], lane: str, request: Callable[[], Awaitable[T]]) -> T:
        for partition in partitions:
            partition.calls += 1
        task = asyncio.ensure_future(request())
        self._running.add(task)
        unclear = True
        try:
            answer = await task
            unclear = False
        except CidaasError as error:
            unclear = error.policy.settle
            self._note(lane, error)
            raise
        finally:
            task.cancel()  # of no effect but when this call is being cancelled itself
            self._running.discard(task)
            for partition in partitions:
                partition.calls -= 1
                if unclear:
                    partition.unclear_until = time.monotonic() + self.settle
        return answer

    def _note(self, lane: str, error: CidaasError) -> None:
        self.outcomes[f"call_{error.kind.value}"] += 1
        known = self.trouble
        self.troubles[lane] = str(error)
        if self.trouble != known:
            log.warning("call failed kind=%s: %s", error.kind.value, error)

    async def drain(self, deadline: float) -> None:
        """Give the calls in flight a bounded time; cancel what has not ended (O1)."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=deadline)
        for task in list(self._running):
            task.cancel()
