"""Asks several places at the same time, each within the same time; one that cannot be asked hides no other."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams.doctor.checks import Check, Report, unknown

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

log = logging.getLogger(__name__)

#: Seconds for letting go of what a place has open when its time is over.
GRACE = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A place: who asks it, and the check that says that it has not answered in time."""

    name: str
    late: Check
    asking: Coroutine[None, None, list[Check]]


async def ask_all(places: Sequence[Place], patience: float, beside: Sequence[asyncio.Task[Any]] = ()) -> list[Report]:
    """Ask them; it ends within `patience` and `GRACE` seconds, whatever a place does.

    `beside` are questions that several places share; they end with them.
    """
    tasks = [asyncio.create_task(place.asking, name=f"asks: {place.name}") for place in places]
    _, late = await asyncio.wait(tasks, timeout=patience)
    for task in (*late, *beside):
        task.cancel()
    await asyncio.wait([*tasks, *beside], timeout=GRACE)
    return [_report(place, task, late=task in late) for place, task in zip(places, tasks, strict=True)]


def _report(place: Place, task: asyncio.Task[list[Check]], *, late: bool) -> Report:
    if late or not task.done():
        return Report(place.name, (place.late,), hung=True)
    if (error := task.exception()) is not None:
        # Whatever it was, the other places have to be shown.
        log.error("%s could not be checked", place.name, exc_info=error)
        what = "could not be checked: this is a mistake of ours, and standard error says which"
        return Report(place.name, (unknown(place.late.slug, what),))
    return Report(place.name, tuple(task.result()))
