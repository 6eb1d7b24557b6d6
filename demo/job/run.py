"""The main job, stage by stage: stack, legacy database, capture, load, live changes, check, go-live."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from demo.job import live, load
from demo.job.evening import Evening
from demo.job.marker import Begin, Marker
from demo.job.peers import Peers
from demo.job.summary import Figures, next_commands, peak_memory, rows
from demo.legacy import seed as legacy
from demo.oracle import OracleError, Report, await_equal
from demo.oracle.__main__ import sentences
from demo.oracle.expected import Expected
from demo.stack import postgres

if TYPE_CHECKING:
    from demo.job.machine import Machine
    from demo.job.screen import Screen
    from demo.legacy.changes import Change

LIVE_SECONDS = 15.0
_SEEDINGS = 4  # attempts: PostgreSQL may be killed in the middle
_CHECK_WITHIN = 120.0  # seconds, and some more for many users


class Demo:
    """One run; `run` returns the exit code. Whoever calls it shuts the machine down."""

    def __init__(self, machine: Machine, screen: Screen, marker: Marker) -> None:
        self.machine, self.screen, self.marker = machine, screen, marker
        self.run_dir: Path = machine.stack.layout.run_dir

    async def run(self, begin: Begin) -> int:
        """Do all of it. Raises StackError, OracleError, psycopg.Error."""
        if begin is Begin.ANEW:
            self.screen.line("new", "the last demo was finished, its state is forgotten")
            await self.machine.thread(self.machine.stack.clean)
        elif begin is Begin.RESUME:
            self.screen.line("again", "an earlier demo was interrupted; this one goes on with its state")
        elif begin is Begin.AROUND:
            self.screen.line("again", "the stack of the last demo is up; this one works on what is there")
        self.marker.write(self.run_dir)
        with (
            self.screen.stage("stack", "PostgreSQL, Kafka, Connect with Debezium, a stand-in of cidaas") as stage,
            self.machine.telling(stage.update),
        ):
            await self.machine.up()
        stages = asyncio.create_task(self._stages())
        watch = asyncio.create_task(self.machine.watch())
        try:
            await asyncio.wait({stages, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not stages.done():
                watch.result()  # it ends only by raising
            return await stages
        finally:
            stages.cancel()
            watch.cancel()
            await asyncio.gather(stages, watch, return_exceptions=True)

    async def _stages(self) -> int:
        evening = Evening(self.machine, self.screen, self.marker)
        if self.marker.ending and not await evening.undone():
            await evening.finish()
            return self._over()
        began = time.time()
        await self._seed()
        async with Peers(self.machine.env) as peers:
            stored = (await peers.counters() or {}).get("stored", {})
        loading = load.Load(before=stored.get("users", 0))
        with (
            self.screen.stage("capture", "publication, roles, slot, connector; a worker") as stage,
            self.machine.telling(stage.update),
        ):
            await self.machine.capture()
        async with Peers(self.machine.env) as peers:
            figures = await self._work(peers, loading, began)
            self._show(figures)
            if not figures.report.ok:
                for line in await sentences(figures.report, self.machine.env["WEB_PORT"]):
                    self.screen.say(line)
                return 1
        await evening.run()
        return self._over()

    def _over(self) -> int:
        Marker(self.marker.users, self.marker.seed, finished=True).write(self.run_dir)
        self.screen.say("\nTo look around:\n")
        for command in next_commands(self.run_dir):
            self.screen.say(f"    {command}")
        return 0

    async def _work(self, peers: Peers, loading: load.Load, began: float) -> Figures:
        await self._load(peers, loading)
        changes, done = await self._live(peers)
        report = await self._check()
        wanted = Expected(Path("pipeline.toml"))
        await live.measure(peers, changes, done, wanted.sub)
        counters = await peers.counters() or {}
        restarts = Counter(self.machine.restarts)
        named = [f"{name} {number} times" if number > 1 else name for name, number in restarts.items()]
        if counters.get("since", 0) > began and "cidaas" in restarts:
            named.append("(calls are counted since the stand-in's restart)")
        memory = peak_memory(self.machine.stack.pid("worker"))
        return Figures(loading, done, report, counters, memory, tuple(named))

    async def _seed(self) -> None:
        users, number = self.marker.users, self.marker.seed
        with self.screen.stage("legacy", "making users") as stage:

            def told(count: int) -> None:
                self.machine.check()
                stage.update(f"{count:,} of {users:,} users", count, users)

            def fill() -> Counter[str] | None:
                with postgres.connect(self.machine.stack.layout) as connection:
                    return None if legacy.filled(connection) else legacy.fill(connection, users, number, told)

            for attempt in range(1, _SEEDINGS + 1):
                try:
                    kinds = await asyncio.to_thread(fill)
                    break
                except psycopg.OperationalError:
                    if attempt == _SEEDINGS:
                        raise
                    await asyncio.sleep(2)  # a poll: a database that is being started again tells nobody
            stage.result("filled by an earlier run" if kinds is None else _kinds(kinds))

    async def _load(self, peers: Peers, loading: load.Load) -> None:
        with self.screen.stage("load", "waiting for the worker") as stage:
            total, alive = await asyncio.to_thread(self._count)
            await load.watch(peers, stage, loading, total, alive)
            text = f"{loading.users:,} users in cidaas"
            if loading.before:
                text += f", {loading.before:,} of them before"
            if loading.rate:
                text += f", {loading.rate:,.0f} a second"
            if loading.stuck:
                text += "; no progress any more, the check will say what is missing"
            stage.result(text)

    def _count(self) -> tuple[int, int]:
        with postgres.connect(self.machine.stack.layout) as connection:
            found = connection.execute("SELECT count(*), count(*) FILTER (WHERE status <> 'deleted') FROM users")
            row = found.fetchone()
        assert row is not None
        return int(row[0]), int(row[1])

    async def _live(self, peers: Peers) -> tuple[list[Change], live.Live]:
        database = self.machine.env["LEGACY_ADMIN_URL"]
        with self.screen.stage("live", "changes in the legacy database") as stage:
            changes, done = await live.change_for(peers, stage, database, LIVE_SECONDS, int(time.time()))
            stage.result(f"{done.changes} changes of {done.kinds} kinds")
        if done.login is not None:
            user, seconds = done.login
            self.screen.line(
                "log-in",
                f"user {user} logs in at cidaas {seconds * 1000:.0f} ms after changing the password in the shop",
            )
        return changes, done

    async def _check(self) -> Report:
        with self.screen.stage("check", "legacy tables by SQL against cidaas's users by HTTP") as stage:

            def told(report: Report) -> None:
                waiting = report.missing + report.stale + report.resurrected
                stage.update(f"{report.equal:,} users equal, waiting for {waiting:,}")

            within = _CHECK_WITHIN + self.marker.users / 1000
            try:
                return await await_equal(self.machine.env, seconds=within, progress=told)
            except OracleError:
                stage.result("not possible")
                raise

    def _show(self, figures: Figures) -> None:
        self.screen.say()
        for name, value in rows(figures):
            self.screen.say(f"  {name:<16}{value}")


def _kinds(kinds: Counter[str]) -> str:
    named = [f"{kinds[name]:,} {name}" for name in ("without password", "with TOTP", "refused e-mail", "soft-deleted")]
    return f"{kinds['users']:,} users: {', '.join(named)}"
