"""Reads set-aside users again from the source, and puts what was read behind their other records (M4, M7).

Only the owner of partition 0 does it. One record a user carries all its rows as of one moment; the join takes it only
if nothing of the user was joined after the reading was asked for. So no older reading can overwrite a newer change, and
every change that was on its way meanwhile comes behind it in the same partition. Why not by Debezium's own signals:
docs/decisions.md.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
import time
from collections import Counter
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING

import httpx
from aiokafka.errors import MessageSizeTooLargeError

from streams import views
from streams.ledger import Situation
from streams.legacy import LegacyAwayError
from streams.rows import ReadAgain, write_control
from streams.snapshots import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.pipeline import Pipeline
    from streams.state import Partition

log = logging.getLogger(__name__)

ASIDE = "aside/"
#: Users read at a time, users that one partition asks for (and bytes of their ids: they stand in one record), and ids
#: of one question to another worker.
_MOST, _PER_PARTITION, _BYTES, _ASKED = 500, 500, 256 * 1024, 100
_EVERY = 1.0
#: Seconds before a user is read once more, whose reading failed or came to nothing.
_RETRY = 5.0
#: Seconds for which a reading that has not been joined yet is taken to be on its way.
_UNDER_WAY = 60.0
#: Seconds for which a user is asked for, while others wait for their turn: some tries.
_TURN = 20.0


class Turns:
    """Whose turn it is, when more users of a partition are set aside than it asks for at a time.

    Users that can never be read again must not hold all others back.
    """

    def __init__(self) -> None:
        self._began: dict[bytes, float] = {}

    def of(self, aside: Iterable[bytes], now: float) -> list[bytes]:
        """Of all who are set aside, those whose turn lasts, then those who had none, then whose last is longest ago."""
        aside = list(aside)
        began = self._began = {key: self._began[key] for key in aside if key in self._began}

        def order(key: bytes) -> tuple[bool, float]:
            since = began.get(key, -math.inf)
            return now - since >= _TURN, since

        chosen = heapq.nsmallest(_PER_PARTITION, aside, order)
        sizes = accumulate(map(len, chosen))
        chosen = [key for key, _ in takewhile(lambda item: item[1] <= _BYTES, zip(chosen, sizes, strict=True))]
        for key in chosen:
            if order(key)[0]:
                began[key] = now
        return chosen


class Rereads:
    """Asks for set-aside users of this worker's partitions, and serves the requests of all when it owns partition 0."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._published: dict[int, dict[str, int]] = {}
        self._turns: dict[int, Turns] = {}
        self._not_before = 0.0
        #: user -> (number, until when): read again just now, or not to be read just now.
        self._resting: dict[str, tuple[int, float]] = {}
        #: user -> (number, applied) of its last reading, and when that was sent.
        self._sent: dict[str, tuple[int, tuple[int, int], float]] = {}
        #: users of the next reading, which the database did not answer in time when it was long, and how often each was
        #: left out of one.
        self._most = _MOST
        self._failures: Counter[str] = Counter()
        self.done = 0
        self.trouble = self._why = ""

    async def run(self) -> None:
        """Go on until cancelled; trouble is reported and tried again."""
        while True:
            await asyncio.sleep(_EVERY)  # a poll: it watches different things, none of which can call back
            for partition in self._pipeline.partitions():
                await self._publish(partition)
            while any(partition.number == 0 for partition in self._pipeline.partitions()):
                if not await self._serve():
                    break

    def forget(self) -> None:
        """Publish anew after a rebalance."""
        self._published.clear()
        self._turns.clear()

    async def _publish(self, partition: Partition) -> None:
        if partition.closing:
            return
        turns = self._turns.setdefault(partition.number, Turns())
        keys = turns.of(partition.standing(Situation.SET_ASIDE), time.monotonic())
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

    async def _serve(self) -> bool:
        """Read some users again; True when it went well and there may be more."""
        wanted: dict[str, int] = {}
        for name, body in self._pipeline.control.state.items():
            if name.startswith(ASIDE):
                wanted.update(body["users"])
        if not wanted:
            self.trouble = ""
            return False
        if time.monotonic() < self._not_before:
            return False
        if not self._pipeline.source_is_live():
            # What is still on its way would come behind the reading and put older states on top of it for a while.
            self.trouble = f"{len(wanted)} users wait to be read again: the source's heartbeat stands still"
            return False
        users = self._next(wanted)
        if not users:
            return False
        try:
            await self._read_again(users)
        except LegacyAwayError as error:
            self._not_before = time.monotonic() + _RETRY
            self._most = max(1, len(users) // 2)
            self._failures.update(users.keys())  # one of them may be why: it must not be the first each time
            self._say(len(wanted), str(error))
            return False
        self._most = min(_MOST, self._most * 2)
        return True

    def _next(self, wanted: dict[str, int]) -> dict[str, int]:
        """The users of the next reading; those who were left out of others come last."""
        now = time.monotonic()
        self._resting = {user: rest for user, rest in self._resting.items() if rest[1] > now}
        self._failures = Counter({user: n for user, n in self._failures.items() if user in wanted})
        self._sent = {user: sent for user, sent in self._sent.items() if user in wanted and sent[2] > now - _UNDER_WAY}
        waiting = [item for item in wanted.items() if self._resting.get(item[0], (-1, 0.0))[0] != item[1]]
        return dict(heapq.nsmallest(self._most, waiting, lambda item: (self._failures[item[0]], item)))

    def _say(self, users: int, why: str = "") -> None:
        """Report who cannot be read; a new reason stands in the log, too."""
        if why and why not in self.trouble:
            log.warning("%d users cannot be read again yet: %s", users, why)
        self._why = why or self._why
        self.trouble = f"{users} users cannot be read again yet: {self._why}" if users else ""

    async def _read_again(self, users: dict[str, int]) -> None:
        """Read these users and send what was read; who is left out is counted, and rests."""
        pipeline = self._pipeline
        known = await self._applied(list(users))  # first: whatever is joined from now on makes the reading void
        # Of a user of whom nothing was joined since its last reading, that one is still on its way: it will be taken.
        ids = [one for one, at in known.items() if self._sent.get(one, (0, (-1, -1)))[:2] != (users[one], at)]
        rows = await pipeline.legacy.rows(ids) if ids else {}
        records = {one: ReadAgain(users[one], known[one], *found) for one, found in rows.items()}
        fits = await asyncio.gather(*(self._send(one, record) for one, record in records.items()))
        done = {one for one, fitted in zip(records, fits, strict=True) if fitted}
        now = time.monotonic()
        self._sent.update({one: (users[one], known[one], now) for one in done})
        self._resting.update({user: (number, now + _RETRY) for user, number in users.items()})
        self._failures.update(user for user in users if user not in done and (user in ids or user not in known))
        self._failures = Counter({user: n for user, n in self._failures.items() if user not in done})
        self.done += len(done)
        if done:
            log.info("read again users=%d", len(done))
        why = ""
        if len(known) < len(users):
            why = "the workers that own them do not answer"
        if len(rows) < len(ids):
            why = "their ids are none that the key of the table can have"
        if len(done) < len(rows):
            why = "the rows of one are too large for a record of Kafka"
        self._say(len(self._failures), why)

    async def _send(self, user_id: str, record: ReadAgain) -> bool:
        """Send what was read of a user; False when it is too large for any record."""
        try:
            await self._pipeline.send(user_id.encode(), write_control(record))
        except MessageSizeTooLargeError:
            return False
        return True

    async def _applied(self, ids: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Up to which record these users are known, asked of the workers that own them; who is not told is left out."""
        pipeline = self._pipeline
        known = views.applied(pipeline, ids)
        elsewhere: dict[str, list[str]] = {}
        for user_id in ids:
            if user_id not in known and (url := views.owner(pipeline, user_id)) is not None:
                elsewhere.setdefault(url, []).append(user_id)
        async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
            for answers in await asyncio.gather(*(_asked(client, *one) for one in elsewhere.items())):
                known.update(answers)
        return {user_id: (int(known[user_id][0]), int(known[user_id][1])) for user_id in ids if user_id in known}


async def _asked(client: httpx.AsyncClient, url: str, ids: list[str]) -> dict[str, list[int]]:
    """What one worker knows of these users; nothing more from the moment on when it does not answer."""
    known: dict[str, list[int]] = {}
    try:
        for start in range(0, len(ids), _ASKED):
            answer = await client.get(f"{url}/sync/applied", params={"id": ids[start : start + _ASKED]})
            known.update(answer.raise_for_status().json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        log.warning("the worker at %s does not say up to where users are known: %s", url, type(error).__name__)
    return known
