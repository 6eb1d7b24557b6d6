"""cidaas's endpoints that write: token, bulk upsert, the two deletes; and the table of all of them."""

from __future__ import annotations

import base64
import binascii
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from demo.standin import reads
from demo.standin.bulk import ANONYMOUS, WholeCallError
from demo.standin.tenant import NO_USER, Answer, Call, Tenant, answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from demo.standin.faults import Fault

STRANGER = "ffffffff-ffff-4fff-8fff-ffffffffffff"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: how it is called, what its token needs (one of the scopes), what answers."""

    name: str
    method: str
    path: str
    scopes: tuple[str, ...]
    run: Callable[[Tenant, Call], Awaitable[Answer]]


async def token(tenant: Tenant, call: Call) -> Answer:
    """Client credentials, as JSON or as a form (facts §5)."""
    if call.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
        asked: Any = dict(parse_qsl(call.body.decode("utf-8", "replace")))
    else:
        asked = call.json()
    if not isinstance(asked, dict):
        return _token_problem(tenant, 400, "invalid_request", "the body is neither JSON nor a form")
    if asked.get("grant_type") != "client_credentials":
        return _token_problem(tenant, 400, "unsupported_grant_type", "grant_type must be client_credentials")
    client_id, client_secret = asked.get("client_id"), asked.get("client_secret")
    if client_secret is None:
        client_id, client_secret = _basic(call.headers.get("Authorization", ""))
    if not tenant.knows(client_id, client_secret):
        return _token_problem(tenant, 401, "invalid_client", "client_id or client_secret is wrong")
    scopes = frozenset(tenant.switches.scopes)
    if isinstance(asked.get("scope"), str):
        scopes &= set(asked["scope"].split())
    lifetime = tenant.switches.token_lifetime
    granted = {
        "token_type": "Bearer",
        "expires_in": int(lifetime) if lifetime >= 1 else lifetime,
        "access_token": tenant.grant(scopes),
        "sub": ANONYMOUS,
        "scope": " ".join(sorted(scopes)),
    }
    return Answer(200, orjson.dumps(granted), {"Cache-Control": "no-store"})


def _basic(header: str) -> tuple[str, str]:
    kind, _, coded = header.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        client_id, _, client_secret = base64.b64decode(coded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return client_id, client_secret


def _token_problem(tenant: Tenant, status: int, error: str, description: str) -> Answer:
    if tenant.switches.token_error == "envelope":  # noqa: S105
        return tenant.problem(status, description)
    return answer(status, {"error": error, "error_description": description})


async def bulk(tenant: Tenant, call: Call) -> Answer:
    """The upsert of many users (facts §1)."""
    users = call.payload
    doomed: set[int] = set()
    for fault in call.changes:
        if fault.action == "fail-users" and isinstance(users, list):
            doomed.update(fault.some(_subs(users)))
    try:
        items = tenant.bulk.apply(users, frozenset(doomed))
    except WholeCallError as failure:
        return tenant.problem(failure.status, failure.message, failure.code)
    finally:
        tenant.save()
    for fault in call.changes:
        if fault.action == "fail-users" and fault.get("message", ""):
            for position in doomed:
                items[position]["message"] = fault.get("message", "")
    return _bulk_answer(tenant, call, items)


def _bulk_answer(tenant: Tenant, call: Call, items: list[dict[str, Any]]) -> Answer:
    """The answer in the shape that switches and faults say."""
    wrapped = tenant.switches.wrapper == "data"
    names: dict[str, str] = {}
    told = list(zip(_subs(call.payload), items, strict=True))
    if tenant.switches.answer_order == "shuffled":
        random.shuffle(told)
    for fault in call.changes:
        if fault.action == "wrapped":
            wrapped = True
        elif fault.action == "keys":
            names |= fault.get("keys", {})
        elif fault.action == "answers":
            mode = fault.get("mode", "")
            if mode in ("not-json", "empty"):
                return Answer(200, b"<html><body>OK</body></html>" if mode == "not-json" else b"")
            told = _changed(told, mode, fault, tenant.switches.state_key)
    items = [{names.get(key, key): value for key, value in item.items()} for _, item in told]
    body: dict[str, Any] = {names.get("process_states", "process_states"): items}
    return answer(200, {"success": True, "status": 200, "data": body} if wrapped else body)


def _subs(users: list[Any]) -> list[str]:
    """The sub of each user of the call, "" where there is none."""
    return [str(user.get("sub") or "") if isinstance(user, dict) else "" for user in users]


#: The sub that was sent, and what the answer tells of it.
_Told = list[tuple[str, dict[str, Any]]]


def _changed(told: _Told, mode: str, fault: Fault, key: str) -> _Told:
    """Answers that do not say what happened (rule C3)."""
    if mode == "shuffled":
        fault.random.shuffle(told)
        return told
    touched = fault.some([sub for sub, _ in told])
    if mode == "missing":
        return [each for position, each in enumerate(told) if position not in touched]
    if mode == "extra":
        nobody = {"identifier": {"email": "nobody@example.org", "provider": "self"}, "sub": STRANGER, key: "UPDATED"}
        return [*told, (STRANGER, nobody)]
    changes = {"unknown": {key: "QUEUED"}, "anonymous": {"sub": ANONYMOUS}, "other-sub": {"sub": STRANGER}}[mode]
    for position in touched:
        told[position][1].update(changes)
    return told


async def purge(tenant: Tenant, call: Call) -> Answer:
    """The delete that answers 202 (facts §3)."""
    if call.sub not in tenant.users.values:
        status = int(tenant.switches.purge_missing)
        return Answer(204) if status == 204 else tenant.problem(status, "user not found", NO_USER)
    if tenant.switches.purge == "delayed":
        tenant.delete_later(call.sub)
    else:
        tenant.delete(call.sub)
    return answer(202, {"success": True, "status": 202})


async def scim(tenant: Tenant, call: Call) -> Answer:
    """The SCIM delete (facts §3): 204, or 404 in SCIM's own form."""
    if call.sub not in tenant.users.values:
        body = {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": "404",
            "detail": f"Resource {call.sub} not found",
        }
        return Answer(404, orjson.dumps(body), content_type="application/scim+json")
    tenant.delete(call.sub)
    return Answer(204)


_READ = ("cidaas:users_read",)
_SEARCH = ("cidaas:users_search", "cidaas:users_read")
ENDPOINTS = (
    Endpoint("token", "POST", "/token-srv/token", (), token),
    Endpoint("bulk", "POST", "/users-srv/user/bulk", ("cidaas:bulk_user_create",), bulk),
    Endpoint("purge", "DELETE", "/users-srv/user/purge/{sub}", ("cidaas:users_delete",), purge),
    Endpoint("scim", "DELETE", "/user-scim-srv/v2/Users/{sub}", ("SCIM_WRITE",), scim),
    Endpoint("userexistence", "POST", "/useractions-srv/userexistence", _SEARCH, reads.userexistence),
    Endpoint("user", "GET", "/user-srv/users/{sub}", _READ, reads.user),
    Endpoint("search", "POST", "/user-srv/graph/users", _SEARCH, reads.search),
    Endpoint("bulkread", "POST", "/user-ext-srv/bulkread/users", _SEARCH, reads.bulkread),
    Endpoint("discovery", "GET", "/.well-known/openid-configuration", (), reads.discovery),
)
