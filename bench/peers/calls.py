"""Calls of the asynchronous peers: a token once, then bulk calls over connections that are kept (aiohttp).

aiohttp is what one takes beside asyncio for speed; Faust brings it anyway.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKEN, BULK = "/token-srv/token", "/users-srv/user/bulk"
STORED = ("CREATED", "UPDATED")
TIMEOUT = 10.0  # seconds of a call
PAUSE = 0.5  # seconds before users are sent again who were not stored


def credentials() -> dict[str, str]:
    """Return the form of the token request."""
    return {
        "grant_type": "client_credentials",
        "client_id": os.environ.get("CIDAAS_CLIENT_ID", "bench"),
        "client_secret": os.environ.get("CIDAAS_CLIENT_SECRET", "bench"),
        "scope": "cidaas:bulk_user_create",
    }


def stored(body: bytes) -> set[str]:
    """Return the subs that an answer says are stored."""
    states = orjson.loads(body)["process_states"]
    return {item["sub"] for item in states if item["process_state"] in STORED}


class Calls:
    """Sends windows to the target; `open` first."""

    def __init__(self, target: str, concurrency: int) -> None:
        self._target, self._concurrency = target, concurrency
        self._session: aiohttp.ClientSession
        self._headers: dict[str, str] = {}
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Connect and get the token, once."""
        async with self._opening:
            if not self._headers:
                await self._open()

    async def _open(self) -> None:
        connector = aiohttp.TCPConnector(limit=self._concurrency)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        async with self._session.post(self._target + TOKEN, data=credentials()) as answer:
            answer.raise_for_status()
            token = orjson.loads(await answer.read())["access_token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    async def bulk(self, entities: Sequence[dict[str, Any]]) -> set[str]:
        """Send one window; return the subs that are stored: none if the call failed, and it is to be repeated."""
        try:
            body = orjson.dumps(entities)
            async with self._session.post(self._target + BULK, data=body, headers=self._headers) as answer:
                return stored(await answer.read()) if answer.status == 200 else set()
        except (aiohttp.ClientError, TimeoutError):
            return set()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
