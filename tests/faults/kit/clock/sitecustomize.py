"""Shifts the wall clock of a Python process by the seconds in the file that FAULT_CLOCK names, read again all the time.

A folder of its own, for PYTHONPATH: Python imports this module before anything else. Monotonic clocks and the boot
clock stay right, as they do when somebody sets the clock of a machine.
"""

from __future__ import annotations

import datetime
import os
import time
from typing import Any

#: Seconds between two looks at the file.
_LOOK = 0.05
_real_time, _real_ns, _real_gettime, _real_datetime = time.time, time.time_ns, time.clock_gettime, datetime.datetime


class _Offset:
    def __init__(self, path: str) -> None:
        self._path, self._at, self._seconds = path, 0.0, 0.0

    def __call__(self) -> float:
        now = time.monotonic()
        if now - self._at > _LOOK:
            self._at = now
            try:
                with open(self._path) as file:  # noqa: PTH123  pathlib is not imported yet, and need not be
                    self._seconds = float(file.read() or self._seconds)
            except OSError:
                pass
        return self._seconds


class _Kind(type):
    """Values that C code made are of the real class, and pass for this one."""

    def __instancecheck__(cls, value: Any) -> bool:
        return isinstance(value, _real_datetime)

    def __subclasscheck__(cls, kind: type) -> bool:
        return issubclass(kind, _real_datetime)


def _shift(path: str) -> None:
    offset = _Offset(path)

    class Shifted(_real_datetime, metaclass=_Kind):
        __slots__ = ()  # or C code warns of its size

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return _real_datetime.fromtimestamp(time.time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return _real_datetime.fromtimestamp(time.time(), datetime.UTC).replace(tzinfo=None)

    def gettime(clock: int) -> float:
        return _real_gettime(clock) + (offset() if clock == time.CLOCK_REALTIME else 0.0)

    time.time = lambda: _real_time() + offset()
    time.time_ns = lambda: _real_ns() + int(offset() * 1e9)
    time.clock_gettime = gettime
    datetime.datetime = Shifted  # type: ignore[misc]


if os.environ.get("FAULT_CLOCK"):
    _shift(os.environ["FAULT_CLOCK"])
