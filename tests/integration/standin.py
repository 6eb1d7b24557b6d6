"""The cidaas stand-in as a test sees it: users and their history, faults, counters; and one of a test's own."""

from __future__ import annotations

import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from demo.stack.places import ROOT
from demo.standin.switches import Switches
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Entity = dict[str, Any]


class Cidaas:
    """The stand-in at `url`; users are named by their legacy id."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self._namespace = uuid.UUID(namespace)
        self._http = httpx.Client(base_url=url, timeout=10, trust_env=False)

    def sub(self, user: int) -> str:
        """The user's id at cidaas."""
        return str(uuid.uuid5(self._namespace, str(user)))

    def states(self, user: int) -> list[dict[str, Any]]:
        """Every state of this user that was accepted, oldest first."""
        answer = self._http.get(f"/_test/history/{self.sub(user)}")
        return list(answer.json()["states"]) if answer.status_code == 200 else []

    def words(self, user: int) -> list[str]:
        """CREATED, UPDATED, DELETED, in their order."""
        return [state["state"] for state in self.states(user)]

    def entity(self, user: int) -> Entity | None:
        """The user as it is stored now, None if it is not there."""
        states = self.states(user)
        if not states or states[-1]["state"] == "DELETED":
            return None
        return dict(states[-1]["full"])

    def await_user(self, user: int, wanted: Callable[[Entity], bool] = bool, seconds: float = 30.0) -> Entity:
        """Wait until the user is there and as wanted."""

        def found() -> Entity | None:
            entity = self.entity(user)
            return entity if entity is not None and wanted(entity) else None

        return until(found, lambda: f"user {user} at cidaas; it is {_shown(self.entity(user))}", seconds) or {}

    def await_gone(self, user: int, seconds: float = 30.0) -> None:
        """Wait until a user that was there is deleted."""
        until(lambda: self.words(user)[-1:] == ["DELETED"], f"user {user} deleted at cidaas", seconds)

    def users(self) -> int:
        """How many users are stored."""
        return int(self.counters()["stored"]["users"])

    def counters(self) -> dict[str, Any]:
        """What was counted since the last reset."""
        return dict(self._http.get("/_test/counters").raise_for_status().json())

    def calls(self, endpoint: str) -> int:
        """Calls of one endpoint since the last reset."""
        return sum(self.counters()["calls"].get(endpoint, {}).values())

    def reset(self) -> None:
        """No faults, not away, the switches as they are at first, counters at zero, whole entities in the history."""
        self.await_back()
        self._http.delete("/_test/faults").raise_for_status()
        self._http.post("/_test/away", json={"seconds": 0}).raise_for_status()
        self.switch(**Switches().to_json() | {"history": "full"})
        self._http.post("/_test/counters/reset").raise_for_status()

    def fault(self, endpoint: str, action: str, *, user: int | None = None, **keys: Any) -> int:
        """Script one fault, for calls with this `user` only if there is one; its number."""
        match = {"endpoint": endpoint} | ({} if user is None else {"sub": self.sub(user)})
        answer = self._http.post("/_test/faults", json={"match": match, "action": action, **keys})
        return int(answer.raise_for_status().json()["faults"][0]["id"])

    def fired(self, number: int) -> int:
        """How many calls this fault has met."""
        faults = self._http.get("/_test/faults").raise_for_status().json()["faults"]
        return next(int(fault["fired"]) for fault in faults if fault["id"] == number)

    def end_fault(self, number: int) -> None:
        """Forget one fault; the calls that it holds go on."""
        self._http.delete(f"/_test/faults/{number}").raise_for_status()

    def switch(self, **values: Any) -> None:
        """Set switches of the tenant."""
        self._http.put("/_test/switches", json=values).raise_for_status()

    def revoke_tokens(self) -> None:
        """Make every token worthless that was given out."""
        self._http.post("/_test/tokens/revoke").raise_for_status()

    def cure(self) -> None:
        """Forget all faults; held calls go on."""
        self.await_back()
        self._http.delete("/_test/faults").raise_for_status()

    def away(self, seconds: float, style: str) -> None:
        """Be away: 503, drop or refused."""
        self._http.post("/_test/away", json={"seconds": seconds, "style": style}).raise_for_status()

    def answers(self) -> bool:
        """Whether somebody answers at all."""
        try:
            return self._http.get("/.well-known/openid-configuration").status_code == 200
        except httpx.HTTPError:
            return False

    def await_back(self) -> None:
        """Wait until somebody answers: being away by refused connections ends by itself only."""
        until(lambda: self._http.get("/_test/faults").status_code == 200, "the stand-in answers", 45)

    def login(self, email: str, password: str) -> bool:
        """Would this user get in?"""
        answer = self._http.post("/_test/login", json={"email": email, "password": password})
        return bool(answer.raise_for_status().json()["ok"])

    def assert_one_call_a_user(self) -> None:
        """Nobody was in two calls at the same time, nor twice in one (design, Delivering)."""
        seen = self.counters()
        names = ("users_in_two_calls", "users_called_while_late", "user_twice_in_call", "email_twice_in_call")
        assert {name: seen[name] for name in names} == dict.fromkeys(names, 0), seen["examples"]


def _shown(entity: Entity | None) -> str:
    return "not there" if entity is None else f"there with {sorted(entity)}"


def start_standin(env: dict[str, str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a stand-in that forgets everything at its end."""
    command = [sys.executable, "-m", "demo.standin", "--port", str(port), "--set", "history=full"]
    with log.open("ab") as out:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)
