"""Finds out whether a captured table that has a new file on disk was truncated: TRUNCATE is not published.

VACUUM FULL, CLUSTER and ALTER TABLE make a new file, too, and keep the rows. So users whom the snapshots know as live
are looked for in the database. Who is not there, and is still live here when everything committed before that look has
been joined, went without a record.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from itertools import islice
from typing import TYPE_CHECKING

from aiokafka.errors import KafkaError

from streams.credentials import Names
from streams.legacy import LegacyAwayError
from streams.snapshots import ROW, decode, head

if TYPE_CHECKING:
    from streams.pipeline import Pipeline
    from streams.source.look import Look

log = logging.getLogger(__name__)

#: Users looked for, users of one question, and users passed before the event loop gets its turn.
_SAMPLE, _BATCH, _SLICE = 1_000, 250, 2_000
#: Seconds after which half of them missing is answer enough: the source stands still, and no record will come.
_PATIENCE = 30.0


class Probe:
    """One question: did rows of this table go without a record? Asked step by step, as the guard looks."""

    def __init__(self, pipeline: Pipeline, table: str, file: int) -> None:
        self.file = file
        self._pipeline = pipeline
        source = pipeline.settings.source
        self._table, self._users = table, table == source.users.name
        self._names = Names(source.credentials)
        self._began = time.monotonic()
        self._asked = 0
        #: user -> names of rows that are known here and were not in the database; the user's own row has the name "".
        self._missing: dict[bytes, set[str]] | None = None
        self._lsn: int | None = None
        self._ends: dict[int, int] | None = None

    async def step(self, look: Look) -> bool | None:
        """Go on; True when rows are gone without a record, False when none is, None while that is not known."""
        try:
            return await self._step(look)
        except (LegacyAwayError, KafkaError) as error:
            log.warning("whether a table was truncated is not known yet: %s", error)
            return None

    async def _step(self, look: Look) -> bool | None:
        if self._missing is None:
            self._missing = await self._not_there(await self._sample())
            return None if self._missing else False
        if self._lsn is None and look.database is not None:
            self._lsn = look.database.lsn  # of after the reading: what was committed before it is below
        if await self._all_joined():
            # A row that went with a record is known to be gone now; one that came back is in the database again.
            now = await self._not_there(list(self._missing))
            return any(rows & now.get(key, set()) for key, rows in self._missing.items())
        waited = time.monotonic() - self._began > _PATIENCE
        return True if waited and 2 * len(self._missing) > self._asked else None

    async def _sample(self) -> list[bytes]:
        """Users of this worker's partitions whose row is there, drawn evenly."""
        drawn: list[bytes] = []
        seen = 0
        for partition in self._pipeline.partitions():
            start: bytes | None = b"\x01"
            while start is not None and not partition.closing:
                # No iterator outlives its slice: the store of a partition that is given up could not be closed.
                users = list(islice(partition.snapshots.store.items(start), _SLICE))
                start = users[-1][0] + b"\0" if len(users) == _SLICE else None
                for key in (key for key, stored in users if head(stored.value).flags & ROW):
                    seen += 1
                    if len(drawn) < _SAMPLE:
                        drawn.append(key)
                    elif (place := random.randrange(seen)) < _SAMPLE:  # noqa: S311  a sample, not a secret
                        drawn[place] = key
                await asyncio.sleep(0)
        self._asked = len(drawn)
        return drawn

    async def _not_there(self, keys: list[bytes]) -> dict[bytes, set[str]]:
        """The rows of these users that are known here, but are not in the database."""
        missing: dict[bytes, set[str]] = {}
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH]
            there = await self._pipeline.legacy.present([key.decode() for key in some])
            for key in some:
                rows = there[key.decode()]
                found = frozenset([""] if rows.user else []) if self._users else rows.credentials
                if gone := self._known(key) - found:
                    missing[key] = gone
        return missing

    async def _all_joined(self) -> bool:
        """Whether everything that was committed before the reading has been joined."""
        pipeline = self._pipeline
        if self._lsn is None or pipeline.control.source_after_commit < self._lsn:
            return False
        owned = {partition.number: partition for partition in pipeline.partitions()}
        if self._ends is None:
            # Asked of the broker: by the last fetch, records that wait would look as if there were none.
            self._ends = await pipeline.ends(owned)
        return all(owned[n].joined_offset + 1 >= end for n, end in self._ends.items() if n in owned)

    def _known(self, key: bytes) -> set[str]:
        """The rows of this table that a live user's snapshot has."""
        stored = self._stored(key)
        if stored is None or not head(stored).flags & ROW:
            return set()
        if self._users:
            return {""}
        there = decode(stored).live_credentials()
        return {name for name in there if self._names.table(name) == self._table}

    def _stored(self, key: bytes) -> bytes | None:
        number = self._pipeline.partition_of(key)
        for partition in self._pipeline.partitions():
            if partition.number == number and not partition.closed:
                stored = partition.snapshots.store.get(key)
                return None if stored is None else stored.value
        return None
