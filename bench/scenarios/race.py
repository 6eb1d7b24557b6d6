"""One run of one contender from its start to a known end, with what it cost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from bench.arena import say
from bench.contenders import forget
from bench.errors import ContenderError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.arena import Arena
    from bench.contenders import Contender, Run
    from bench.processes import Child

POLL = 0.1  # seconds between two looks


class Race:
    """A run under way; `async with`. At its end the process is gone, and its topics and folder too."""

    def __init__(self, arena: Arena, contender: Contender, prefix: str) -> None:
        self.arena, self.contender = arena, contender
        self.run: Run = arena.run(contender.name, prefix)
        self.child: Child
        self._target_cpu = 0.0
        self._assigned: asyncio.Task[float]

    async def __aenter__(self) -> Race:
        return self

    async def __aexit__(self, *error: object) -> None:
        if hasattr(self, "_assigned"):
            self._assigned.cancel()
        if hasattr(self, "child"):
            await asyncio.to_thread(self.child.stop)
            await self.arena.kafka.delete(self.contender.topics(self.run))
        forget(self.run)

    def start(self, mode: str) -> None:
        """Start the contender."""
        self._target_cpu = self.arena.sink.process.cpu_seconds()
        self.child = self.contender.start(self.run, mode)
        self._assigned = asyncio.create_task(self.arena.kafka.assigned(self.run.group))

    async def until(self, done: Callable[[], Awaitable[float]], seconds: float) -> float:
        """Wait until `done` returns a time (Unix seconds); 0 is not yet.

        Raises:
            ContenderError: the process ended, or the time is up.
        """
        deadline = time.monotonic() + seconds
        while not (at := await done()):
            if self.child.code is not None and not (at := await done()):
                self._show_log()
                raise ContenderError(f"ended with exit code {self.child.code}: {self.child.last_lines(1)}")
            if time.monotonic() > deadline:
                self._show_log()
                raise ContenderError(f"was not done after {seconds:.0f} s")
            await asyncio.sleep(0 if at else POLL)  # a poll of other processes
        return at

    def _show_log(self) -> None:
        """Show the end of its log, which is removed with the run."""
        say("\n".join(f"    | {line}" for line in self.child.last_lines(20).splitlines()))

    async def delivered(self) -> float:
        """When the target had confirmed its goal, 0 before."""
        return float((await asyncio.to_thread(self.arena.sink.stats))["done_at"])

    def figures(self, done_at: float, units: int) -> dict[str, Any]:
        """Times and costs up to now, which is just after `done_at`."""
        seconds = done_at - self.child.started_at
        found: dict[str, Any] = {
            "seconds": seconds,
            "per_second": units / seconds,
            "cpu_seconds": self.child.cpu_seconds(),
            "peak_mb": self.child.peak_mb(),
            "target_cpu_seconds": self.arena.sink.process.cpu_seconds() - self._target_cpu,
        }
        with contextlib.suppress(asyncio.InvalidStateError, asyncio.CancelledError):
            assigned_at = self._assigned.result()
            found["assigned_seconds"] = assigned_at - self.child.started_at
            found["per_second_from_assignment"] = units / (done_at - assigned_at)
        return found
