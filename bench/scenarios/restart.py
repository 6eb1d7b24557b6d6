"""Restart: the worker is killed with everybody in sync; how long until it delivers again, with local state and without?

What it has to deliver are changes that came while it was dead, some for every partition: a worker is back when they are
at the target. Until then a broker waits for the dead member's session to end, which is reported apart.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from datetime import datetime
from typing import TYPE_CHECKING

from bench import people
from bench.contenders import OURS, Ours, contenders
from bench.errors import ContenderError
from bench.kafka import PARTITIONS, covers
from bench.scenarios.race import Race
from bench.scenarios.rounds import Row, attempt
from streams.mapping import sub_of
from streams.offline import partition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.arena import Arena
    from bench.contenders import Contender
    from bench.plan import Plan

#: Who is measured: peers that are told of in the targets. The others' restarts are their own matter.
NAMES = (OURS, "plain")
_CHANGED = 4  # users of each partition that change meanwhile
_SLOWEST, _START, _BACK = 300, 60, 180  # users a second; seconds
_LATER = 1_000_000_000  # LSNs of changes, above those of the initial snapshot
_OWNED = re.compile(r"^(\S+) INFO \S+ partition owned ", re.MULTILINE)


async def measure(arena: Arena, plan: Plan) -> list[Row]:
    """Our worker and plain aiokafka, each with local state and without in turn."""
    return await measured(arena, plan.contenders or NAMES, plan.restart_users, plan.runs)


async def measured(arena: Arena, names: Sequence[str], users: int, runs: int) -> list[Row]:
    """These contenders at this size."""
    rows: list[Row] = []
    for contender in contenders(names):
        if contender.reads != "topic":
            continue
        async with Race(arena, contender, await arena.topic(users)) as race:
            what: Row = {"contender": contender.name, "users": users}
            ready = await attempt(_fill(arena, race, users), **what, run=0, filling=True)
            if "problem" in ready:
                rows.append(ready)
                continue
            restarts = Restarts(arena, race, users)
            for run in range(1, runs + 1):
                for state in (True, False) if run % 2 else (False, True):
                    rows.append(await attempt(restarts.once(local_state=state), **what, run=run, local_state=state))
                    if "problem" in rows[-1]:
                        break
    return rows


async def profiled(arena: Arena, contender: Contender, users: int) -> None:
    """Fill with our worker as it is, and let `contender` take the place of the killed one, with its local state."""
    async with Race(arena, Ours(), await arena.topic(users)) as race:
        await _fill(arena, race, users)
        race.contender = contender
        await Restarts(arena, race, users).once(local_state=True)


async def _fill(arena: Arena, race: Race, users: int) -> Row:
    """Bring everybody to the target, and wait until that is committed."""
    arena.sink.reset(goal=users)
    race.start("deliver")
    done_at = await race.until(race.delivered, _START + users / _SLOWEST)
    await _settled(arena, race)
    return {"seconds": done_at - race.child.started_at}


async def _settled(arena: Arena, race: Race) -> None:
    """Wait until the whole topic is committed and no call has come for a while."""
    topic, before = race.run.topic, -1

    async def quiet() -> float:
        nonlocal before
        calls, before = before, int(arena.sink.stats()["calls"])
        if calls != before:
            await asyncio.sleep(1.0)  # the condition itself: for so long no call comes
            return 0.0
        return time.time() * covers(await arena.kafka.committed(race.run.group, topic), await arena.kafka.ends(topic))

    await race.until(quiet, _BACK)


class Restarts:
    """Kills one contender again and again."""

    def __init__(self, arena: Arena, race: Race, users: int) -> None:
        self._arena, self._race, self._users = arena, race, users
        self._back_at = 0.0
        self._count = int(time.time())  # markers differ also between contenders on one topic
        self._keys = _some(users)
        self._settings = arena.settings(race.run.prefix)
        self._subs = {sub_of(key.decode(), self._settings) for key in self._keys}

    async def once(self, *, local_state: bool) -> Row:
        """One kill and one new start; the process runs on afterwards.

        Raises:
            ContenderError: it did not come back.
        """
        arena, race = self._arena, self._race
        await self._calm()
        self._count += 1
        arena.sink.journal(on=True)
        before = await arena.kafka.members(race.run.group)
        killed_at = time.time()
        await asyncio.to_thread(race.child.kill)
        if not local_state:
            await asyncio.to_thread(shutil.rmtree, race.run.state)
        await arena.kafka.append(race.run.topic, self._changes())
        race.child = race.contender.start(race.run, "deliver")
        assigned = asyncio.create_task(arena.kafka.assigned(race.run.group, before))
        try:
            first, last = await self._back()
            self._back_at = time.time()
        finally:
            assigned.cancel()
        figures: Row = {
            "first_changed_seconds": first - killed_at,
            "all_changed_seconds": last - killed_at,
            "started_seconds": race.child.started_at - killed_at,
            "first_changed_after_start_seconds": first - race.child.started_at,
            "cpu_seconds": race.child.cpu_seconds(),
            "peak_mb": race.child.peak_mb(),
        }
        if assigned.done() and not assigned.cancelled():
            figures["assigned_seconds"] = assigned.result() - killed_at
            figures["first_changed_after_assignment_seconds"] = first - assigned.result()
            if race.contender.name == OURS:
                figures["ready_after_assignment_seconds"] = self._owned() - assigned.result()
        return figures

    async def _calm(self) -> None:
        """Wait until nothing is under way, and for *settle*: of two kills in a row the second is another story (C5)."""
        await _settled(self._arena, self._race)
        if self._race.contender.name == OURS:
            settle = self._settings.cidaas.timeout + 5.0
            await asyncio.sleep(max(0.0, self._back_at + settle + 1.0 - time.time()))

    def _changes(self) -> list[tuple[bytes, bytes]]:
        now = int(time.time() * 1e6)
        lsn = _LATER + self._count * 1_000
        return [
            (key, people.record("users", {**people.user(int(key)), "given_name": self._marker}, op="u", lsn=lsn + at,
                                at_us=now))
            for at, key in enumerate(self._keys)
        ]  # fmt: skip

    @property
    def _marker(self) -> str:
        return f"restart-{self._count}"

    async def _back(self) -> tuple[float, float]:
        """When the first and the last of the changed users were confirmed in their new state."""
        times: dict[str, float] = {}

        async def all_there() -> float:
            for sub, given_name, _received, answered in await asyncio.to_thread(self._arena.sink.journal):
                if given_name == self._marker and sub in self._subs:
                    times.setdefault(sub, answered)
            return max(times.values()) if len(times) == len(self._subs) else 0.0

        last = await self._race.until(all_there, _BACK + self._users / _SLOWEST)
        return min(times.values()), last

    def _owned(self) -> float:
        """When our worker said that it owns its last partition; by its log, since its start."""
        times = [datetime.fromisoformat(at).timestamp() for at in _OWNED.findall(self._race.run.log.read_text())]
        since = [at for at in times if at >= self._race.child.started_at - 0.001]
        if len(since) < PARTITIONS:
            raise ContenderError(f"it said of {len(since)} partitions only that it owns them")
        return max(since[-PARTITIONS:])


def _some(users: int) -> list[bytes]:
    """The first few users of each partition."""
    found: dict[int, list[bytes]] = {}
    for number in range(1, users + 1):
        mine = found.setdefault(partition_of(b"%d" % number, PARTITIONS), [])
        if len(mine) < _CHANGED:
            mine.append(b"%d" % number)
            if sum(map(len, found.values())) == _CHANGED * PARTITIONS:
                break
    return [key for keys in found.values() for key in keys]
