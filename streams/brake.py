"""The delete brake: an upsert can be repeated, a delete cannot be taken back.

Decisions to delete are counted where they are made, in the partition, together with the snapshots (a restart forgets
none). Each owner puts its figure into the control topic, and every worker adds all of them up. No delete leaves before
all that stood in the source together with it is counted (`Watermark`): partitions come to one and the same moment of
the source at different times. For the same reason every window that the figures remember is judged, not the newest one
alone.
"""

from __future__ import annotations

import enum
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from streams import failpoints
from streams.quantities import duration
from streams.watermark import Watermark

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.pipeline import Pipeline
    from streams.settings import Brake as Limits
    from streams.state import Partition

log = logging.getLogger(__name__)

FIGURE = "brake/"
#: What is said of deletes that cannot be judged yet.
UNCOUNTED = "what stood in the source together with them is joined first, or a mass delete could not be seen"
TRIPPED = "brake"
#: Why deletes are held when rows that went without a record have been found: restrictions, TRUNCATE.
TRUNCATED = "a table was truncated, and a sweep has found whose rows are gone"


class Verdict(enum.Enum):
    """What the brake says of one delete."""

    GO = "go"
    WAIT = "wait"  # the figure that contains it has not been read back yet
    PARK = "park"
    STAY = "stay"  # a person rejected it


def total(state: Mapping[str, Any], limits: Limits) -> tuple[int, int]:
    """Delete decisions in the newest window over the whole pipeline, and the limit; `state` is the control topic.

    The topic's time: the newest decision is the latest moment that is known of it.
    """
    buckets = _buckets(state)
    since = max(buckets, default=0) - int(limits.window * 1000)
    count = sum(n for at, n in buckets.items() if at > since)
    return count, _limit(limits, known(state) + count)


def worst(state: Mapping[str, Any], limits: Limits) -> tuple[int, int, int]:
    """Decisions that no person has answered, their limit, and the time (ms), of the window that is furthest above it.

    The limit is a share of the users before the first delete of that window.
    """
    left = _unanswered(state)
    first, inside, users = 0, 0, known(state) + sum(count for _, count in left)
    found = (0, _limit(limits, known(state)), 0)
    for at, count in left:
        inside += count
        while left[first][0] <= at - int(limits.window * 1000):
            inside -= left[first][1]
            users -= left[first][1]
            first += 1
        limit = _limit(limits, users)
        if inside - limit > found[0] - found[1]:
            found = inside, limit, at
    return found


def answer(state: Mapping[str, Any], limits: Limits, *, allow: bool, who: str) -> dict[str, Any]:
    """The record by which a person allows or rejects every delete decided until now."""
    body = dict(state.get(TRIPPED, {}))
    upto = {key.removeprefix(FIGURE): figure["upto"] for key, figure in state.items() if key.startswith(FIGURE)}
    body["allowed" if allow else "rejected"] = upto
    counted = sorted(_buckets(state).items())
    return body | {"on": False, "allow": allow, "who": who, "at": time.time(), "counted": counted}


def held(state: Mapping[str, Any], why: str) -> dict[str, Any]:
    """The record by which all deletes are parked until a person answers."""
    return {**state.get(TRIPPED, {}), "on": True, "why": why, "at": time.time()}


