"""What exists only here: dump, history, counters, login, switches, faults, being away (all under `/_test/`)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from demo.standin.faults import FaultError
from demo.standin.passwords import fits
from demo.standin.switches import SwitchError
from demo.standin.users import email_key, row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from demo.standin.tenant import Tenant

_CHUNK = 1000  # users in one piece of a stream


class Extras:
    """The test-only endpoints; `refuse` closes the listening socket for some seconds."""

    def __init__(self, tenant: Tenant, refuse: Callable[[float, web.Request], Awaitable[None]]) -> None:
        self._tenant = tenant
        self._refuse = refuse

    def routes(self) -> list[web.RouteDef]:
        """All of them."""
        return [
            web.get("/_test/dump", self.dump),
            web.get("/_test/history", self.history),
            web.get("/_test/history/{sub}", self.history_of),
            web.get("/_test/counters", self.counters),
            web.post("/_test/counters/reset", self.reset),
            web.post("/_test/login", self.login),
            web.get("/_test/switches", self.switches),
            web.put("/_test/switches", self.switch),
            web.get("/_test/faults", self.faults),
            web.post("/_test/faults", self.add_faults),
            web.delete("/_test/faults", self.clear_faults),
            web.delete("/_test/faults/{id}", self.clear_faults),
            web.post("/_test/away", self.away),
            web.post("/_test/tokens/revoke", self.revoke),
            web.delete("/_test/users", self.forget),
        ]

    async def dump(self, request: web.Request) -> web.StreamResponse:
        """Every user with everything that is stored, one JSON a line, in the order of creation."""

        async def pieces() -> AsyncIterator[bytes]:
            everybody = list(self._tenant.users.values.items())  # values never change: this is one moment
            for start in range(0, len(everybody), _CHUNK):
                lines = []
                for sub, value in everybody[start : start + _CHUNK]:
                    known = row(sub, value)
                    lines.append(
                        b'{"sub":%s,"created_us":%d,"updated_us":%d,"number":%d,"entity":%s}\n'
                        % (orjson.dumps(sub), known.created, known.updated, known.number, known.text)
                    )
                yield b"".join(lines)

        return await _stream(request, pieces())

    async def history(self, request: web.Request) -> web.StreamResponse:
        """The accepted states of every user that ever was, one JSON a line."""

        async def pieces() -> AsyncIterator[bytes]:
            everybody = list(self._tenant.users.history)
            for start in range(0, len(everybody), _CHUNK):
                yield b"".join(orjson.dumps(self._states(sub)) + b"\n" for sub in everybody[start : start + _CHUNK])

        return await _stream(request, pieces())

    def _states(self, sub: str) -> dict[str, Any]:
        states = self._tenant.users.states(sub) or []
        return {"sub": sub, "states": states, "cut": len(states) >= self._tenant.users.history_limit}

    async def history_of(self, request: web.Request) -> web.Response:
        """The accepted states of one user."""
        sub = request.match_info["sub"]
        if sub not in self._tenant.users.history:
            return _json(404, {"error": "no user ever had this sub"})
        return _json(200, self._states(sub))

    async def counters(self, request: web.Request) -> web.Response:
        """What was seen since the start or the last reset."""
        tenant = self._tenant
        seen = tenant.counters.to_json()
        seen["users"] = asdict(tenant.tally)
        seen["stored"] = {"users": len(tenant.users), "purges_pending": len(tenant.users.purges),
                          "journal_bytes": tenant.journal.size}  # fmt: skip
        return _json(200, seen)

    async def reset(self, request: web.Request) -> web.Response:
        """Counters to zero."""
        self._tenant.counters.reset()
        self._tenant.tally.__init__()  # type: ignore[misc]
        return web.Response(status=204)

    async def login(self, request: web.Request) -> web.Response:
        """Would this user get in with this password? Nothing of it is logged."""
        asked = await _body(request)
        email, password = asked.get("email"), asked.get("password")
        if not isinstance(email, str) or not isinstance(password, str):
            return _json(400, {"error": "email and password are needed"})
        users = self._tenant.users
        sub = users.owners.get(email_key(asked.get("provider"), email))
        entity = users.entity(sub) if sub else None
        if entity is None:
            return _json(200, {"ok": False, "sub": None, "reason": "unknown user"})
        info, status = entity.get("password_hash_info"), entity.get("userStatus")
        reason = "no password" if not info else ""
        if info:
            right = await asyncio.to_thread(fits, password, info, self._tenant.switches)
            if right is None:
                reason = "this stand-in cannot compute the algorithm"
            elif not right:
                reason = "wrong password"
            elif status != "VERIFIED":
                reason = f"status is {status}"  # only VERIFIED users can log in (documented)
        return _json(200, {"ok": not reason, "sub": sub, "reason": reason or None})

    async def switches(self, request: web.Request) -> web.Response:
        """All switches."""
        return _json(200, self._tenant.switches.to_json())

    async def switch(self, request: web.Request) -> web.Response:
        """Change some switches."""
        try:
            self._tenant.switch(orjson.loads(await request.read()))
        except (SwitchError, orjson.JSONDecodeError) as error:
            return _json(400, {"error": str(error)})
        return _json(200, self._tenant.switches.to_json())

    async def faults(self, request: web.Request) -> web.Response:
        """The scripted faults and how often each fired."""
        return _json(200, {"faults": self._tenant.faults.to_json()})

    async def add_faults(self, request: web.Request) -> web.Response:
        """Script faults."""
        try:
            return _json(200, {"faults": self._tenant.faults.add(orjson.loads(await request.read()))})
        except (FaultError, orjson.JSONDecodeError) as error:
            return _json(400, {"error": str(error)})

    async def clear_faults(self, request: web.Request) -> web.Response:
        """Forget all faults, or one; held calls go on."""
        number = request.match_info.get("id")
        if number is not None and not number.isdigit():
            return _json(400, {"error": "the id of a fault is a number"})
        self._tenant.faults.clear(None if number is None else int(number))
        return web.Response(status=204)

    async def away(self, request: web.Request) -> web.Response:
        """Be away for some seconds: 503, connections dropped, or connections refused; 0 seconds is back at once."""
        asked = await _body(request)
        seconds, style = asked.get("seconds"), asked.get("style", "503")
        if not isinstance(seconds, int | float) or seconds < 0 or style not in ("503", "drop", "refused"):
            return _json(400, {"error": "seconds must be a number, style one of 503, drop, refused"})
        if style == "refused":
            await self._refuse(seconds, request)
            response = web.Response(status=204)
            response.force_close()
            return response
        self._tenant.away_drops = style == "drop"
        self._tenant.away_until = time.monotonic() + seconds
        return web.Response(status=204)

    async def revoke(self, request: web.Request) -> web.Response:
        """All tokens that were given out are worth nothing now."""
        return _json(200, {"revoked": self._tenant.revoke()})

    async def forget(self, request: web.Request) -> web.Response:
        """Forget all users, their history and the data file's content."""
        self._tenant.forget()
        return web.Response(status=204)


def _json(status: int, body: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


async def _stream(request: web.Request, pieces: AsyncIterator[bytes]) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/x-ndjson"
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):  # the reader has seen enough
        async for piece in pieces:
            await response.write(piece)
            await asyncio.sleep(0)  # calls in between
        await response.write_eof()
    return response
