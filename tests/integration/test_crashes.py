"""Processes die, come and go, and cidaas is away or hangs, all under load: nobody is lost, nobody is in two calls."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from demo.legacy.changes import DEMO, drive, plan
from tests.integration import workers
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.legacy.changes import Change
    from tests.integration.pipeline import Pipeline

SEED = 20261123
#: every kind of change of the demo, about 70 a second
LOAD = {kind: 3 * number for kind, number in DEMO.items()}


class Load:
    """Changes of every kind, evenly over some seconds, while the test does something else."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url, self._seconds = url, seconds
        self.changes: list[Change] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        async def run() -> None:
            rng = Random(SEED)
            async for change in drive(self._url, plan(rng, LOAD), seconds=self._seconds, rng=rng):
                self.changes.append(change)

        try:
            asyncio.run(run())
        except BaseException as error:  # it is shown by `end`, in the test's own thread
            self.error = error

    def made(self, count: int) -> None:
        """Wait until so many changes have been committed."""
        until(lambda: len(self.changes) >= count or self.error, f"{count} changes made", 60)

    def end(self) -> None:
        """Wait until all have been made."""
        self._thread.join(120)
        assert self.error is None, f"seed {SEED}: {self.error!r}"
        assert len(self.changes) > 500, f"seed {SEED}: too little load"


@pytest.fixture
def load(sync: Pipeline) -> Iterator[Load]:
    """The changes, made by the time the test ends."""
    running = Load(sync.legacy.url, 12)
    yield running
    running.end()


def test_a_worker_killed_again_and_again_in_the_live_phase(sync: Pipeline, load: Load) -> None:
    for count in (100, 500):
        load.made(count)
        sync.worker.kill()
        worker = sync.launch()
        until(lambda worker=worker: worker.is_ready(), "the worker is back")
    load.end()
    sync.assert_equal(60)


def test_a_second_worker_joins_and_leaves_under_load(sync: Pipeline, load: Load) -> None:
    load.made(100)
    first, second = sync.worker, sync.launch("two")
    until(lambda: second.is_ready() and first.is_ready(), "both own partitions")
    shares = [worker.status()["owned"] for worker in (first, second)]
    assert sum(shares) == 12, shares
    assert min(shares) >= 4, "the work is shared"
    load.made(500)

    def rates() -> list[float]:
        return [worker.status()["rate"]["900s"] for worker in (first, second)]

    before, both, after = rates(), sync.json("status")["rate_users_per_second"]["15_min"], rates()
    assert min(before + after) > 0, "each has confirmed somebody"
    # They change all the time: what is said in between lies between both sums.
    sums = sorted((sum(before), sum(after)))
    assert 0.9 * sums[0] <= both <= 1.1 * sums[1], (before, both, after)
    assert second.end() == 0
    until(lambda: first.is_ready() and first.status()["owned"] == 12, "the first worker owns everything again")
    load.end()
    sync.assert_equal(60)
    counted = sum(worker.status()["confirmed"] for worker in sync.alive())
    assert counted > 0


def test_the_user_command_finds_the_owner_from_any_worker(sync: Pipeline) -> None:
    second = sync.launch("two")
    until(lambda: second.is_ready() and second.status()["owned"] == 6, "both own partitions")
    try:
        users = sync.legacy.ids("id BETWEEN 900001 AND 902000 AND status = 'active'")
        for worker in (sync.workers["one"], second):
            # The load has made some of them users whom cidaas refuses.
            user = next(user for user in users if worker.user(user).get("situation") == "in_sync")
            owner = next(worker for worker in sync.alive() if "situation" in worker.user(user))
            other = next(worker for worker in sync.alive() if worker is not owner)
            body = sync.json("user", str(user), worker=other)
            assert body["from"].endswith(f":{owner.port}"), body["from"]
            assert body["situation"] == "in_sync"
        both = sync.json("status", worker=second)
        assert len(both["workers"]) == 2
        assert both["users"]["users"] > 3000, "figures of all workers are added up"
    finally:
        second.end()


def test_connect_kafka_and_postgresql_killed_in_turn_under_load(sync: Pipeline, load: Load) -> None:
    worker = sync.worker
    for count, name in ((100, "connect"), (300, "postgres"), (500, "kafka"), (650, "connect")):
        load.made(count)
        sync.stack.kill(name)
        sync.stack.start(name)
    load.end()
    until(lambda: not worker.alive or worker.is_ready(), "the worker goes on, or has ended to be started again", 60)
    if not worker.alive:  # D4: ending is allowed, hanging is not; a service manager starts it again
        assert worker.code == 1, worker.last_lines()
        sync.start()
    sync.assert_equal(90)


