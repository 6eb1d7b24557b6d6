"""The access token: by client_credentials, renewed early, and once for all callers (facts/cidaas-api.md §5)."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from streams.cidaas.errors import CidaasError, Kind, failure, kind_of
from streams.cidaas.redaction import read_error
from streams.cidaas.wire import RAISED, retry_after, unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from streams.settings import Secret

log = logging.getLogger(__name__)

PATH = "/token-srv/token"

#: Lifetime taken when the answer names none, in seconds; a 401 corrects what is too long.
_ASSUMED_LIFETIME = 300.0
#: After an early renewal failed, the old token is used this long before the next try.
_EARLY_RETRY = 5.0


@dataclass(slots=True)
class _Token:
    text: str = field(repr=False)
    renew_at: float
    expires_at: float


class TokenSource:
    """Gives every caller a token that is good for a while; 50 callers cause one request.

    A token is renewed min(60 s, 10 % of its lifetime) before its end, in the background, while the old one is still
    given out: nobody waits, and a token endpoint that is away for a moment is not noticed.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        client_id: str,
        client_secret: Secret,
        scopes: Sequence[str] = (),
        *,
        timeout: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http, self._url = http, url
        self._client_id, self._client_secret = client_id, client_secret
        self._scopes = tuple(dict.fromkeys(scopes))
        self._timeout, self._clock = timeout, clock
        self._token: _Token | None = None
        self._missing: list[str] = []
        self._renewal: asyncio.Task[str] | None = None

    async def get(self) -> str:
        """Return a token; raises an error of the tree when none can be had."""
        now, token = self._clock(), self._token
        if token is not None and now < token.expires_at:
            if now >= token.renew_at:
                self._renew()
            return token.text
        return await asyncio.shield(self._renew())  # a caller that is cancelled takes nobody else's token away

    def invalidate(self, token: str) -> None:
        """Drop this very token after a 401; a newer one, renewed by another caller meanwhile, stays."""
        if self._token is not None and self._token.text == token:
            self._token = None

    async def aclose(self) -> None:
        """Stop a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)

    def _renew(self) -> asyncio.Task[str]:
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._request(), name="cidaas token")
            self._renewal.add_done_callback(self._renewed)
        return self._renewal

    def _renewed(self, task: asyncio.Task[str]) -> None:
        self._renewal = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        if self._token is not None:
            self._token.renew_at = self._clock() + _EARLY_RETRY
            log.warning("The access token could not be renewed early; the old one is used on. %s", error)

    async def _request(self) -> str:
        started = self._clock()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._client_secret.reveal(),
        }
        if self._scopes:
            form["scope"] = " ".join(self._scopes)
        try:
            async with asyncio.timeout(self._timeout):
                response = await self._http.post(self._url, data=form)
        except RAISED as error:
            raise unreachable("the token request", error) from None
        if response.status_code != 200:
            raise _refusal(response)
        self._token = _read(response.content, started)
        self._warn_of_missing_scopes(response.content)
        return self._token.text

    def _warn_of_missing_scopes(self, body: bytes) -> None:
        granted = orjson.loads(body).get("scope")
        words = granted.split() if isinstance(granted, str) else granted if isinstance(granted, list) else []
        missing = [scope for scope in self._scopes if scope not in words] if words else []
        if missing and missing != self._missing:  # said once, not at every renewal
            log.warning("cidaas gave a token without the scopes %s; calls that need them will answer 403.", missing)
        self._missing = missing


def _read(body: bytes, started: float) -> _Token:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if not isinstance(answer, dict):
        raise failure(Kind.NOT_FOUND_ENDPOINT, "The token endpoint answered 200, but no JSON", status=200)
    text = answer.get("access_token")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable() or not text.strip():
        raise failure(Kind.CREDENTIALS, "The token endpoint answered 200, but without an access token", status=200)
    try:
        lifetime = max(float(answer["expires_in"]), 1.0)
    except (KeyError, TypeError, ValueError, OverflowError):
        lifetime = _ASSUMED_LIFETIME
    if not lifetime < float("inf"):
        lifetime = _ASSUMED_LIFETIME
    return _Token(text, started + lifetime - min(60.0, lifetime / 10), started + lifetime)


def _refusal(response: httpx.Response) -> CidaasError:
    """Turn a refusal of the token endpoint into an error: any 4xx is a matter of configuration, but for 408, 429."""
    status, envelope = response.status_code, read_error(response.content)
    said = f" ({' '.join(filter(None, (envelope.code, envelope.text)))})" if envelope.code or envelope.text else ""
    what = f"The token endpoint answered {status}{said}"
    kind = kind_of(status)
    if kind in (Kind.SERVER, Kind.UNCLEAR):
        kind = Kind.UNAVAILABLE  # a token request changes nothing: nobody has to settle
    elif kind not in (Kind.NOT_FOUND_ENDPOINT, Kind.RATE_LIMITED):
        kind = Kind.CREDENTIALS
    return failure(kind, what, status=status, code=envelope.code, retry_after=retry_after(response))
