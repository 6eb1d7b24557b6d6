"""What is kept of the last run, in the control topic, and how it is said (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.quantities import duration
from streams.reconcile.cases import DIFFERENCES, Case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.reconcile.run import Result


def record(result: Result, who: str, *, accepted: bool) -> dict[str, Any]:
    """The control record `reconcile`; `accepted` leaves users whom only cidaas knows out of the differences."""
    counts = {case.value: number for case, number in result.counts.items() if number}
    return {
        "at": result.at,
        "seconds": round(result.seconds, 1),
        "by": who,
        "counts": counts,
        "differences": differing(counts, accepted=accepted),
        "read_back": result.read_back,
        "sampled": result.sampled,
    }


def differing(counts: Mapping[str, int], *, accepted: bool) -> dict[str, int]:
    """How many users differ, by case; only cases that anybody is in."""
    cases = DIFFERENCES - ({Case.FOREIGN} if accepted else set())
    return {case.value: counts[case.value] for case in Case if case in cases and counts.get(case.value)}


def words(kept: Mapping[str, Any], now: float) -> str:
    """When it was, and what it found."""
    found = kept["differences"]
    each = ", ".join(f"{number:,} {case.replace('_', ' ')}" for case, number in found.items())
    total = sum(found.values())
    said = f"{total:,} difference{'s' * (total != 1)} ({each})" if total else "clean"
    back = "" if kept["read_back"] is not None else ", cidaas left out"
    return f"{duration(max(0.0, now - kept['at']))} ago: {said}{back}"
