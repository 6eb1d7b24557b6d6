"""What the connector's notifications tell of its starts, and after which of them all users have to be compared."""

from __future__ import annotations

from typing import Any

import pytest

from streams.source.runs import INTERRUPTED, first_seen, runs, to_sweep, why


def told(*kinds: str) -> list[dict[str, Any]]:
    return [{"type": kind, "offset": offset, "additional_data": {}} for offset, kind in enumerate(kinds)]


FIRST = ("STARTED", "DATA_COLLECTIONS_RESOLVED", "IN_PROGRESS", "TABLE_SCAN_COMPLETED", "COMPLETED")


def test_the_first_snapshot_needs_no_comparison() -> None:
    """It is anchored in the stream: nothing is between it and the changes."""
    starts = runs(told(*FIRST))
    assert [(run.how, run.again) for run in starts] == [("COMPLETED", False)]
    assert to_sweep(starts, -1) is None


def test_a_snapshot_that_began_twice_is_compared_when_it_is_done() -> None:
    """The rows deleted between both runs are announced by nobody."""
    starts = runs(told("STARTED", "IN_PROGRESS", *FIRST))
    assert [(run.how, run.again) for run in starts] == [("RUNNING", False), ("COMPLETED", True)]
    run = to_sweep(starts, first_seen(starts))
    assert run is not None and run.ended == 6
    assert why(run, starts) == INTERRUPTED
    assert to_sweep(starts, 6) is None, "once"
    going = runs(told("STARTED", "IN_PROGRESS", "STARTED", "IN_PROGRESS"))
    assert going[-1].again and to_sweep(going, -1) is None, "not before it is done"


@pytest.mark.parametrize("kinds", [("STARTED", "ABORTED", *FIRST), ("STARTED", "STARTED", "STARTED", "COMPLETED")])
def test_every_kind_of_interruption_counts(kinds: tuple[str, ...]) -> None:
    starts = runs(told(*kinds))
    run = to_sweep(starts, -1)
    assert run is not None and why(run, starts) == INTERRUPTED


def test_a_later_start_is_compared_once() -> None:
    starts = runs(told(*FIRST, "SKIPPED", "SKIPPED"))
    run = to_sweep(starts, 4)
    assert run is not None and (run.ended, why(run, starts)) == (6, "the connector was started again")
    assert to_sweep(starts, 6) is None


def test_tables_read_again_are_compared() -> None:
    """Somebody deleted the position: the gap has no other trace."""
    starts = runs(told(*FIRST, *FIRST))
    run = to_sweep(starts, 4)
    assert run is not None and why(run, starts) == "the tables were read again"


def test_a_new_pipeline_takes_the_history_as_the_topic_tells_it() -> None:
    """It reads the topic from its beginning: only a second snapshot leaves a hole there."""
    assert first_seen(runs(told(*FIRST, "SKIPPED"))) == 5
    assert first_seen(runs(told("STARTED", *FIRST))) == -1
    assert first_seen([]) == -1


def test_what_is_being_read_is_named() -> None:
    notes = told("STARTED", "IN_PROGRESS")
    notes[1]["additional_data"] = {"current_collection_in_progress": "public.users"}
    assert runs(notes)[-1].table == "public.users"
