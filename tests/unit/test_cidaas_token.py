"""The access token is renewed early, and once for all callers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest

from streams.cidaas.errors import CidaasError, Kind, Misconfigured
from streams.cidaas.token import TokenSource
from streams.settings import Secret

URL = "https://tenant.test/token-srv/token"
SECRET = "s3cr&t+ä"


class Endpoint:
    """A token endpoint that counts; `answer` may be replaced by the test."""

    def __init__(self, lifetime: object = 100) -> None:
        self.requests: list[httpx.Request] = []
        self.lifetime = lifetime
        self.answer: Any = None
        self.asked, self.gate = asyncio.Event(), asyncio.Event()
        self.gate.set()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.asked.set()
        number = len(self.requests)
        await self.gate.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return httpx.Response(**self.answer)
        body = {"access_token": f"token-{number}", "token_type": "Bearer", "expires_in": self.lifetime}
        return httpx.Response(200, json=body)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def source(endpoint: Endpoint, clock: Clock | None = None, scopes: tuple[str, ...] = ()) -> TokenSource:
    http = httpx.AsyncClient(transport=httpx.MockTransport(endpoint))
    return TokenSource(http, URL, "client", Secret(SECRET), scopes, clock=clock or Clock())


async def settle(tokens: TokenSource) -> None:
    """Wait until a renewal in the background has ended."""
    if tokens._renewal is not None:
        await asyncio.wait([tokens._renewal], timeout=5)
    await asyncio.sleep(0)


async def test_fifty_callers_make_one_request() -> None:
    endpoint = Endpoint()
    tokens = source(endpoint, scopes=("cidaas:bulk_user_create", "cidaas:users_delete", "cidaas:bulk_user_create"))
    assert set(await asyncio.gather(*(tokens.get() for _ in range(50)))) == {"token-1"}
    (request,) = endpoint.requests
    form = parse_qs(request.content.decode())
    assert form["grant_type"] == ["client_credentials"]
    assert form["client_secret"] == [SECRET]
    assert form["scope"] == ["cidaas:bulk_user_create cidaas:users_delete"]


async def test_fifty_refusals_of_one_token_make_one_renewal() -> None:
    endpoint = Endpoint()
    tokens = source(endpoint)
    old = await tokens.get()

    async def refused() -> str:
        tokens.invalidate(old)
        return await tokens.get()

    assert set(await asyncio.gather(*(refused() for _ in range(50)))) == {"token-2"}
    tokens.invalidate(old)  # a latecomer
    assert await tokens.get() == "token-2"
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(("lifetime", "early"), [(100, 10), ("100", 10), (86400, 60), (5, 0.5), (None, 30)])
async def test_it_is_renewed_early_while_the_old_one_is_given_out(lifetime: object, early: float) -> None:
    endpoint, clock = Endpoint(lifetime), Clock()
    tokens = source(endpoint, clock)
    await tokens.get()
    end = clock.now + float(str(lifetime or 300))
    clock.now = end - early - 0.01
    assert await tokens.get() == "token-1"
    await settle(tokens)
    assert len(endpoint.requests) == 1
    clock.now = end - early + 0.01
    assert [await tokens.get() for _ in range(3)] == ["token-1"] * 3
    await settle(tokens)
    assert await tokens.get() == "token-2"
    assert len(endpoint.requests) == 2


async def test_an_early_renewal_that_fails_is_not_noticed(caplog: pytest.LogCaptureFixture) -> None:
    endpoint, clock = Endpoint(100), Clock()
    tokens = source(endpoint, clock)
    await tokens.get()
    endpoint.answer = httpx.ConnectError("refused")
    clock.now += 91
    with caplog.at_level(logging.WARNING):
        assert await tokens.get() == "token-1"
        await settle(tokens)
    assert "renewed early" in caplog.text
    assert await tokens.get() == "token-1"
    await settle(tokens)
    assert len(endpoint.requests) == 2, "it waits a while before the next try"
    clock.now += 10
    with pytest.raises(CidaasError):
        await tokens.get()


async def test_a_caller_that_is_cancelled_takes_nobodys_token_away() -> None:
    endpoint = Endpoint()
    endpoint.gate.clear()
    tokens = source(endpoint)
    first, second = asyncio.create_task(tokens.get()), asyncio.create_task(tokens.get())
    await asyncio.wait_for(endpoint.asked.wait(), 5)
    first.cancel()
    endpoint.gate.set()
    assert await second == "token-1"
    assert first.cancelled()
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"status_code": 400, "json": {"error": "invalid_client"}}, Kind.CREDENTIALS),
        ({"status_code": 401, "json": {"error": "invalid_client"}}, Kind.CREDENTIALS),
        ({"status_code": 403}, Kind.CREDENTIALS),
        ({"status_code": 417}, Kind.CREDENTIALS),
        ({"status_code": 422}, Kind.CREDENTIALS),
        ({"status_code": 200, "json": {}}, Kind.CREDENTIALS),
        ({"status_code": 200, "json": {"access_token": "a\r\nb"}}, Kind.CREDENTIALS),
        ({"status_code": 200, "content": b"<html>"}, Kind.NOT_FOUND_ENDPOINT),
        ({"status_code": 302, "headers": {"location": "https://elsewhere.test"}}, Kind.NOT_FOUND_ENDPOINT),
        ({"status_code": 404}, Kind.NOT_FOUND_ENDPOINT),
        ({"status_code": 429, "headers": {"retry-after": "7"}}, Kind.RATE_LIMITED),
        ({"status_code": 408}, Kind.UNAVAILABLE),
        ({"status_code": 500}, Kind.UNAVAILABLE),
        ({"status_code": 503}, Kind.UNAVAILABLE),
        (httpx.ConnectError("refused"), Kind.UNAVAILABLE),
        (httpx.ReadTimeout("slow"), Kind.UNAVAILABLE),
        (httpx.RemoteProtocolError("cut"), Kind.UNAVAILABLE),
    ],
)
async def test_refusals(answer: Any, kind: Kind) -> None:
    endpoint = Endpoint()
    endpoint.answer = answer
    with pytest.raises(CidaasError) as caught:
        await source(endpoint).get()
    assert caught.value.kind is kind
    assert isinstance(caught.value, Misconfigured) is (kind in (Kind.CREDENTIALS, Kind.NOT_FOUND_ENDPOINT))
    assert caught.value.retry_after == (7 if kind is Kind.RATE_LIMITED else None)
    assert SECRET not in str(caught.value)


async def test_a_token_that_lacks_a_scope_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    endpoint = Endpoint()
    endpoint.answer = {"status_code": 200, "json": {"access_token": "t", "expires_in": 9, "scope": "a b"}}
    tokens = source(endpoint, scopes=("a", "c"))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert await tokens.get() == "t"
            tokens.invalidate("t")
    assert caplog.text.count("without the scopes ['c']") == 1, "once, not at every renewal"


async def test_nothing_shows_the_token() -> None:
    tokens = source(Endpoint())
    token = await tokens.get()
    assert token not in repr(tokens._token)
