"""The connector's starts, as its notifications tell them: initial snapshots, and starts without one (pure).

An initial snapshot that begins a second time, because Connect died inside the first, is not anchored in the stream
(facts: debezium-3.7, section 2). It comes right by the changes that follow, but rows deleted between the two runs are
never announced. A sweep finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: why a sweep is asked for after such a snapshot
INTERRUPTED = "the initial snapshot was interrupted and began anew"
RUNNING, COMPLETED, ABORTED, SKIPPED = "RUNNING", "COMPLETED", "ABORTED", "SKIPPED"


@dataclass(frozen=True, slots=True)
class Run:
    """One start; `began` and `ended` are offsets in the topic of notifications, `again`: the run before broke off."""

    number: int
    began: int
    ended: int | None
    how: str
    again: bool
    table: str = ""


def runs(notifications: Iterable[dict[str, Any]]) -> list[Run]:
    """Tell the starts, oldest first."""
    found: list[Run] = []
    for one in notifications:
        kind, offset = one.get("type"), int(one["offset"])
        broken = bool(found) and found[-1].how in (RUNNING, ABORTED)
        if kind == "STARTED":
            found.append(Run(len(found), offset, None, RUNNING, broken))
        elif kind == SKIPPED:
            found.append(Run(len(found), offset, offset, SKIPPED, broken))
        elif kind in (COMPLETED, ABORTED) and found and found[-1].how == RUNNING:
            last = found[-1]
            found[-1] = Run(last.number, last.began, offset, str(kind), last.again)
        elif found and found[-1].how == RUNNING:
            table = (one.get("additional_data") or {}).get("current_collection_in_progress", found[-1].table)
            found[-1] = Run(found[-1].number, found[-1].began, None, RUNNING, found[-1].again, table)
    return found


def first_seen(starts: Sequence[Run]) -> int:
    """Where a pipeline begins that has no memory: it reads the topic from its first record, as the starts left it."""
    snapshots = [run for run in starts if run.how != SKIPPED]
    if len(snapshots) > 1 or not starts:
        return -1
    return max((run.ended for run in starts if run.ended is not None), default=-1)


def to_sweep(starts: Sequence[Run], swept: int) -> Run | None:
    """The newest start that has ended and after which the users have to be compared; None when there is none.

    The very first initial snapshot is anchored and needs no comparison.
    """
    due = [run for run in starts if run.ended is not None and run.ended > swept and run.how != ABORTED]
    due = [run for run in due if run.number > 0 or run.how == SKIPPED]
    return due[-1] if due else None


def why(run: Run, starts: Sequence[Run]) -> str:
    """Why a sweep is asked for after this start."""
    if run.how == SKIPPED:
        return "the connector was started again"
    if any(one.again for one in starts[: run.number + 1] if one.began > _completed_before(run, starts)):
        return INTERRUPTED
    return "the tables were read again"


def _completed_before(run: Run, starts: Sequence[Run]) -> int:
    return max((one.began for one in starts[: run.number] if one.how in (COMPLETED, SKIPPED)), default=-1)
