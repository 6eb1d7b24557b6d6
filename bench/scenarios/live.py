"""Live: changes committed in PostgreSQL, through Connect and our worker to the target; how late, and where.

The stages of one change, all by the clock of one machine: committed (PostgreSQL), in the topic (the record's time,
which Connect's producer gives it), in the changelog of `snapshots` (the broker's time), received and answered (the
target's).
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

import orjson

from bench import people
from bench.arena import say
from bench.changes import change, prepare
from bench.contenders import OURS, Ours
from bench.errors import ContenderError
from bench.scenarios.race import Race
from bench.scenarios.rounds import Row, attempt
from demo.stack.capture import register_connector
from streams import snapshots
from streams.mapping import Mapper
from streams.state.store import RESERVED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aiokafka import ConsumerRecord

    from bench.arena import Arena
    from bench.plan import Plan

STAGES = ("wal_to_topic", "topic_to_snapshot", "snapshot_to_call", "call")
_START, _SLOWEST, _LATE = 120, 300, 60  # seconds; users a second; seconds after the last change
_PAUSE = 3.0  # seconds between two measurements


@dataclass(frozen=True, slots=True)
class Times:
    """When one change was where (Unix seconds)."""

    committed: float
    topic: float
    snapshot: float
    received: float
    answered: float

    def stages(self) -> list[float]:
        """Seconds in each stage."""
        moments = (self.committed, self.topic, self.snapshot, self.received, self.answered)
        return [after - before for before, after in pairwise(moments)]


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """Each rate in turn, in each run."""
    rows: list[Row] = []
    async with running(arena, plan.users) as race:
        for run in range(1, plan.runs + 1):
            for rate in plan.rates if run % 2 else reversed(plan.rates):
                await asyncio.sleep(_PAUSE)  # the last calls of the one before must not be measured in this one
                what = {"contender": OURS, "run": run, "rate": rate, "users": plan.users}
                rows.append(await attempt(_live(race, run, rate, plan), **what))
    return rows


@asynccontextmanager
async def running(arena: Arena, users: int) -> AsyncIterator[Race]:
    """Our worker behind Connect, with the initial load done and checked."""
    await arena.database(users)
    await prepare(arena.stack.env["LEGACY_ADMIN_URL"])
    async with Race(arena, Ours(), "legacy") as race:
        arena.sink.reset(goal=users)
        await asyncio.to_thread(register_connector, arena.stack.layout)
        race.start("deliver")
        done_at = await race.until(race.delivered, _START + users / _SLOWEST)
        say(f"  initial load: {users:,} users, {done_at - race.child.started_at:.1f} s after the worker's start")
        await _as_made(race, users)
        if arena.sink.digest() != await asyncio.to_thread(arena.expected, "deliver", users):
            raise ContenderError("after the initial load something else is at the target than should be")
        yield race


async def _as_made(race: Race, users: int) -> None:
    """Compare what Connect writes of a user with what the other scenarios put into their topics."""
    number = users // 2
    for record in await race.arena.kafka.read(race.run.topic, {}):
        if record.key == b"%d" % number:
            found = orjson.loads(record.value)
            table = found["__source_table"]
            row = people.user(number) if table == "users" else people.credential(number)
            made = orjson.loads(people.record(table, row))
            differing = [
                name
                for name in made.keys() | found.keys()
                if made.get(name) != found.get(name) and not (name.startswith("__source") and name in found)
            ]
            if differing:
                raise ContenderError(f"Connect's records of {table} differ from ours in {', '.join(differing)}")


async def _live(race: Race, run: int, rate: int, plan: Plan) -> Row:
    """Changes at one rate."""
    arena, count = race.arena, int(rate * plan.live_seconds)
    if count > plan.users:
        raise ContenderError(f"{count:,} changes need as many users")
    marker = f"live-{run}-{rate}"
    times = await changed(race, marker, range(1, count + 1), rate)
    by_commit = sorted(times, key=lambda each: each.committed)
    totals = [1000 * (each.answered - each.committed) for each in by_commit]
    took = by_commit[-1].committed - by_commit[0].committed
    figures: Row = {"changes": count, "rate_made": (count - 1) / took, **_spread("", totals)}
    for name, values in zip(STAGES, zip(*(each.stages() for each in times), strict=True), strict=True):
        figures |= _spread(f"{name}_", [1000 * value for value in values])
    half = len(totals) // 2
    figures["first_half_p50_ms"], figures["second_half_p50_ms"] = median(totals[:half]), median(totals[half:])
    stats = arena.sink.stats()
    return figures | {"users_per_call": stats["sent"] / stats["calls"]}


async def changed(race: Race, marker: str, users: Sequence[int], rate: float) -> list[Times]:
    """Make changes and follow each to the target.

    Raises:
        ContenderError: some did not arrive.
    """
    arena, kafka = race.arena, race.arena.kafka
    topics = Ours().settings(race.run).topics
    since = {topic: await kafka.ends(topic) for topic in (topics.identity, topics.snapshots)}
    arena.sink.reset(goal=len(users), journal=True)
    await change(arena.stack.env["LEGACY_ADMIN_URL"], marker, users, rate)
    await race.until(race.delivered, _LATE)
    arrivals = {entry[0]: entry[2:] for entry in reversed(arena.sink.journal(on=False)) if entry[1] == marker}
    streamed = commits(await kafka.read(topics.identity, since[topics.identity]), marker)
    stored: dict[bytes, float] = {}
    for record in await kafka.read(topics.snapshots, since[topics.snapshots]):
        if not record.key.startswith(RESERVED) and f'"{marker}"'.encode() in record.value:
            values = snapshots.decode(record.value).user
            if values is not None and values.values is not None and values.values["given_name"] == marker:
                stored.setdefault(record.key, record.timestamp / 1000)
    mapper = Mapper(Ours().settings(race.run))
    try:
        return [
            Times(*streamed[key], stored[key], *arrivals[mapper.sub_of(key.decode())])
            for key in (b"%d" % number for number in users)
        ]
    except KeyError:
        raise ContenderError(f"of {len(users):,} changes some are not in topic, changelog and target") from None


def commits(records: Sequence[ConsumerRecord], marker: str) -> dict[bytes, tuple[float, float]]:
    """When each user's change was committed, and when it came into the topic."""
    found: dict[bytes, tuple[float, float]] = {}
    for record in records:
        body = orjson.loads(record.value)
        if body.get("given_name") == marker:
            found[record.key] = (body["__source_ts_us"] / 1e6, record.timestamp / 1000)
    return found


def _spread(name: str, values: Sequence[float]) -> Row:
    ordered = sorted(values)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return {f"{name}p50_ms": at(0.5), f"{name}p99_ms": at(0.99), f"{name}max_ms": ordered[-1]}
