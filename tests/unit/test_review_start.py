"""Start and end of a worker: nothing hangs silently, and a crash is a crash."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from aiokafka import TopicPartition
from clock import run
from fakes import SETTINGS

from streams import service
from streams.belonging import Belonging
from streams.control import DELIVERY, IDENTITY, Control
from streams.identity import Identity, RefusedError
from streams.pipeline import Pipeline

ROOT = Path(__file__).parents[2]


class Reader:
    """A consumer of the control topic that answers what it is given, then raises or waits."""

    def __init__(self, records: list[Any], error: Exception | None = None) -> None:
        self._records, self._error, self._at = records, error, 0

    def __getattr__(self, name: str) -> Any:
        async def nothing(*_: Any) -> None:
            return None

        return (lambda *_: None) if name in ("assign", "seek") else nothing

    async def end_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return {tp: len(self._records) if tp.topic == SETTINGS.topics.control else 0 for tp in tps}

    async def position(self, tp: Any) -> int:
        return self._at if tp.topic == SETTINGS.topics.control else 0

    async def getmany(self, **_: Any) -> dict[Any, list[Any]]:
        if self._error is not None:
            raise self._error
        await asyncio.sleep(0.1)
        got, self._at = self._records[self._at :], len(self._records)
        return {TopicPartition(SETTINGS.topics.control, 0): got} if got else {}


def _control(reader: Reader) -> Control:
    return Control(SETTINGS.topics, None, lambda: reader)


def test_a_control_topic_that_cannot_be_read_ends_the_start() -> None:
    """Worker and commands would wait for ever for a reader that is gone."""

    async def scenario() -> None:
        control = _control(Reader([None], OSError("no such broker")))
        with pytest.raises(RuntimeError, match="cannot be read: no such broker"):
            await control.start()

    run(scenario())


def test_a_foreign_record_in_the_control_topic_stops_nobody() -> None:
    """It would be there at every start of every worker."""

    async def scenario() -> None:
        pairs = [(None, b"{}"), (b"x", b"{"), (b"\xff", b"{}"), (DELIVERY.encode(), b'{"paused": true}')]
        records = [SimpleNamespace(key=key, value=value, offset=i) for i, (key, value) in enumerate(pairs)]
        control = _control(Reader(records))
        await control.start()
        assert control.paused("running") == {"paused": True}
        await control.stop()

    run(scenario())


@pytest.mark.parametrize(("crashed", "failed", "code"), [(False, False, 0), (True, False, 1), (False, True, 1)])
def test_a_crash_whose_stop_hangs_does_not_end_as_success(crashed: bool, failed: bool, code: int) -> None:
    """D4: exit code 0 is what a supervisor does not restart."""
    app: Any = SimpleNamespace(crashed=crashed, pipeline=SimpleNamespace(failed=failed))
    with patch("os._exit") as ended:
        service._force_exit(app)
    ended.assert_called_once_with(code)


def test_two_first_starts_at_once_are_no_foreign_state() -> None:
    """O5: the other worker's identity is in the topic, but has not been read here yet."""

    async def scenario() -> None:
        control = SimpleNamespace(identity=None, wait_changed=lambda: asyncio.sleep(1))
        app = SimpleNamespace(folder=SimpleNamespace(identity=None))
        belonging: Any = Belonging(SimpleNamespace(settings=SETTINGS, app=app, control=control))  # type: ignore[arg-type]
        found: list[Any] = []
        belonging._same = found.append

        async def content() -> bool:
            return True

        belonging._changelog_content = content
        first = asyncio.create_task(belonging._first_or_same())
        await asyncio.sleep(2)
        control.identity = {"key": IDENTITY}
        await first
        assert found == [{"key": IDENTITY}]
        control.identity = None
        with pytest.raises(RuntimeError, match="has no record of whose it is"):
            await belonging._first_or_same()

    run(scenario())


def test_an_identity_that_cannot_be_written_ends_the_worker() -> None:
    """Or the first start waits for ever, and looks alive."""

    async def scenario() -> None:
        pipeline: Any = object.__new__(Pipeline)
        pipeline.stopping, pipeline.belonging, pipeline.runners = False, Belonging(pipeline), {}
        crashed: list[BaseException] = []

        async def crash(error: BaseException) -> None:
            crashed.append(error)

        async def put(*_: Any) -> None:
            raise OSError("not allowed")

        pipeline.crash = crash
        pipeline.belonging.identity = SimpleNamespace(body=dict)
        pipeline.control = SimpleNamespace(identity=None, put=put)
        with patch("streams.pipeline.Runner"):
            await pipeline.assigned({0})
        await asyncio.sleep(1)
        assert [str(error) for error in crashed] == ["not allowed"]

    run(scenario())


def test_the_last_line_of_a_worker_that_ends_says_why() -> None:
    """Below Faust's traceback, which looks like a defect of the program and is none: another worker took over."""
    program = """
import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from streams.pipeline import Pipeline

async def crash(error):
    raise error  # as Faust's worker does in the end

pipeline = object.__new__(Pipeline)
pipeline._failed, pipeline.app = False, SimpleNamespace(crash=crash)
asyncio.run(pipeline.crash(RuntimeError("partition 3 was taken over by another worker")))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and "Traceback (most recent call last):" in lines
    assert lines[-1] == "the worker stopped: partition 3 was taken over by another worker"


def moved(recorded: dict[str, Any], folder: dict[str, Any]) -> Any:
    """A worker that runs on `folder` and reads `recorded` in the control topic."""
    pipeline: Any = object.__new__(Pipeline)
    pipeline.settings, pipeline.belonging = SETTINGS, Belonging(pipeline)
    pipeline.belonging.identified.set()
    pipeline.belonging.identity = Identity(**folder)
    kept = SimpleNamespace(
        identity=folder, path="data", remember=lambda identity: kept.__setattr__("identity", identity)
    )
    pipeline.app = SimpleNamespace(folder=kept)
    closed: list[bool] = []

    async def close() -> None:
        closed.append(True)

    pipeline.legacy = SimpleNamespace(expected=folder["source"], close=close, closed=closed)
    pipeline.control = SimpleNamespace(identity=recorded, state={})
    return pipeline


FORMER = Identity.of(SETTINGS, "7001/shop", "topic-1").body()
ACCEPTED = {**FORMER, "source": "7002/shop", "former_sources": ["7001/shop"]}


def test_a_database_that_a_person_accepted_is_believed_by_workers_that_run() -> None:
    """M8: the connection to the one of before is closed, because it may still answer."""

    async def scenario() -> None:
        pipeline = moved(ACCEPTED, dict(FORMER))
        await pipeline.belonging.follow()
        assert pipeline.legacy.expected == pipeline.belonging.identity.source == "7002/shop"
        assert pipeline.app.folder.identity.source == "7002/shop" and pipeline.legacy.closed == [True]
        await pipeline.belonging.follow()
        assert pipeline.legacy.closed == [True], "once"

    run(scenario())


def test_a_data_folder_of_any_other_database_is_still_refused() -> None:
    """O5: it may be a copied folder."""
    pipeline = moved(ACCEPTED, {**FORMER, "source": "7003/else"})
    pipeline.belonging.identity = Identity(**{**FORMER, "source": "7002/shop"})
    with pytest.raises(RefusedError, match="7003/else"):
        pipeline.belonging._same(ACCEPTED)
    pipeline.belonging.identity = Identity(**FORMER)
    with pytest.raises(RefusedError, match="run `source repair`"):
        pipeline.belonging._same(ACCEPTED)
