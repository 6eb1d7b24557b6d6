"""Waits until the pipeline is past a moment of the legacy database: streamed, in Kafka, and joined."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from streams.identity import RefusedError
from streams.legacy import Legacy
from streams.offline import read_behind, read_ends, read_joins
from streams.sweep import CONFIRMED

if TYPE_CHECKING:
    from streams.control import Control
    from streams.settings import Settings

#: Seconds without any progress after which it is given up, if nobody says otherwise; seconds between two looks.
_PATIENCE, _EVERY = 60.0, 0.5


class Passing:
    """Watches heartbeats, slot and the consumer group from outside."""

    def __init__(self, settings: Settings, control: Control, patience: float = _PATIENCE) -> None:
        """`patience` are the seconds without any progress after which it is given up."""
        self._settings, self._control, self._patience = settings, control, patience
        #: what it waits for now, for a person who waits, too; "" for nothing.
        self.waits_for = ""
        self._legacy = Legacy(settings)

    async def past(self, lsn: int) -> None:
        """Wait until all that was committed below this LSN is in the snapshots' topic.

        Raises:
            RefusedError: the connector, or the join, stands still.
            LegacyAwayError: the database does not answer.
        """
        await self.streamed(lsn)
        await self._joined()
        await self._joined()  # what the first join sent of its own: credentials that moved (M5)

    async def streamed(self, lsn: int) -> None:
        """As a sweep does: a heartbeat of after the look shows that it was streamed, the slot that Kafka has it.

        Raises:
            RefusedError: the connector stands still.
            LegacyAwayError: the database does not answer.
        """
        self.waits_for = "until Kafka has what the legacy database has"
        control, seen = self._control, self._control.heartbeats
        deadline = time.monotonic() + self._patience
        while True:
            if control.heartbeats > seen and control.source_after_commit >= lsn:
                rows = await self._legacy.query(CONFIRMED, (self._settings.source.name,))
                if rows and rows[0]["lsn"] is not None and rows[0]["lsn"] >= lsn:
                    return
            if time.monotonic() > deadline:
                raise RefusedError(
                    f"the connector has not passed what was committed {self._patience:.0f} s ago, so what is late "
                    "cannot be told from what is lost: `source check` says what is wrong with it (while it reads the "
                    "tables for the first time, wait for its end)"
                )
            await control.wait_changed()

    async def _joined(self) -> None:
        """Wait until the group has committed what is in Kafka now: it does so when the snapshots have it (D1)."""
        ends = await read_ends(self._settings)
        deadline, best = time.monotonic() + self._patience, -1
        while True:
            joined = await read_joins(self._settings)
            behind = sum(max(0, end - joined.get(number, 0)) for number, end in ends.items())
            self.waits_for = f"until the snapshots have what is in Kafka: {behind:,} records are missing"
            if not behind:
                self.waits_for = ""
                return
            if sum(joined.values()) > best:
                deadline, best = time.monotonic() + self._patience, sum(joined.values())
            if time.monotonic() > deadline:
                waiting = await read_behind(self._settings)
                raise RefusedError(
                    f"{waiting:,} records wait to be joined, and no worker joins them, so what is late cannot be told "
                    "from what is lost: start a worker, or look at `status`"
                )
            await asyncio.sleep(_EVERY)  # a poll: the broker tells nobody what a group has committed

    async def close(self) -> None:
        """Close the connection."""
        await self._legacy.close()
