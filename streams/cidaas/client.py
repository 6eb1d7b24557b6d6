"""The cidaas client: bulk upsert, delete, look-up, bulk read and probe, each with explicit limits in time.

It makes one call and says what became of it; when to call again is the caller's matter (`errors.POLICY`, C6). The one
exception is a 401: the token is renewed and the same call made once more.
"""

from __future__ import annotations

import asyncio
import enum
import re
import time
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar
from urllib.parse import quote, urlsplit

import httpx
import orjson

from streams.cidaas.answers import ANONYMOUS, Outcome, UnreadableAnswer, read_bulk, read_email
from streams.cidaas.errors import CidaasError, Kind, failure, kind_of
from streams.cidaas.profiles import Cursor, Page, read_page, read_profile
from streams.cidaas.redaction import Envelope, read_error, values_of
from streams.cidaas.shape import shaped
from streams.cidaas.token import PATH as TOKEN
from streams.cidaas.token import TokenSource
from streams.cidaas.wire import RAISED, retry_after, transport_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from streams.settings import Cidaas as Settings

T = TypeVar("T")

BULK = "/users-srv/user/bulk"
DELETE = {"purge": "/users-srv/user/purge/", "scim": "/user-scim-srv/v2/Users/"}
USER = "/user-srv/users/"
USER_EXISTENCE = "/useractions-srv/userexistence"
BULK_READ = "/user-ext-srv/bulkread/users"
DISCOVERY = "/.well-known/openid-configuration"

#: cidaas' own code for "user not found"; it comes with 204, 404 or 417 (facts/cidaas-api.md §3, §4).
_NO_SUCH_USER = "10301"
#: Idle connections are given up after so many seconds, before most gateways do (they then lose what we send).
_KEEPALIVE = 15.0
_JSON = {"Content-Type": "application/json"}


class DeleteOutcome(enum.Enum):
    """What an answered delete means."""

    GONE = "gone"  # proved: deleted, or never there
    ACCEPTED = "accepted"  # promised: confirmed only when `exists` finds the user gone (C8)