def tripped(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Why deletes are parked, or None; `state` is the control topic."""
    body: dict[str, Any] | None = state.get(TRIPPED)
    return body if body is not None and body.get("on") else None


def known(state: Mapping[str, Any]) -> int:
    """Users of the whole pipeline that are not gone, to a tenth: what each partition has published."""
    return sum(int(body.get("known", 0)) for key, body in state.items() if key.startswith(FIGURE))


def _buckets(state: Mapping[str, Any]) -> Counter[int]:
    """Decisions of all partitions by the time of the source's topic (ms)."""
    buckets: Counter[int] = Counter()
    for key, body in state.items():
        if key.startswith(FIGURE):
            for at, count in body["buckets"]:
                buckets[at] += count
    return buckets


def _unanswered(state: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Decisions that no person has answered, by time (ms)."""
    answered = {int(at): int(count) for at, count in state.get(TRIPPED, {}).get("counted", ())}
    return sorted((at, max(0, count - answered.get(at, 0))) for at, count in _buckets(state).items())


def _limit(limits: Limits, users: int) -> int:
    return int(max(limits.floor, min(limits.ceiling, limits.share * users)))


class Brake:
    """Adds up all partitions' decisions and parks deletes when they are too many."""

    def __init__(self, limits: Limits, pipeline: Pipeline) -> None:
        self._limits, self._pipeline = limits, pipeline
        self.watermark = Watermark(pipeline, self._counted)
        #: partition -> up to which decision a figure is on its way.
        self._under_way: dict[int, int] = {}

    async def publish(self, partition: Partition) -> None:
        """Put the partition's figure into the control topic when it has decisions that are not there yet.

        The brake judges them now, and not when the deletes leave: they may have to wait for something else (a pause, a
        doubt of the source, cidaas away), and a person has to hear of them.
        """
        # Judged by what stands there, not by what was sent: a cancelled put, or a former owner that thawed, must not
        # leave an older figure for which every delete would wait for ever.
        number, upto = partition.number, partition.decisions.upto
        if max(self._stands(number), self._under_way.get(number, -1)) >= upto:
            return
        self._under_way[number] = upto
        try:
            if failpoints.armed:
                await failpoints.reach("before-brake-figure")
            await self._put(partition)
        finally:
            if self._under_way.get(number) == upto:
                del self._under_way[number]
        # Who is still being read makes the limit higher, but never higher than this.
        await self._judge(at_least=max(self._limits.floor, self._limits.ceiling))
        self.watermark.move()

    async def refresh(self, partition: Partition) -> None:
        """Keep the number of users in the partition's figure right to a tenth: the limit is a share of all of them.

        A figure that a thawed former owner has put back to an older one is put right, too: all deletes wait for it.
        """
        known = partition.known - partition.gone
        figure = self._pipeline.control.state.get(f"{FIGURE}{partition.number}", {"known": 0})
        wrong = abs(known - figure["known"]) > max(10, known // 10) or not self.has_told(partition)
        if wrong and not partition.closing:
            await self._put(partition)

    async def _put(self, partition: Partition) -> None:
        body = {**partition.decisions.body(), "known": partition.known - partition.gone}
        await self._pipeline.control.put(f"{FIGURE}{partition.number}", body)

    def has_told(self, partition: Partition) -> bool:
        """Whether the partition's figure, with all its decisions, has been read back."""
        return self._stands(partition.number) >= partition.decisions.upto

    def _stands(self, number: int) -> int:
        """Up to which decision the figure of a partition has been read back."""
        return int(self._pipeline.control.state.get(f"{FIGURE}{number}", {"upto": -1})["upto"])

    def total(self) -> tuple[int, int]:
        """Decisions in the window over the whole pipeline, and the limit."""
        return total(self._pipeline.control.state, self._limits)

    @property
    def tripped(self) -> dict[str, Any] | None:
        """Why deletes are parked, or None."""
        return tripped(self._pipeline.control.state)

    def _is_on(self) -> bool:
        return self.tripped is not None

    async def verdict(self, partition: Partition, offset: int) -> Verdict:
        """Decide for the delete whose version stands at `offset` of its partition."""
        state = self._pipeline.control.state
        # The version may be newer than the decision: an update of a deleted user decides nothing again.
        needed = min(offset, partition.decisions.upto)
        if self._stands(partition.number) < needed:
            await self.publish(partition)
            if self._stands(partition.number) < needed:
                return Verdict.WAIT
        answered = state.get(TRIPPED, {})
        number = str(partition.number)
        if offset <= answered.get("rejected", {}).get(number, -1):
            return Verdict.STAY
        if offset <= answered.get("allowed", {}).get(number, -1):
            return Verdict.GO
        if self._is_on():
            return Verdict.PARK
        if not self.watermark.covers(partition.number, offset):
            return Verdict.WAIT
        await self._judge()
        return Verdict.PARK if self._is_on() else Verdict.GO

    @property
    def waits(self) -> dict[str, Any] | None:
        """What deletes wait for before they can be judged, since when (Unix seconds); None when they can be."""
        partitions, since = self.watermark.waits_for, self.watermark.since
        return {"partitions": partitions, "since": since} if partitions else None

    async def _counted(self) -> None:
        """All that stood in the source a moment ago is counted: judge it, by all users who are known now."""
        for partition in self._pipeline.partitions():
            await self.refresh(partition)
        await self._judge()

    async def _judge(self, at_least: int = 0) -> None:
        """Hold all deletes when too many are decided that no person has answered, and more than `at_least`."""
        if self._is_on():
            return
        count, limit, at = worst(self._pipeline.control.state, self._limits)
        if count > max(limit, at_least):
            moment = time.strftime("%Y-%m-%d %H:%M", time.gmtime(at / 1000))
            within = duration(self._limits.window)
            await self.hold(f"{count} deletes within {within}, until {moment} UTC, more than {limit}")

    async def hold(self, why: str) -> None:
        """Park all deletes until a person answers."""
        if self._is_on():
            return
        log.error("delete brake: %s; all deletes are parked until a person allows or rejects them", why)
        await self._pipeline.control.put(TRIPPED, held(self._pipeline.control.state, why))
