"""Awaiting a condition of another process, with a deadline that fails with a reason: the only place that polls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import httpx
import psycopg

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

POLL = 0.1
#: a process that is starting, away or being killed does not answer: that is a "not yet"
_NOT_YET = (httpx.HTTPError, psycopg.OperationalError)


def until(condition: Callable[[], T], what: str | Callable[[], str], seconds: float = 30.0) -> T:
    """Return the first true value of `condition`; fail with `what` when there is none in time."""
    deadline = time.monotonic() + seconds
    seen: object = None
    while True:
        try:
            value = condition()
        except _NOT_YET as error:
            seen = error
        else:
            if value:
                return value
            seen = value
        if time.monotonic() > deadline:
            words = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:.0f} s: {words} (last: {seen!r})")
        time.sleep(POLL)
