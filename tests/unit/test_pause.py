"""`pause` and `resume`: of everything or of deletes alone; who, when and why is shown, and nothing leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from clock import Clock, run
from fakes import SETTINGS
from fakes import Control as FakeControl
from world import World

from streams import views
from streams.commands import delivery
from streams.commands.status import _known, _problems
from streams.control import DELETES, DELIVERY
from streams.source.look import Look

if TYPE_CHECKING:
    from pathlib import Path

HELD = {"paused": True, "why": "a script runs", "who": "anna", "at": 1e9}


class Asked:
    """A control topic that takes what the commands put."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.control = FakeControl()
        monkeypatch.setattr(delivery, "Controls", lambda _: self)
        monkeypatch.setenv("SYNC_OPERATOR", "ben")

    async def __aenter__(self) -> FakeControl:
        return self.control

    async def __aexit__(self, *exc: object) -> None:
        return None

    def say(self, *words: str) -> Any:
        pause, resume = delivery.commands(SETTINGS)
        return CliRunner().invoke({"pause": pause, "resume": resume}[words[0]], list(words[1:]))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Nothing is paused."""
    return Asked(monkeypatch)


def test_deletes_wait_while_they_are_paused_and_everybody_else_goes_on(tmp_path: Path) -> None:
    """Somebody cleans up in the legacy database and wants to look before anything is gone at cidaas."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await world.sign_up(1, 2)
        await world.in_sync(1, 2)
        world.pipeline.control.state[DELETES] = HELD
        await world.remove(1)
        await world.change(2, given_name="Ada")
        await world.in_sync(2, seconds=10.0)
        await asyncio.sleep(600)
        assert world.at_cidaas(1) is not None and world.tenant.count("delete") == 0
        assert "anna paused them (a script runs)" in world.delivery.why_waiting(world.partition, b"1")
        world.pipeline.control.state[DELETES] = {**HELD, "paused": False}
        await world.in_sync(1, seconds=10.0)
        assert world.at_cidaas(1) is None
        await world.stop()

    run(scenario(), clock)


def test_a_pause_says_who_when_and_why_and_what_it_replaces(asked: Asked) -> None:
    """Two people on two shifts: the second must see that the first had a reason, too."""
    said = asked.say("pause", "--why", "maintenance")
    assert said.exit_code == 0 and "maintenance (ben, since 2" in said.output and "`resume`" in said.output
    asked.control.state[DELIVERY] = HELD
    said = asked.say("pause", "--all", "--why", "more")
    assert "it was paused before: a script runs (anna, since 2001-09-09 01:46:40 UTC)" in said.output
    body = orjson.loads(asked.say("pause", "--why", "third", "--json").output)
    assert (body["changed"], body["who"], body["why"], body["before"]["why"]) == (True, "ben", "third", "more")


def test_deletes_are_paused_and_resumed_alone(asked: Asked) -> None:
    """Each of the two has its own record, so that one does not forget the other's reason."""
    asked.control.state[DELIVERY] = HELD
    assert asked.say("pause", "--deletes", "--why", "look first").exit_code == 0
    assert asked.control.puts == [DELETES] and asked.control.state[DELIVERY] == HELD
    said = asked.say("resume", "--deletes")
    assert "everything is still paused: a script runs (anna" in said.output
    assert "deletes were paused: look first (ben" in said.output
    assert not asked.control.state[DELETES]["paused"] and asked.control.state[DELIVERY] == HELD


def test_resume_lets_everything_go(asked: Asked) -> None:
    """Also when nobody has paused: it ends `delivery.start`, of which no record stands."""
    assert asked.say("resume").output == "resumed\n"
    assert asked.control.puts == [DELIVERY] and asked.control.state[DELIVERY]["paused"] is False
    asked.control.state |= {DELIVERY: HELD, DELETES: HELD}
    body = orjson.loads(asked.say("resume", "--json").output)
    assert not any(asked.control.state[name]["paused"] for name in (DELIVERY, DELETES))
    assert body["before"] == [HELD, HELD]


@pytest.mark.parametrize(
    "words",
    [
        ["pause"],
        ["pause", "--why", " "],
        ["pause", "--why", "x", "--all", "--deletes"],
        ["resume", "--all", "--deletes"],
    ],
)
def test_a_pause_without_a_reason_or_of_two_kinds_is_refused(asked: Asked, words: list[str]) -> None:
    """Weeks later nobody knows any more."""
    assert asked.say(*words).exit_code == 2 and asked.control.puts == []


def test_worker_and_status_show_that_deletes_are_paused(tmp_path: Path) -> None:
    """Else somebody looks for a fault."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        assert views._paused_deletes(world.pipeline) is None  # type: ignore[arg-type]
        world.pipeline.control.state[DELETES] = HELD
        assert views._paused_deletes(world.pipeline) == HELD  # type: ignore[arg-type]
        await world.stop()

    run(scenario(), clock)
    body: dict[str, Any] = {
        "paused": None,
        "brake": None,
        "sweep": None,
        "foreign_subs": 0,
        "users": {},
        "faults": [],
        "slot_room": None,
    }
    found = _problems(SETTINGS, Look(), [], body | {"deletes_paused": HELD, "heartbeat_age_seconds": None})
    (said,) = [problem for problem in found if problem["slug"] == "deletes_paused"]
    assert "a script runs (anna, since 2001-09-09 01:46:40 UTC)" in said["what"]
    assert "resume --deletes" in said["remedy"]


FROZEN = {"paused": True, "why": "go-live", "who": "cutover freeze", "at": 1_800_000_000.0, "go-live": True}


def told(name: str, paused: Any = None, deletes: Any = None) -> dict[str, Any]:
    """What a worker says."""
    rest = {"brake": {}, "sweep": None, "faults": [], "notifications": []}
    return {"worker": name, "owned": 1, "trouble": "", "paused": paused, "deletes_paused": deletes, **rest}


@pytest.mark.parametrize(
    ("first", "second", "holds"),
    [(FROZEN, FROZEN, True), (FROZEN, None, False), (None, FROZEN, False), (None, None, False)],
)
def test_delivery_is_held_when_all_workers_say_so(first: Any, second: Any, holds: bool) -> None:
    """The control reader of one may hang: it sends, and no freeze may say GO."""
    for workers in (
        [told("a:1", paused=first), told("b:2", paused=second)],
        [told("a:1", deletes=first), told("b:2", deletes=second)],
    ):
        known = asyncio.run(_known(SETTINGS, Look(), workers))
        assert (known.paused or known.deletes_paused) == (FROZEN if holds else None)


def test_status_names_who_has_not_heard_of_a_pause() -> None:
    body: dict[str, Any] = {
        "paused": None, "deletes_paused": None, "brake": None, "sweep": None, "foreign_subs": 0, "users": {},
        "faults": [], "slot_room": None, "heartbeat_age_seconds": 1,
    }  # fmt: skip

    def said(*workers: dict[str, Any]) -> list[str]:
        return [one["what"] for one in _problems(SETTINGS, Look(), list(workers), body) if one["slug"] != "worker_away"]

    away = {"worker": "c:3", "url": "c:3", "trouble": "does not answer"}
    assert said(told("a:1", FROZEN), told("b:2"), away) == ["delivery is paused, and not at all workers: not at b:2"]
    assert said(told("a:1"), told("b:2", None, FROZEN)) == ["deletes are paused, and not at all workers: not at a:1"]
    assert said(told("a:1", FROZEN, FROZEN), told("b:2", FROZEN, FROZEN)) == said(told("a:1"), away) == []
