"""Asks the worker and the stand-in over HTTP, from outside, as any operator could."""

from __future__ import annotations

from typing import Any, Self

import httpx

_AWAY = (httpx.HTTPError, ValueError)


class Peers:
    """Worker and stand-in of one stack; what does not answer is None. An asynchronous context manager."""

    def __init__(self, env: dict[str, str]) -> None:
        self._http = httpx.AsyncClient(timeout=5, trust_env=False)
        self._worker = f"http://127.0.0.1:{env['WEB_PORT']}"
        self._cidaas = env["CIDAAS_BASE_URL"]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def status(self) -> dict[str, Any] | None:
        """The worker's figures; None while it starts or is away."""
        found = await self._get(f"{self._worker}/sync/status")
        return None if found is None or found.get("starting") else found

    async def counters(self) -> dict[str, Any] | None:
        """What the stand-in counted since its start."""
        return await self._get(f"{self._cidaas}/_test/counters")

    async def states(self, sub: str) -> list[dict[str, Any]]:
        """The states that the stand-in accepted of one user, in their order."""
        found = await self._get(f"{self._cidaas}/_test/history/{sub}")
        states: list[dict[str, Any]] = (found or {}).get("states", [])
        return states

    async def logs_in(self, email: str, password: str) -> bool:
        """Tell whether this user gets into cidaas with this password."""
        try:
            answer = await self._http.post(f"{self._cidaas}/_test/login", json={"email": email, "password": password})
            return bool(answer.json()["ok"])
        except (*_AWAY, KeyError):
            return False

    async def _get(self, url: str) -> dict[str, Any] | None:
        try:
            answer = await self._http.get(url)
            if answer.is_error:
                return None
            found: dict[str, Any] = answer.json()
        except _AWAY:
            return None
        return found
