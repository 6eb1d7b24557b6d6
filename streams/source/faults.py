"""Faults of the source that stand until somebody has repaired it: after a start of the connector they show no more."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streams.control import FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.source.guard import Finding


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding that means lost changes, and when it was seen first (Unix seconds)."""

    slug: str
    what: str
    remedy: str
    since: float


def standing(state: Mapping[str, Any]) -> list[Fault]:
    """The faults that stand; `state` is the control topic."""
    return [Fault(**body) for body in state.get(FAULTS, {}).get("faults", ())]


def new(state: Mapping[str, Any], found: Iterable[Finding]) -> list[Fault]:
    """The findings among these that do not stand yet, as faults."""
    known = {fault.slug for fault in standing(state)}
    return [Fault(one.slug, one.what, one.remedy, time.time()) for one in found if one.slug not in known]


def body(faults: Iterable[Fault]) -> dict[str, Any]:
    """The control record of these faults."""
    return {"faults": [asdict(fault) for fault in faults]}
