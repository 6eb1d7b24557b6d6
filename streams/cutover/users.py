"""Users who are not at cidaas as they are in the database, and whom nobody has signed off (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.doctor.checks import fault, ok, unknown, warning
from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.cutover.pipeline import Looks
    from streams.doctor.checks import Check

#: Seconds for which a user may be pending in the ordinary way: longer waits are for something.
FRESH = 60.0
#: Fewer than so many pending users come and go with the day's changes: that they get fewer says nothing.
_BACKLOG = 100


def judge(looks: Looks) -> list[Check]:
    """Judge who is pending, refused, parked or set aside."""
    now = looks.second
    if not now["workers"]:
        return [unknown("pending", "how users stand, only a worker says")]
    counts = now["users"]
    return [
        _pending(looks),
        _quarantine(counts.get("quarantined", 0), counts.get("dropped", 0)),
        _parked(looks, counts.get("parked", 0), counts.get("rejected", 0)),
        _set_aside(counts.get("set_aside", 0)),
    ]


def _pending(looks: Looks) -> Check:
    (before, _), (pending, age) = _waiting(looks.first), _waiting(looks.second)
    if not pending or age <= FRESH:
        oldest = f", the oldest for {duration(age)}" if pending else ""
        return ok("pending", f"{_are(pending)} pending{oldest}")
    said = f"{_are(pending)} pending, the oldest for {duration(age)}"
    if pending < before and (pending >= _BACKLOG or _moves_on(looks)):
        fewer = (before - pending) / looks.apart
        what = f"{said}; they get fewer, by {fewer:,.0f} a second"
        return warning("pending", what, f"Wait: at this pace it takes {duration(pending / fewer)}.")
    what = f"{said}; they do not get fewer"
    return fault("pending", what, "Ask `status` for the slowest stage, and `trace` about one of them.")


def _waiting(look: Mapping[str, Any]) -> tuple[int, float]:
    """How many are pending, and the age of the oldest in seconds."""
    return look["users"].get("pending", 0), look["oldest_pending_seconds"] or 0.0


def _moves_on(looks: Looks) -> bool:
    """Whether it is somebody else now who waits for the longest time."""
    (_, before), (_, age) = _waiting(looks.first), _waiting(looks.second)
    return age < before + looks.apart / 2


def _quarantine(refused: int, dropped: int) -> Check:
    signed = f"; {dropped:,} are signed off" if dropped else ""
    if not refused:
        return ok("quarantine", f"nobody is refused without being signed off{signed}")
    what = f"{_are(refused)} refused by cidaas, and not signed off{signed}"
    return fault("quarantine", what, "`quarantine list` names them: `quarantine retry` or `quarantine drop`.")


def _parked(looks: Looks, parked: int, rejected: int) -> Check:
    tripped = (looks.second["brake"] or {}).get("tripped")
    if parked or tripped:
        why = f": {tripped['why']}" if tripped else ""
        remedy = "`deletes list` names them: `deletes allow` or `deletes reject`."
        return fault("deletes_parked", f"{_are(parked, 'delete')} parked{why}", remedy)
    kept = f"; {rejected:,} were rejected, and these users stay" if rejected else ""
    return ok("deletes_parked", f"no delete is parked{kept}")


def _set_aside(number: int) -> Check:
    if not number:
        return ok("set_aside", "nobody is set aside")
    remedy = "That is read again by itself; if it stays, the log of the workers says why."
    return fault("set_aside", f"{_are(number)} set aside: what is known there cannot be trusted", remedy)


def _are(number: int, what: str = "user") -> str:
    return f"{number:,} {what} is" if number == 1 else f"{number:,} {what}s are"
