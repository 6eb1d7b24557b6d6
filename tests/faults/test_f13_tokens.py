"""F13: tokens end in mid-flight, are revoked, lack a scope; wrong credentials; the token endpoint is slow or away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from demo.standin.switches import SCOPES
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena
    from tests.faults.kit.load import Load

pytestmark = pytest.mark.fault("F13")

RATE = 30.0  # changes a second

#: A real token's lifetime in seconds: what is wrong with one does not end by itself in a test.
DAY = 86_400
INVALID = {"error": "invalid_client", "error_description": "client_id or client_secret is wrong"}


def asked(arena: Arena) -> int:
    """How many tokens have been asked for."""
    return sum(arena.sync.cidaas.counters()["calls"].get("token", {}).values())


def with_a_long_token(arena: Arena) -> None:
    """Let the worker take a token that lasts a day."""
    arena.sync.cidaas.switch(token_lifetime=DAY)
    before = asked(arena)
    arena.sync.cidaas.revoke_tokens()
    arena.mark()
    assert asked(arena) > before


def revoked(arena: Arena, load: Load) -> None:
    before, refused = asked(arena), arena.calls()["401"]
    arena.strike(arena.sync.cidaas.revoke_tokens)
    load.more(75)
    arena.recovered()
    assert arena.calls()["401"] > refused, "no call was under way with the old token"
    arena.figure("token requests after one revocation", asked(arena) - before)
    assert asked(arena) - before == 1


def ends(arena: Arena, load: Load) -> None:
    """Tokens of one second, and calls that take up to 0.3 s: many end in mid-flight."""
    cidaas = arena.sync.cidaas
    refused = arena.calls()["401"]
    cidaas.switch(token_lifetime=1)
    arena.strike(cidaas.revoke_tokens)
    before, began = asked(arena), time.monotonic()
    load.more(250)
    requests, seconds = asked(arena) - before, time.monotonic() - began
    arena.figure("token requests a second, tokens of 1 s", requests / seconds)
    assert arena.calls()["401"] > refused, "no token ended in mid-flight"
    assert requests <= seconds / 0.9 + 2, f"{requests} requests for a token in {seconds:.1f} s"
    with_a_long_token(arena)
    arena.recovered(since=time.monotonic())


def slow_and_away(arena: Arena, load: Load) -> None:
    """One request for all callers while it is slow; while it is away it is asked for as seldom as cidaas itself."""
    cidaas = arena.sync.cidaas
    slow = cidaas.fault("token", "latency", seconds=2.0)
    before = asked(arena)
    arena.strike(cidaas.revoke_tokens)
    load.more(75)
    arena.recovered()
    assert asked(arena) - before == 1, "a stampede on a slow token endpoint"
    cidaas.end_fault(slow)
    gone = cidaas.fault("token", "status", status=503)
    before, began = asked(arena), time.monotonic()
    arena.strike(cidaas.revoke_tokens)
    until(lambda: "token" in str(arena.sync.worker.status()["trouble"]), "the worker says what is wrong")
    load.more(300)
    requests, seconds = asked(arena) - before, time.monotonic() - began
    assert requests <= seconds + 8, f"{requests} requests for a token in {seconds:.1f} s"
    cidaas.end_fault(gone)
    arena.recovered(since=time.monotonic())


def test_revoked_ends_in_mid_flight_endpoint_slow_and_away(arena: Arena) -> None:
    with_a_long_token(arena)
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            (revoked, ends, slow_and_away)[number](arena, load)
    arena.judge()


def test_scope_taken_away_and_wrong_credentials(arena: Arena) -> None:
    """Upserts lack their scope, then no token is to be had for deletes: two reasons, both gone in a minute."""
    sync, cidaas = arena.sync, arena.sync.cidaas
    changed, gone = arena.own(2)
    with_a_long_token(arena)
    with arena.load(rate=RATE) as load:
        load.more(60)
        cidaas.switch(scopes=[scope for scope in SCOPES if scope != "cidaas:bulk_user_create"])
        before = asked(arena)
        arena.strike(cidaas.revoke_tokens)
        until(lambda: arena.calls()["403"], "a call without its scope")
        arena.rename([changed], "Ohne Recht")
        sync.sentence(changed, "upsert_scopes")
        load.more(75)  # deletes go on meanwhile, and say nothing of upserts
        sync.sentence(changed, "upsert_scopes", 1)
        said = sync.command("status")
        assert said.code == 1
        assert "answered 403 to the bulk call" in said.out, said.out

        wrong = cidaas.fault("token", "status", status=401, body=INVALID)
        arena.strike(cidaas.revoke_tokens)
        sync.legacy.delete(gone)
        sync.sentence(gone, "CIDAAS_CLIENT_SECRET")
        said = sync.command("status")
        assert "CIDAAS_CLIENT_SECRET" in said.out, said.out
        assert "upsert_scopes" in said.out, said.out
        load.more(150)
        requests = asked(arena) - before
        arena.figure("token requests while a person is waited for", requests)
        assert requests <= 6

        cidaas.end_fault(wrong)
        cidaas.switch(scopes=list(SCOPES))
        cured = time.monotonic()
        cidaas.await_user(changed, lambda entity: entity["given_name"] == "Ohne Recht", 75)
        cidaas.await_gone(gone, 75)
        arena.recovered(since=cured)
    until(lambda: not sync.worker.status()["trouble"], "nothing is wrong any more")
    arena.judge()
