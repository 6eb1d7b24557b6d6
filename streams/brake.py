"""The delete brake: an upsert can be repeated, a delete cannot be taken back.

Decisions to delete are counted where they are made, in the partition, together with the snapshots (a restart forgets
none). Each owner puts its figure into the control topic, every worker adds all of them up, and no delete leaves before
its worker has read back a figure that contains it.
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
#: Why deletes are held when rows that went without a record have been found: restrictions, TRUNCATE.
TRUNCATED = "a table was truncated, and a sweep has found whose rows are gone"


class Verdict(enum.Enum):
    """What the brake says of one delete."""

    GO = "go"
    WAIT = "wait"  # the figure that contains it has not been read back yet
    PARK = "park"
    STAY = "stay"  # a person rejected it


def total(state: Mapping[str, Any], limits: Limits) -> tuple[int, int]:
    """Delete decisions in the window over the whole pipeline, and the limit; `state` is the control topic."""
    buckets = _buckets(state)
    since = _since(buckets, limits)
    count = sum(n for at, n in buckets.items() if at > since)
    known = sum(body["known"] for key, body in state.items() if key.startswith(FIGURE)) + count
    return count, int(max(limits.floor, min(limits.ceiling, limits.share * known)))


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


def unanswered(state: Mapping[str, Any], limits: Limits) -> int:
    """Decisions in the window that no person has answered: only these trip the brake again."""
    buckets = _buckets(state)
    since = _since(buckets, limits)
    counted = sum(n for at, n in state.get(TRIPPED, {}).get("counted", ()) if at > since)
    return total(state, limits)[0] - int(counted)


def _buckets(state: Mapping[str, Any]) -> Counter[int]:
    """Decisions of all partitions by the broker's time (ms)."""
    buckets: Counter[int] = Counter()
    for key, body in state.items():
        if key.startswith(FIGURE):
            for at, count in body["buckets"]:
                buckets[at] += count
    return buckets


def _since(buckets: Counter[int], limits: Limits) -> int:
    """When the window begins. Broker time: the newest decision is the latest moment that is known of it."""
    return max(buckets, default=0) - int(limits.window * 1000)


class Brake:
    """Adds up all partitions' decisions and parks deletes when they are too many."""

    def __init__(self, limits: Limits, pipeline: Pipeline) -> None:
        self._limits, self._pipeline = limits, pipeline
        #: partition -> up to which decision a figure is on its way.
        self._under_way: dict[int, int] = {}

    async def publish(self, partition: Partition) -> None:
        """Put the partition's figure into the control topic when it has decisions that are not there yet.

        The brake judges them now: a delete that has to wait for something else (a pause, a doubt of the source, cidaas
        away) is looked at when the window may have passed over those that were decided with it.
        """
        # Judged by what stands there, not by what was sent: a cancelled put, or a former owner that thawed, must not
        # leave an older figure for which every delete would wait for ever.
        name, number, upto = f"{FIGURE}{partition.number}", partition.number, partition.decisions.upto
        figure = self._pipeline.control.state.get(name, {"upto": -1})
        if max(figure["upto"], self._under_way.get(number, -1)) >= upto:
            return
        self._under_way[number] = upto
        try:
            known = partition.known - partition.gone
            if failpoints.armed:
                await failpoints.reach("before-brake-figure")
            await self._pipeline.control.put(name, {**partition.decisions.body(), "known": known})
        finally:
            if self._under_way.get(number) == upto:
                del self._under_way[number]
        await self._judge()

    async def refresh(self, partition: Partition) -> None:
        """Keep the number of users in the partition's figure right to a tenth: the limit is a share of all of them."""
        known = partition.known - partition.gone
        figure = self._pipeline.control.state.get(f"{FIGURE}{partition.number}", {"known": 0})
        if abs(known - figure["known"]) > max(10, known // 10) and not partition.closing:
            await self._put(partition)

    async def _put(self, partition: Partition) -> None:
        body = {**partition.decisions.body(), "known": partition.known - partition.gone}
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
        figure = state.get(f"{FIGURE}{partition.number}")
        # The version may be newer than the decision: an update of a deleted user decides nothing again.
        needed = min(offset, partition.decisions.upto)
        if needed >= 0 and (figure is None or figure["upto"] < needed):
            await self.publish(partition)
            figure = state.get(f"{FIGURE}{partition.number}")
            if figure is None or figure["upto"] < needed:
                return Verdict.WAIT
        answered = state.get(TRIPPED, {})
        number = str(partition.number)
        if offset <= answered.get("rejected", {}).get(number, -1):
            return Verdict.STAY
        if offset <= answered.get("allowed", {}).get(number, -1):
            return Verdict.GO
        if self._is_on():
            return Verdict.PARK
        await self._judge()
        return Verdict.PARK if self._is_on() else Verdict.GO

    async def _judge(self) -> None:
        """Hold all deletes when too many are decided that no person has answered."""
        count, limit = self.total()
        if unanswered(self._pipeline.control.state, self._limits) > limit:
            within = duration(self._limits.window)
            await self.hold(f"{count} deletes within {within}, more than {limit}")

    async def hold(self, why: str) -> None:
        """Park all deletes until a person answers."""
        if self._is_on():
            return
        log.error("delete brake: %s; all deletes are parked until a person allows or rejects them", why)
        await self._pipeline.control.put(TRIPPED, held(self._pipeline.control.state, why))
