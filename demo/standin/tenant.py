"""The tenant: what all endpoints work on, and the words they answer in."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from demo.standin.bulk import Bulk, Tally
from demo.standin.counters import Counters
from demo.standin.faults import Fault, Faults
from demo.standin.journal import Journal
from demo.standin.switches import Switches
from demo.standin.users import Users

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

View = tuple[float, str, list[tuple[int, int, str, bytes]]]  # ends, sort field, (milliseconds, number, sub, value)
CLIENT_ID = "cidaas-sync"
CLIENT_SECRET = "standin-secret"  # noqa: S105 (of a stand-in; CIDAAS_CLIENT_SECRET replaces it)
NO_USER = "10301"


@dataclass(slots=True)
class Call:
    """One request as an endpoint sees it."""

    endpoint: str
    method: str
    headers: Mapping[str, str]
    body: bytes
    sub: str = ""  # from the path
    payload: Any = None  # of a bulk call; None if it is no JSON
    subs: list[str] = field(default_factory=list)
    emails: list[str] = field(default_factory=list)
    changes: list[Fault] = field(default_factory=list)  # of the answer

    def json(self) -> Any:
        """The body as JSON; None if it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None


@dataclass(slots=True)
class Answer:
    """What an endpoint answers."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows, and how long (monotonic seconds)."""

    scopes: frozenset[str]
    ends: float


def answer(status: int, body: Any) -> Answer:
    """A JSON answer."""
    return Answer(status, orjson.dumps(body))


class Tenant:
    """Users, switches, faults, counters and tokens of this stand-in."""

    def __init__(
        self,
        data: Path | None = None,
        switches: Switches | None = None,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
    ) -> None:
        self.switches = switches or Switches()
        self.users = Users(self.switches.history_limit, self.switches.history == "full")
        self.journal = Journal(data)
        self.tally = Tally()
        self.bulk = Bulk(self.users, self.switches, self.tally)
        self.counters = Counters()
        self.faults = Faults()
        self.client_id = client_id
        self._client_secret = client_secret
        self._tokens: dict[str, Grant] = {}
        self.away_until = 0.0
        self.away_drops = False
        self.views: dict[str, View] = {}  # of the bulk read
        self._timers: set[asyncio.TimerHandle] = set()

    def open(self) -> None:
        """Read the file; raises JournalError."""
        self.journal.open(self.users)

    def begin(self) -> None:
        """Set the clock of deletes that were accepted before the last stop."""
        for sub, due in self.users.purges.items():
            self._schedule(sub, due)

    def close(self) -> None:
        """Give up the file."""
        for timer in self._timers:
            timer.cancel()
        self.journal.close()

    def save(self) -> None:
        """Hand what changed to the operating system; called before each answer."""
        self.journal.write(self.users.lines)

    def switch(self, values: Any) -> None:
        """Change switches; raises SwitchError."""
        self.switches = self.switches.changed(values)
        self.users.history_limit = self.switches.history_limit
        self.users.full_history = self.switches.history == "full"
        self.bulk.configure(self.switches)

    def forget(self) -> None:
        """Forget all users and their history."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self.users.forget()
        self.journal.clear()

    # Tokens --------------------------------------------------------------------------------------------------------

    def knows(self, client_id: Any, client_secret: Any) -> bool:
        """Whether these are the client's credentials."""
        if not isinstance(client_id, str) or not isinstance(client_secret, str):
            return False
        same = hmac.compare_digest(client_secret.encode(), self._client_secret.encode())
        return same and client_id == self.client_id

    def grant(self, scopes: frozenset[str]) -> str:
        """A new token."""
        now = time.monotonic()
        if len(self._tokens) > 1000:
            self._tokens = {token: each for token, each in self._tokens.items() if each.ends > now}
        token = secrets.token_urlsafe(32)
        self._tokens[token] = Grant(scopes, now + self.switches.token_lifetime)
        return token

    def revoke(self) -> int:
        """Forget all tokens; returns how many there were."""
        number = len(self._tokens)
        self._tokens.clear()
        return number

    def refusal(self, call: Call, scopes: tuple[str, ...]) -> Answer | None:
        """401 or 403 if this call's token does not do; any one of `scopes` does."""
        kind, _, token = call.headers.get("Authorization", "").partition(" ")
        grant = self._tokens.get(token.strip()) if kind.lower() == "bearer" else None
        if grant is None or grant.ends <= time.monotonic():
            refused = self.problem(401, "authentication is missing or invalid")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        if not grant.scopes.intersection(scopes):
            return self.problem(403, f"scope {' or '.join(scopes)} is missing")
        return None

    # Deletes -------------------------------------------------------------------------------------------------------

    def delete(self, sub: str) -> None:
        """Delete a user now."""
        if self.users.remove(sub, time.time_ns() // 1000):
            self.tally.deleted += 1
        self.save()

    def delete_later(self, sub: str) -> None:
        """Accept a delete; whatever stands there when it is carried out goes."""
        now = time.time_ns() // 1000
        due = now + int(self.switches.purge_delay * 1_000_000)
        self.users.purge_later(sub, now, due)
        self.save()
        self._schedule(sub, due)

    def _schedule(self, sub: str, due: int) -> None:
        def run() -> None:
            self._timers.discard(timer)
            if self.users.purges.get(sub) == due:
                self.delete(sub)

        wait = max(0.0, due / 1_000_000 - time.time())
        timer = asyncio.get_running_loop().call_later(wait, run)
        self._timers.add(timer)

    # Words ---------------------------------------------------------------------------------------------------------

    def problem(self, status: int, message: str, code: str = "") -> Answer:
        """An error in cidaas's envelope, in the shape that the switch says (facts/cidaas-api.md §1.5)."""
        code = code or f"{status:05d}"
        body: dict[str, Any] = {"success": False, "status": status, "code": code, "error": message}
        if self.switches.error_shape == "nested":
            reference = f"{time.time_ns() // 1_000_000}-{secrets.token_hex(4)}"
            detail = {"code": int(code), "moreInfo": "", "type": "UsersException", "status": status,
                      "referenceNumber": reference, "error": message}  # fmt: skip
            body = {"success": False, "status": status, "error": detail}
        elif self.switches.error_shape == "ErrorResp":
            body = {"ErrorResp": body}
        return answer(status, body)
