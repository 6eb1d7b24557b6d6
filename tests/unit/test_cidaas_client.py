"""The client makes one call and says what became of it; whether anything was sent matters most (C4)."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import orjson
import pytest

from streams.cidaas import Cidaas, CidaasError, ContentRefused, DeleteOutcome, Kind, OutcomeKind
from streams.cidaas.client import BULK, DISCOVERY, USER_EXISTENCE
from streams.cidaas.token import PATH as TOKEN
from streams.cidaas.wire import LONGEST_WAIT, read_retry_after
from streams.settings import Cidaas as Settings
from streams.settings import Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

SUB = "0b9f6c1e-7a52-5f0e-9a31-5d3c7e1f2a44"
ADA = {"sub": SUB, "email": "ada@example.org", "given_name": "Ada"}
STORED = {"process_states": [{"identifier": {"email": "ada@example.org"}, "sub": SUB, "process_state": "CREATED"}]}
NO_USER = {"success": False, "status": 404, "error": {"code": 10301, "error": "user not found"}}


def settings(base_url: str = "https://tenant.test/", timeout: float = 10.0) -> Settings:
    return Settings(
        base_url=base_url,
        client_id="client",
        client_secret=Secret("s3cret"),
        sub="uuid5",
        sub_namespace=UUID(int=1),
        delete="purge",
        no_event=False,
        timeout=timeout,
        upsert_scopes=("cidaas:bulk_user_create",),
        delete_scopes=("cidaas:users_delete",),
        read_scopes=("cidaas:users_read",),
    )


class Tenant:
    """Answers by "METHOD path"; a list of answers is used up one by one."""

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {}
        self.requests: list[httpx.Request] = []
        self.tokens = 0

    def on(self, method: str, path: str, *answers: Any) -> Tenant:
        self.answers[f"{method} {path}"] = list(answers)
        return self

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN:
            self.tokens += 1
            return httpx.Response(200, json={"access_token": f"token-{self.tokens}", "expires_in": 3600})
        self.requests.append(request)
        answers = self.answers[f"{request.method} {request.url.path}"]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(**answer) if isinstance(answer, dict) else httpx.Response(answer)

    def client(self) -> Cidaas:
        return Cidaas(settings(), transport=httpx.MockTransport(self))


async def failure_of(call: Awaitable[object]) -> CidaasError:
    with pytest.raises(CidaasError) as caught:
        await call
    shown = f"{caught.value} {caught.value!r}"
    for hidden in ("ada@example.org", "token-1", "s3cret", "Ada"):
        assert hidden not in shown
    return caught.value


async def test_a_bulk_call() -> None:
    tenant = Tenant().on("POST", BULK, {"status_code": 200, "json": STORED})
    async with tenant.client() as cidaas:
        (outcome,) = await cidaas.bulk([ADA])
    assert outcome.kind is OutcomeKind.DONE
    (request,) = tenant.requests
    assert str(request.url) == "https://tenant.test/users-srv/user/bulk"
    assert request.headers["authorization"] == "Bearer token-1"
    assert request.headers["content-type"] == "application/json"
    assert orjson.loads(request.content) == [ADA]


STATUSES = [
    (302, Kind.NOT_FOUND_ENDPOINT),
    (400, Kind.BAD_REQUEST),
    (401, Kind.UNAUTHORIZED),
    (402, Kind.FORBIDDEN),
    (403, Kind.FORBIDDEN),
    (404, Kind.NOT_FOUND_ENDPOINT),
    (405, Kind.NOT_FOUND_ENDPOINT),
    (408, Kind.UNCLEAR),
    (409, Kind.BAD_REQUEST),
    (413, Kind.TOO_LARGE),
    (417, Kind.REFUSED),
    (422, Kind.BAD_REQUEST),
    (429, Kind.RATE_LIMITED),
    (500, Kind.SERVER),
    (501, Kind.NOT_FOUND_ENDPOINT),
    (502, Kind.UNCLEAR),
    (503, Kind.UNCLEAR),
    (504, Kind.UNCLEAR),
    (507, Kind.REFUSED),
    (520, Kind.UNCLEAR),
    (204, Kind.UNCLEAR),
]


@pytest.mark.parametrize(("status", "kind"), STATUSES)
async def test_every_status_of_a_bulk_call_has_its_kind(status: int, kind: Kind) -> None:
    body = orjson.dumps({"success": False, "status": status, "code": "01230", "error": "Ada (ada@example.org) is bad"})
    answer = {"status_code": status, "headers": {"location": "https://elsewhere.test", "retry-after": "3"}}
    tenant = Tenant().on("POST", BULK, {**answer, "content": b"" if status == 204 else body})
    error = await failure_of(tenant.client().bulk([ADA]))
    assert (error.kind, error.status) == (kind, status)
    assert status == 204 or (error.code == "01230" and "<value> (<e-mail>) is bad" in str(error))
    assert status == 204 or error.retry_after == 3.0
    assert len(tenant.requests) == (2 if status == 401 else 1)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (httpx.ConnectError("[Errno 111] Connection refused"), Kind.UNAVAILABLE),
        (httpx.ConnectTimeout("slow"), Kind.UNAVAILABLE),
        (httpx.PoolTimeout("full"), Kind.UNAVAILABLE),
        (httpx.ProxyError("403 Forbidden"), Kind.UNAVAILABLE),
        (httpx.UnsupportedProtocol("no"), Kind.NOT_FOUND_ENDPOINT),
        (httpx.WriteError("reset"), Kind.UNCLEAR),
        (httpx.WriteTimeout("slow"), Kind.UNCLEAR),
        (httpx.ReadError("reset"), Kind.UNCLEAR),
        (httpx.ReadTimeout("slow"), Kind.UNCLEAR),
        (httpx.RemoteProtocolError("cut"), Kind.UNCLEAR),
        (httpx.LocalProtocolError("odd"), Kind.UNCLEAR),
        (httpx.DecodingError("gzip"), Kind.UNCLEAR),
    ],
)
async def test_every_broken_call_has_its_kind(raised: Exception, kind: Kind) -> None:
    cidaas = Tenant().on("POST", BULK, raised).client()
    assert (await failure_of(cidaas.bulk([ADA]))).kind is kind
    reading = Tenant().on("GET", f"/user-srv/users/{SUB}", raised).client()
    kind = Kind.UNAVAILABLE if kind is Kind.UNCLEAR else kind  # a look-up leaves nothing to settle
    assert (await failure_of(reading.exists(SUB))).kind is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"process_states":[{"sub":', Kind.UNCLEAR),
        (b"", Kind.UNCLEAR),
        (b"<html>hello</html>", Kind.UNCLEAR),
        (b'{"success":true,"status":200}', Kind.UNCLEAR),
        (b'{"success":false,"status":417,"error":"no"}', Kind.REFUSED),
        (b'{"success":false,"status":403,"error":"no"}', Kind.FORBIDDEN),
    ],
)
async def test_a_success_without_states(body: bytes, kind: Kind) -> None:
    cidaas = Tenant().on("POST", BULK, {"status_code": 200, "content": body}).client()
    assert (await failure_of(cidaas.bulk([ADA]))).kind is kind


async def test_a_refused_token_is_renewed_once_for_fifty_calls() -> None:
    tenant = Tenant()

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN:
            return tenant(request)
        good = request.headers["authorization"] == "Bearer token-2"
        return httpx.Response(200, json=STORED) if good else httpx.Response(401)

    cidaas = Cidaas(settings(), transport=httpx.MockTransport(answer))
    await asyncio.gather(*(cidaas.bulk([ADA]) for _ in range(50)))
    assert tenant.tokens == 2


async def test_what_cannot_be_json_is_not_sent() -> None:
    tenant = Tenant()
    error = await failure_of(tenant.client().bulk([{**ADA, "nickname": "\ud800"}]))
    assert isinstance(error, ContentRefused)
    assert not tenant.requests


async def test_an_unconfigured_tenant_is_said() -> None:
    with pytest.raises(CidaasError, match="CIDAAS_BASE_URL"):
        Cidaas(settings(base_url=""))


# -- deletes, look-ups, probe -------------------------------------------------------------------------------------

PURGE, SCIM, READ = f"/users-srv/user/purge/{SUB}", f"/user-scim-srv/v2/Users/{SUB}", f"/user-srv/users/{SUB}"
SCIM_404 = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "404", "detail": "none"}


@pytest.mark.parametrize(
    ("kind", "answer", "outcome"),
    [
        ("purge", {"status_code": 202, "json": {"success": True, "status": 202}}, DeleteOutcome.ACCEPTED),
        ("purge", {"status_code": 200, "json": {"success": True}}, DeleteOutcome.ACCEPTED),
        ("purge", {"status_code": 200, "json": NO_USER}, DeleteOutcome.GONE),
        ("purge", {"status_code": 204}, DeleteOutcome.GONE),
        ("purge", {"status_code": 404, "json": NO_USER}, DeleteOutcome.GONE),
        ("purge", {"status_code": 404, "json": {"success": False, "error": "User not found"}}, DeleteOutcome.GONE),
        ("purge", {"status_code": 417, "json": NO_USER}, DeleteOutcome.GONE),
        ("scim", {"status_code": 204}, DeleteOutcome.GONE),
        ("scim", {"status_code": 404, "json": SCIM_404}, DeleteOutcome.GONE),
    ],
)
async def test_delete(kind: Any, answer: Any, outcome: DeleteOutcome) -> None:
    tenant = Tenant().on("DELETE", PURGE, answer).on("DELETE", SCIM, answer)
    assert await tenant.client().delete(SUB, kind) is outcome
    assert len(tenant.requests) == 1


BARE_404 = [{"status_code": 404}, {"status_code": 404, "json": {"error": "Not Found", "path": "/x"}}]


@pytest.mark.parametrize("missing", BARE_404)
async def test_a_missing_endpoint_deletes_nobody(missing: Any) -> None:
    """A 404 that does not speak of a user is checked by a read: the user is there, so it is the endpoint."""
    tenant = Tenant().on("DELETE", PURGE, missing).on("GET", READ, 200)
    error = await failure_of(tenant.client().delete(SUB, "purge"))
    assert error.kind is Kind.NOT_FOUND_ENDPOINT
    tenant.on("GET", READ, missing).on("POST", USER_EXISTENCE, missing)
    assert (await failure_of(tenant.client().delete(SUB, "purge"))).kind is Kind.NOT_FOUND_ENDPOINT
    tenant.on("POST", USER_EXISTENCE, 204)
    assert await tenant.client().delete(SUB, "purge") is DeleteOutcome.GONE


@pytest.mark.parametrize(("status", "kind"), [(403, Kind.FORBIDDEN), (500, Kind.SERVER), (504, Kind.UNCLEAR)])
async def test_a_delete_that_fails(status: int, kind: Kind) -> None:
    assert (await failure_of(Tenant().on("DELETE", PURGE, status).client().delete(SUB, "purge"))).kind is kind


@pytest.mark.parametrize("sub", ["", ".", "..", "ANONYMOUS", "anonymous"])
async def test_a_delete_addresses_one_user_or_is_not_sent(sub: str) -> None:
    tenant = Tenant()
    assert (await failure_of(tenant.client().delete(sub, "purge"))).kind is Kind.BAD_REQUEST
    assert not tenant.requests


async def test_an_odd_sub_stays_one_segment_of_the_path() -> None:
    tenant = Tenant()
    seen: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == TOKEN:
            return tenant(request)
        seen.append(request.url.raw_path)
        return httpx.Response(202)

    await Cidaas(settings(), transport=httpx.MockTransport(answer)).delete("../a b?c#d/ü", "purge")
    assert seen == [b"/users-srv/user/purge/..%2Fa%20b%3Fc%23d%2F%C3%BC"]


@pytest.mark.parametrize(
    ("read", "second", "there"),
    [
        ({"status_code": 200, "json": {"sub": SUB}}, None, True),
        ({"status_code": 404, "json": NO_USER}, None, False),
        ({"status_code": 417, "json": NO_USER}, None, False),
        ({"status_code": 204}, None, False),
        ({"status_code": 403}, {"status_code": 200, "json": {"success": True, "data": {"sub": SUB}}}, True),
        ({"status_code": 403}, {"status_code": 204}, False),
        ({"status_code": 404}, {"status_code": 404, "json": NO_USER}, False),
    ],
)
async def test_exists(read: Any, second: Any, there: bool) -> None:
    tenant = Tenant().on("GET", READ, read).on("POST", USER_EXISTENCE, second)
    async with tenant.client() as cidaas:
        assert await cidaas.exists(SUB) is there
        assert len(tenant.requests) == (1 if second is None else 2)
        assert await cidaas.exists(SUB) is there
    assert tenant.tokens == 1, "a 403 that the other look-up makes good is no reason for a new token"


async def test_the_probe_needs_no_token() -> None:
    tenant = Tenant().on("GET", DISCOVERY, {"status_code": 200, "json": {"issuer": "x"}}, 503)
    cidaas = tenant.client()
    await cidaas.probe()
    assert (await failure_of(cidaas.probe())).kind is Kind.UNAVAILABLE
    assert tenant.tokens == 0
    assert "authorization" not in tenant.requests[0].headers


@pytest.mark.parametrize(
    ("answer", "there"),
    [(200, True), (404, True), (429, True), (503, False), (httpx.ConnectError("refused"), False)],
)
async def test_reachable_is_the_breakers_question(answer: Any, there: bool) -> None:
    assert await Tenant().on("GET", DISCOVERY, answer).client().reachable() is there


# -- Retry-After --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 1.5 ", 1.5),
        ("99999999", LONGEST_WAIT),
        ("", None),
        ("-3", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("٣", None),
        ("Wed, 99 Foo 2026", None),
    ],
)
def test_retry_after_seconds(header: str, seconds: float | None) -> None:
    assert read_retry_after({"retry-after": header}) == seconds


def test_retry_after_dates() -> None:
    theirs = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)  # their clock may differ from ours
    later = {"date": format_datetime(theirs, usegmt=True)}
    assert read_retry_after({**later, "retry-after": "Sun, 22 Nov 2026 12:00:30 GMT"}) == 30.0
    assert read_retry_after({**later, "retry-after": "Sun, 22 Nov 2026 11:00:00 GMT"}) == 0.0
    ours = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 15 < (read_retry_after({"retry-after": ours}) or 0) <= 20


# -- real connections ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def server(bulk: Any) -> AsyncIterator[str]:
    """A tenant on a socket: the token is answered, each other request is left to `bulk(reader, writer)`."""
    ended: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next((int(x[15:]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length:")), 0)
                if TOKEN.encode() not in head:
                    return await bulk(reader, writer, length)
                await reader.readexactly(length)
                body = b'{"access_token":"token-1","expires_in":60}'
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in ended:
            task.cancel()


async def cut_before_the_answer(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(length)


async def cut_while_it_is_sent(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(1)
    writer.transport.abort()


async def cut_in_the_head(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-le")


async def cut_in_the_body(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(length)
    body = orjson.dumps(STORED)
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body[:-20]))


async def cut_in_a_body_without_length(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(length)
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + orjson.dumps(STORED)[:-20])


async def reset(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(length)
    writer.transport.abort()


async def no_http(reader: Any, writer: Any, length: int) -> None:
    await reader.readexactly(length)
    writer.write(b"SSH-2.0-nonsense\r\n\r\n")


@pytest.mark.parametrize(
    "bulk",
    [
        cut_before_the_answer,
        cut_while_it_is_sent,
        cut_in_the_head,
        cut_in_the_body,
        cut_in_a_body_without_length,
        reset,
        no_http,
    ],
)
async def test_half_answers_are_unclear(bulk: Any) -> None:
    async with server(bulk) as url, Cidaas(settings(url)) as cidaas:
        error = await failure_of(cidaas.bulk([{**ADA, "nickname": "x" * 3_000_000}]))
    assert error.kind is Kind.UNCLEAR


@pytest.mark.parametrize("drip", [False, True])
async def test_no_answer_ends_in_time_and_is_unclear(drip: bool) -> None:
    """Also when single bytes keep coming, which no time-out for one read would notice."""

    async def slow(reader: Any, writer: Any, length: int) -> None:
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while drip:
            writer.write(b" ")
            await asyncio.sleep(0.02)
        await asyncio.Event().wait()

    started = time.monotonic()
    async with server(slow) as url, Cidaas(settings(url, timeout=0.4)) as cidaas:
        error = await failure_of(cidaas.bulk([ADA]))
    assert error.kind is Kind.UNCLEAR
    assert time.monotonic() - started < 5


async def test_a_refused_connection_is_not_unclear() -> None:
    async with server(reset) as url:
        pass
    async with Cidaas(settings(url)) as cidaas:
        error = await failure_of(cidaas.bulk([ADA]))
        assert (error.kind, error.policy.settle) == (Kind.UNAVAILABLE, False)
        assert (await failure_of(cidaas.probe())).kind is Kind.UNAVAILABLE


async def test_a_name_that_does_not_resolve_is_not_unclear() -> None:
    async with Cidaas(settings("http://tenant.invalid", timeout=3.0)) as cidaas:
        assert (await failure_of(cidaas.bulk([ADA]))).kind is Kind.UNAVAILABLE


async def test_a_connection_is_used_again() -> None:
    seen = set()

    async def answer(reader: Any, writer: Any, length: int) -> None:
        await reader.readexactly(length)
        while True:
            seen.add(writer.get_extra_info("peername"))
            body = orjson.dumps(STORED)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))

    async with server(answer) as url, Cidaas(settings(url)) as cidaas:
        for _ in range(3):
            (outcome,) = await cidaas.bulk([ADA])
            assert outcome.kind is OutcomeKind.DONE
    assert len(seen) == 1


async def test_after_a_403_the_next_call_asks_for_a_new_token() -> None:
    """Scopes stand in the token: with the old one a person's cure would show only when it ends, a day later."""
    tenant = Tenant().on("POST", BULK, {"status_code": 403}, {"status_code": 200, "json": STORED})
    async with tenant.client() as cidaas:
        assert (await failure_of(cidaas.bulk([ADA]))).kind is Kind.FORBIDDEN
        assert tenant.tokens == 1, "the same call is not repeated"
        (outcome,) = await cidaas.bulk([ADA])
    assert outcome.kind is OutcomeKind.DONE
    assert tenant.tokens == 2
    assert tenant.requests[-1].headers["authorization"] == "Bearer token-2"


@pytest.mark.parametrize(
    ("answer", "email"),
    [
        ({"status_code": 200, "json": {"data": {"sub": SUB, "email": "ada@example.org"}}}, "ada@example.org"),
        ({"status_code": 200, "json": {"sub": SUB, "identities": [{"email": "ada@example.org"}]}}, "ada@example.org"),
        ({"status_code": 200, "json": {"data": [1]}}, None),
        ({"status_code": 200, "content": b"<html>"}, None),
        ({"status_code": 404, "json": NO_USER}, ""),
        ({"status_code": 204}, ""),
    ],
)
async def test_the_address_that_cidaas_has(answer: Any, email: str | None) -> None:
    assert await Tenant().on("GET", READ, answer).client().email_of(SUB) == email


async def test_an_address_that_may_not_be_read_is_an_error() -> None:
    error = await failure_of(Tenant().on("GET", READ, {"status_code": 403}).client().email_of(SUB))
    assert error.kind is Kind.FORBIDDEN
