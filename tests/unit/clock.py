"""A clock that only moves when everybody waits: hours of retries in milliseconds, and a deadlock is an error.

`run` runs a coroutine in an event loop whose time is virtual; `time.time`, `time.monotonic` and `asyncio` agree on it.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")

#: Unix seconds when the clock starts.
BEGIN = 1_800_000_000.0
#: Virtual seconds after which a test counts as hanging.
_LONGEST = 48 * 3_600.0


class Clock:
    """Monotonic seconds, and Unix seconds beside them."""

    def __init__(self) -> None:
        self.now = 1_000.0
        #: how far somebody has set the worker's clock; the broker's own stays right.
        self.set_by = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return BEGIN + self.now + self.set_by

    @property
    def ms(self) -> int:
        """What a broker would write into a record now."""
        return int((BEGIN + self.now) * 1000)


class _Selector(selectors.SelectSelector):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready:
            return ready
        assert timeout is not None, "everybody waits, and nothing will ever happen"
        self._clock.now += max(timeout, 0.0)
        assert self._clock.now < _LONGEST, "the test waits for something that does not come"
        return []


def run(work: Coroutine[Any, Any, T], clock: Clock | None = None) -> T:
    """Run to the end, in virtual time."""
    clock = clock or Clock()
    loop = asyncio.SelectorEventLoop(_Selector(clock))
    loop.time = clock.monotonic  # type: ignore[method-assign]
    with patch("time.monotonic", clock.monotonic), patch("time.time", clock.time):
        try:
            return loop.run_until_complete(work)
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=60))
            loop.close()