class Cidaas:
    """A client for one tenant; `async with` closes its connections.

    Each attempt ends within `settings.timeout` seconds, whatever the server does. A call makes one attempt, or two
    with a fresh token after a 401. All methods raise CidaasError and nothing else (but for cancellation).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        concurrency: int = 8,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not settings.base_url or not settings.client_id or settings.client_secret is None:
            raise failure(
                Kind.CREDENTIALS,
                "The cidaas tenant is not configured",
                remedy="Set CIDAAS_BASE_URL, CIDAAS_CLIENT_ID and CIDAAS_CLIENT_SECRET.",
            )
        self._base, self._timeout = settings.base_url.rstrip("/"), settings.timeout
        # Waiting for a connection, TCP and TLS take a quarter each at most: what ends by time was sent, or says so.
        before = settings.timeout / 4
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.timeout, connect=before, pool=before),
            # two spare connections: a token renewal and a probe never wait for the calls that need them
            limits=httpx.Limits(
                max_connections=concurrency + 2,
                max_keepalive_connections=concurrency + 2,
                keepalive_expiry=_KEEPALIVE,
            ),
            follow_redirects=False,
            trust_env=not _is_local(self._base),
            headers={"User-Agent": "cidaas-sync", "Accept": "application/json"},
            transport=transport,
        )
        self._tokens = TokenSource(
            self._http,
            self._base + TOKEN,
            settings.client_id,
            settings.client_secret,
            (*settings.upsert_scopes, *settings.delete_scopes, *settings.read_scopes),
            timeout=settings.timeout,
            clock=clock,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._tokens.aclose()
        await self._http.aclose()

    async def bulk(self, entities: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Create or update users (at most 50, no user and no e-mail twice); one outcome each, in this order."""
        call = f"the bulk call with {len(entities)} user{'s' * (len(entities) != 1)}"
        try:
            body = orjson.dumps(shaped(entities))
        except orjson.JSONEncodeError:
            raise failure(Kind.BAD_REQUEST, f"Nothing was sent: {call} cannot be written as JSON") from None
        response = await self._call(call, "POST", BULK, body)
        if not response.is_success:
            raise self._refusal(call, response, [value for entity in entities for value in values_of(entity)])
        try:
            return read_bulk(response.content, entities)
        except UnreadableAnswer as error:
            raise _unreadable(call, response, error) from None

    async def delete(self, sub: str, kind: Literal["purge", "scim"]) -> DeleteOutcome:
        """Delete one user; "not found" is success (C1), 202 a promise (C8)."""
        call = f"the delete ({kind})"
        response = await self._call(call, "DELETE", DELETE[kind] + _segment(sub))
        if _says_no_such_user(response):
            return DeleteOutcome.GONE
        if response.is_success:
            at_once = kind == "scim" or response.status_code == 204
            return DeleteOutcome.GONE if at_once else DeleteOutcome.ACCEPTED
        if response.status_code == 404 and not await self.exists(sub):
            return DeleteOutcome.GONE
        raise self._refusal(call, response)  # also a 404 for a user who is there: then the endpoint is what is missing

    async def exists(self, sub: str) -> bool:
        """Say whether cidaas has this user; a 404 that does not speak of a user is checked by userexistence."""
        call = "the look-up of a user"
        response = await self._call(call, "GET", USER + _segment(sub), changes=False)
        if response.status_code in (403, 404) and not _says_no_such_user(response):
            response = await self._call(call, "POST", USER_EXISTENCE, orjson.dumps({"userId": sub}), changes=False)
        if response.status_code == 204 or _says_no_such_user(response):
            return False
        if response.is_success:
            return True
        raise self._refusal(call, response, changes=False)

    async def email_of(self, sub: str) -> str | None:
        """The e-mail address that cidaas has of a user, "" where it has none or no such user; None: not to be read."""
        call = "the look-up of a user's address"
        response = await self._call(call, "GET", USER + _segment(sub), changes=False)
        if response.status_code == 204 or _says_no_such_user(response):
            return ""
        if not response.is_success:
            raise self._refusal(call, response, changes=False)
        return read_email(response.content)

    async def profile(self, sub: str) -> dict[str, Any] | None:
        """One user as cidaas shows it, flat; None where there is no such user."""
        call = "the look-up of a user"
        response = await self._call(call, "GET", USER + _segment(sub), changes=False)
        if response.status_code == 204 or _says_no_such_user(response):
            return None
        if not response.is_success:
            raise self._refusal(call, response, changes=False)
        return _read(call, response, read_profile)

    async def page(self, size: int, cursor: Cursor | None = None) -> Page | None:
        """Some of all users, those behind `cursor`; None at the end. With the first page cidaas keeps a moment."""
        call = "the bulk read"
        response = await self._call(call, "POST", BULK_READ, (cursor or Cursor()).request(size), changes=False)
        if response.status_code == 204:
            return None
        if not response.is_success:
            raise self._refusal(call, response, changes=False)
        return _read(call, response, read_page)

    async def probe(self) -> None:
        """Return when cidaas answers; asks for the discovery document, without a token."""
        call = "the probe"
        response = await self._send(call, "GET", DISCOVERY, changes=False)
        if not response.is_success:
            raise self._refusal(call, response, changes=False)

    async def reachable(self) -> bool:
        """Say whether cidaas answers at all; the breaker's question."""
        try:
            await self.probe()
        except CidaasError as error:
            return not error.policy.away
        return True

    async def check_token(self) -> None:
        """Return when a token can be had; raises what a person should know before the first call."""
        await self._tokens.get()

    async def _call(
        self, call: str, method: str, path: str, body: bytes | None = None, *, changes: bool = True
    ) -> httpx.Response:
        """Make an authorized call; after a 401 once more with a renewed token."""
        token = await self._tokens.get()
        response = await self._send(call, method, path, body, token, changes=changes)
        if response.status_code == 401:
            self._tokens.invalidate(token)
            token = await self._tokens.get()
            response = await self._send(call, method, path, body, token, changes=changes)
            if response.status_code == 401:
                self._tokens.invalidate(token)
        return response

    async def _send(
        self, call: str, method: str, path: str, body: bytes | None = None, token: str = "", *, changes: bool
    ) -> httpx.Response:
        headers = {} if body is None else dict(_JSON)
        if token:
            headers["Authorization"] = f"Bearer {token}"
        try:
            async with asyncio.timeout(self._timeout):
                return await self._http.request(method, self._base + path, content=body, headers=headers)
        except RAISED as error:
            raise transport_failure(call, error, changes=changes) from None

    def _refusal(
        self, call: str, response: httpx.Response, values: Sequence[str] = (), *, changes: bool = True
    ) -> CidaasError:
        if response.status_code == 403:
            # Scopes stand in the token, for a day: only a new one shows that a person has enabled what was missing.
            self._tokens.invalidate(response.request.headers.get("Authorization", "").removeprefix("Bearer "))
        envelope = read_error(response.content, values)
        return _error(call, response, response.status_code, envelope, changes=changes)


