"""What asks: a tenant's token and test user, places that are away, hang or fail, and the screen."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest
from click.testing import CliRunner
from fakes import SETTINGS
from standin_kit import running

from demo.standin.tenant import CLIENT_ID, CLIENT_SECRET
from streams.commands import base
from streams.commands import doctor as command
from streams.doctor import cidaas, examination, places
from streams.doctor.asking import broker, database, tenant, worker
from streams.doctor.asking.tenant import scopes_of
from streams.doctor.checks import Check, Report, State, fault, ok, todo, unknown, warning
from streams.settings import ConnectRest, Secret

if TYPE_CHECKING:
    from streams.settings import Settings


def at(url: str, **changes: Any) -> Settings:
    """The settings for a stand-in."""
    values = {"base_url": url, "client_id": CLIENT_ID, "client_secret": Secret(CLIENT_SECRET), **changes}
    return replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, **values))


def states(checks: list[Check]) -> dict[str, State]:
    return {check.slug: check.state for check in checks}


# -- cidaas -------------------------------------------------------------------------------------------------------


async def test_nothing_is_written_unless_it_is_asked_for() -> None:
    async with running() as kit:
        settings = at(kit.listener.url)
        checks = cidaas.judge(settings, await tenant.ask(settings, write=False))
        counters = await kit.counters()
    assert counters["calls"].keys() <= {"token", "discovery", "user", "userexistence"}
    assert {slug for slug, state in states(checks).items() if state is not State.OK} == {"cidaas_write"}


@pytest.mark.parametrize("purge", ["at-once", "delayed"])
async def test_the_test_user_is_deleted_again(purge: str) -> None:
    async with running(purge=purge, purge_delay=0.2) as kit:
        settings = at(kit.listener.url)
        found = await tenant.ask(settings, write=True)
        assert found.trial is not None
        assert kit.entity(found.trial.sub) is None
        assert found.trial.name.startswith(cidaas.TEST_USER)
        assert (await kit.counters())["calls"]["bulk"] == {"200": 2}
    checks = cidaas.judge(settings, found)
    assert states(checks)["cidaas_delete"] is State.OK
    assert states(checks)["cidaas_migration_mode"] is State.UNKNOWN, "a yes proves nothing"


BROKEN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "migration mode off": ({"migration_mode": "off-fail"}, {}, "cidaas_migration_mode"),
    "wrong secret": ({}, {"client_secret": Secret("wrong")}, "cidaas_token"),
    "no scope to write": ({"scopes": ["cidaas:users_delete", "cidaas:users_read"]}, {}, "cidaas_scopes"),
    "no scope to read": ({"scopes": ["cidaas:users_delete", "cidaas:bulk_user_create"]}, {}, "cidaas_scopes"),
    "no scope to delete": ({"scopes": ["cidaas:users_read", "cidaas:bulk_user_create"]}, {}, "cidaas_scopes"),
    "hash refused": ({"algorithms": ["SHA256"]}, {}, "cidaas_write"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_tenant_yields_its_fault_and_leaves_no_user(name: str) -> None:
    switches, changes, slug = BROKEN[name]
    async with running(**switches) as kit:
        settings = at(kit.listener.url, **changes)
        found = await tenant.ask(settings, write=True)
        if found.trial is not None:
            assert kit.entity(found.trial.sub) is None
    checks = cidaas.judge(settings, found)
    assert [check.slug for check in checks if check.state is State.FAULT] == [slug]


def jwt(**claims: Any) -> bytes:
    body = base64.urlsafe_b64encode(orjson.dumps(claims)).decode().rstrip("=")
    return orjson.dumps({"access_token": f"head.{body}.signature"})


@pytest.mark.parametrize(
    ("answer", "scopes"),
    [
        (orjson.dumps({"access_token": "x", "scope": "a b"}), ("a", "b")),
        (orjson.dumps({"access_token": "x", "scope": ["a", "b"]}), ("a", "b")),
        (jwt(scope="a b"), ("a", "b")),
        (jwt(scope=["a"]), ("a",)),
        (jwt(sub="ANONYMOUS"), None),
        (orjson.dumps({"access_token": "opaque"}), None),
        (b'{"access_token": "a.!!.b"}', None),
        (b"[]", None),
        (b"<html>", None),
    ],
)
def test_scopes_are_read_where_the_token_tells_them(answer: bytes, scopes: tuple[str, ...] | None) -> None:
    assert scopes_of(answer) == scopes


# -- places that do not answer ------------------------------------------------------------------------------------


def nowhere() -> Settings:
    """Addresses at which nobody listens."""
    url = Secret("postgresql://cidaas_sync_read:hunter2@127.0.0.1:1/shop")
    source = replace(SETTINGS.source, url=url, role_password=Secret("hunter3"))
    kafka = replace(SETTINGS.kafka, bootstrap_servers="127.0.0.1:1")
    return replace(at("http://127.0.0.1:1"), source=source, kafka=kafka, connect=ConnectRest("http://127.0.0.1:1"))


async def test_a_place_that_is_away_hides_no_other() -> None:
    reports = await examination.examine(nowhere())
    faults = {check.slug for report in reports for check in report.checks if check.state is State.FAULT}
    assert faults == {"database_reachable", "kafka_reachable", "connect_reachable", "cidaas_address"}
    assert all(check.remedy for report in reports for check in report.checks if check.state is State.FAULT)
    said = " ".join(check.what for report in reports for check in report.checks)
    assert "hunter" not in said and CLIENT_SECRET not in said


async def test_with_nothing_set_at_all_it_says_what_to_set() -> None:
    bare = replace(nowhere(), source=replace(SETTINGS.source, url=None, admin_url=None))
    bare = replace(bare, cidaas=replace(bare.cidaas, base_url=None, client_secret=None))
    found = {check.slug: check for report in await examination.examine(bare) for check in report.checks}
    assert found["database_reachable"].state is found["cidaas_address"].state is State.TODO
    assert "LEGACY_ADMIN_URL" in found["database_reachable"].remedy
    assert "CIDAAS_BASE_URL, CIDAAS_CLIENT_SECRET" in found["cidaas_address"].what


async def test_a_place_that_hangs_ends_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even one that does not let itself be cancelled holds up the others."""
    free = asyncio.Event()

    async def deaf(_settings: Settings) -> Any:
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    monkeypatch.setattr(database, "ask", deaf)
    monkeypatch.setattr(places, "GRACE", 0.05)
    try:
        async with asyncio.timeout(10):
            reports = {report.place: report for report in await examination.examine(nowhere(), patience=1.0)}
    finally:
        free.set()
    assert reports[examination.DATABASE].hung
    assert states(list(reports[examination.DATABASE].checks)) == {"database_reachable": State.FAULT}
    assert states(list(reports[examination.CONNECT].checks)) == {"connect_reachable": State.FAULT}
    assert not reports[examination.CIDAAS].hung


