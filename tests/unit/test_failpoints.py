"""Failpoints: armed by a test only, refused when misspelt, and cutting exactly where they say."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from clock import Clock, run
from fakes import LEDGER, SNAPSHOTS, Broker, changelog
from test_state import KEY, snapshot
from world import World

from streams import failpoints
from streams.failpoints import POINTS, FailpointError, arm, reach

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    arm("")


def test_each_point_of_the_list_stands_in_the_code_and_no_other() -> None:
    """A fault test that arms a point which is never passed would prove nothing."""
    code = "\n".join(path.read_text() for path in (ROOT / "streams").rglob("*.py") if path.name != "failpoints.py")
    found = set(re.findall(r'reach\("([\w-]+)"\)', code))
    found |= set(re.findall(r'"([\w-]+)"', " ".join(re.findall(r"TableKind\.\w+: \((.*)\),$", code, re.MULTILINE))))
    found |= {f"{side}-{call}" for side in ("before", "after") for call in ("call", "delete")}
    assert found == set(POINTS)


@pytest.mark.parametrize("text", ["after-cal=kill", "after-call=kil", "after-call", "revoke=hold:", "revoke=raise@0"])
def test_what_is_not_known_is_refused_in_one_sentence(text: str) -> None:
    """A misspelt point would be a fault that never happens, and a test that cannot fail."""
    with pytest.raises(ValueError, match="for tests only") as error:
        arm(f"revoke=kill;{text}")
    assert "\n" not in str(error.value)
    assert not failpoints.armed


def test_nothing_is_armed_by_an_empty_variable(caplog: pytest.LogCaptureFixture) -> None:
    arm("")
    assert not failpoints.armed and not caplog.records


def test_the_log_says_loudly_that_points_are_armed(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody who set the variable in earnest must see at once why the worker dies."""
    arm("after-call=kill@3; revoke=raise")
    assert caplog.records[0].levelname == "CRITICAL" and "MADE TO FAIL" in caplog.text


def test_a_point_acts_at_the_passage_that_was_named() -> None:
    async def scenario() -> None:
        arm("after-call=raise@2;revoke=raise")
        await reach("after-call")
        with pytest.raises(FailpointError, match="after-call"):
            await reach("after-call")
        await reach("after-call")
        await reach("before-call")
        for _ in range(2):
            with pytest.raises(FailpointError, match="revoke"):
                await reach("revoke")

    run(scenario())


def test_a_held_task_says_so_and_goes_on_when_its_file_is_gone(tmp_path: Path) -> None:
    said = tmp_path / "h@x.reached"
    held = tmp_path / "h@x"

    async def scenario() -> None:
        arm(f"revoke=hold:{held}")
        await reach("revoke")  # no file: nothing is held
        held.touch()
        task = asyncio.create_task(reach("revoke"))
        await asyncio.sleep(1)
        assert not task.done() and said.read_text().startswith("revoke ")
        held.unlink()
        await asyncio.sleep(1)
        assert task.done()

    run(scenario())


def test_a_kill_leaves_no_time_for_anything(tmp_path: Path) -> None:
    program = (
        "import asyncio, atexit, os\n"
        "from streams import failpoints\n"
        "failpoints.arm(os.environ['SYNC_FAILPOINTS'])\n"
        "atexit.register(print, 'tidied up')\n"
        "async def main():\n"
        "    for n in range(5):\n"
        "        print(n, flush=True)\n"
        "        if failpoints.armed: await failpoints.reach('before-scan')\n"
        "asyncio.run(main())\n"
    )
    env = {"SYNC_FAILPOINTS": "before-scan=kill@3"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (-signal.SIGKILL, ["0", "1", "2"])


@pytest.mark.parametrize(
    ("point", "in_kafka", "in_store"),
    [("before-changelog-send", 0, False), ("after-changelog-send", 1, False), ("after-store-write", 1, True)],
)
def test_a_write_is_cut_between_broker_and_store(tmp_path: Path, point: str, in_kafka: int, in_store: bool) -> None:
    async def scenario() -> None:
        broker = Broker(Clock())
        log = changelog(broker, tmp_path)
        arm(f"{point}=raise")
        await log.take_over("00" * 8, "w")
        with pytest.raises(FailpointError):
            await log.put([(KEY, snapshot(5))])
        assert sum(record.key == KEY for record in broker.logs[SNAPSHOTS, 0]) == in_kafka
        assert (log.store.get(KEY) is not None) is in_store

    run(scenario())


@pytest.mark.parametrize(
    ("point", "calls", "entries"),
    [("before-call", 0, 0), ("after-call", 1, 0), ("before-ledger-write", 1, 0), ("after-ledger-send", 1, 1)],
)
def test_a_call_is_cut_between_cidaas_and_the_ledger(tmp_path: Path, point: str, calls: int, entries: int) -> None:
    """And whatever was cut, the next worker makes it right."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path / "one", clock)
        await world.sign_up(1)
        arm(f"{point}=raise@1")
        world.go()
        for _ in range(100):
            if world.pipeline.crashed is not None:
                break
            await asyncio.sleep(0.05)
        assert isinstance(world.pipeline.crashed, FailpointError)
        assert len(world.calls(1)) == calls and (world.at_cidaas(1) is not None) is bool(calls)
        assert sum(record.key == b"1" for record in world.broker.logs[LEDGER, 0]) == entries
        arm("")
        following = await World.start(tmp_path / "two", clock, former=world)
        following.go()
        await following.in_sync(1)
        assert following.at_cidaas(1) is not None
        await following.stop()
        await world.stop()

    run(scenario(), clock)
