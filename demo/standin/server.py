"""HTTP: each request is counted, meets its faults, shows its token and reaches its endpoint."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import time
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from demo.standin.endpoints import ENDPOINTS, Endpoint
from demo.standin.tenant import Answer, Call, Tenant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from demo.standin.faults import Fault, Plan

log = logging.getLogger("demo.standin")
MAX_BODY = 64 * 1024 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER 0: closing sends RST


class Front:
    """Takes requests to cidaas's endpoints through faults and counters to their answers."""

    def __init__(self, tenant: Tenant) -> None:
        self._tenant = tenant
        self._late: set[asyncio.Task[None]] = set()

    def routes(self) -> list[web.RouteDef]:
        """The routes of all endpoints."""
        return [web.route(each.method, each.path, self._handler(each)) for each in ENDPOINTS]

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._handle(endpoint, request)

        return handle

    async def _handle(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        tenant, started = self._tenant, time.perf_counter()
        try:
            call = _read(endpoint, request, await request.read())
        except ConnectionError:  # a killed worker leaves in the middle of its request: no fault of ours
            tenant.counters.calls[endpoint.name]["disconnected"] += 1
            return web.Response()
        tenant.counters.start(call.endpoint, call.subs, call.emails)
        status = "error"
        try:
            if time.monotonic() < tenant.away_until:
                status, response = self._away(request)
                return response
            status, response = await self._through(endpoint, call, request)
            return response
        except OSError as error:
            if isinstance(error, ConnectionError):
                status = "disconnected"
                return web.Response()
            log.error("the data file cannot be written (%s): the call is answered with 500", error.strerror)
            return _response(tenant.problem(500, "internal error"))
        except Exception as error:
            # Only the type: a message could carry a value of a user.
            log.error("%s failed with %s: a fault of the stand-in", endpoint.name, type(error).__name__)
            return _response(tenant.problem(500, "internal error"))
        finally:
            tenant.counters.end(call.endpoint, call.subs, status, time.perf_counter() - started)

    async def _through(self, endpoint: Endpoint, call: Call, request: web.Request) -> tuple[str, web.StreamResponse]:
        """Delay, failure before, the endpoint itself, failure after; with the word that the counters keep."""
        tenant = self._tenant
        plan = tenant.faults.plan(call.endpoint, call.method, call.subs, call.emails)
        call.changes = plan.answers
        self._count(plan)
        await _wait(plan.delay, "before")
        failure = plan.failure
        action = failure.action if failure else ""
        if failure and (action == "rate-limit" or (action == "status" and failure.get("when", "before") == "before")):
            answer = _scripted(tenant, failure)
            return str(answer.status), _response(answer)
        if failure and action == "drop-before":
            return "dropped-before", _dropped(request, failure)
        if failure and action == "apply-later":
            self._apply_later(endpoint, call, failure.script["seconds"])
            return "dropped-late", _dropped(request, failure)
        answer = (tenant.refusal(call, endpoint.scopes) if endpoint.scopes else None) or await endpoint.run(
            tenant, call
        )
        await _wait(plan.delay, "after")
        if failure and action == "status":
            answer = _scripted(tenant, failure)
        elif failure and action == "drop-after":
            return "dropped-after", _dropped(request, failure)
        elif failure and action == "partial-answer":
            return "partial", await _partial(request, answer)
        return str(answer.status), _response(answer)

    def _count(self, plan: Plan) -> None:
        for fault in (plan.delay, plan.failure, *plan.answers):
            if fault:
                self._tenant.counters.faults[fault.action] += 1

    def _away(self, request: web.Request) -> tuple[str, web.StreamResponse]:
        if self._tenant.away_drops:
            return "away", _dropped(request, None)
        return "503", _response(self._tenant.problem(503, "service unavailable"))

    def _apply_later(self, endpoint: Endpoint, call: Call, seconds: float) -> None:
        tenant, subs = self._tenant, set(call.subs)

        async def run() -> None:
            await asyncio.sleep(seconds)
            try:
                if not (endpoint.scopes and tenant.refusal(call, endpoint.scopes)):
                    await endpoint.run(tenant, call)
            finally:
                tenant.counters.late_end(subs)

        tenant.counters.late(subs)
        task = asyncio.create_task(run())
        self._late.add(task)
        task.add_done_callback(self._late.discard)


def _read(endpoint: Endpoint, request: web.Request, body: bytes) -> Call:
    """The request as a call; users are looked at here because faults and counters go by them."""
    call = Call(endpoint.name, request.method, request.headers, body)
    if endpoint.name == "bulk":
        try:
            call.payload = orjson.loads(body)
        except orjson.JSONDecodeError:
            return call
        if isinstance(call.payload, list):
            for record in call.payload:
                if record.__class__ is dict:
                    sub, email = record.get("sub"), record.get("email")
                    if sub.__class__ is str:
                        call.subs.append(sub)
                    if email.__class__ is str:
                        call.emails.append(email)
    elif endpoint.name in ("purge", "scim"):
        call.sub = request.match_info["sub"]
        call.subs = [call.sub]
    elif endpoint.name == "user":
        call.sub = request.match_info["sub"]
    return call


async def _wait(fault: Fault | None, when: str) -> None:
    """A delay: `latency` for its time, `hold` until the fault is removed (or for its time)."""
    if fault is None or fault.get("when", "before") != when:
        return
    if fault.action == "latency":
        await asyncio.sleep(fault.script["seconds"] + fault.random.random() * fault.get("jitter", 0.0))
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(fault.removed.wait(), fault.script.get("seconds"))


def _scripted(tenant: Tenant, fault: Fault) -> Answer:
    """The answer of `status` and `rate-limit`."""
    status = fault.get("status", 429)
    body = fault.script.get("body")
    if body is None:
        answer = tenant.problem(status, "rate limit exceeded" if status == 429 else "scripted fault")
    elif isinstance(body, str):
        answer = Answer(status, body.encode(), content_type="text/html")
    else:
        answer = Answer(status, orjson.dumps(body))
    answer.headers |= {name: str(value) for name, value in fault.get("headers", {}).items()}
    wait = fault.get("retry_after", None)
    if isinstance(wait, int | float):
        answer.headers["Retry-After"] = str(wait)
    elif wait is not None:
        seconds = float(wait.removeprefix("date+")) if wait.startswith("date+") else 1.0
        when = time.gmtime(time.time() + seconds)
        answer.headers["Retry-After"] = time.strftime("%a, %d %b %Y %H:%M:%S GMT", when)
    return answer


def _response(answer: Answer) -> web.Response:
    if answer.status == 204:
        return web.Response(status=204, headers=answer.headers)
    return web.Response(
        status=answer.status, body=answer.body, headers=answer.headers, content_type=answer.content_type
    )


def _dropped(request: web.Request, fault: Fault | None) -> web.Response:
    """Close the connection without an answer; with `reset` the caller sees a reset instead of an end."""
    transport = request.transport
    if transport is not None:
        peer: socket.socket | None = transport.get_extra_info("socket")
        if fault is not None and fault.get("reset", False) and peer is not None:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
    return web.Response()


async def _partial(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Half of the body, then the end of the connection."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = max(2, len(answer.body))
    await response.prepare(request)
    await response.write(answer.body[: len(answer.body) // 2] or b"{")
    if request.transport is not None:
        request.transport.close()
    return response
