"""A really started stand-in for a test, and the few calls that the tests share."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import httpx

from demo.standin.listener import Listener
from demo.standin.switches import Switches
from demo.standin.tenant import CLIENT_ID, CLIENT_SECRET, Tenant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

BULK = "/users-srv/user/bulk"
CREDENTIALS = {"grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
HASH = "$2b$04$" + "a" * 53


class Kit:
    """A client with a token, and what is behind the server."""

    def __init__(self, tenant: Tenant, listener: Listener, http: httpx.AsyncClient) -> None:
        self.tenant = tenant
        self.listener = listener
        self.http = http

    async def login(self) -> None:
        """Fetch a token and use it from now on."""
        answer = await self.http.post("/token-srv/token", json=CREDENTIALS)
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def bulk(self, *users: dict[str, Any]) -> list[dict[str, Any]]:
        """The items of the answer."""
        answer = await self.http.post(BULK, json=list(users))
        assert answer.status_code == 200, answer.text
        return answer.json()["process_states"]

    async def one(self, **fields: Any) -> dict[str, Any]:
        """The item for one user."""
        return (await self.bulk(user(**fields)))[0]

    async def switch(self, **values: Any) -> None:
        answer = await self.http.put("/_test/switches", json=values)
        assert answer.status_code == 200, answer.text

    async def fault(self, **script: Any) -> int:
        """Script one fault for bulk calls; returns its id."""
        answer = await self.http.post("/_test/faults", json={"match": {"endpoint": "bulk"}, **script})
        assert answer.status_code == 200, answer.text
        return answer.json()["faults"][0]["id"]

    async def counters(self) -> dict[str, Any]:
        return (await self.http.get("/_test/counters")).json()

    def entity(self, sub: str) -> dict[str, Any] | None:
        return self.tenant.users.entity(sub)


@contextlib.asynccontextmanager
async def running(data: Path | None = None, **switches: Any) -> AsyncIterator[Kit]:
    """A stand-in on a free port, in this process."""
    tenant = Tenant(data, Switches().changed({"token_lifetime": 3600, **switches}))
    tenant.open()
    async with Listener(tenant) as listener, httpx.AsyncClient(base_url=listener.url, timeout=10) as http:
        kit = Kit(tenant, listener, http)
        await kit.login()
        yield kit


def user(number: int = 1, **fields: Any) -> dict[str, Any]:
    """A user that is fine, with `fields` on top."""
    return {
        "sub": f"00000000-0000-4000-8000-{number:012d}",
        "email": f"user{number}@shop.example.org",
        "provider": "self",
        "userStatus": "VERIFIED",
        "given_name": "Jürgen",
        **fields,
    }


def sub(number: int = 1) -> str:
    return user(number)["sub"]


async def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait for a condition in this process; fails with `what` when it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)
