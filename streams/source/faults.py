"""Faults of the source that stand until somebody has repaired it: after a start of the connector they show no more.

Each has a control record of its own, so that the guard, which adds them, and a repair, which takes them away, cannot
write over each other. What a repair has cured is told by the source epoch: the clocks of two machines differ.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streams.control import FAULTS, SWEEP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.source.guard import Finding

#: The one fault that a sweep cures, too.
TRUNCATED = "truncated"


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding that means lost changes, and when it was seen first (Unix seconds)."""

    slug: str
    what: str
    remedy: str
    since: float
    #: source epoch that it was seen in: the repair that begins a later one cures it.
    epoch: int = 1
    #: the last sweep that had been asked for then.
    sweep: str = ""


def record_name(slug: str) -> str:
    """The control record of a fault."""
    return f"{FAULTS}{slug}"


def standing(state: Mapping[str, Any]) -> list[Fault]:
    """The faults that stand, oldest first; `state` is the control topic."""
    found = [Fault(**body) for name, body in state.items() if name.startswith(FAULTS)]
    return sorted(found, key=lambda fault: fault.since)


def new(state: Mapping[str, Any], found: Finding, epoch: int) -> dict[str, Any] | None:
    """The record of a fault that was found in this source epoch; None when it stands already.

    One that a repair is about to cure is no excuse for the same one that has come since, nor one truncation for the
    next: the sweep that was asked for between them has not seen it.
    """
    before = state.get(record_name(found.slug))
    if before is not None and int(before.get("epoch", 1)) >= epoch and found.slug != TRUNCATED:
        return None
    sweep = str(state.get(SWEEP, {}).get("id", ""))
    return asdict(Fault(found.slug, found.what, found.remedy, time.time(), epoch, sweep))
