"""The plan by which `reconcile` runs by itself, how its last run ended, and what is said of both (pure).

A person writes the plan into the control topic, the worker that follows it how each run ended.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from streams.control import RECONCILE_PLAN, RECONCILE_RAN
from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds between two runs, at least and at most; after a run that came to no end; and until one that is due is late.
LEAST, MOST, AGAIN, LATE = 60.0, 30 * 86_400.0, 600.0, 3_600.0
_UNITS = {"min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Plan:
    """Run every so many seconds; `rate` None leaves cidaas out, `sample` None reads everybody there."""

    every: float
    sample: int | None
    rate: float | None
    accept_foreign: bool
    who: str
    at: float

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def words(self) -> list[str]:
        """The options of `reconcile` that do it."""
        where = ["--without-cidaas"] if self.rate is None else ["--rate", str(self.rate)]
        part = [] if self.sample is None else ["--sample", str(self.sample)]
        return [*where, *part, *(["--accept-foreign"] if self.accept_foreign else [])]


@dataclass(frozen=True, slots=True)
class Ran:
    """The last run by a plan: when it began, and why it came to no end ("": it did)."""

    at: float
    why: str = ""

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def read(state: Mapping[str, Any]) -> Plan | None:
    """The plan; None where nobody wants one. `state` is the control topic."""
    body = state.get(RECONCILE_PLAN)
    return None if body is None else Plan(**body)


def last(state: Mapping[str, Any], plan: Plan) -> Ran | None:
    """How the last run of this plan ended; None where none has."""
    body = state.get(RECONCILE_RAN)
    return None if body is None or body["at"] < plan.at else Ran(**body)


def due(plan: Plan, ran: Ran | None, again: float = AGAIN) -> float:
    """When the next run begins (Unix seconds): the first one at once, `again` seconds after one without an end."""
    if ran is None:
        return plan.at
    return ran.at + (min(plan.every, again) if ran.why else plan.every)


def shown(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `status` and the metrics say of it."""
    plan = read(state)
    if plan is None:
        return None
    ran = last(state, plan)
    # A run that is tried again and again is as late as one that nobody tries.
    late_since, why = due(plan, ran, again=0.0), ran.why if ran is not None else ""
    return {"every_seconds": plan.every, "who": plan.who, "due": late_since, "why": why}


def words(body: Mapping[str, Any], now: float) -> str:
    """How often, and when again."""
    left = body["due"] - now
    when = f"next in {duration(left)}" if left > 0 else "now"
    return f"every {duration(body['every_seconds'])}, by {body['who']}, {when}"


def late(body: Mapping[str, Any], now: float) -> str:
    """Why a run that was due is a problem; "" while it is none."""
    if body["why"]:
        return f"the last reconcile of the plan came to no end: {body['why']}"
    if now - body["due"] > LATE:
        return f"a reconcile has been due for {duration(now - body['due'])}, and has not come to its end"
    return ""


def seconds(text: str) -> float | None:
    """A time between two runs as a person writes it, in seconds; None for `never`.

    Raises:
        ValueError: it is none, or no sensible one.
    """
    if text.strip() == "never":
        return None
    found = re.fullmatch(r"(\d{1,5})\s*(min|h|d)", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no time between two runs: write 30min, 6h, 1d, or never")
    number = float(found[1]) * _UNITS[found[2]]
    if not LEAST <= number <= MOST:
        raise ValueError(f"{text!r} is not between {duration(LEAST)} and {duration(MOST)}")
    return number
