"""`status`: rates and ages outlive a worker, the slowest stage has a name, and all of it fits on one screen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import SETTINGS, envelope, user_row
from hypothesis import given, settings
from hypothesis import strategies as st
from sights import SLOT
from world import World

from streams import views
from streams.ages import pending_since
from streams.brake import known
from streams.commands import room as asking
from streams.commands.watching import coloured, in_its_place
from streams.control import DELIVERY, SOURCE
from streams.ledger import Entry, State
from streams.rows import Resync
from streams.screen import WIDTH, render
from streams.snapshots import Snapshot
from streams.source import progress
from streams.source.room import Room, room
from streams.source.wal import WalRate, between
from streams.spread import merged, percentile, spread
from streams.stages import Share, Stage, Stages, shares, slowest
from streams.state.history import History
from streams.tally import LONGEST, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

# -- rates ------------------------------------------------------------------------------------------------------------


def test_a_rate_is_over_its_window_and_over_less_while_there_is_less() -> None:
    """A pipeline that began a minute ago has no quarter of an hour to divide by."""
    tally = Tally()
    assert tally.rate(100.0, 60) == 0.0
    for second in range(60):
        tally.add(1_000.0 + second, 50)
    assert tally.rate(1_060.0, 60) == pytest.approx(50, rel=0.05)
    assert tally.rate(1_060.0, 900) == pytest.approx(50, rel=0.05)
    assert tally.rate(1_360.0, 60) == 0.0
    assert tally.rate(1_360.0, 900) == pytest.approx(3_000 / 360, rel=0.01)
    assert tally.rate(2_500.0, 900) == 0.0


def test_a_busy_week_leaves_a_quarter_of_an_hour_behind() -> None:
    tally = Tally()
    for second in range(5 * LONGEST):
        tally.add(float(second), 1)
    assert len(tally._seconds) <= 2 * LONGEST
    assert tally.rate(5.0 * LONGEST, LONGEST) == pytest.approx(1, rel=0.01)


def test_what_is_learnt_of_the_time_before_counts_like_what_was_seen() -> None:
    seen, learnt = Tally(), Tally()
    for second in range(100):
        seen.add(second, 3)
    learnt.learn(100.0, dict.fromkeys(range(1, 101), 3), oldest=100.0)
    for window in (10, 60, 300):
        assert learnt.rate(100.0, window) == pytest.approx(seen.rate(100.0, window), rel=0.35 if window == 10 else 0.05)


def test_an_old_pipeline_has_its_whole_window_also_after_a_quiet_night() -> None:
    """One user since midnight is no rate of one every ten seconds."""
    tally = Tally()
    tally.learn(50_000.0, {10: 1}, oldest=40_000.0)
    assert tally.rate(50_000.0, 900) == pytest.approx(1 / 900)


def test_a_history_counts_confirmations_of_the_last_quarter_and_keeps_the_latest() -> None:
    history = History(2_000_000)
    for number in range(3_000):
        history.entry(b"%d" % number, number * 600, confirmed=number % 2 == 0)
    assert sum(history.by_age.values()) == sum(1 for n in range(0, 3_000, 2) if 2_000 - n * 0.6 < LONGEST)
    assert history.oldest == 2_000.0
    assert history.latest()[-1] == b"2998" and not history.latest()


def changed(world: World, number: int) -> Awaitable[None]:
    """A change that is committed now."""
    value = envelope("u", "users", world.lsn(), user_row(number), __source_ts_us=int(world.clock.time() * 1e6))
    world.broker.append(SETTINGS.topics.identity, 0, b"%d" % number, value)
    return world.joined()


def figures(world: World) -> dict[str, Any]:
    """What the worker says of rates, ages and latencies."""
    pipeline: Any = SimpleNamespace(delivery=world.delivery)
    return {"rate": views._rates(pipeline), "latencies": sorted(world.delivery.figures.latencies)}


def test_rates_and_latencies_outlive_the_worker(tmp_path: Path) -> None:
    """After a kill the figures go on, and nothing was written down for it."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        for number in range(1, 41):
            await changed(world, number)
            await world.in_sync(number)
            await asyncio.sleep(2)
        before = figures(world)
        assert before["rate"]["60s"] > 0.3 and len(before["latencies"]) == 40
        await world.stop()
        again = await World.start(tmp_path, clock, former=world)
        after = figures(again)
        for window in ("60s", "300s", "900s"):
            assert after["rate"][window] == pytest.approx(before["rate"][window], rel=0.1), window
        assert after["latencies"] == before["latencies"]
        await again.stop()

    run(scenario(), clock)


