"""cidaas is read slowly, page by page or user by user, and compared field by field without a value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import orjson
import pytest
import standin_kit
from clock import Clock, run
from fakes import SETTINGS, credential_row, user_row
from test_cidaas_client import NO_USER, SUB, Tenant, failure_of, settings

from demo.standin.tenant import CLIENT_ID, CLIENT_SECRET
from streams.cidaas import Cidaas, Kind
from streams.cidaas.client import BULK_READ
from streams.cidaas.profiles import Cursor, flat, read_page
from streams.identity import RefusedError
from streams.mapping import map_user
from streams.reconcile.target import PAGE, Target
from streams.reconcile.traits import Traits
from streams.settings import Secret

TRAITS = Traits(SETTINGS)


def entity(**row: Any) -> dict[str, Any]:
    made = map_user("1", user_row(1, **row), {"public.credentials": [credential_row(10, 1)]}, SETTINGS).entity
    assert made is not None
    return made


def differing(sent: dict[str, Any], shown: dict[str, Any]) -> list[str]:
    return [TRAITS.names[at] for at in TRAITS.differing(TRAITS.of(sent), TRAITS.of(shown))]


# -- fields -----------------------------------------------------------------------------------------------------------


def test_a_user_as_it_was_sent_does_not_differ_however_cidaas_adds_to_it() -> None:
    sent = entity(given_name="Ada", newsletter=True, phone="+491711234567", birthdate="1815-12-10Z", city="Ulm")
    address = {**sent["address"], "formatted": "Ulm"}
    shown = {name: value for name, value in sent.items() if value is not None and name != "password_hash_info"}
    shown |= {"email": sent["email"].upper(), "birthdate": "1815-12-10T00:00:00.000Z", "address": address}
    shown |= {"createdTime": "2019-03-01T08:15:00.000Z", "lastLoggedInTime": "2026-11-27T22:00:00Z"}
    shown |= {"roles": ["USER"], "groups": [{"groupId": "CIDAAS_USERS"}]}
    assert differing(sent, shown) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("email", "eve@example.org"), ("given_name", "Eve"), ("given_name", None), ("userStatus", "LOCKED"),
        ("mobile_number", "+491711234568"), ("birthdate", "1815-12-11"),
    ],
)  # fmt: skip
def test_a_field_that_somebody_changed_is_named(field: str, value: Any) -> None:
    sent = entity(given_name="Ada", phone="+491711234567", birthdate="1815-12-10Z")
    assert differing(sent, {**sent, field: value}) == [field]


def test_parts_and_custom_fields_are_named_one_by_one() -> None:
    sent = entity(city="Ulm", customer_number="7", newsletter=True)
    shown = {**sent, "address": {**sent["address"], "locality": "Bonn"}, "customFields": {"newsletter": "true"}}
    names = ["address.locality", "customFields.legacy_user_id", "customFields.customer_number"]
    assert differing(sent, shown) == names


def test_what_was_not_sent_and_what_is_lazy_is_not_compared() -> None:
    sent = entity(given_name="Ada")
    del sent["given_name"]  # not known here, so not sent (M4)
    assert differing(sent, {**sent, "given_name": "Eve"}) == []
    users = replace(SETTINGS.source.users, lazy=frozenset({"city"}))
    assert "address.locality" not in Traits(replace(SETTINGS, source=replace(SETTINGS.source, users=users))).names


def test_traits_tell_nothing_of_a_value() -> None:
    sent = entity(given_name="Ada", email="ada@example.org")
    assert len(TRAITS.of(sent)) == 4 * len(TRAITS.names)
    assert b"Ada" not in TRAITS.of(sent)


# -- profiles ---------------------------------------------------------------------------------------------------------


def test_fields_of_an_identity_stand_beside_the_accounts() -> None:
    own = {"provider": "self", "email": "me@x", "given_name": "I"}
    identities = [{"provider": "facebook", "email": "fb@x"}, own]
    profile = {"sub": SUB, "userStatus": "VERIFIED", "email": None, "given_name": "Account", "identities": identities}
    found = flat(profile)
    assert (found["email"], found["given_name"], found["userStatus"]) == ("me@x", "Account", "VERIFIED")
    assert flat({"sub": SUB, "email": "a@x"}) == {"sub": SUB, "email": "a@x"}


def page(*subs: str, last: list[Any] | None = None, pit: str | None = "p") -> dict[str, Any]:
    users = [{"sub": sub, "email": f"{sub}@x", "sort": [at, at]} for at, sub in enumerate(subs, 1)]
    if last is not None:
        users[-1]["sort"] = last
    return {"status_code": 200, "json": {"users": users} | ({"pitId": pit} if pit else {})}


async def test_pages_follow_one_another_in_one_moment_until_there_are_none() -> None:
    tenant = Tenant().on("POST", BULK_READ, page("a", "b", pit="p1"), page("c", last=[9, 9], pit=None), 204)
    async with tenant.client() as cidaas:
        found = [sub async for users in Target(cidaas, 1_000).everyone() for sub in users]
    assert found == ["a", "b", "c"]
    asked = [orjson.loads(request.content) for request in tenant.requests]
    assert [one.get("searchAfter") for one in asked] == [None, [2, 2], [9, 9]]
    assert [one["pit"].get("id") for one in asked] == [None, "p1", "p1"]
    assert {(one["sortfield"], one["size"]) for one in asked} == {("createdTime", PAGE)}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"<html>", b'{"users": 1}', b'{"users": [{}]}', b'{"users": [{"sub": "a"}]}', b'{"users": [7]}'],
)
async def test_half_an_answer_is_no_end(body: bytes) -> None:
    tenant = Tenant().on("POST", BULK_READ, {"status_code": 200, "content": body})
    async with tenant.client() as cidaas:
        error = await failure_of(cidaas.page(10))
    assert error.kind is Kind.UNAVAILABLE


def test_an_empty_page_is_the_end() -> None:
    assert read_page(b'{"users": []}') == ({}, None)
    assert Cursor().request(5) == b'{"sortfield":"createdTime","size":5,"pit":{"keepAlive":"5"}}'


async def test_one_user_or_none() -> None:
    path = f"/user-srv/users/{SUB}"
    for answer, found in (
        ({"status_code": 200, "json": {"data": {"sub": SUB, "email": "a@x"}}}, {"sub": SUB, "email": "a@x"}),
        ({"status_code": 404, "json": NO_USER}, None),
        (204, None),
    ):
        async with Tenant().on("GET", path, answer).client() as cidaas:
            assert await cidaas.profile(SUB) == found
    async with Tenant().on("GET", path, 403).client() as cidaas:
        assert (await failure_of(cidaas.profile(SUB))).kind is Kind.FORBIDDEN


# -- slowly -----------------------------------------------------------------------------------------------------------


def reading(clock: Clock, rate: float, *answers: Any) -> tuple[Tenant, Any]:
    tenant = Tenant().on("POST", BULK_READ, *answers)

    async def read() -> list[str]:
        client = Cidaas(settings(), transport=httpx.MockTransport(tenant), clock=clock.monotonic)
        async with client as cidaas:
            return [sub async for users in Target(cidaas, rate).everyone() for sub in users]

    return tenant, read


def test_no_faster_than_the_rate() -> None:
    clock = Clock()
    pages = [page(str(at), last=[at, at]) for at in range(1, 21)]
    began, (tenant, read) = clock.now, reading(clock, 2.0, *pages, 204)
    assert len(run(read(), clock)) == 20
    assert clock.now - began == pytest.approx(10.0) and len(tenant.requests) == 21


def test_trouble_is_waited_for_as_long_as_cidaas_says() -> None:
    clock = Clock()
    busy = {"status_code": 429, "headers": {"Retry-After": "30"}}
    began, (_, read) = clock.now, reading(clock, 100.0, page("a"), busy, 503, page("b", last=[5, 5]), 204)
    assert run(read(), clock) == ["a", "b"]
    assert 34 <= clock.now - began < 40


@pytest.mark.parametrize("answers", [[403], [page("a"), 503, 503, 503, 503, 503, 503], [{"status_code": 400}]])
def test_what_waiting_does_not_cure_ends_the_run_in_words(answers: list[Any]) -> None:
    clock = Clock()
    with pytest.raises(RefusedError, match=r"cidaas cannot be read: cidaas answered \d+ to the bulk read"):
        run(reading(clock, 100.0, *answers)[1](), clock)


def test_a_bulk_read_that_repeats_itself_ends() -> None:
    clock = Clock()
    with pytest.raises(RefusedError, match="the same page"):
        run(reading(clock, 100.0, page("a"))[1](), clock)


# -- the stand-in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identities", [False, True])
async def test_what_the_stand_in_shows_is_what_was_sent(identities: bool) -> None:
    """Also a user with social logins, who is stored as an account with identities; and everybody comes once."""
    sent = [entity(given_name="Ada", city="Ulm") | {"sub": standin_kit.sub(nth), "email": f"u{nth}@shop.org"}
            for nth in range(1, 2 * PAGE + 10)]  # fmt: skip
    if identities:
        sent = [one | {"identities": [{"provider": "facebook", "providerUserId": "7"}]} for one in sent]
    async with standin_kit.running() as kit:
        tenant = replace(
            settings(str(kit.http.base_url)), client_id=CLIENT_ID, client_secret=Secret(CLIENT_SECRET), timeout=5.0
        )
        async with Cidaas(tenant) as cidaas:
            for at in range(0, len(sent), 50):
                await cidaas.bulk(sent[at : at + 50])
            target = Target(cidaas, 10_000)
            shown = [one async for page in target.everyone() for one in page.items()]
            assert [sub for sub, _ in shown] == [one["sub"] for one in sent]
            alone = await target.one(sent[0]["sub"])
            assert alone is not None and await target.one(standin_kit.sub(9_999)) is None
            assert [differing(one, dict(shown)[one["sub"]]) for one in (*sent, sent[0])] == [[]] * (len(sent) + 1)
            assert differing(sent[0], alone) == []
            assert "password_hash_info" not in alone
