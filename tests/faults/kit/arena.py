"""One fault test's place: a pipeline under load, strikes in mid-flight, and the judgement at the end.

with arena.load() as load:
    for _ in arena.strikes(load):
        arena.strike(lambda: arena.sync.worker.kill())
        arena.sync.launch()
        arena.recovered()
arena.judge()
"""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import orjson

from demo.oracle import await_equal
from demo.stack.kafka import run_async
from tests.faults.kit import judge
from tests.faults.kit.load import CANARY_USER, MARKER, MIX, OWN, Load
from tests.faults.kit.results import worse
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from demo.oracle import Report
    from demo.stack import Stack
    from tests.faults.kit.results import Result
    from tests.integration.pipeline import Pipeline

#: cidaas takes so long for a call (seconds): then work is in flight at nearly every moment.
LATENCY, JITTER = 0.15, 0.15
#: Others for each test: what one did to its users may be looked after for a while (C8).
_own = itertools.cycle(OWN)
#: Changes made between two strikes, drawn at random.
APART = (60, 240)


class Arena:
    """What a fault test works with; `sync` is its pipeline."""

    def __init__(self, sync: Pipeline, result: Result, strikes: int) -> None:
        self.sync, self.result = sync, result
        self.rng = Random(result.seed)
        self._strikes = strikes
        self._since_us = int(time.time() * 1_000_000)
        self._struck_at = 0.0
        self._marks = 0

    @property
    def stack(self) -> Stack:
        """The services."""
        return self.sync.stack

    @contextmanager
    def load(
        self, *, rate: float = 60.0, writers: int = 3, mix: Mapping[str, int] = MIX, latency: float = LATENCY
    ) -> Iterator[Load]:
        """Run the load; cidaas takes its time meanwhile, so that strikes hit in mid-flight."""
        if latency:
            self.slow(latency)
        load = Load(self.sync.legacy.url, self.result.seed, rate=rate, writers=writers, mix=mix)
        try:
            with load:
                yield load
        finally:
            self.result.changes += load.count

    def slow(self, latency: float = LATENCY) -> None:
        """Let cidaas take `latency` seconds and a jitter for each bulk call; `sync.cidaas.cure()` ends it."""
        self.sync.cidaas.fault("bulk", "latency", seconds=latency, jitter=JITTER)

    def own(self, count: int) -> list[int]:
        """So many users that no load touches, in sync at the beginning; a test may do with them what it likes."""
        users = [next(_own) for _ in range(count)]
        there = set(self.sync.legacy.ids(f"id BETWEEN {OWN[0]} AND {OWN[-1]}"))
        self.sync.legacy.run("UPDATE users SET status = 'active', updated_at = now() WHERE id = ANY(%s)", users)
        missing = [user for user in users if user not in there]
        if missing:
            self.sync.legacy.sign_up(*missing)
        self.in_sync(users)
        return users

    def rename(self, users: list[int], word: str) -> None:
        """Give all of these users another name, in one transaction."""
        self.sync.legacy.run("UPDATE users SET given_name = %s, updated_at = now() WHERE id = ANY(%s)", word, users)

    def arrived(self, users: Iterable[int], word: str, seconds: float = 60.0) -> None:
        """Wait until cidaas has all of these users with this name."""
        for user in users:
            self.sync.cidaas.await_user(user, lambda entity: entity.get("given_name") == word, seconds)

    def in_sync(self, users: Iterable[int], seconds: float = 60.0) -> None:
        """Wait until the worker says of all of these users that cidaas has confirmed their latest version."""
        for user in users:
            self.sync.sentence(user, r"^in sync: cidaas", seconds)

    # -- strikes -----------------------------------------------------------------------------------------------------

    def strikes(self, load: Load, apart: tuple[int, int] = APART) -> Iterator[int]:
        """Yield once for each strike, after a random number of changes."""
        for number in range(self._strikes):
            load.more(self.rng.randint(*apart))
            yield number

    def on_its_way(self) -> int:
        """Users and records that are on their way just now, as the workers and cidaas say."""
        seen = self.sync.cidaas.counters()["in_flight"] if self.sync.cidaas.answers() else {}
        count = sum(seen.values()) if isinstance(seen, dict) else int(seen)
        for worker in self.sync.alive():
            status = worker.status()
            count += int(status.get("lag", 0)) + int(status.get("in_flight", 0)) + int(status.get("queued", 0))
        return count

    def strike(self, hit: Callable[[], object], *, seconds: float = 30.0, pending: int = 0) -> int:
        """Hit at a moment when work is in flight; fail when there never is. Returns how much there was.

        `pending`: what is known to be on its way, where no worker runs that could be asked.
        """
        pending = pending or until(self.on_its_way, "work in flight, or the fault would prove nothing", seconds)
        self._struck_at = time.monotonic()
        hit()
        self.result.strikes += 1
        self.result.in_flight.append(pending)
        return pending

    def recovered(
        self, *, since: float | None = None, seconds: float = 90.0, meanwhile: Callable[[], object] | None = None
    ) -> float:
        """Wait until a change made now is at cidaas; note the seconds since the strike (or `since`, monotonic).

        `meanwhile` is done again and again until then, as a service manager looks after what it has started.
        """
        self.mark(seconds, meanwhile)
        took = time.monotonic() - (self._struck_at if since is None else since)
        self.result.recoveries.append(round(took, 2))
        return took

    def mark(self, seconds: float = 90.0, meanwhile: Callable[[], object] | None = None) -> None:
        """Change the marker user, and wait until that change is at cidaas."""
        self._marks += 1
        word = f"Marke-{self.result.seed}-{self._marks}"
        until(lambda: self._renamed(word), "the legacy database takes the marker", seconds)

        def arrived(entity: Mapping[str, Any]) -> bool:
            if meanwhile is not None:
                meanwhile()
            return entity.get("given_name") == word

        try:
            self.sync.cidaas.await_user(MARKER, arrived, seconds)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.sync._said_of([str(MARKER)])])) from None

    def _renamed(self, word: str) -> bool:
        self.sync.legacy.name(MARKER, word)
        return True

    def named(self, slug: str, since: float, seconds: float) -> None:
        """Wait until metric and `status` name a fault of the source, and note when; `slug` is an expression."""
        wanted = re.compile(rf'cidaas_sync_source_fault{{slug="{slug}"}} 1')
        workers = self.sync.alive()
        until(lambda: any(wanted.search(worker.get("/metrics").text) for worker in workers), f"{slug} named", seconds)
        took = time.monotonic() - since
        assert took < seconds, f"{slug} was named after {took:.0f} s"
        assert re.search(f'"slug": "{slug}"', self.sync.command("status", "--json").out), "status names it, too"
        self.figure("named after s", max(took, self.result.figures.get("named after s", 0.0)))

    # -- judgement ---------------------------------------------------------------------------------------------------

    def judge(self, seconds: float = 120.0, *, workers: bool = True, order: bool = True) -> Report:
        """Cure cidaas, wait until both sides are equal, then judge end state, history, calls and what was printed.

        Everything is noted in the result before anything is asserted. `workers`: whether one must be running. `order`:
        not after a restore, with which the numbers of the rows themselves went back.
        """
        result, sync = self.result, self.sync
        sync.cidaas.cure()
        if workers:
            assert sync.alive(), "no worker runs any more"
        report = run_async(await_equal(sync.env, seconds=seconds))
        result.users = report.users
        result.lost, result.stale, result.resurrected = report.missing, report.stale, report.resurrected
        seen = judge.history(sync.cidaas.url, self._since_us)
        disorder = seen.disorder if order else []
        result.states, result.duplicates, result.order = seen.states, seen.duplicates, len(disorder)
        counters = sync.cidaas.counters()
        result.two_calls = sum(counters[name] for name in OVERLAPS)
        printed = judge.secrets_in(self._printed())
        result.secrets = len(printed)
        wrong = [f.user for name in ("missing", "stale", "resurrected") for f in report.findings.get(name, [])]
        assert report.ok and not report.unexpected, "\n".join([*report.lines(), *sync._said_of(wrong[:5])])
        assert not disorder, f"an older state after a newer one, of these subs: {disorder[:5]}"
        assert result.two_calls == 0, {name: counters[name] for name in OVERLAPS} | {"who": counters["examples"]}
        assert not printed, printed[:5]
        if self._strikes and result.strikes:
            assert all(result.in_flight), "a strike that hit nothing"
        result.passed = True
        return report

    def _printed(self) -> Iterator[tuple[str, bytes]]:
        yield from judge.files(worker.log_file for worker in self.sync.workers.values())
        yield from judge.files(self.stack.layout.log_file(name) for name in ("connect", "kafka"))
        for worker in self.sync.alive():
            for path in ("/metrics", "/sync/status", f"/sync/user/{MARKER}", f"/sync/user/{CANARY_USER}"):
                yield f"{worker.name}{path}", worker.get(path).content

    def figure(self, name: str, value: float | int | str) -> None:
        """Publish a figure of this fault in the table: of several runs the largest, or the smallest of "at least …"."""
        old = self.result.figures.get(name)
        self.result.figures[name] = value if old is None else worse(name, old, value)

    def calls(self) -> Counter[str]:
        """How the calls about users ended until now; an HTTP status, or a word of the stand-in's page."""
        ends: Counter[str] = Counter()
        for endpoint, seen in self.sync.cidaas.counters()["calls"].items():
            if endpoint not in ("token", "discovery"):
                ends.update(seen)
        return ends


#: counters of users in two calls at a time, or twice in one
OVERLAPS = ("users_in_two_calls", "users_called_while_late", "user_twice_in_call", "email_twice_in_call")


def settled(arena: Arena, seconds: float = 60.0) -> None:
    """Wait until nothing is on its way any more."""
    until(lambda: arena.on_its_way() == 0, "nothing on its way", seconds)


def said(body: dict[str, Any]) -> str:
    """A worker's answer as text, for a message."""
    return orjson.dumps(body).decode()
