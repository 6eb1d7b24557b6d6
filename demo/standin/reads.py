"""cidaas's endpoints that read: existence, one user, search, bulk read (facts/cidaas-api.md §4, §8)."""

from __future__ import annotations

import asyncio
import secrets
import time
from bisect import bisect_right
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from demo.standin.tenant import NO_USER, Answer, Call, Tenant, answer
from demo.standin.users import HEAD, Row, email_key, row, username_key

if TYPE_CHECKING:
    from collections.abc import Callable

_SLICE = 2000  # users read between two looks at the event loop
_PITS = 4
_MAX_PAGE = 1000


async def discovery(tenant: Tenant, call: Call) -> Answer:
    """Where the token endpoint is; clients use it as a probe too."""
    issuer = f"http://{call.headers.get('Host', 'localhost')}"
    return answer(
        200,
        {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/token-srv/token",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
            "scopes_supported": list(tenant.switches.scopes),
        },
    )


async def userexistence(tenant: Tenant, call: Call) -> Answer:
    """The sub of a user known by sub, e-mail or username."""
    asked = call.json()
    name = asked.get("userId") if isinstance(asked, dict) else None
    if not isinstance(name, str) or not name:
        return tenant.problem(400, "userId is missing")
    users = tenant.users
    sub = (
        name if name in users.values else users.owners.get(email_key("", name)) or users.owners.get(username_key(name))
    )
    if sub is None:
        return Answer(204)  # cidaas may add an envelope with 10301, which HTTP forbids: go by the status
    return answer(200, {"success": True, "status": 200, "data": {"sub": sub}})


async def user(tenant: Tenant, call: Call) -> Answer:
    """One user's profile; a password hash never leaves this way."""
    value = tenant.users.values.get(call.sub)
    if value is None:
        return tenant.problem(404, "user not found", NO_USER)
    return answer(200, {"success": True, "status": 200, "data": profile(row(call.sub, value))})


def profile(known: Row) -> dict[str, Any]:
    """A user as cidaas shows it."""
    entity: dict[str, Any] = orjson.loads(known.text)
    entity.pop("password_hash_info", None)
    if "identities" not in entity:
        keys = ("sub", "provider", "email", "username", "mobile_number", "given_name", "family_name")
        entity["identities"] = [{key: entity[key] for key in keys if entity.get(key) is not None}]
    entity.setdefault("createdTime", _text(known.created))
    entity["updatedTime"] = _text(known.updated)
    return entity


