"""Up to where the source is joined and counted, in all partitions and by whichever worker (the brake).

A worker knows how far its own partitions are. How far the others are, the group knows: a batch is acknowledged when its
figure stands in the control topic, and committed after that. So nobody has to say that he is late, least of all a
worker that is frozen, cut off or dead. Asked only while deletes are decided or wait.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from streams.kafka import UnconfirmedError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.pipeline import Pipeline

log = logging.getLogger(__name__)

#: Seconds between two looks.
_AGAIN = 0.5


class Watermark:
    """What stood in the source at a moment, once all of it is counted."""

    def __init__(self, pipeline: Pipeline, passed: Callable[[], Awaitable[None]]) -> None:
        """`passed` is awaited each time the mark has moved on."""
        self._pipeline, self._passed = pipeline, passed
        self._wanted = asyncio.Event()
        #: partition -> the offset that its next record had then.
        self._ends: dict[int, int] = {}
        #: the partitions that are not as far yet, and since when they are waited for (Unix seconds).
        self.waits_for: list[int] = []
        self.since: float | None = None

    def covers(self, number: int, offset: int) -> bool:
        """Whether all that stood in the source together with this record is counted; if not, that is found out."""
        if offset < self._ends.get(number, 0):
            return True
        self.move()
        return False

    def move(self) -> None:
        """Find out how far the source is now, and when all of that is counted."""
        self._wanted.set()

    async def run(self) -> None:
        """Move on whenever somebody wants it, until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            self.since = self.since or time.time()
            try:
                await self.look()
            except (KafkaError, OSError, UnconfirmedError) as error:
                log.debug("where the source ends is not known: %r", error)
                self._wanted.set()
            await asyncio.sleep(_AGAIN)  # one look for many deletes; and nobody tells when the broker is back

    async def look(self) -> None:
        """Find out where the source ends now, and wait until all of that is counted.

        Raises:
            KafkaError, OSError, UnconfirmedError: the broker does not answer.
        """
        pipeline = self._pipeline
        ends = await pipeline.ends(range(pipeline.settings.partitions))
        while waits_for := await pipeline.uncounted(ends):
            self.waits_for = waits_for
            await asyncio.sleep(_AGAIN)  # a poll: nobody tells what another worker has committed
        await pipeline.control.read_to_end()  # the figures of the others stand there by now
        self._ends, self.waits_for, self.since = ends, [], None
        await self._passed()
