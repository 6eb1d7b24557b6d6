"""Figures that were typed by hand, or that hide a failure, would be worse than none."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from bench import page, people, results
from bench.figures import of, ratio
from bench.profiles import summary
from bench.scenarios.backlog import figures as backlog_figures
from bench.targets import TARGETS
from streams.mapping import Mapper
from streams.rows import RowChange, RowReader
from streams.settings import load

SETTINGS = load(env={})
ABOUT = {
    "date": "2026-01-02 03:04 UTC",
    "commit": "abc",
    "changed_files": False,
    "machine": {"cpu": "a CPU", "cores": 2, "memory_gb": 24, "system": "Linux"},
    "versions": {"Python": "3.11"},
}


def made(**rows: list[dict[str, Any]]) -> results.Results:
    """Results with these runs."""
    part: dict[str, Any] = {"about": ABOUT, "record_bytes": {"10": 500.0}, "busy_percent": 1.0, "seconds": 60.0}
    return {"scenarios": {name: {**part, "rows": runs} for name, runs in rows.items()}}


def delivered(contender: str, run: int, per_second: float, **more: Any) -> dict[str, Any]:
    return {"contender": contender, "run": run, "users": 10, "latency_ms": 0, "per_second": per_second, **more}


def test_page_and_readme_are_made_of_the_results() -> None:
    """Change bench/results.json or the programs, not the pages: `make bench`, or `python -m bench --page`."""
    found = results.load()
    for path, text in ((page.PAGE, page.measured(found)), (page.README, page.quoted(found))):
        said = path.read_text()
        assert said == page.replaced(said, text), f"{path.name} is not what bench/results.json makes of it"


def test_a_ratio_compares_what_ran_in_the_same_round() -> None:
    """The machine may have been slower in one round: medians of both sides would compare different hours."""
    runs = [delivered("ours", 1, 100), delivered("ours", 2, 10), delivered("plain", 1, 50), delivered("plain", 3, 1)]
    found = ratio(runs, "plain", "per_second")
    assert found is not None and (found.median, found.least, found.most) == (2, 2, 2)
    assert ratio(runs, "quix", "per_second") is None


def test_a_failed_run_stands_in_the_table_and_makes_no_figure() -> None:
    """A peer that silently disappears would look like one that was never there."""
    bad = {"contender": "plain", "run": 2, "users": 10, "latency_ms": 0, "problem": "it sent something else"}
    text = page.measured(made(deliver=[delivered("ours", 1, 7), delivered("plain", 1, 5), bad]), {})
    assert "**1 of 2**" in text and "it sent something else" in text
    assert of([bad], "per_second") is None


def test_a_reason_is_quoted_only_while_the_aim_is_missed() -> None:
    """The reason of last month's figure must not stand beside a figure that holds."""
    reasons = {"deliver_plain": "Because."}
    missed = made(deliver=[delivered("ours", 1, 7), delivered("plain", 1, 10)])
    held = made(deliver=[delivered("ours", 1, 11), delivered("plain", 1, 10)])
    assert "Because." in page.measured(missed, reasons)
    assert "Because." not in page.measured(held, reasons)
    assert "no reason is known" in page.measured(missed, {})


@pytest.mark.parametrize(
    ("one", "two", "words"), [(13, 20, "holds"), (9, 13, "holds with two workers"), (9, 11, "**missed**")]
)
def test_what_takes_two_workers_is_said(one: float, two: float, words: str) -> None:
    """A figure that two processes bring must not be taken for one that a single worker brings."""
    runs = [delivered("ours", 1, one), delivered("pair", 1, two), delivered("kafka_streams", 1, 10)]
    lines = page.measured(made(deliver=runs), {}).splitlines()
    line = next(line for line in lines if line.startswith("| deliver, 0 ms, against Kafka Streams"))
    assert line.endswith(f"| {words} |"), line


@pytest.mark.parametrize(("second", "words"), [(120.0, "does not grow"), (400.0, "the lag grows")])
def test_a_growing_lag_is_seen(second: float, words: str) -> None:
    """A short run can look quick while it falls behind."""
    row = {"contender": "ours", "run": 1, "rate": 2000, "users": 10, "p50_ms": 1.0, "p99_ms": 500.0}
    halves = {"first_half_p50_ms": 100.0, "second_half_p50_ms": second}
    assert words in page.measured(made(live=[row | halves]), {})


