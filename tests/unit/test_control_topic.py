"""The control topic as every worker reads it, and what it says of the source."""

from __future__ import annotations

from typing import Any

import orjson
from aiokafka import TopicPartition
from clock import Clock, run
from fakes import SETTINGS, Record

from streams.control import Control

MESSAGE = SETTINGS.topics.message


def test_a_heartbeat_of_before_the_start_does_not_make_the_source_look_alive() -> None:
    """It may be days old: users would be read again while older changes of theirs still wait to be streamed."""
    clock = Clock()

    async def scenario() -> None:
        control: Any = Control(SETTINGS.topics, None, None)  # type: ignore[arg-type]
        control._ends = {TopicPartition(MESSAGE, 0): 8}
        value = orjson.dumps({"source": {"lsn": 500, "sequence": '["490","500"]'}, "message": {}})
        control._record(MESSAGE, Record(MESSAGE, 0, 7, clock.ms, b"", value))
        assert control.heartbeat_at == 0.0
        assert (control.source_lsn, control.source_after_commit) == (500, 490), "what it proves of C7 stays true"
        control._record(MESSAGE, Record(MESSAGE, 0, 8, clock.ms, b"", value))
        assert control.heartbeat_at == clock.time()

    run(scenario(), clock)
