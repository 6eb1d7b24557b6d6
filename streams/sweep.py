"""The sweep: finds the users whose rows came or went while changes were being lost (M9).

A request stands in the control topic. Every worker compares the keys of the legacy tables with the snapshots of its own
partitions and answers for each of them there; who finds a partition without an answer, at the start or after a
rebalance, does it. Nothing is decided by one look:

    first look      all keys of the tables as of one moment
    the wait        until everything committed before that moment is in Kafka and joined
    comparison      with the snapshots; what differs is only a candidate
    second look     `applied` of a candidate, then its rows in the database: what differs still is acted upon

Gone: a removal through the topic, void if the user was touched after `applied`; it meets the brake and the second look
of each delete. Missing, or with other credential rows: set aside, and read again. Both may be repeated without harm.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, Any

from aiokafka.errors import KafkaError
from psycopg import sql

from streams import comparison, snapshots
from streams.comparison import Found
from streams.control import SWEEP
from streams.keys import first_look
from streams.legacy import LegacyAwayError
from streams.rows import USERS, Removal, SetAside, write_control

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.keys import Look
    from streams.pipeline import Pipeline
    from streams.state import Partition

log = logging.getLogger(__name__)

#: Users decoded, and keys grouped, before the event loop gets its turn; users of one second look.
_SLICE, _GROUP, _BATCH = 100, 5_000, 500
_EVERY = 1.0
#: Seconds before a sweep that failed begins again, and seconds that one waits for the source or the join.
_RETRY, _PATIENCE = 10.0, 600.0
#: Looks at users whose removal was void because they were touched just then.
_ROUNDS = 5
#: Up to where the broker has confirmed to the slot.
CONFIRMED = sql.SQL(
    "SELECT pg_wal_lsn_diff(confirmed_flush_lsn, '0/0')::bigint AS lsn FROM pg_replication_slots WHERE slot_name = %s"
)
_REASONS = {
    Found.MISSING: "a sweep found its row in the legacy database, and no record has shown it",
    Found.CREDENTIALS: "a sweep found other credential rows in the legacy database",
}


class UnfinishedError(RuntimeError):
    """A sweep did not come to its end; it is begun again."""


class SupersededError(UnfinishedError):
    """Another sweep was asked for meanwhile: this one's first look may be of a database that is gone (M8)."""


def request(why: str) -> dict[str, Any]:
    """The control record `sweep` by which anybody asks for one."""
    return {"id": str(uuid.uuid4()), "why": why, "at": time.time()}


def answer_name(number: int) -> str:
    """The control record in which the owner of a partition answers."""
    return f"{SWEEP}/{number}"


def summary(state: Mapping[str, dict[str, Any]], numbers: Iterable[int]) -> dict[str, Any] | None:
    """Where the last sweep that was asked for stands, over these partitions; `state` is the control topic."""
    wanted = state.get(SWEEP)
    if wanted is None:
        return None
    answers = [state.get(answer_name(number), {}) for number in numbers]
    mine = [answer for answer in answers if answer.get("id") == wanted["id"]]
    states = Counter(answer["state"] for answer in mine)
    over = bool(answers) and states["done"] == len(answers)
    return {
        "id": wanted["id"],
        "asked_for": wanted.get("why", ""),
        "asked_at": wanted.get("at"),
        "state": "done" if over else "failed" if states["failed"] else "running" if mine else "asked",
        "done": states["done"],
        "of": len(answers),
        "why": "" if over else next((answer["why"] for answer in mine if answer.get("why")), ""),
        "at": max((answer["at"] for answer in mine), default=None),
        **{found.value: sum(answer[found.value] for answer in mine) for found in Found},
    }


