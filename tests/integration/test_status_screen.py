"""`status` on the real stack: what it says of rates, ages and the slot goes on after a kill, and without a worker."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest

from demo.stack.places import ROOT
from streams.offline import read_behind, read_control, read_written
from streams.source import progress
from streams.source.look import captured
from tests.integration.waiting import until
from tests.integration.workers import FAUST, TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.settings import Settings
    from tests.integration.pipeline import Pipeline

LIVE = range(19_101, 19_141)


def setting(url: str, *statements: str) -> None:
    """ALTER SYSTEM takes no transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in (*statements, "SELECT pg_reload_conf()"):
            connection.execute(statement.encode())


@pytest.fixture
def limited(sync: Pipeline) -> Iterator[Pipeline]:
    """The slot may keep 2 GiB."""
    setting(sync.legacy.url, "ALTER SYSTEM SET max_slot_wal_keep_size = '2GB'")
    try:
        yield sync
    finally:
        setting(sync.legacy.url, "ALTER SYSTEM RESET max_slot_wal_keep_size")


def status(sync: Pipeline) -> dict[str, Any]:
    """What it says, whatever is wrong."""
    said = sync.command("status", "--json")
    assert TRACEBACK not in said.text, said
    body: dict[str, Any] = orjson.loads(said.out)
    return body


@contextmanager
def paused(sync: Pipeline, why: str) -> Iterator[str]:
    """Paused, and what `pause` said."""
    said = sync.command("pause", "--why", why)
    assert said.code == 0, said
    try:
        yield said.out
    finally:
        assert sync.command("resume").code == 0


def test_rates_and_latencies_go_on_after_a_kill(fresh: Callable[[str], Pipeline]) -> None:
    """A load, then changes, then kill -9: the figures of the next worker begin where those of this one ended."""
    sync = fresh("status-figures")
    worker = sync.start()
    until(lambda: worker.count("in_sync") > 2_900 and not worker.count("pending"), "everybody is loaded", 90)
    sync.legacy.sign_up(*LIVE)
    until(lambda: all(sync.cidaas.entity(user) for user in LIVE), "the new users are there")
    until(lambda: worker.count("pending") == 0, "nothing to do")
    asked = time.monotonic()
    before = status(sync)
    answered = time.monotonic()
    assert before["rate_users_per_second"]["15_min"] > 2_900 / 900
    assert before["latency_seconds"]["users"] >= len(LIVE)
    assert set(before["stages"]) >= {"topic_to_snapshot", "queue", "call"}, "where the time goes was measured"
    assert before["slowest"]["stage"] in before["stages"] and before["slowest"]["share"] > 0

    worker.kill()
    sync.start()
    least = time.monotonic() - answered
    after = status(sync)
    most = time.monotonic() - asked
    for window in ("5_min", "15_min"):
        rate = before["rate_users_per_second"][window]
        # The load was a moment ago, so the rate falls with each second that passes, and not to nothing.
        lived = 3_000 / rate
        lowest, highest = (rate * lived / (lived + passed) for passed in (most, least))
        assert 0.9 * lowest < after["rate_users_per_second"][window] < 1.1 * highest, (window, before, after)
    assert after["latency_seconds"]["users"] >= len(LIVE), "of a user only its last confirmation is kept"
    assert after["latency_seconds"]["p99"] > 0


def test_a_pause_says_for_how_long_it_may_last_and_its_oldest_user_stays_the_oldest(limited: Pipeline) -> None:
    sync = limited
    until(lambda: sync.worker.count("in_sync") > 2_900 and not sync.worker.count("pending"), "everybody is loaded", 90)
    until(lambda: status(sync)["slot_room"]["wal_bytes_per_second"], "the rate of the WAL is known")
    with paused(sync, "Wartung 4712") as said:
        assert "would reach its limit" in said and "GiB are left" in said, said
        began = time.time()
        sync.legacy.sign_up(19_151)
        committed = time.time()
        until(lambda: sync.worker.count("pending") == 1, "the change is joined, and waits")
        until(lambda: (status(sync)["oldest_pending_seconds"] or 0) > 3, "it gets older")
        sync.worker.kill()
        sync.start()
        asked = time.time()
        body = status(sync)
        assert asked - committed - 1 < body["oldest_pending_seconds"] < time.time() - began + 1
        assert body["slowest"]["stage"] == "paused"
        assert body["slot_room"]["limit_bytes"] == 2 << 30
        assert 1 << 30 < body["slot_room"]["left_bytes"] < 3 << 30, "PostgreSQL counts whole segments of WAL"
        screen = " ".join(sync.command("status").out.split())
        for words in ("Wartung 4712 (", ", since 20", "would reach its limit", "1, the oldest for"):
            assert words in screen, screen
        user = " ".join(sync.command("user", "19151").text.split())
        assert "delivery is paused (Wartung 4712) by " in user and "would reach its limit" in user, user

        sync.stop()
        alone = sync.command("status")
        screen = " ".join(alone.out.split())
        assert alone.code == 1, alone
        for words in (
            "no worker answers",
            "Wartung 4712 (",
            "would reach its limit",
            "records behind",
            "joined about ",
        ):
            assert words in screen, screen
        sync.ensure()
    sync.cidaas.await_user(19_151)


def test_the_connectors_reports_name_the_tables_as_they_are_looked_for(sync: Pipeline, settings: Settings) -> None:
    """How far the initial snapshot is, follows from them and from what came into Kafka since it began."""
    run = progress.last_run(asyncio.run(read_control(settings)).notifications)
    run = run[: next(at for at, one in enumerate(run) if one["type"] == "COMPLETED")]
    order = [table.name for table in reversed(captured(settings))]
    began = progress.began(run)
    assert began is not None
    written = asyncio.run(read_written(settings, began))
    found = progress.tables(order, run, {}, written, time.time())
    assert [one.state for one in found] == ["read", "read"], run
    rows = [one.rows_read or 0 for one in found]
    assert min(rows) > 2_900 and written >= sum(rows)
    # Each has been read, so one that still is would show all of it: the names of both kinds of reports fit.
    half = [one for one in run if one["type"] != "TABLE_SCAN_COMPLETED"]
    assert progress.tables(order, half, {}, written, time.time())[0].state == "reading", half
    until(lambda: asyncio.run(read_behind(settings)) == 0, "everything that was joined is committed")


def watching(sync: Pipeline, **streams: Any) -> subprocess.Popen[bytes]:
    """`status --watch`, in a process group of its own."""
    env = dict(sync.env) | {"WORKER_URL": f"http://127.0.0.1:{sync.worker.port}"}
    return subprocess.Popen(
        [*FAUST, "status", "--watch"], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
        start_new_session=True, **streams,
    )  # fmt: skip


def test_watch_goes_on_below_itself_on_a_pipe_and_ends_by_ctrl_c(sync: Pipeline) -> None:
    process = watching(sync, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        seen = b""
        while seen.count(b"cidaas-sync status") < 2:
            line = process.stdout.readline()
            assert line, seen
            seen += line
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
        assert process.returncode == 0, rest
        assert b"\x1b" not in seen + rest and TRACEBACK.encode() not in seen + rest
    finally:
        process.kill()


def test_watch_stays_in_its_place_on_a_terminal(sync: Pipeline) -> None:
    ours, theirs = pty.openpty()
    process = watching(sync, stdout=theirs)
    os.close(theirs)
    try:
        seen = b""
        while seen.count(b"cidaas-sync status") < 2:
            seen += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert seen.count(b"\x1b[2J") == 1 and seen.count(b"\x1b[H") >= 2
    finally:
        process.kill()
        os.close(ours)
