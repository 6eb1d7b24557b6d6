"""The fault tests' own judgement: it sees disorder, duplicates and secrets, and its table names what was not run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.kit import judge, results
from tests.faults.kit.results import Result

if TYPE_CHECKING:
    from pathlib import Path


def state(version: int, at: int, word: str = "UPDATED", *, entity: str | None = None) -> dict[str, Any]:
    full = {"customFields": {"customer_number": f"v{version}"}}
    return {"at_us": at, "state": word, "entity": entity or f"e{version}", "full": None if word == "DELETED" else full}


def seen(*states: dict[str, Any], since: int = 0) -> judge.History:
    history = judge.History()
    judge._user(history, {"sub": "s", "states": list(states)}, since)
    return history


def test_an_older_state_after_a_newer_one_is_disorder_also_over_a_delete() -> None:
    assert seen(state(1, 1), state(2, 2), state(3, 3)).disorder == []
    assert seen(state(1, 1), state(3, 2), state(2, 3)).disorder == ["s"]
    assert seen(state(3, 1), state(0, 2, "DELETED"), state(2, 3)).disorder == ["s"], "it came back as it was before"
    assert seen(state(3, 1), state(0, 2, "DELETED"), state(4, 3)).disorder == []


def test_what_was_there_before_the_test_is_not_its_fault_but_counts_as_newest() -> None:
    assert seen(state(3, 1), state(2, 2), since=3).disorder == []
    assert seen(state(3, 1), state(2, 5), since=3).disorder == ["s"]


def test_the_same_state_twice_is_a_duplicate_unless_it_was_deleted_between() -> None:
    assert seen(state(1, 1), state(1, 2)).duplicates == 1
    assert seen(state(1, 1), state(0, 2, "DELETED"), state(1, 3)).duplicates == 0


def test_secrets_are_found_and_not_repeated() -> None:
    hashed = b"$2b$12$" + b"a" * 53
    for text in (hashed, b"someone@example.org", b"KANARIE", b"$argon2id$v=19"):
        (found,) = judge.secrets_in([("log", b"first line\n" + text)])
        assert found.startswith("log line 2")
        assert text.decode() not in found
    assert judge.secrets_in([("log", b"user=42 partition=3 confirmed")]) == []


def test_of_a_figure_the_worst_is_shown() -> None:
    runs = [Result("F7", "away", seed, figures={"calls": seed, "at least": seed}) for seed in (1, 3, 2)]
    assert results._figures(runs) == ["calls 3", "at least 1"]


def test_a_fault_that_is_run_again_replaces_its_rows_only(tmp_path: Path) -> None:
    old = [Result("F1", "in bursts", 1), Result("F1", "now and then", 1), Result("F2", "two workers", 1)]
    both = results.merged(old, [Result("F1", "now and then", 2, passed=True)], ["F1"])
    assert [(result.fault, result.seed) for result in both] == [("F2", 1), ("F1", 2)]
    assert results.merged(old, [], ["F1"]) == old[2:], "its stack did not start: the old success is none of this run"
    results.save(both, tmp_path / "kept")
    assert results.load(tmp_path / "kept") == both


def test_the_table_shows_failures_and_what_was_not_run() -> None:
    good = Result("F1", "now and then", 1, strikes=3, recoveries=[2.0, 4.0], duplicates=2, states=100, passed=True)
    bad = Result("F1", "in bursts", 2, strikes=3, lost=1, figures={"calls": 1.234})
    rows = results.table([good, bad]).splitlines()
    first = next(row for row in rows if row.startswith("| F1 "))
    assert "now and then; in bursts" in first
    assert "2 (6), **1 failed**" in first
    assert "| 1 | 0 | 0 |" in first
    assert "3.0 s / 4.0 s" in first
    assert "calls 1.23" in first
    assert sum("not run" in row for row in rows) == len(results.FAULTS) - 1