class Sweep:
    """Does for this worker's partitions what the control topic asks for."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._not_before = 0.0

    async def run(self) -> None:
        """Go on until cancelled; a failure is reported and tried again."""
        while True:
            await asyncio.sleep(_EVERY)  # a poll: the request and the rebalance are different things to wait for
            await self.once()

    async def once(self) -> None:
        """Sweep the partitions without an answer, if there are any and all are owned."""
        pipeline = self._pipeline
        wanted, partitions = pipeline.control.state.get(SWEEP), pipeline.partitions()
        if wanted is None or len(partitions) < len(pipeline.runners) or time.monotonic() < self._not_before:
            return
        due = [partition for partition in partitions if not self._answered(partition, wanted["id"])]
        if due:
            failed = await Comparison(pipeline, str(wanted["id"]), due).run()
            self._not_before = time.monotonic() + _RETRY if failed else 0.0

    def _answered(self, partition: Partition, wanted: object) -> bool:
        answer = self._pipeline.control.state.get(answer_name(partition.number), {})
        return answer.get("id") == wanted and answer["state"] == "done"


class Comparison:
    """One run over some partitions; a partition that is given up meanwhile is left to its next owner."""

    def __init__(self, pipeline: Pipeline, wanted: str, partitions: Sequence[Partition]) -> None:
        self._pipeline, self._wanted = pipeline, wanted
        self._partitions = {partition.number: partition for partition in partitions}
        #: M7: only marks that stood before the first look are answered by it.
        self._marks = {partition.number: partition.unread() for partition in partitions}
        self._found = {partition.number: self._found_before(partition.number) for partition in partitions}
        self._said = ""

    def _found_before(self, number: int) -> Counter[str]:
        """What was found before a failure or a rebalance belongs to the same sweep."""
        answer = self._pipeline.control.state.get(answer_name(number), {})
        found = {one.value: answer.get(one.value, 0) for one in Found}
        return Counter(found if answer.get("id") == self._wanted else {})

    async def run(self) -> bool:
        """Compare and act; True when it has to be tried again."""
        began = time.monotonic()
        log.info("sweep begins id=%s partitions=%d", self._wanted, len(self._partitions))
        try:
            await self._say("reads the keys of the legacy tables")
            look = await first_look(self._pipeline.settings, self._pipeline.legacy.expected, self._mine)
            log.info("sweep looked users=%d seconds=%.1f", len(look.marks), time.monotonic() - began)
            await self._past(look.lsn)
            await self._joined()
            await self._say("compares")
            await self._settle(await self._differing(look))
        except SupersededError:
            log.info("sweep given up for a newer one id=%s", self._wanted)
            return False
        except (LegacyAwayError, UnfinishedError) as error:
            log.warning("sweep failed id=%s, it is tried again: %s", self._wanted, error)
            undone = [partition for partition in self._alive() if self._state(partition) != "done"]
            await asyncio.gather(*(self._answer(partition, "failed", str(error)) for partition in undone))
            return True
        found = sum(self._found.values(), Counter[str]())
        log.info("sweep done id=%s seconds=%.1f found=%s", self._wanted, time.monotonic() - began, dict(found))
        return False

    def _alive(self) -> list[Partition]:
        return [partition for partition in self._partitions.values() if not partition.closing]

    def _mine(self, key: bytes) -> bool:
        return self._pipeline.partition_of(key) in self._partitions

    # -- answers ---------------------------------------------------------------------------------------------------

    async def _say(self, what: str) -> None:
        """Tell where all partitions are; once, however often it is said."""
        if what != self._said:
            self._said = what
            await asyncio.gather(*(self._answer(partition, "running", what) for partition in self._alive()))

    async def _answer(self, partition: Partition, state: str, why: str = "") -> None:
        found = {one.value: self._found[partition.number][one.value] for one in Found}
        body = {"id": self._wanted, "state": state, "why": why, "at": time.time(), **found}
        await self._pipeline.control.put(answer_name(partition.number), body)

    def _state(self, partition: Partition) -> str:
        answer = self._pipeline.control.state.get(answer_name(partition.number), {})
        return str(answer.get("state")) if answer.get("id") == self._wanted else ""

    # -- waiting ---------------------------------------------------------------------------------------------------

    async def _past(self, lsn: int) -> None:
        """Wait until all that was committed before the first look is in Kafka.

        The heartbeat says that it was streamed (C7): not before the initial snapshot is over, and not one of before the
        look, whose LSN may be of another life of the database. The slot says that the broker has confirmed it.
        """
        control, settings = self._pipeline.control, self._pipeline.settings
        seen = control.heartbeats
        deadline = time.monotonic() + _PATIENCE
        while self._alive():
            if control.heartbeats > seen and control.source_after_commit >= lsn:
                rows = await self._pipeline.legacy.query(CONFIRMED, (settings.source.name,))
                if rows and rows[0]["lsn"] is not None and rows[0]["lsn"] >= lsn:
                    return
            self._assert_wanted()
            await self._say("waits until the connector has passed what the first look saw")
            if time.monotonic() > deadline:
                raise UnfinishedError(
                    f"the connector has not passed what was committed {_PATIENCE / 60:.0f} minutes ago: "
                    "see what `status` says of it"
                )
            await control.wait_changed()

    async def _joined(self) -> None:
        """Wait until these partitions have joined what is in Kafka now."""
        pipeline = self._pipeline
        try:
            ends = await pipeline.ends(self._partitions.keys())
        except KafkaError as error:
            raise UnfinishedError(f"the broker does not say where the source ends: {error!r}") from None
        deadline = time.monotonic() + _PATIENCE
        while any(partition.joined_offset < ends[partition.number] - 1 for partition in self._alive()):
            self._assert_wanted()
            if time.monotonic() > deadline:
                raise UnfinishedError(f"records of {_PATIENCE / 60:.0f} minutes ago still wait to be joined")
            await pipeline.control.wait_changed()

    def _assert_wanted(self) -> None:
        wanted = self._pipeline.control.state.get(SWEEP)
        if wanted is None or wanted["id"] != self._wanted:
            raise SupersededError

    # -- comparing -------------------------------------------------------------------------------------------------

    async def _differing(self, look: Look) -> dict[int, list[bytes]]:
        """The users whose rows differ, by partition; the look's marks are used up."""
        marks = look.marks
        candidates: dict[int, list[bytes]] = {number: [] for number in self._partitions}
        for partition in self._alive():
            start, last = b"\x01", False
            while not last and not partition.closing:
                # No iterator outlives its slice: the store of a partition that is given up could not be closed.
                users = list(islice(partition.snapshots.store.items(start), _SLICE))
                for key, stored in users:
                    there, snap = marks.pop(key, 0), snapshots.decode(stored.value)
                    rows = comparison.rows_of(snap)
                    if snap.aside is None and comparison.mark(rows.user, rows.credentials) != there:
                        candidates[partition.number].append(key)
                last = len(users) < _SLICE
                start = users[-1][0] + b"\0" if users else start
                await asyncio.sleep(0)
        for seen, key in enumerate(marks, 1):  # what no snapshot has taken out
            candidates[self._pipeline.partition_of(key)].append(key)
            if seen % _GROUP == 0:
                await asyncio.sleep(0)
        return candidates

    async def _settle(self, candidates: dict[int, list[bytes]]) -> None:
        """Act upon the candidates, until what was sent is joined and holds; a partition without any more is done."""
        left = candidates
        for _ in range(_ROUNDS):
            acted: dict[int, list[bytes]] = {}
            for partition in [partition for partition in self._alive() if partition.number in left]:
                keys, sent = left[partition.number], list[bytes]()
                for at in range(0, len(keys), _BATCH):
                    sent += await self._act(partition, keys[at : at + _BATCH])
                if sent:
                    acted[partition.number] = sent
                elif not partition.closing:
                    await partition.swept(self._marks[partition.number])
                    await self._answer(partition, "done")
            if not acted:
                return
            await self._joined()
            left = acted
        users = sum(map(len, left.values()))
        raise UnfinishedError(f"{users} users changed each time they were looked at")

    async def _act(self, partition: Partition, keys: list[bytes]) -> list[bytes]:
        """The second look at some candidates; returns those for whom a record was sent."""
        if partition.closing:
            return []
        # First `applied`, then the database: whatever is joined from now on makes a removal void.
        found = zip(keys, partition.snapshots.store.get_many(keys), strict=True)
        snaps = {key: snapshots.decode(stored.value) if stored is not None else None for key, stored in found}
        there = await self._pipeline.legacy.present([key.decode() for key in keys])
        sends = []
        acted = []
        for key, snap in snaps.items():
            if snap is not None and snap.aside is not None:
                continue  # it is read again, completely
            wrong = comparison.judge(comparison.rows_of(snap), there[key.decode()])
            if wrong is None:
                continue
            if wrong is Found.GONE:
                assert snap is not None
                epoch = partition.epochs[-1][1]
                record = write_control(Removal(USERS, key.decode(), epoch, None, snap.applied))
            else:
                record = write_control(SetAside(_REASONS[wrong]))
            self._found[partition.number][wrong.value] += 1
            acted.append(key)
            sends.append(self._pipeline.send(key, record))
        await asyncio.gather(*sends)
        if acted:
            await self._answer(partition, "running", "compares")
        return acted
