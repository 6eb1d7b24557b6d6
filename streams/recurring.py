"""Runs `reconcile` by the plan of `reconcile --every`, on the worker that owns partition 0.

It is a process of its own, the command itself: to compare everybody would hold the event loop of this one. It keeps
what it found as any run does; here only whether it came to its end is noted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING

from streams.control import RECONCILE_RAN
from streams.cutover import record
from streams.reconcile import plan
from streams.reconcile.plan import Plan, Ran
from streams.tied import end, tied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.pipeline import Pipeline

log = logging.getLogger(__name__)

#: Seconds between two looks at the clock, and until a process that was asked to end is killed.
_EVERY, _ENDING = 1.0, 5.0
#: `reconcile` found something, or nothing: both are an end.
_ENDS = frozenset((0, 1))
#: Characters of why there was no end.
_LONGEST = 300


class Recurring:
    """Follows the plan while this worker owns partition 0."""

    def __init__(self, pipeline: Pipeline, command: Sequence[str] = (sys.executable, "-m", "streams")) -> None:
        """`command` runs our commands."""
        self._pipeline, self._command = pipeline, command

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(_EVERY)  # a poll: nothing calls when a moment has come
            state = self._pipeline.control.state
            wanted = plan.read(state)
            if wanted is None or not self._mine() or plan.due(wanted, plan.last(state, wanted)) > time.time():
                continue
            began = time.time()
            why = await self._compared(wanted)
            if why is not None and self._mine() and await self._pipeline.still_member():
                await self._pipeline.control.put(RECONCILE_RAN, Ran(began, why).body())

    def _mine(self) -> bool:
        """Whether it is this worker's to do; after a GO nobody does, because nothing is sent any more."""
        known = record.read(self._pipeline.control.state)
        over = known is not None and known.over
        return not over and any(partition.number == 0 for partition in self._pipeline.partitions())

    async def _compared(self, wanted: Plan) -> str | None:
        """Run it to its end; why there was none, "" when there was, None when another worker is to begin anew."""
        words = ["reconcile", "--json", *wanted.words()]
        log.info("reconcile begins by plan: %s", " ".join(words))
        process = await asyncio.create_subprocess_exec(
            *tied([*self._command, *words], os.getpid()), stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE
        )
        reading = asyncio.create_task(process.communicate(), name="reconcile")
        try:
            while self._mine() and plan.read(self._pipeline.control.state) == wanted:
                await asyncio.wait([reading], timeout=_EVERY)
                if reading.done():
                    return self._ended(process.returncode, (await reading)[1])
            return None
        finally:
            await end(process, _ENDING)  # it would compare for nobody
            await asyncio.wait([reading])

    @staticmethod
    def _ended(code: int | None, said: bytes) -> str:
        if code in _ENDS:
            log.info("reconcile by plan has ended exit_code=%d", code)
            return ""
        lines = said.decode(errors="replace").strip().splitlines() or [f"it ended with exit code {code}"]
        log.warning("reconcile by plan came to no end exit_code=%s: %s", code, lines[-1])
        return lines[-1][:_LONGEST]
