"""Reads set-aside users again from the source, and puts what was read behind their other records (M4, M7).

Only the owner of partition 0 does it. One record a user carries all its rows as of one moment; the join takes it only
if nothing of the user was joined after the reading was asked for. So no older reading can overwrite a newer change, and
every change that was on its way meanwhile comes behind it in the same partition. Why not by Debezium's own signals:
docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING

import httpx

from streams import views
from streams.ledger import Situation
from streams.legacy import LegacyAwayError
from streams.rows import ReadAgain, write_control
from streams.snapshots import decode

if TYPE_CHECKING:
    from streams.pipeline import Pipeline
    from streams.state import Partition

log = logging.getLogger(__name__)

ASIDE = "aside/"
#: Users read at a time, users that one partition asks for, and ids of one question to another worker.
_MOST, _PER_PARTITION, _ASKED = 500, 100, 100
_EVERY = 1.0
#: Seconds before a reading that failed, or that came to nothing, is repeated.
_RETRY = 5.0


class IncompleteError(RuntimeError):
    """The users were not read again completely; it is tried once more later."""


class Rereads:
    """Asks for set-aside users of this worker's partitions, and serves the requests of all when it owns partition 0."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._published: dict[int, dict[str, int]] = {}
        self._not_before = 0.0
        #: user -> (number, when): served, but its owner has not taken it off its list yet.
        self._served: dict[str, tuple[int, float]] = {}
        #: users of the next reading, and how often each was among those that failed: one whom the database does not
        #: understand must not hold all others back.
        self._most = _MOST
        self._failures: Counter[str] = Counter()
        self.done = 0
        self.trouble = ""

    async def run(self) -> None:
        """Go on until cancelled; trouble is reported and tried again."""
        while True:
            await asyncio.sleep(_EVERY)  # a poll: it watches different things, none of which can call back
            for partition in self._pipeline.partitions():
                await self._publish(partition)
            if any(partition.number == 0 for partition in self._pipeline.partitions()):
                await self._serve()

    def forget(self) -> None:
        """Publish anew after a rebalance."""
        self._published.clear()

    async def _publish(self, partition: Partition) -> None:
        if partition.closing:
            return
        keys = partition.standing(Situation.SET_ASIDE, _PER_PARTITION)
        wanted: dict[str, int] = {}
        for key, stored in zip(keys, partition.snapshots.store.get_many(keys) if keys else [], strict=True):
            aside = decode(stored.value).aside if stored is not None else None
            if aside is not None:
                wanted[key.decode()] = aside[0]
        name = f"{ASIDE}{partition.number}"
        before = self._published.get(partition.number, self._pipeline.control.state.get(name, {}).get("users", {}))
        if wanted != before:
            await self._pipeline.control.put(name, {"users": wanted})
        self._published[partition.number] = wanted

    async def _serve(self) -> None:
        wanted: dict[str, int] = {}
        for name, body in self._pipeline.control.state.items():
            if name.startswith(ASIDE):
                wanted.update(body["users"])
        if not wanted:
            self.trouble = ""
            return
        if time.monotonic() < self._not_before:
            return
        if not self._pipeline.source_is_live():
            # What is still on its way would come behind the reading and put older states on top of it for a while.
            self.trouble = f"{len(wanted)} users wait to be read again: the source's heartbeat stands still"
            return
        recent = time.monotonic() - _RETRY
        self._served = {user: seen for user, seen in self._served.items() if seen[1] > recent}
        waiting = {user: n for user, n in wanted.items() if self._served.get(user, (-1, 0.0))[0] != n}
        users = dict(sorted(waiting.items(), key=lambda item: (self._failures[item[0]], item))[: self._most])
        if not users:
            return
        try:
            await self._read_again(users)
        except (IncompleteError, LegacyAwayError) as error:
            self._not_before = time.monotonic() + _RETRY
            self._most = max(1, len(users) // 2)
            self._failures.update(users.keys())
            self.trouble = f"{len(wanted)} users cannot be read again yet: {error}"
            log.warning("%s", self.trouble)
        else:
            self.trouble = ""
            self._most = min(_MOST, self._most * 2)
            self._failures = Counter({user: n for user, n in self._failures.items() if user in waiting})
            self.done += len(users)
            self._served.update({user: (number, time.monotonic()) for user, number in users.items()})
            log.info("read again users=%d", len(users))

    async def _read_again(self, users: dict[str, int]) -> None:
        ids = list(users)
        known = await self._applied(ids)  # first: whatever is joined from now on makes the reading void
        rows = await self._pipeline.legacy.rows(ids)
        for user_id, number in users.items():
            user, credentials = rows[user_id]
            await self._pipeline.send(
                user_id.encode(), write_control(ReadAgain(number, known[user_id], user, credentials))
            )

    async def _applied(self, ids: list[str]) -> dict[str, tuple[int, int]]:
        """Up to which record each of these users is known, asked of the workers that own them."""
        pipeline = self._pipeline
        known = views.applied(pipeline, ids)
        elsewhere: dict[str | None, list[str]] = {}
        for user_id in ids:
            if user_id not in known:
                elsewhere.setdefault(views.owner(pipeline, user_id), []).append(user_id)
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            for url, wanted in elsewhere.items():
                for start in range(0, len(wanted), _ASKED):
                    try:
                        some = wanted[start : start + _ASKED]
                        answer = await client.get(f"{url}/sync/applied", params={"id": some})
                        known.update(answer.raise_for_status().json())
                    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                        raise IncompleteError(f"the worker at {url} does not answer") from None
        if any(user_id not in known for user_id in ids):
            raise IncompleteError("partitions are changing hands")
        return {user_id: (int(known[user_id][0]), int(known[user_id][1])) for user_id in ids}
