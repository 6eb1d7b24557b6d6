"""Who may run a demo where, when the load is done, how latency is read, and what is shown in the end."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from demo.job.live import Live, arrival, percentile
from demo.job.load import Load, settled
from demo.job.marker import Begin, Marker, RefusedError, alone, decide
from demo.job.screen import Screen
from demo.job.summary import Figures, next_commands, rows
from demo.legacy.kinds import Effect
from demo.oracle import Report

if TYPE_CHECKING:
    from pathlib import Path


def test_a_demo_begins_where_nothing_is(tmp_path: Path) -> None:
    assert decide(tmp_path / "run", 2000, runs=False) is Begin.NEW


def test_a_stack_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stack.env").write_text("")
    with pytest.raises(RefusedError, match="did not make"):
        decide(tmp_path, 2000, runs=False)


def test_an_interrupted_demo_goes_on_and_a_finished_one_is_begun_anew(tmp_path: Path) -> None:
    Marker(2000, 1).write(tmp_path)
    (tmp_path / "stack.env").write_text("")
    assert decide(tmp_path, 2000, runs=True) is Begin.RESUME
    Marker(2000, 1, finished=True).write(tmp_path)
    assert decide(tmp_path, 50, runs=False) is Begin.ANEW


def test_a_stack_where_somebody_looks_around_is_not_forgotten(tmp_path: Path) -> None:
    Marker(2000, 1, finished=True).write(tmp_path)
    assert decide(tmp_path, 2000, runs=True) is Begin.AROUND
    with pytest.raises(RefusedError, match="make down"):
        decide(tmp_path, 50_000, runs=True)


def test_a_damaged_marker_is_no_proof_of_ownership(tmp_path: Path) -> None:
    Marker.file(tmp_path).write_text("{")
    (tmp_path / "data").mkdir()
    with pytest.raises(RefusedError):
        decide(tmp_path, 2000, runs=False)


def test_two_demos_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with alone(tmp_path / "run"):
        with pytest.raises(RefusedError, match="already"), alone(tmp_path / "run"):
            pass
        with alone(tmp_path / "other"):
            pass


def status(lag: int = 0, **counts: int) -> dict[str, Any]:
    return {"owned": 12, "lag": lag, "counts": counts}


def test_the_load_is_done_when_every_row_was_read_and_nobody_waits() -> None:
    assert settled(status(users=10, in_sync=8, quarantined=1, nothing_to_do=1), 10)
    assert settled(status(users=12, in_sync=12), 10)  # with two who were deleted since
    assert not settled(status(users=9, in_sync=9), 10)
    assert not settled(status(users=10, in_sync=9, pending=1), 10)
    assert not settled(status(users=10, in_sync=9, set_aside=1), 10)
    assert not settled(status(lag=1, users=10, in_sync=10), 10)


def test_rate_is_said_only_where_it_is_known() -> None:
    load = Load(users=1000, first=100.0, last=102.0, calls=20, sent=1000)
    assert (load.rate, load.users_per_call) == (500, 50)
    load.before = 1000  # all were there from an earlier run
    assert (load.rate, load.users_per_call) == (0, 0)
    restarted = Load(users=1000, first=101.0, last=102.0, calls=4, sent=200)
    assert restarted.rate == 0


def test_arrival_is_the_first_fitting_state_after_the_commit() -> None:
    states = [
        {"at_us": 1_000_000, "state": "CREATED"},
        {"at_us": 2_500_000, "state": "DELETED"},
        {"at_us": 3_000_000, "state": "CREATED"},
    ]
    assert arrival(states, 2.0, Effect.GONE) == 2.5
    assert arrival(states, 2.0, Effect.STATE) == 3.0
    assert arrival(states, 4.0, Effect.STATE) is None


def test_percentiles() -> None:
    assert percentile([], 0.5) == 0
    assert percentile([3, 1, 2], 0.5) == 2
    assert percentile(range(100), 0.99) == 99


def test_the_table_has_every_figure() -> None:
    report = Report(users=10, equal=9, deleted=1)
    report.add("set aside", "3", "e-mail: bad syntax")
    live = Live(changes=3, kinds=2, latencies=[0.05, 0.1], held=[2.1])
    counters = {"calls": {"bulk": {"200": 4}, "purge": {"202": 1}}, "users_in_calls": 11}
    figures = Figures(Load(users=9, first=1, last=2, calls=1, sent=9), live, report, counters, 2**20, ("kafka",))
    table = dict(rows(figures))
    assert table["set aside"] == "1  (1 e-mail: bad syntax)"
    assert table["calls"] == "4 upserts with 11 users, 1 deletes"
    assert table["users per call"] == "9.0 in the initial load, 9 users a second"
    assert table["latency"].startswith("p50 100 ms, p99 100 ms")
    assert {"users", "equal", "missing", "stale", "resurrected", "  of deletes", "worker", "restarted"} <= table.keys()


def test_an_evening_that_has_begun_is_known_after_an_interrupt(tmp_path: Path) -> None:
    Marker(100, 7, ending=True).write(tmp_path)
    assert decide(tmp_path, 100, runs=False) is Begin.RESUME
    found = Marker.read(tmp_path)
    assert found is not None and found.ending and not found.finished
    (tmp_path / "demo.json").write_text('{"users": 100, "seed": 7, "finished": false}')  # of a version before
    assert Marker.read(tmp_path) == Marker(100, 7)


def test_the_next_commands_name_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_commands(tmp_path / ".run")[0].startswith("make up ")
    assert next_commands(tmp_path / "x")[0].startswith("make up RUN_DIR=x")
    assert "set -a; . .run/stack.env; set +a" in next_commands(tmp_path / ".run")


def test_a_file_gets_plain_lines_of_finished_stages() -> None:
    written = io.StringIO()
    screen = Screen(Console(file=written, highlight=False, soft_wrap=True))
    with screen.stage("load", "waiting") as stage:
        stage.update("1 of 2", 1, 2)
        stage.result("2 users [in] cidaas")
    assert written.getvalue().startswith("  load      2 users [in] cidaas")
    assert "1 of 2" not in written.getvalue()