def _text(microseconds: int) -> str:
    return (
        datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


async def search(tenant: Tenant, call: Call) -> Answer:
    """The user search; look-ups of one e-mail, username or sub are quick, all else reads every user."""
    asked = call.json()
    if not isinstance(asked, dict):
        return tenant.problem(400, "the body must be an object")
    try:
        first, size = max(0, int(asked.get("from", 0))), min(_MAX_PAGE, int(asked.get("size", 50)))
        fits = _filter(asked)
    except (TypeError, ValueError, AttributeError, KeyError):
        return tenant.problem(400, "the search is invalid")
    subs = await _matching(tenant, asked, fits)
    if asked.get("sortfield") in ("updatedTime", "createdTime"):
        which = 1 if asked["sortfield"] == "updatedTime" else 0
        heads = {sub: HEAD.unpack_from(tenant.users.values[sub]) for sub in subs if sub in tenant.users.values}
        subs = sorted(heads, key=lambda sub: (heads[sub][which], heads[sub][2]), reverse=bool(asked.get("descending")))
    values = tenant.users.values
    found = [profile(row(sub, values[sub])) for sub in subs[first : first + size] if sub in values]
    body: dict[str, Any] = {"users": found}
    if not asked.get("excludeUserCount"):
        body["total_count"] = len(subs)
    return answer(200, body)


async def _matching(tenant: Tenant, asked: dict[str, Any], fits: Callable[[dict[str, Any]], bool] | None) -> list[str]:
    users = tenant.users
    if fits is None:
        return list(users.values)
    for each in asked.get("fieldsFilter") or ():
        field, value, exact = each.get("field"), str(each.get("value")), each.get("exactMatch")
        if exact and field in ("email", "username", "sub"):
            owner = {
                "email": users.owners.get(email_key("", value)),
                "username": users.owners.get(username_key(value)),
                "sub": value,
            }[field]
            entity = users.entity(owner) if owner else None
            return [owner] if owner and entity is not None and fits(entity) else []
    found = []
    everybody = list(users.values.items())
    for start in range(0, len(everybody), _SLICE):
        found += [sub for sub, value in everybody[start : start + _SLICE] if fits(orjson.loads(value[HEAD.size :]))]
        await asyncio.sleep(0)
    return found


def _filter(asked: dict[str, Any]) -> Callable[[dict[str, Any]], bool] | None:
    """The condition of fieldsFilter and terms; None if there is none."""
    wanted = [
        (str(each["field"]), str(each["value"]).casefold(), bool(each.get("exactMatch")))
        for each in asked.get("fieldsFilter") or ()
    ]
    terms = [str(term).casefold() for term in asked.get("terms") or ()]
    if not wanted and not terms:
        return None

    def fits(entity: dict[str, Any]) -> bool:
        for field, value, exact in wanted:
            stored = _value(entity, field)
            if stored != value and (exact or value not in stored):
                return False
        names = " ".join(_value(entity, field) for field in ("email", "username", "given_name", "family_name"))
        return all(term in names for term in terms)

    return fits


def _value(entity: dict[str, Any], field: str) -> str:
    """A field of an entity as text; custom fields as `customFields.key`."""
    source: Any = entity
    for part in field.split("."):
        source = source.get(part) if isinstance(source, dict) else None
    return "" if source is None else str(source).casefold()


async def bulkread(tenant: Tenant, call: Call) -> Answer:
    """Every user, page by page; with a `pit` all pages show the users of one moment."""
    asked = call.json()
    if not isinstance(asked, dict):
        return tenant.problem(400, "the body must be an object")
    field = asked.get("sortfield", "updatedTime")
    pit, after, size = asked.get("pit"), asked.get("searchAfter"), asked.get("size", 100)
    if (
        field not in ("updatedTime", "createdTime")
        or not isinstance(size, int)
        or not (pit is None or isinstance(pit, dict))
        or not (
            after is None or (isinstance(after, list) and len(after) == 2 and all(isinstance(x, int) for x in after))
        )
    ):
        return tenant.problem(400, "the request is invalid")
    view = _view(tenant, field, pit)
    if view is None:
        return tenant.problem(400, "the pit is not known or has expired")
    name, entries = view
    start = (
        0 if after is None else bisect_right(entries, (after[0], after[1], "\U0010ffff"), key=lambda entry: entry[:3])
    )
    page = entries[start : start + max(1, min(_MAX_PAGE, size))]
    if not page:
        return Answer(204)
    shown = [profile(row(sub, value)) | {"sort": [at, number]} for at, number, sub, value in page]
    return answer(200, {"users": shown} | ({"pitId": name} if pit is not None else {}))


def _view(
    tenant: Tenant, field: str, pit: dict[str, Any] | None
) -> tuple[str, list[tuple[int, int, str, bytes]]] | None:
    """All users in the order of `field`; the stored values never change, so a view is a moment."""
    now, views = time.monotonic(), tenant.views
    for name in [name for name, (ends, _, _) in views.items() if ends < now]:
        del views[name]
    name = str(pit.get("id") or "") if pit else f"latest-{field}-{tenant.users.number}"
    if name:
        if name in views and views[name][1] == field:
            return name, views[name][2]
        if pit:
            return None
    which = 1 if field == "updatedTime" else 0
    entries = []
    for sub, value in tenant.users.values.items():
        head = HEAD.unpack_from(value)
        entries.append((head[which] // 1000, head[2], sub, value))
    entries.sort()
    if len(views) >= _PITS:
        del views[min(views, key=lambda each: views[each][0])]
    keep = 60.0 * float(pit.get("keepAlive") or 5) if pit else 5.0
    name = name or secrets.token_urlsafe(16)
    views[name] = (now + keep, field, entries)
    return name, entries
