"""The delete brake: an upsert can be repeated, a delete cannot be taken back.

Decisions to delete are counted where they are made, in the partition, together with the snapshots (a restart forgets
none). Each owner puts its figure into the control topic, every worker adds all of them up, and no delete leaves before
its worker has read back a figure that contains it, nor while one of the other figures may lack what was decided with
it. Partitions come to one and the same moment of the source at different times, so every window that the figures
remember is judged, not the newest one alone.
"""

from __future__ import annotations

import enum
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from streams import failpoints
from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.pipeline import Pipeline
    from streams.settings import Brake as Limits
    from streams.state import Partition

log = logging.getLogger(__name__)

FIGURE = "brake/"
TRIPPED = "brake"
#: A partition whose join has not been at the end of the source for so many seconds is late.
_LATE = 5.0
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

    Broker time: the newest decision is the latest moment that is known of it.
    """
    buckets = _buckets(state)
    since = max(buckets, default=0) - int(limits.window * 1000)
    count = sum(n for at, n in buckets.items() if at > since)
    return count, _limit(limits, known(state) + count)


def worst(state: Mapping[str, Any], limits: Limits) -> tuple[int, int]:
    """Decisions that no person has answered, and their limit, of the window that is furthest above it.

    The limit is a share of the users before the first delete of that window.
    """
    answered = {int(at): int(count) for at, count in state.get(TRIPPED, {}).get("counted", ())}
    left = sorted((at, max(0, count - answered.get(at, 0))) for at, count in _buckets(state).items())
    first, inside, users = 0, 0, known(state) + sum(count for _, count in left)
    found = (0, _limit(limits, known(state)))
    for at, count in left:
        inside += count
        while left[first][0] <= at - int(limits.window * 1000):
            inside -= left[first][1]
            users -= left[first][1]
            first += 1
        limit = _limit(limits, users)
        if inside - limit > found[0] - found[1]:
            found = inside, limit
    return found


def reading(state: Mapping[str, Any]) -> list[int]:
    """The partitions whose owner is still reading what has waited there: their figures may lack decisions."""
    figures = ((key.removeprefix(FIGURE), body) for key, body in state.items() if key.startswith(FIGURE))
    return sorted(int(number) for number, body in figures if body.get("late"))


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
    """Decisions of all partitions by the broker's time (ms)."""
    buckets: Counter[int] = Counter()
    for key, body in state.items():
        if key.startswith(FIGURE):
            for at, count in body["buckets"]:
                buckets[at] += count
    return buckets


def _limit(limits: Limits, users: int) -> int:
    return int(max(limits.floor, min(limits.ceiling, limits.share * users)))


class Brake:
    """Adds up all partitions' decisions and parks deletes when they are too many."""

    def __init__(self, limits: Limits, pipeline: Pipeline) -> None:
        self._limits, self._pipeline = limits, pipeline
        #: partition -> up to which decision a figure is on its way.
        self._under_way: dict[int, int] = {}

    async def begin(self, number: int) -> None:
        """Say that a partition begins anew: nobody knows what waits there before its owner has read it."""
        figure = self._pipeline.control.state.get(f"{FIGURE}{number}", {"buckets": [], "upto": -1, "known": 0})
        if not figure.get("late"):
            await self._pipeline.control.put(f"{FIGURE}{number}", {**figure, "late": True})

    async def publish(self, partition: Partition) -> None:
        """Put the partition's figure into the control topic when it has decisions that are not there yet."""
        # Judged by what stands there, not by what was sent: a cancelled put, or a former owner that thawed, must not
        # leave an older figure for which every delete would wait for ever.
        self._late(partition)
        number, upto = partition.number, partition.decisions.upto
        if max(self._stands(partition), self._under_way.get(number, -1)) >= upto:
            return
        self._under_way[number] = upto
        try:
            if failpoints.armed:
                await failpoints.reach("before-brake-figure")
            await self._put(partition)
        finally:
            if self._under_way.get(number) == upto:
                del self._under_way[number]

    async def refresh(self) -> None:
        """Keep the figures of this worker's partitions right, whatever is decided there, and judge all of them.

        The users are right to a tenth: the limit is a share of all of them. Judged are deletes that have to wait, too
        (a pause, a doubt of the source, cidaas away): a person has to hear of them now.
        """
        for partition in self._pipeline.partitions():
            figure = self._pipeline.control.state.get(f"{FIGURE}{partition.number}", {"known": 0})
            users, late = partition.known - partition.gone, self._late(partition)
            changed = abs(users - figure["known"]) > max(10, users // 10) or late != bool(figure.get("late"))
            if changed and not partition.closing:
                await self._put(partition)
        await self._judge()

    def _late(self, partition: Partition) -> bool:
        """Whether records have waited in a partition for some time; looked at after each batch, and each second."""
        now = time.monotonic()
        if not self._pipeline.behind(partition):
            partition.at_end = now
        return now - partition.at_end > _LATE

    async def _put(self, partition: Partition) -> None:
        body = {
            **partition.decisions.body(),
            "known": partition.known - partition.gone,
            "late": self._late(partition),
        }
        await self._pipeline.control.put(f"{FIGURE}{partition.number}", body)

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
        if self._stands(partition) < needed:
            await self.publish(partition)
            if self._stands(partition) < needed:
                return Verdict.WAIT
        answered = state.get(TRIPPED, {})
        number = str(partition.number)
        if offset <= answered.get("rejected", {}).get(number, -1):
            return Verdict.STAY
        if offset <= answered.get("allowed", {}).get(number, -1):
            return Verdict.GO
        if self._is_on():
            return Verdict.PARK
        if self.why_waiting(partition):
            return Verdict.WAIT
        await self._judge()
        return Verdict.PARK if self._is_on() else Verdict.GO

    def why_waiting(self, partition: Partition) -> str:
        """Why deletes of this partition cannot be judged yet; "" when they can.

        Of a mass delete in one transaction not one may leave: wherever a partition is behind the newest decision of
        this one, a part of the same statement may wait.
        """
        late, owned = reading(self._pipeline.control.state), [one.partition for one in self._pipeline.runners.values()]
        if not late and all(one is not None and self._has_told(one, partition.decisions.until) for one in owned):
            return ""
        where = f" ({', '.join(map(str, late))})" if late else ""
        return f"the source is read to its end first, in all partitions{where}: only then a mass delete can be seen"

    def _has_told(self, partition: Partition, until_ms: int) -> bool:
        """Whether all decisions of a partition of this worker up to this broker time stand in its figure."""
        if not partition.readable or (self._pipeline.behind(partition) and partition.joined_ms < until_ms):
            return False
        return self._stands(partition) >= partition.decisions.upto

    def _stands(self, partition: Partition) -> int:
        """Up to which decision the figure of a partition has been read back."""
        return int(self._pipeline.control.state.get(f"{FIGURE}{partition.number}", {"upto": -1})["upto"])

    async def _judge(self) -> None:
        """Hold all deletes when too many are decided that no person has answered.

        While partitions are being read, nobody can tell: the limit is a share of the users who are known by then, and
        no delete leaves meanwhile.
        """
        state = self._pipeline.control.state
        if self._is_on() or reading(state):
            return
        count, limit = worst(state, self._limits)
        if count > limit:
            await self.hold(f"{count} deletes within {duration(self._limits.window)}, more than {limit}")

    async def hold(self, why: str) -> None:
        """Park all deletes until a person answers."""
        if self._is_on():
            return
        log.error("delete brake: %s; all deletes are parked until a person allows or rejects them", why)
        await self._pipeline.control.put(TRIPPED, held(self._pipeline.control.state, why))
