"""Who calls cidaas waits here for a slot: `async with pace.slot("upserts"): await cidaas.bulk(…)`.

The end of the block is the report: without an exception cidaas is well, a CidaasError says by its kind what the limits
learn from it (`errors.POLICY`), anything else (a cancellation) says nothing.
"""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streams.cidaas.errors import CidaasError, Kind
from streams.limiter import Call, Limiter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Pace:
    """All calls to one tenant from this worker, held to what the tenant bears.

    `cap` is the hard limit of calls in flight. `probe` finds out cheaply whether cidaas is back (`Cidaas.reachable`);
    without it the next real call does. All workers share the tenant's limit by finding it each for itself.
    """

    def __init__(
        self,
        cap: int,
        *,
        probe: Callable[[], Awaitable[bool]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = Limiter(cap)
        self._probe, self._clock = probe, clock
        self._changed = asyncio.Event()

    @property
    def away(self) -> bool:
        """Whether cidaas counts as away: its calls fail, and only trials are made."""
        return self.limits.away

    def blocked(self, lane: str) -> bool:
        """Whether calls of this lane wait for a person."""
        return self.limits.blocks(lane)

    @asynccontextmanager
    async def slot(self, lane: str = "") -> AsyncIterator[None]:
        """Wait until a call may be made, then hold one of the places until the block ends.

        After a failure that needs a person, calls of the same `lane` are made once a minute, others go on.
        """
        call = await self._enter(lane)
        try:
            yield
        except CidaasError as error:
            self._learn(call, error)
            raise
        except BaseException:
            self.limits.ended(call, self._clock())
            raise
        else:
            self.limits.ok(call, self._clock())
        finally:
            self._wake()

    async def _enter(self, lane: str) -> Call:
        while True:
            wait = self.limits.wait(self._clock(), lane)
            if wait > 0:
                await self._sleep(wait)
                continue
            call = self.limits.start(self._clock(), lane)
            if not call.trial or self._probe is None or await self._probed(call, self._probe):
                return call

    async def _probed(self, call: Call, probe: Callable[[], Awaitable[bool]]) -> bool:
        """Ask whether cidaas is back before a real call is risked: its users would have to settle (C4)."""
        back = False
        try:
            back = await probe()
        finally:
            if not back:
                self.limits.ended(call, self._clock())
                self._wake()
        return back

    def _learn(self, call: Call, error: CidaasError) -> None:
        now, limits = self._clock(), self.limits
        if error.kind is Kind.RATE_LIMITED:
            limits.rate_limited(call, now, error.retry_after)
        elif error.policy.away:
            limits.failed(call, now, error.retry_after)
        elif error.policy.person:
            limits.blocked(call, now)
        elif error.kind is Kind.SERVER:
            limits.answered(call)
        else:
            limits.ok(call, now)  # it refused what was sent: that is an answer

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until a call has ended."""
        try:
            async with asyncio.timeout(None if seconds == math.inf else seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _wake(self) -> None:
        self._changed.set()
        self._changed.clear()
