"""Structured logs: one line an event, with time, level and where; ids, counts and positions only."""

from __future__ import annotations

import logging
import os
import time

#: Faust's own chatter about generations and recoveries is of use only to who debugs Faust.
_QUIET = ("aiokafka", "httpx", "httpcore", "faust", "mode", "kafka", "streams.service", "streams.transport")

#: A timer that is late on a busy machine says nothing that `status` does not say better.
_SILENT = ("mode.timers",)

#: Seconds in which the Kafka client says one thing only once: it repeats itself twenty times a second while the broker
#: is away.
_SELDOM = 10.0


class Seldom(logging.Filter):
    """Lets a Kafka client's message pass once in a while, with the number of those held back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[object, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether the line is written."""
        if not record.name.startswith("aiokafka"):
            return True
        now = time.monotonic()
        last, held = self._seen.get(record.msg, (-_SELDOM, 0))
        if now - last < _SELDOM:
            self._seen[record.msg] = (last, held + 1)
            return False
        self._seen[record.msg] = (now, 0)
        if held:
            record.msg = f"{record.getMessage()} ({held} times more in between)"
            record.args = ()
        return True


LOGGING: dict[str, object] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"seldom": {"()": "streams.logs.Seldom"}},
    "formatters": {
        "line": {
            "format": "%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S",
        }
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": "line",
            "filters": ["seldom"],
            "stream": "ext://sys.stderr",
        }
    },
    "root": {"level": os.environ.get("LOG_LEVEL", "INFO").upper(), "handlers": ["console"]},
    "loggers": {name: {"level": "WARNING"} for name in _QUIET} | {name: {"level": "ERROR"} for name in _SILENT},
}