async def test_a_mistake_of_ours_hides_no_other_place(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wrong(_settings: Settings) -> Any:
        raise LookupError("a value that is not to be shown")

    monkeypatch.setattr(broker, "ask", wrong)
    reports = {report.place: report for report in await examination.examine(nowhere())}
    (check,) = reports[examination.KAFKA].checks
    assert (check.state, "LookupError" in check.what, "a value" in check.what) == (State.UNKNOWN, False, False)
    assert states(list(reports[examination.CONNECT].checks)) == {"connect_reachable": State.FAULT}


async def test_somebody_else_at_the_address_of_connect() -> None:
    async with running() as kit:
        settings = replace(SETTINGS, connect=ConnectRest(kit.listener.url))
        with pytest.raises(worker.AwayError, match="is not Kafka Connect"):
            await worker.ask(settings)


@pytest.mark.parametrize(
    ("error", "url"),
    [
        (psycopg.OperationalError('failed to resolve host "word@db"'), "postgresql://me:pass@word@db/shop"),
        (psycopg.OperationalError('password "s3cret" is wrong'), "postgresql://me:s3cret@db/shop"),
        (psycopg.ProgrammingError('invalid percent-encoded token: "s3cret%zz"'), "postgresql://me:s3cret%zz@db/shop"),
    ],
)
def test_the_driver_quotes_no_password(error: psycopg.Error, url: str) -> None:
    said = database.words(error, url)
    assert "s3cret" not in said and "word@" not in said


# -- the screen ---------------------------------------------------------------------------------------------------

REPORTS = [
    Report("legacy database", (
        ok("primary", "this is the primary"),
        fault("wal_level", "wal_level is replica", "ALTER SYSTEM"),
        todo("read_role", "no role yet", "Run `cdc enable`."),
        todo("capture_role", "no other role yet", "Run `cdc enable`."),
    )),
    Report("Kafka", (warning("brokers", "1 broker", "replication_factor = 3"), unknown("auto_create", "not readable"))),
]  # fmt: skip


def said(monkeypatch: pytest.MonkeyPatch, reports: list[Report], *arguments: str) -> Any:
    async def examine(_settings: Settings, *, write: bool) -> list[Report]:
        assert write is ("--write-test" in arguments)
        return reports

    monkeypatch.setattr(command, "examine", examine)
    return CliRunner().invoke(command.commands(SETTINGS)[0], list(arguments))


def test_a_line_for_each_check_and_what_to_do_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = said(monkeypatch, REPORTS)
    assert answer.exit_code == 1
    assert "\033" not in answer.output, "colours are for terminals"
    lines = answer.output.splitlines()
    for report in REPORTS:
        assert lines.count(report.place) == 1
        for check in report.checks:
            assert sum(line.startswith(f"  {check.state.value} ") and check.what in line for line in lines) == 1
    blocks = ["not checked:", "warning:", "not set up yet:", "fault:"]
    assert [line for line in lines if line in blocks] == blocks[1:], "the most urgent stands last"
    end = answer.output.partition("fault:")[2]
    assert "! wal_level: wal_level is replica\n  ALTER SYSTEM\n" in end
    assert answer.output.count("Run `cdc enable`.") == 1, "one remedy for two checks is said once"
    assert lines[-1] == "1 ok, 1 fault, 2 not set up yet, 1 warning, 1 not checked"


def test_only_a_fault_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = [replace(REPORTS[0], checks=REPORTS[0].checks[2:]), REPORTS[1]]
    assert said(monkeypatch, harmless).exit_code == 0
    assert said(monkeypatch, REPORTS, "--write-test").exit_code == 1
    assert said(monkeypatch, REPORTS, "--no-such-option").exit_code == 2


def test_json_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = said(monkeypatch, REPORTS, "--json")
    body = orjson.loads(answer.output)
    assert answer.exit_code == 1
    assert body["counts"] == {"ok": 1, "warning": 1, "fault": 1, "todo": 2, "unknown": 1}
    found = [(place["place"], check["slug"], check["state"]) for place in body["places"] for check in place["checks"]]
    assert found == [(report.place, check.slug, check.state.value) for report in REPORTS for check in report.checks]


def test_what_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter itself would wait at its end for a thread that looks a name up."""

    def end(code: int) -> None:
        raise SystemExit(f"at once with {code}")

    monkeypatch.setattr(base.os, "_exit", end)
    answer = said(monkeypatch, [replace(REPORTS[0], hung=True), REPORTS[1]])
    assert "at once with 1" in answer.output