def test_cidaas_away_for_half_a_minute(sync: Pipeline) -> None:
    """Refused connections: the worker says so, goes on joining, starts anew meanwhile, and drains by itself."""
    users = range(15_001, 15_101)
    sync.cidaas.away(30, "refused")
    until(lambda: not sync.cidaas.answers(), "cidaas is away")
    sync.legacy.sign_up(*users)
    until(lambda: sync.worker.count("pending") >= len(users), "the changes are joined, and wait")
    for name in ("Erst", "Dann", "Zuletzt"):
        sync.legacy.run("UPDATE users SET given_name = %s WHERE id = ANY(%s)", name, list(users))
    sync.sentence(15_001, "cidaas (does not take calls|cannot be reached)", 15)
    said = sync.command("status")
    assert said.code == 1
    assert "cidaas cannot be reached" in said.out
    sync.stop()
    worker = sync.launch()  # a worker also starts while cidaas is away
    until(lambda: worker.is_ready(), "the worker started")
    until(sync.cidaas.answers, "cidaas is back", 40)
    sync.assert_equal(45)
    assert sync.cidaas.words(15_001) == ["CREATED"], "ten changes meanwhile are one call afterwards"
    until(lambda: not worker.status()["trouble"], "nothing is wrong any more")


def test_a_worker_killed_between_the_call_and_the_ledger(sync: Pipeline) -> None:
    """C1, C5: cidaas has the users, nobody has written that down; a newer change and a delete come in between."""
    sync.stop()
    users = range(15_601, 15_606)
    sync.legacy.sign_up(*users)
    worker = sync.launch(SYNC_FAILPOINTS="after-call=kill@1")
    assert worker.wait(40) == -signal.SIGKILL
    assert "failpoint reached point=after-call passage=1" in worker.log()
    sync.legacy.run("UPDATE users SET given_name = 'Danach' WHERE id = 15601")
    sync.legacy.run("DELETE FROM users WHERE id = 15602")
    sync.start()
    sync.assert_equal(60)


#: `faust`, with a watchdog that does not wait for a minute.
IMPATIENT = "from streams import watchdog; watchdog.LOOP = 3.0; from faust.cli.faust import cli; cli()"


def test_a_worker_whose_event_loop_stands_still_ends(sync: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its heartbeats come from another thread: it would keep its partitions for ever, and look alive."""
    sync.stop()
    sync.legacy.sign_up(15_611)
    with monkeypatch.context() as patch:
        patch.setattr(workers, "FAUST", [sys.executable, "-c", IMPATIENT, "-A", "streams.app"])
        worker = sync.launch(SYNC_FAILPOINTS="after-call=stall@1")
        assert worker.wait(60) == 1
    assert "it only looks alive: the event loop has stood still in _stall" in worker.log()
    sync.start()
    sync.assert_equal(60)


@pytest.mark.parametrize("style", ["hold", "away"])
def test_sigterm_ends_in_time_whatever_cidaas_does(sync: Pipeline, style: str) -> None:
    first = 15_200 if style == "hold" else 15_300
    users = range(first, first + 60)
    if style == "hold":
        sync.cidaas.fault("*", "hold", seconds=60)
    else:
        sync.cidaas.away(60, "drop")
    sync.legacy.sign_up(*users)
    until(lambda: sync.worker.count("pending") >= len(users), "there is something to do")
    if style == "hold":
        until(lambda: sync.cidaas.counters()["in_flight"], "a call hangs")
    began = time.monotonic()
    worker = sync.worker
    assert worker.end(25) == 0, worker.last_lines()
    assert time.monotonic() - began < 20
    sync.cidaas.reset()
    sync.start()
    sync.assert_equal(60)


def test_a_frozen_worker_that_thaws_does_no_harm(sync: Pipeline) -> None:
    """SIGSTOP for longer than the session: another worker takes over; the thawed one must not write any more."""
    frozen, second = sync.worker, sync.launch("two")
    until(lambda: second.is_ready() and second.status()["owned"] == 6, "both own partitions")
    users = range(15_401, 15_501)
    sync.legacy.sign_up(*users)
    frozen.kill(signal.SIGSTOP)
    try:
        sync.legacy.run("UPDATE users SET given_name = 'Danach' WHERE id = ANY(%s)", list(users))
        until(lambda: second.status()["owned"] == 12, "the second worker took everything over", 45)
        for user in users:
            sync.cidaas.await_user(user, lambda entity: entity["given_name"] == "Danach")
    finally:
        frozen.kill(signal.SIGCONT)

    def shared() -> bool:
        shares = [int(worker.status().get("owned", 0)) for worker in (frozen, second)]
        return sum(shares) == 12 and min(shares) > 0

    until(lambda: not frozen.alive or shared(), "the thawed worker ended, or joined and shares the work")
    if not frozen.alive:  # O3: it found out that it had lost its partitions
        assert frozen.code == 1, frozen.last_lines()
        assert frozen.last_lines(1).startswith("the worker stopped: "), frozen.last_lines()
    sync.legacy.run("UPDATE users SET given_name = 'Zuletzt' WHERE id = ANY(%s)", list(users))
    sync.assert_equal(60)
    if len(sync.alive()) == 2:
        assert second.end() == 0
