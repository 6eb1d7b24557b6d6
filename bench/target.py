"""The target of the measurements: a small HTTP server that answers as cidaas does, and is never what one waits for.

    python -m bench.target --port 0 --control-port 0

It keeps a digest of each user's last state, so that what contenders have sent can be compared. The stand-in of the demo
(demo/standin) is faithful in everything that can go wrong, and that takes time; here nothing goes wrong unless asked
for. The second port is for the harness, and answers also while the first one is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvloop

_TOKEN = b"bench-token"
_GRANTED = orjson.dumps(
    {
        "token_type": "Bearer",
        "expires_in": 86_400,
        "access_token": _TOKEN.decode(),
        "sub": "ANONYMOUS",
        "scope": "cidaas:bulk_user_create cidaas:users_delete cidaas:users_read cidaas:users_search",
    }
)


@dataclass(slots=True)
class State:
    """What arrived since the last reset. Times are seconds since 1970."""

    latency: float = 0.0
    goal: int = 0  # distinct users after whose confirmation `done_at` is set
    journal: bool = False
    users: dict[str, bytes] = field(default_factory=dict)  # sub -> digest of the last state
    confirmed: set[str] = field(default_factory=set)
    calls: int = 0
    sent: int = 0  # users in calls, counted each time
    unchanged: int = 0  # of these: nothing differed from the state before
    in_flight: int = 0
    most_in_flight: int = 0
    largest: int = 0
    first_call_at: float = 0.0
    last_answer_at: float = 0.0
    done_at: float = 0.0
    arrivals: list[tuple[str, str, float, float]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """What the harness asks for again and again: no per-user work."""
        names = (
            "calls",
            "sent",
            "unchanged",
            "most_in_flight",
            "largest",
            "first_call_at",
            "last_answer_at",
            "done_at",
        )
        return {"users": len(self.users), "confirmed": len(self.confirmed)} | {n: getattr(self, n) for n in names}

    def digest(self) -> dict[str, Any]:
        """One hash over all users and their last states."""
        whole = hashlib.sha256()
        for sub in sorted(self.users):
            whole.update(sub.encode() + self.users[sub])
        return {"users": len(self.users), "digest": whole.hexdigest()}


def state_digest(entity: dict[str, Any]) -> bytes:
    """The digest of one user's state: of all its fields, in whatever order they came."""
    return hashlib.blake2b(orjson.dumps(entity, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()


class Target:
    """Takes calls; `away` closes the public port for a while."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, 0
        self.state = State()
        self.connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._returning: asyncio.Task[None] | None = None

    async def open(self, port: int) -> None:
        """Listen for contenders."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self, public), self.host, port, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]

    def away(self, seconds: float) -> None:
        """Close the public port and all its connections for `seconds`; what was on its way gets no answer."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.connections):
            connection.abort()
        self._returning = asyncio.create_task(self._return(seconds))

    async def _return(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.open(self.port)

    def bulk(self, body: bytes, connection: Connection) -> None:
        """Take a call of users, and answer it after the latency."""
        state, now = self.state, time.time()
        state.first_call_at = state.first_call_at or now
        entities = orjson.loads(body)
        items, users = [], state.users
        for entity in entities:
            sub, digest = entity["sub"], state_digest(entity)
            before = users.get(sub)
            state.unchanged += before == digest
            users[sub] = digest
            identifier = {"email": entity["email"], "provider": "self"}
            word = "CREATED" if before is None else "UPDATED"
            items.append({"identifier": identifier, "sub": sub, "process_state": word})
        state.calls += 1
        state.sent += len(entities)
        state.largest = max(state.largest, len(entities))
        state.in_flight += 1
        state.most_in_flight = max(state.most_in_flight, state.in_flight)
        answer = orjson.dumps({"process_states": items})
        if state.latency:
            loop = asyncio.get_running_loop()
            loop.call_later(state.latency, self._confirm, state, entities, now, answer, connection)
        else:
            self._confirm(state, entities, now, answer, connection)

    def _confirm(
        self, state: State, entities: list[dict[str, Any]], began: float, answer: bytes, connection: Connection
    ) -> None:
        connection.answer(200, answer)
        now = time.time()
        state.in_flight -= 1
        state.last_answer_at = now
        state.confirmed.update(entity["sub"] for entity in entities)
        if state.goal and not state.done_at and len(state.confirmed) >= state.goal:
            state.done_at = now
        if state.journal:
            state.arrivals += [(entity["sub"], entity.get("given_name") or "", began, now) for entity in entities]


class Connection(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection; requests carry Content-Length, as all contenders' do."""

    def __init__(self, target: Target, routes: Any) -> None:
        self._target, self._routes = target, routes
        self._buffer = bytearray()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """Remember the connection, for `away`."""
        self._transport = transport
        if self._routes is public:
            self._target.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget it."""
        self._target.connections.discard(self)

    def abort(self) -> None:
        """Close without an answer."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take requests as soon as they are whole."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = _length(head)
            if length is None:
                self.answer(411, b"{}")
                self._transport.close()
                return
            whole = end + 4 + length
            if len(self._buffer) < whole:
                return
            body = bytes(self._buffer[end + 4 : whole])
            del self._buffer[:whole]
            method, _, rest = head.partition(b" ")
            self._routes(self._target, self, method.decode(), rest.partition(b" ")[0].decode(), head, body)

    def answer(self, status: int, body: bytes) -> None:
        """Write an answer."""
        if self._transport.is_closing():
            return
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)


def _length(head: bytes) -> int | None:
    """The length of the body; None where it is sent in chunks."""
    lower = head.lower()
    if b"\r\ntransfer-encoding:" in lower:
        return None
    found = lower.find(b"\r\ncontent-length:")
    return 0 if found < 0 else int(lower[found + 17 :].split(b"\r\n", 1)[0])


def public(target: Target, connection: Connection, method: str, path: str, head: bytes, body: bytes) -> None:
    """What contenders call."""
    if path == "/users-srv/user/bulk":
        if b"Bearer " + _TOKEN in head:
            target.bulk(body, connection)
        else:
            connection.answer(401, b'{"success":false,"status":401}')
    elif path == "/token-srv/token":
        connection.answer(200, _GRANTED)
    elif path.startswith("/users-srv/user/purge/"):
        target.state.users.pop(path.rpartition("/")[2], None)
        connection.answer(202, b'{"success":true,"status":202}')
    elif path.startswith("/user-srv/users/"):
        there = path.rpartition("/")[2] in target.state.users
        connection.answer(200 if there else 404, b"{}" if there else b'{"error":"user not found","code":"10301"}')
    elif path == "/.well-known/openid-configuration":
        connection.answer(200, b"{}")
    else:
        connection.answer(404, b"{}")


def control(target: Target, connection: Connection, method: str, path: str, head: bytes, body: bytes) -> None:
    """What the harness calls."""
    path, _, query = path.partition("?")
    asked = {name: values[-1] for name, values in parse_qs(query).items()}
    found: Any = {}
    if path == "/stats":
        found = target.state.figures()
    elif path == "/digest":
        found = target.state.digest()
    elif path == "/reset":
        target.state = State(float(asked.get("latency", 0)), int(asked.get("goal", 0)), asked.get("journal") == "1")
        gc.collect()
    elif path == "/journal":
        target.state.journal = asked.get("on", "1") == "1"
        found, target.state.arrivals = target.state.arrivals, []
    elif path == "/away":
        target.away(float(asked["seconds"]))
    connection.answer(200, orjson.dumps({"port": target.port} if path == "/" else found))


async def _serve(host: str, port: int, control_port: int) -> None:
    target = Target(host)
    loop = asyncio.get_running_loop()
    await target.open(port)
    server = await loop.create_server(lambda: Connection(target, control), host, control_port)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    print(orjson.dumps({"port": target.port, "control": server.sockets[0].getsockname()[1]}).decode(), flush=True)
    # Nothing here is cyclic; a collection in the middle of a run would be a pause of our own making.
    gc.freeze()
    gc.disable()
    await stopped.wait()


def main() -> int:
    """Serve until SIGTERM; the first line of the output names both ports."""
    parser = argparse.ArgumentParser(prog="python -m bench.target", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--control-port", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(_serve(options.host, options.port, options.control_port))
    return 0


if __name__ == "__main__":
    sys.exit(main())