@pytest.mark.parametrize(("users", "words"), [(200_000, "2.50 s"), (8_000, "not measured")])
def test_a_restart_counts_at_the_size_that_the_target_names(users: int, words: str) -> None:
    """A restart of few users is quick, and proves nothing of many."""
    row = {"contender": "ours", "run": 1, "users": users, "local_state": True, "ready_after_assignment_seconds": 2.5}
    lines = page.measured(made(restart=[row]), {}).splitlines()
    assert words in next(line for line in lines if line.startswith("| restart with local state, 200,000"))


@pytest.mark.parametrize(
    ("seconds", "alarms", "words"), [(30.0, 0, "| holds |"), (61.0, 0, "**missed**"), (30.0, 1, "**missed**")]
)
def test_a_false_alarm_is_as_bad_as_a_slow_comparison(seconds: float, alarms: int, words: str) -> None:
    """Who is told at night that users differ, and they do not, believes it no second time."""
    runs = [
        {"contender": "ours", "run": run, "users": 200_000, "rate": 100, "seconds": seconds, "compare_seconds": 9.0,
         "false_alarms": alarms if run == 2 else 0}
        for run in (1, 2)
    ]  # fmt: skip
    text = page.measured(made(reconcile=runs), {})
    line = next(line for line in text.splitlines() if line.startswith("| reconcile without cidaas"))
    assert line.endswith(words if words.startswith("|") else f"| {words} |") and "in 2 of 2 runs" in line, line
    failed = [*runs, {"contender": "ours", "run": 3, "users": 200_000, "rate": 100, "problem": "it was killed"}]
    assert "**missed**" in page.measured(made(reconcile=failed), {})


def test_a_page_of_two_machines_says_so() -> None:
    """A ratio of one machine beside one of another must not look like one day's work."""
    found = made(join=[], live=[])
    found["scenarios"]["live"]["about"] = {**ABOUT, "machine": {**ABOUT["machine"], "cpu": "another CPU"}}
    text = page.measured(found, {})
    assert "a CPU or another CPU; the page says which" in text
    assert "| live | 2026-01-02 03:04 UTC | another CPU |" in text


def test_each_reason_belongs_to_a_target() -> None:
    """A key that is spelled wrong would never be quoted."""
    assert set(tomllib.loads(page.REASONS.read_text())) <= {target.key for target in TARGETS}


def test_figures_without_measurement_are_not_invented() -> None:
    """On a fresh clone nothing was measured."""
    assert "Nothing has been measured" in page.measured({"scenarios": {}})
    assert page.measured(made(join=[]), {}).count("not measured") == len(TARGETS)


def test_the_users_of_the_measurements_are_plain_ones() -> None:
    """Whoever is refused, or lacks a password, would be missing at the target for another reason than speed."""
    reader, mapper = RowReader(SETTINGS.source), Mapper(SETTINGS)
    for number in range(1, 500):
        key = b"%d" % number
        rows = []
        for table, row in (("users", people.user(number)), ("credentials", people.credential(number))):
            change = reader.read(key, people.record(table, row))
            assert isinstance(change, RowChange) and not change.missing and change.row is not None
            rows.append(change.row)
        mapped = mapper.map(str(number), rows[0], {"public.credentials": rows[1:]})
        assert mapped.entity is not None and mapped.has_password and not mapped.notes


def test_a_backlog_is_what_waited_when_the_target_came_back() -> None:
    """Users who were changed later are no backlog; that their calls are under way at the same time is the point."""
    committed = {"a": 1.0, "b": 2.0, "c": 9.0, "d": 11.0}
    arrivals = [["a", "m", 1.5, 1.5], ["b", "m", 12.0, 12.0], ["c", "m", 13.0, 14.0], ["d", "m", 13.0, 14.0]]
    found = backlog_figures(arrivals, committed, back_at=10.0)
    assert (found["backlog"], found["noticed_seconds"], found["last_seconds"]) == (2, 2.0, 2.0)
    assert found["users_per_call"] == 1.0  # up to the moment at which 99 % were there


def test_a_profile_is_summed_up() -> None:
    """A frame that stands twice in a stack is one function that took the time once."""
    text = summary("deliver", 10, ["a (x.py:1);b (x.py:2);a (x.py:1) 3", "a (x.py:1);c (x.py:3) 1"])
    assert "  75.0%  a (x.py:1)" in text and " 100.0%  a (x.py:1)" in text
