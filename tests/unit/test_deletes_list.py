"""`deletes list`: whether the brake holds deletes, and what holds them beside it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from fakes import SETTINGS

from streams.commands import deletes
from streams.control import DELETES, DELIVERY, FAULTS, REPAIR, Control
from streams.standing import Standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.ledger import Situation

PARKED = {"brake": {"on": True, "why": "30 deletes within 10 min, more than 20"}}
FAULT = {"slug": "slot_lost", "what": "the slot lost its WAL", "remedy": "Run `source repair`.", "since": 1.0}


class Asked:
    """The command with this control topic, and one user whose delete is parked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state: dict[str, Any] = {DELIVERY: {"paused": False}}
        monkeypatch.setattr(deletes, "Controls", self._controls)
        monkeypatch.setattr(deletes.orders, "standing", self._standing)

    @asynccontextmanager
    async def _controls(self, settings: Any) -> AsyncIterator[Control]:
        control = Control(SETTINGS.topics, None, lambda: None)  # type: ignore[arg-type, return-value]
        control.state = self.state
        yield control

    async def _standing(self, settings: Any, situation: Situation, *, limit: int) -> Standing:
        found = Standing(limit=limit)
        found.reasons["the delete brake holds it"] = 1
        user = {"user": "42", "reason": "the delete brake holds it", "since": 0.0, "attempts": 0, "message": ""}
        found.users.append(user)
        return found

    def say(self, *words: str) -> Any:
        (group,) = deletes.commands(SETTINGS)
        return CliRunner().invoke(group, ["list", *words])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_parked_deletes_are_shown_with_what_answers_them(asked: Asked) -> None:
    assert asked.say().output.startswith("not parked: 0 delete decisions")
    asked.state |= PARKED
    said = asked.say()
    assert said.exit_code == 1
    lines = said.output.splitlines()
    assert lines[0] == "deletes are parked: 30 deletes within 10 min, more than 20"
    assert "`deletes allow`" in lines[1] and "`deletes reject`" in lines[1]
    assert lines[-1].startswith("42  ") and "1970-01-01 00:00:00" in lines[-1]
    assert "no delete leaves now" not in said.output


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({DELIVERY: {"paused": True, "why": "a look"}}, ("delivery is paused: a look", "`resume`")),
        ({DELETES: {"paused": True, "why": "a look"}}, ("deletes are paused: a look", "`resume --deletes`")),
        ({f"{FAULTS}slot_lost": FAULT}, ("the slot lost its WAL. Run `source repair`.",)),
        ({REPAIR: {"id": "1", "at": 1.0, "epoch": 2}}, ("a source repair has not ended", "`source repair --yes`")),
    ],
)
def test_what_holds_deletes_beside_the_brake_is_said(
    asked: Asked, state: dict[str, Any], words: tuple[str, ...]
) -> None:
    """Else a person allows them, and wonders why they stay."""
    asked.state |= PARKED | state
    said = asked.say().output
    (line,) = [line for line in said.splitlines() if line.startswith("! no delete leaves now")]
    assert all(word in line for word in words), line
    body = orjson.loads(asked.say("--json").stdout_bytes)
    assert body["held"] and body["held"] in line
