"""Calls of the peers with threads: a token once, then bulk calls over connections that are kept (httpx)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from bench.peers.calls import BULK, PAUSE, TIMEOUT, TOKEN, credentials, stored

if TYPE_CHECKING:
    from collections.abc import Sequence


class BlockingCalls:
    """Sends windows to the target, from any thread."""

    def __init__(self, target: str, concurrency: int) -> None:
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._http = httpx.Client(base_url=target, timeout=TIMEOUT, limits=limits, trust_env=False)
        token = self._http.post(TOKEN, data=credentials()).raise_for_status().json()["access_token"]
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def bulk(self, entities: Sequence[dict[str, Any]]) -> set[str]:
        """Send one window; return the subs that are stored: none if the call failed, and it is to be repeated."""
        try:
            answer = self._http.post(BULK, content=orjson.dumps(entities), headers=self._headers)
        except httpx.HTTPError:
            return set()
        return stored(answer.content) if answer.status_code == 200 else set()

    def until_stored(self, entities: Sequence[dict[str, Any]]) -> None:
        """Send one window until all of it is stored."""
        while entities:
            subs = self.bulk(entities)
            entities = [entity for entity in entities if entity["sub"] not in subs]
            if entities:
                time.sleep(PAUSE)  # whatever refused them needs a moment; it tells nobody when it is over
