"""Structured logs: one line an event, with time, level and where; ids, counts and positions only."""

from __future__ import annotations

import os

#: Faust's own chatter about generations and recoveries is of use only to who debugs Faust.
_QUIET = ("aiokafka", "httpx", "httpcore", "faust", "mode", "kafka", "streams.service", "streams.transport")

# A timer that is late on a busy machine says nothing that `status` does not say better.
_SILENT = ("mode.timers", "aiokafka.consumer.group_coordinator")

LOGGING: dict[str, object] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "%(asctime)s.%(msecs)03d %(levelname)s %(name)s %(message)s",
            "datefmt": "%Y-%m-%dT%H:%M:%S",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"}},
    "root": {"level": os.environ.get("LOG_LEVEL", "INFO").upper(), "handlers": ["console"]},
    "loggers": {name: {"level": "WARNING"} for name in _QUIET} | {name: {"level": "ERROR"} for name in _SILENT},
}