def test_a_rebalance_counts_nobody_twice(tmp_path: Path) -> None:
    """Who gives its partitions up forgets what it counted: their next owner learns it from the ledger."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await changed(world, 1)
        await world.in_sync(1)
        world.delivery.forget()
        assert figures(world) == {"rate": dict.fromkeys(("10s", "60s", "300s", "900s"), 0.0), "latencies": []}
        await world.stop()

    run(scenario(), clock)


# -- ages -------------------------------------------------------------------------------------------------------------


def test_the_oldest_pending_users_age_outlives_the_worker(tmp_path: Path) -> None:
    """It is the commit's, not that of a queue in memory; a change of somebody else makes nobody younger."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        assert views._oldest(world.partition) is None
        world.pipeline.control.state[DELIVERY] = {"paused": True, "at": clock.time()}
        await changed(world, 9)  # by key, it would come last
        since = clock.time()
        await asyncio.sleep(3_600)
        for number in range(100, 140):
            await changed(world, number)
        assert views._oldest(world.partition) == pytest.approx(since, abs=1)
        await world.stop()
        again = await World.start(tmp_path, clock, former=world)
        assert views._oldest(again.partition) == pytest.approx(since, abs=1)
        await again.stop()

    run(scenario(), clock)


def test_who_is_sent_again_waits_since_the_order(tmp_path: Path) -> None:
    """Else one `resync` would show the age of its last change."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await changed(world, 1)
        await world.in_sync(1)
        await asyncio.sleep(600)
        world.pipeline.control.state[DELIVERY] = {"paused": True, "at": clock.time()}
        world.put_control(1, Resync("anna"))
        await world.joined()
        assert views._oldest(world.partition) == pytest.approx(clock.time(), abs=1)
        await world.stop()

    run(scenario(), clock)


@pytest.mark.parametrize(
    ("snap", "entry", "since"),
    [
        (Snapshot(version=(1, 7), committed_us=100_000_000, streamed=True), None, 100.0),
        (Snapshot(version=(1, 7), committed_us=100_000_000), None, 110.0),
        (Snapshot(version=(1, 7)), Entry(version=(1, 3), mapping_id="aa", state=State.CONFIRMED), 110.0),
        (Snapshot(version=(1, 7)), Entry(version=(1, 7), mapping_id="aa", state=State.RETRYING), 110.0),
        (Snapshot(version=(1, 7)), Entry(version=(1, 7), mapping_id="aa", state=State.IN_DOUBT), 500.0),
        (Snapshot(version=(1, 7)), Entry(version=(1, 7), mapping_id="bb", state=State.CONFIRMED), 900.0),
    ],
    ids=["streamed", "read", "newer version", "refused", "asked for again", "new mapping"],
)
def test_since_when_a_user_is_pending(snap: Snapshot, entry: Entry | None, since: float) -> None:
    assert pending_since(snap, 110.0, entry, 500.0, "aa", 900.0) == since


# -- latencies and stages ---------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 1 << 30)), min_size=1, max_size=4))
def test_percentiles_of_several_workers_are_about_those_of_all_users(sizes: list[tuple[int, int]]) -> None:
    """A worker with ten users must not weigh as much as one with ten thousand."""
    workers = [[rng.expovariate(1) for _ in range(size)] for size, seed in sizes for rng in [Random(seed)]]
    everybody = sorted(value for worker in workers for value in worker)
    found = merged([spread(worker) for worker in workers])
    if not everybody:
        assert found is None
        return
    assert found is not None and found["n"] == len(everybody)
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        low, high = percentile(everybody, max(0.0, share - 0.05)), percentile(everybody, min(1.0, share + 0.05))
        assert low <= found[name] <= high, (name, low, found[name], high)


def test_the_shares_of_the_stages_are_by_user_over_all_workers() -> None:
    one, other = Stages(), Stages()
    one.sample(Stage.CALL, 10.0, 0.5, 50)
    one.sample(Stage.QUEUE, 10.0, -3.0, 50)  # a clock that differs
    other.sample(Stage.CALL, 10.0, 2.0, 1)
    other.sample(Stage.SOURCE, 10.0, 1.0, 10)
    found = shares([one.body(11.0), other.body(11.0)])
    assert found["call"].seconds == pytest.approx(27 / 51)
    assert found["queue"].seconds == 0.0 and "topic_to_snapshot" not in found
    assert sum(one.share for one in found.values()) == pytest.approx(1.0)
    assert not shares([one.body(400.0)]), "what is five minutes old says nothing of now"


def test_the_stages_of_a_change_are_measured_on_its_way(tmp_path: Path) -> None:
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await changed(world, 1)
        await world.in_sync(1)
        found = shares([world.delivery.figures.stages.body(clock.now)])
        assert set(found) == {stage.value for stage in Stage}
        assert found["call"].seconds == pytest.approx(0.01, abs=0.005)  # what the tenant takes
        assert found["queue"].seconds == pytest.approx(SETTINGS.delivery.quiet, abs=0.005)
        await world.stop()

    run(scenario(), clock)


CALM: dict[str, Any] = {"pending": 0, "behind": 0, "paused": False, "trouble": "", "source_late": ""}


@pytest.mark.parametrize(
    ("changes", "found", "stage"),
    [
        ({}, {}, None),
        ({"paused": True, "pending": 5}, {"call": Share(1.0, 1.0)}, "paused"),
        ({"paused": True}, {}, None),
        ({"trouble": "503", "pending": 5}, {"queue": Share(1.0, 1.0)}, "cidaas"),
        ({"source_late": "no heartbeat"}, {"call": Share(1.0, 1.0)}, "wal_to_topic"),
        ({}, {"call": Share(1.0, 0.2), "queue": Share(4.0, 0.8)}, "queue"),
        ({"pending": 5}, {}, "queue"),
        ({"pending": 5, "behind": 9}, {}, "topic_to_snapshot"),
    ],
)
def test_the_slowest_stage(changes: dict[str, Any], found: dict[str, Share], stage: str | None) -> None:
    worst = slowest(found, **CALM | changes)
    assert (worst and worst.stage) == stage


# -- the slot's limit -------------------------------------------------------------------------------------------------


def test_the_rate_of_the_wal_follows_from_looks_also_from_one_of_a_worker_before() -> None:
    rate = WalRate()
    assert rate.per_second() is None
    rate.see(1_000.0, 10_000)
    rate.see(1_002.0, 12_000)
    assert rate.per_second() is None, "too close to tell"
    for second in range(4, 1_000, 2):
        rate.see(1_000.0 + second, 10_000 + 1_000 * second)
    assert rate.per_second() == pytest.approx(1_000)
    assert len(rate._looks) < 160
    rate.see(2_000.0, 5_000)  # restored from an older copy
    assert rate.per_second() is None
    assert between((0.0, 100), (3_600.0, 100 + 3_600)) == 1.0


def test_the_rate_is_known_without_a_worker_by_what_was_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 2_000.0)
    state = {SOURCE: {"lsn": 1_000, "at": 1_900.0}}
    assert asking.remembered(state, 11_000) == 100.0
    assert asking.remembered({}, 11_000) is None and asking.remembered(state, None) is None
    assert asking.remembered({SOURCE: {"lsn": 1_000}}, 11_000) is None, "written by an older version"


GIB = 1 << 30
READ = replace(SLOT, limit_bytes=10 * GIB, safe_bytes=9 * GIB)


@pytest.mark.parametrize(
    ("slot", "rate", "free", "seconds", "says"),
    [
        (
            READ,
            GIB / 3600,
            None,
            9 * 3600,
            "would reach its limit 9 h after the connector stops (9.0 GiB are left, 1.0",
        ),
        (replace(READ, active=False), GIB / 3600, None, 9 * 3600, "nobody reads the slot: it reaches its limit in 9 h"),
        (READ, None, None, None, "9.0 GiB are left until the slot reaches its limit; how fast WAL is written is not"),
        (READ, 0.0, None, None, "no WAL is written"),
        (SLOT, GIB / 3600, 2 * GIB, 7200, "no limit: the database's disk would be full 2 h after the connector stops"),
        (replace(SLOT, active=False), GIB / 3600, GIB, 3600, "the database's disk is full in 1 h"),
        (SLOT, None, 2 * GIB, None, "2.0 GiB are left until the disk is full"),
        (SLOT, GIB / 3600, None, None, "can only be seen there, 1.0 GiB an hour are written"),
    ],
)
def test_the_time_until_the_limit_in_words(
    slot: Any, rate: float | None, free: int | None, seconds: float | None, says: str
) -> None:
    found = room(slot, rate, free)
    assert found is not None and says in str(found)
    assert found.seconds_left == (None if seconds is None else pytest.approx(seconds))


def test_a_slot_that_is_not_there_or_lost_has_no_time_left() -> None:
    assert room(None, 1.0) is None and room(replace(READ, lost=True), 1.0) is None


# -- the initial snapshot ---------------------------------------------------------------------------------------------


def notice(kind: str, at: float, **more: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": at * 1000, "additional_data": more}


RUN = [
    notice("STARTED", 100),
    notice("IN_PROGRESS", 101, current_collection_in_progress="public.credentials"),
    notice("TABLE_SCAN_COMPLETED", 120, scanned_collection="public.credentials", total_rows_scanned="3000"),
    notice("IN_PROGRESS", 121, current_collection_in_progress="public.users"),
]
ORDER = ["public.credentials", "public.users"]
ABOUT = {"public.credentials": 2_900, "public.users": 4_000}


def test_the_progress_of_each_table_with_what_is_left() -> None:
    skipped, first = notice("SKIPPED", 90), notice("STARTED", 10)
    run_ = progress.last_run([first, skipped, *RUN])
    assert run_ == RUN and progress.began(run_) == 100.0
    credentials, users = progress.tables(ORDER, run_, ABOUT, 4_000, 140.0)
    assert (credentials.state, credentials.rows_read, credentials.eta_seconds) == ("read", 3_000, None)
    assert (users.state, users.rows_read, users.eta_seconds) == ("reading", 1_000, 30.0)  # 100 rows/s
    credentials, users = progress.tables(ORDER, RUN[:2], ABOUT, 1_000, 110.0)
    assert (credentials.state, credentials.eta_seconds) == ("reading", 19.0)
    assert (users.state, users.rows_read, users.eta_seconds) == ("waiting", 0, 40.0)


def test_what_is_not_known_of_a_table_is_not_made_up() -> None:
    """Never analysed, or Kafka does not answer."""
    _, users = progress.tables(ORDER, RUN, {}, None, 140.0)
    assert (users.rows_read, users.rows_estimated, users.eta_seconds) == (None, None, None)
    assert progress.began([*RUN, notice("COMPLETED", 150)]) is None
    assert progress.last_run([]) == [] and progress.began([]) is None


# -- the screen -------------------------------------------------------------------------------------------------------


def gathered(**changes: Any) -> dict[str, Any]:
    """What `collect` gathers in the middle of an initial load, with every line in it."""
    found = room(READ, GIB / 3600)
    assert found is not None
    return {
        "at_unix_seconds": 1_800_000_000.0,
        "workers": [{"worker": f"migration-worker-{n}.example.com:6066", "owned": 4} for n in range(3)],
        "users": {"users": 412_345, "in_sync": 300_000, "pending": 112_000, "quarantined": 300, "dropped": 45},
        "users_about": None,
        "users_expected": 534_000,
        "records_behind": 12_345,
        "rate_users_per_second": {"1_min": 812.3, "5_min": 790.0, "15_min": 4.25},
        "eta_seconds": 290.0,
        "oldest_pending_seconds": 3_700.0,
        "latency_seconds": {"p50": 0.21, "p99": 4.5, "users": 10_000},
        "slowest": {"stage": "queue", "share": 0.83, "what": "waiting for a call"},
        "stages": {stage.value: {"seconds_per_user": 0.2, "share": 0.25} for stage in Stage},
        "only": 50,
        "reconcile": {"at": 1_799_992_800.0, "differences": {"stale": 3, "not_deleted": 1}, "read_back": None},
        "sweep": {"state": "running", "done": 3, "of": 12, "why": "", "gone": 1, "missing": 2, "credentials": 3,
                  "at": None, "asked_at": 1.8e9, "asked_for": "the initial snapshot was interrupted and began anew"},
        "heartbeat_age_seconds": 0.4,
        "snapshot": "running public.users",
        "snapshot_tables": [one.body() for one in progress.tables(ORDER, RUN, ABOUT, 4_000, 140.0)],
        "slot_room": found.body() | {"words": str(found)},
        "source": {"connector": "RUNNING", "tasks": ["RUNNING"], "connect_away": "", "database_away": "",
                   "slot": {"active": True, "lost": False, "lag_bytes": 12_345, "kept_bytes": 1 << 24}},
        "problems": [{"slug": "paused", "what": "delivery is paused: " + "because " * 20, "remedy": "Run `resume`."}],
    } | changes  # fmt: skip


def test_the_screen_fits_and_says_each_thing() -> None:
    text = render(gathered(), 1_800_000_000.0)
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    for said in (
        "read, lag 12 KiB, 16 MiB of WAL kept",
        "reach its limit 9 h after",
        "public.credentials: 3,000 rows, all read",
        "public.users: 1,000 of about 4,000 rows read (25%), 30 s to go",
        "112,000, the oldest for 1 h 1 min",
        "812 over 1 min, 790 over 5 min, 4.2 over 15 min, about 4 min 50 s to go",
        "p50 210 ms, p99 4.5 s from commit to confirmation (10,000 users)",
        "waiting for a call, 83% of the time",
        "deletes parked",
        "2 h ago: 4 differences (3 stale, 1 not deleted), cidaas left out",
        "! delivery is paused",
    ):
        assert said in " ".join(text.split()), said


def test_on_a_pipe_each_sentence_is_one_line() -> None:
    """So that a search finds it."""
    text = render(gathered(), 1_800_000_000.0, 0)
    assert "! delivery is paused: " + "because " * 19 + "because\n  Run `resume`." in text


def test_without_a_worker_the_screen_says_what_can_be_known() -> None:
    body = gathered(workers=[], users={}, users_about=412_000, slowest=None, latency_seconds=None)
    text = " ".join(render(body, 1_800_000_000.0).split())
    assert "about 412,000, 12,345 records behind" in text and "only a worker counts that" in text
    assert "slot limit" in text and "public.users: 1,000" in text and "users/s" not in text
    bare = gathered(
        workers=[], users={}, records_behind=None, slot_room=None, snapshot_tables=[], heartbeat_age_seconds=None,
        source={"connector": None, "tasks": [], "connect_away": "x", "database_away": "y", "slot": None},
    )  # fmt: skip
    text = render(bare, 1_800_000_000.0)
    assert "does not answer" in text and "cannot be asked" in text


def test_what_is_wrong_is_red_on_a_terminal() -> None:
    assert coloured("! gone").startswith("\x1b[31m") and coloured("  Run it.") == "  Run it."
    assert "\x1b[32m" in coloured("nothing is wrong")


def test_a_screen_takes_the_place_of_the_one_before() -> None:
    """Each line to its end, so that nothing of a longer one stays; and never more lines than there are."""
    shown = in_its_place("one\ntwo", 24, first=False)
    assert shown == "\x1b[Hone\x1b[K\ntwo\x1b[K\n\x1b[J"
    assert in_its_place("one", 24, first=True).startswith("\x1b[2J")
    low = in_its_place("\n".join(f"line {n}" for n in range(40)), 10, first=False)
    assert low.count("\n") == 9 and "32 more lines" in low


def test_users_are_known_to_a_tenth_without_a_worker() -> None:
    assert known({"brake/0": {"known": 40, "upto": 1}, "brake/1": {"known": 2}, "brake": {"on": False}}) == 42


def test_a_room_as_json_has_its_units() -> None:
    body = Room(1, 2, 3600, 1.0, read=True).body()
    assert body["seconds_left"] == 3600.0
    assert all(name.rpartition("_")[2] in ("bytes", "second", "left", "read") for name in body)