def _read(call: str, response: httpx.Response, reader: Callable[[bytes], T]) -> T:
    """What was asked for and changes nothing, or an error that time may cure: half an answer, a page of a gateway."""
    try:
        return reader(response.content)
    except UnreadableAnswer as error:
        what = f"cidaas answered {response.status_code} to {call}, but {error}"
        raise failure(Kind.UNAVAILABLE, what, status=response.status_code) from None


def _unreadable(call: str, response: httpx.Response, error: UnreadableAnswer) -> CidaasError:
    """An answer of success without states: believed as an error when it is one, else unclear (half an answer)."""
    status = error.envelope.status
    if status is not None and status >= 400:
        return _error(call, response, status, error.envelope)
    what = f"cidaas answered {response.status_code} to {call}, but {error}"
    return failure(Kind.UNCLEAR, what, status=response.status_code, code=error.envelope.code)


def _error(
    call: str, response: httpx.Response, status: int, envelope: Envelope, *, changes: bool = True
) -> CidaasError:
    said = " ".join(filter(None, (envelope.code, envelope.text)))
    kind = kind_of(status)
    if kind in (Kind.UNCLEAR, Kind.SERVER) and not changes:
        kind = Kind.UNAVAILABLE
    return failure(
        kind,
        f"cidaas answered {status} to {call}" + (f" ({said})" if said else ""),
        status=status,
        code=envelope.code,
        retry_after=retry_after(response),
    )


def _says_no_such_user(response: httpx.Response) -> bool:
    """Say whether an answer speaks of a missing user.

    A 404 alone does not: a wrong address or a missing endpoint says it too, and believing it would call users deleted
    who are still there. cidaas' own code counts, SCIM's error form, and a text that speaks of a user.
    """
    if response.status_code not in (200, 204, 400, 404, 417) or not response.content:
        return False
    envelope = read_error(response.content)
    if envelope.code == _NO_SUCH_USER:
        return True
    if response.status_code != 404 or not envelope.readable:
        return False
    text = envelope.text.lower()
    speaks_of_user = re.search(r"\b(user|resource|sub|identity|account)\b", text) is not None
    return b'"schemas"' in response.content or (speaks_of_user and "endpoint" not in text)


def _segment(sub: str) -> str:
    """Quote a `sub` as one segment of a path; refuses what would address something else than one user."""
    if not sub.strip(".") or sub.upper() == ANONYMOUS:
        raise failure(Kind.BAD_REQUEST, "Nothing was sent: the user has no usable sub", remedy="Check cidaas.sub.")
    return quote(sub, safe="")


def _is_local(base: str) -> bool:
    """A proxy of the environment is for the outside; the stand-in on this machine is not behind it."""
    return urlsplit(base).hostname in ("localhost", "127.0.0.1", "::1")
