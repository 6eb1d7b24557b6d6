"""Named points between two durable steps, where a test ends, stops or fails a worker. For tests only.

`SYNC_FAILPOINTS="after-call=kill@3;before-ledger-write=hold:/tmp/h;revoke=raise"` arms them, `POINT=ACTION[@N]` each:

    kill        SIGKILL of this process
    raise       a FailpointError
    stall       the event loop stands still, for good
    hold:PATH   writes PATH.reached, and waits until there is no file PATH (at once if there never was one)

With `@N` it acts at the N-th passage only, without it at each. Passages of all partitions are counted together. A task
that is held can be cancelled, and holds nobody but itself: the event loop goes on.

The code asks `if failpoints.armed`, an empty dictionary outside of tests.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

T = TypeVar("T")

VARIABLE = "SYNC_FAILPOINTS"

#: Every point, and what is durable when it is passed.
POINTS = {
    "before-take-over": "each of both changelogs: nothing is written yet",
    "after-take-over": "each of both changelogs: the take-over record is confirmed, nothing before it has been read",
    "between-changelogs": "`snapshots` is taken over, `ledger` is not",
    "before-scan": "both changelogs are taken over and read, pending users are not looked for yet",
    "before-changelog-send": "users are joined, in memory only",
    "after-changelog-send": "their snapshots are confirmed by the broker, but not in the store",
    "after-store-write": "their snapshots are in the store; the source is not acknowledged",
    "before-removal": "M5: the moved credential is in its new user's snapshot, its removal is not sent",
    "after-removal": "M5: the removal is confirmed; the source is not acknowledged",
    "before-brake-figure": "decisions to delete are in `snapshots`, but not in the control topic",
    "before-acknowledgement": "everything that a batch demands is durable, the batch is not acknowledged",
    "before-call": "the users of an upsert are decided on, nothing is sent",
    "after-call": "cidaas has answered an upsert, the ledger knows nothing of it",
    "before-delete": "a delete (or the look for a purged user) is decided on, nothing is sent",
    "after-delete": "cidaas has answered it, the ledger knows nothing of it",
    "before-ledger-write": "entries of users are decided on, in memory only",
    "after-ledger-send": "the entries are confirmed by the broker, but not in the store",
    "after-ledger-write": "the entries are in the store",
    "revoke": "partitions are about to be given up, at a rebalance or at the stop",
    "before-settled": "C5: nothing runs any more, the settled record is not written",
}

_SPEC = re.compile(r"(?P<point>[^=]*)=(?P<action>kill|raise|stall|hold:(?P<path>.+?))(?:@(?P<nth>[1-9][0-9]*))?")
#: Seconds between two looks at the file of a hold.
_LOOK = 0.05


class FailpointError(RuntimeError):
    """Raised at a point that is armed with `raise`."""


@dataclass(slots=True)
class Failpoint:
    """What happens at one point, and how often it was passed."""

    action: str
    path: str = ""
    nth: int = 0  # 0: at each passage
    passed: int = 0


#: The points that this process acts at.
armed: dict[str, Failpoint] = {}


def arm(text: str) -> None:
    """Arm the points that `text` names, and no others.

    Raises:
        ValueError: a point or an action is not known.
    """
    armed.clear()
    found: dict[str, Failpoint] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        match = _SPEC.fullmatch(part)
        if match is None:
            raise ValueError(
                f"{VARIABLE} (for tests only) says {part!r}: write POINT=kill, POINT=raise, POINT=stall or "
                "POINT=hold:PATH, each with @N or without, or unset it."
            )
        point = match["point"]
        if point not in POINTS:
            raise ValueError(
                f"{VARIABLE} (for tests only) names {point!r}, which is no failpoint: it is one of "
                f"{', '.join(POINTS)}; or unset it."
            )
        found[point] = Failpoint(match["action"].partition(":")[0], match["path"] or "", int(match["nth"] or 0))
    armed.update(found)
    if armed:
        log.critical("FAILPOINTS ARMED, THIS WORKER IS MADE TO FAIL (%s, for tests only): %s", VARIABLE, text)


async def reach(point: str) -> None:
    """Pass a point; the caller has asked whether any is armed.

    Raises:
        FailpointError: the point is armed with `raise`.
    """
    what = armed.get(point)
    if what is None:
        return
    what.passed += 1
    if what.nth and what.passed != what.nth:
        return
    log.critical("failpoint reached point=%s passage=%d action=%s", point, what.passed, what.action)
    if what.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what.action == "raise":
        raise FailpointError(f"the failpoint {point} was armed to raise")
    if what.action == "stall":
        _stall()
    _reached(what.path, point)
    while _there(what.path):  # noqa: ASYNC110  another process takes the file away
        await asyncio.sleep(_LOOK)


async def around(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do some work between the points `before-…` and `after-…`."""
    await reach(f"before-{what}")
    done = await work()
    await reach(f"after-{what}")
    return done


def _stall() -> None:
    while True:
        time.sleep(1.0)


def _reached(path: str, point: str) -> None:
    Path(f"{path}.reached").write_text(f"{point} {os.getpid()}\n")


def _there(path: str) -> bool:
    return Path(path).exists()
