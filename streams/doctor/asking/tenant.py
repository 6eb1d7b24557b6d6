"""Asks cidaas; only `trial` writes: it makes a test user and deletes it again."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

import httpx
import orjson

from streams.cidaas import Cidaas, CidaasError, DeleteOutcome, OutcomeKind
from streams.cidaas.token import PATH as TOKEN
from streams.cidaas.wire import read_retry_after
from streams.doctor.cidaas import TEST_USER, Tenant, Trial, refused

if TYPE_CHECKING:
    from streams.cidaas import Outcome
    from streams.settings import Settings

#: Seconds for one call; after which no test user is made any more; and in which an accepted delete has to be done.
CALL, EARLY, GONE = 2.0, 3.0, 2.0
#: Two passwords that nobody knows: bcrypt has 22 characters of salt and 31 of hash.
_HASHES = ("$2b$10$" + "a" * 53, "$2b$10$" + "b" * 53)
_LIMITS = ("x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit-limit", "ratelimit-remaining", "ratelimit")


class Listening(httpx.AsyncBaseTransport):
    """Passes requests on, and keeps what the answers say of scopes and limits."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.scopes: tuple[str, ...] | None = None
        self.limited: float | None = None
        self.headers: dict[str, str] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and listen to its answer."""
        answer = await self._inner.handle_async_request(request)
        self.headers |= {name: answer.headers[name] for name in _LIMITS if name in answer.headers}
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            self.limited = max(self.limited or 0.0, read_retry_after(answer.headers) or 0.0)
        if request.url.path.endswith(TOKEN) and answer.is_success:
            self.scopes = scopes_of(await answer.aread())
        return answer

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()


def scopes_of(body: bytes) -> tuple[str, ...] | None:
    """Read the scopes of a token answer: its own `scope`, else the claim of the token; None where neither says it."""
    try:
        answer = orjson.loads(body)
        found = _words(answer.get("scope"))
        return found if found is not None else _words(_claims(str(answer["access_token"])).get("scope"))
    except (ValueError, KeyError, AttributeError):
        return None


def _claims(token: str) -> dict[str, Any]:
    """The claims of a JWT, unverified: they are shown, nothing is decided by them."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    found = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) or b"{}")
    return found if isinstance(found, dict) else {}


def _words(value: object) -> tuple[str, ...] | None:
    if isinstance(value, str) and value.strip():
        return tuple(value.split())
    return tuple(map(str, value)) if isinstance(value, list) and value else None


async def ask(settings: Settings, *, write: bool, transport: httpx.AsyncBaseTransport | None = None) -> Tenant:
    """Ask for all that can be judged; with `write`, a test user is made and deleted again."""
    cidaas = settings.cidaas
    needed = {
        "CIDAAS_BASE_URL": cidaas.base_url,
        "CIDAAS_CLIENT_ID": cidaas.client_id,
        "CIDAAS_CLIENT_SECRET": cidaas.client_secret,
    }
    if missing := tuple(name for name, value in needed.items() if value is None):
        return Tenant(missing=missing)
    began = time.monotonic()
    listening = Listening(transport or _network(str(cidaas.base_url)))
    async with Cidaas(replace(cidaas, timeout=min(cidaas.timeout, CALL)), transport=listening) as client:
        probe = await _error(client.probe())
        token = await _error(client.check_token()) if probe is None else None
        read = trial = None
        if probe is None and token is None:
            read = await _error(client.exists(str(uuid.uuid4())))
            if write:
                trial = Trial()
                if read is None:  # nobody is made who could not be seen to be gone again, nor be deleted
                    trial = Trial(removed=await _error(client.delete(str(uuid.uuid4()), cidaas.delete)))
                if read is None and trial.removed is None and time.monotonic() < began + EARLY:
                    trial = await _trial(client, settings)
    return Tenant((), probe, token, listening.scopes, read, listening.limited, listening.headers, trial)


def _network(base: str) -> httpx.AsyncBaseTransport:
    """The network as the worker's client uses it: through the environment's proxy, but not on this machine."""
    url = httpx.URL(base)
    direct = url.host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(url.host)
    return httpx.AsyncHTTPTransport(proxy=None if direct else getproxies().get(url.scheme))


async def _error(call: Any) -> CidaasError | None:
    try:
        await call
    except CidaasError as error:
        return error
    return None


async def _trial(client: Cidaas, settings: Settings) -> Trial:
    """Make a user that no legacy user can be, give it another password, delete it, whatever happens before."""
    sub = str(uuid.uuid4())
    trial = Trial(f"{TEST_USER}{sub[:8]}", sub)
    entity: dict[str, Any] = {
        "sub": sub,
        "provider": "self",
        "userStatus": "DECLINED",  # it can never log in
        "username": trial.name,
        "given_name": "cidaas-sync doctor",
        "family_name": "test user, delete me",
        "no_event": "true",
    }
    removed: bool | CidaasError | None = None
    try:
        trial = replace(trial, first=await _upsert(client, entity, _HASHES[0]))
        if getattr(trial.first, "kind", None) is OutcomeKind.DONE:
            trial = replace(trial, second=await _upsert(client, entity, _HASHES[1]))
    finally:
        # Also when the time is over in between, and after an unclear end, which may have been applied (C4).
        if not refused(trial.first):
            removed = await asyncio.shield(_remove(client, settings, sub))
    return replace(trial, removed=removed)


async def _upsert(client: Cidaas, entity: dict[str, Any], secret: str) -> Outcome | CidaasError:
    password = {"algorithmTypeId": "BCRYPT_10", "passwordHash": secret}
    try:
        return (await client.bulk([entity | {"password_hash_info": password}]))[0]
    except CidaasError as error:
        return error


async def _remove(client: Cidaas, settings: Settings, sub: str) -> bool | CidaasError:
    """Delete the test user; True when it is gone. A delete that was only accepted is waited for (C8)."""
    try:
        if await client.delete(sub, settings.cidaas.delete) is DeleteOutcome.GONE:
            return True
        async with asyncio.timeout(GONE):
            while await client.exists(sub):  # noqa: ASYNC110  cidaas deletes in its own time, and tells nobody
                await asyncio.sleep(0.3)
    except CidaasError as error:
        return error
    except TimeoutError:
        return False
    return True
