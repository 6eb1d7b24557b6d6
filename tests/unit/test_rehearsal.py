"""A rehearsal: another name and nothing else, the tenant as it was seen, and what is said of it."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from fakes import SETTINGS

from demo.standin.__main__ import read_switches
from demo.standin.faults import check
from demo.standin.passwords import PasswordRules
from streams.census import report as paper
from streams.identity import RefusedError
from streams.pipeline import Pipeline
from streams.rehearsal import report
from streams.rehearsal.night import Night
from streams.rehearsal.processes import Child
from streams.rehearsal.run import Found
from streams.rehearsal.tenant import Tenant, measured, switches
from streams.settings import load, shadow
from streams.tied import tied

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAME = shadow.name_of("cidaas-sync", 1_800_000_000)


# -- the second pipeline ----------------------------------------------------------------------------------------------


def test_everything_of_its_own_has_another_name_and_the_source_is_the_same() -> None:
    live, other = SETTINGS, shadow.shadow(SETTINGS, NAME)
    assert other.topics.identity == live.topics.identity and other.topics.message == live.topics.message
    own = {"control", "audit", "snapshots", "ledger"}
    for name in own:
        assert getattr(other.topics, name).startswith(shadow.prefix_of(live.app_id))
    assert other.app_id == NAME != live.app_id
    assert other.mapping.id == live.mapping.id, "what it makes of a user is what the live one makes"


def test_everybody_leaves_whatever_holds_the_live_one() -> None:
    delivery = replace(SETTINGS.delivery, start="paused", only=("42",))
    other = shadow.shadow(replace(SETTINGS, delivery=delivery), NAME)
    assert (other.delivery.start, other.delivery.only, other.delivery.refused_share) == ("running", None, 1.0)
    assert other.brake.floor > 10**8


def test_the_variable_makes_a_worker_the_rehearsal() -> None:
    found = load(env={shadow.VARIABLE: NAME})
    assert found.rehearsal and found.app_id == NAME
    assert not load(env={}).rehearsal


def test_it_writes_nothing_into_the_topic_that_the_live_one_reads() -> None:
    sent: list[bytes] = []

    class Producer:
        async def send_and_wait(self, topic: str, value: bytes, *, key: bytes) -> None:
            sent.append(key)

    def pipeline(settings: Any) -> Any:
        made: Any = Pipeline.__new__(Pipeline)
        made.settings, made.producer, made.sent = settings, Producer(), 0
        return made

    asyncio.run(pipeline(shadow.shadow(SETTINGS, NAME)).send(b"42", b"{}"))
    assert sent == []
    asyncio.run(pipeline(SETTINGS).send(b"42", b"{}"))
    assert sent == [b"42"]


# -- the tenant -------------------------------------------------------------------------------------------------------


def worker(seconds: float, users: float, **more: Any) -> dict[str, Any]:
    return {"stages": {"call": {"seconds": seconds, "users": users}}, "calls": 100, "outcomes": {}, **more}


def test_the_tenant_is_as_the_live_workers_have_seen_it() -> None:
    found = measured([
        worker(20.0, 100.0, outcomes={"call_unavailable": 3, "call_rate_limited": 9, "confirmed": 70}, call_limit=8.0),
        worker(40.0, 100.0, outcomes={"call_unclear": 1}, call_limit=4.0),
    ])  # fmt: skip
    assert found == Tenant(0.3, 12.0, 0.02, measured=True)
    assert "a call takes 300 ms, at most 12 calls a second, 2.00% of them fail" in str(found)


def test_without_a_worker_something_is_assumed_and_said_to_be() -> None:
    found = measured([])
    assert found == Tenant(0.05, None, 0.0, measured=False) and "assumed" in str(found)
    assert measured([{"worker": "of an older version"}]) == found
    assert found.with_words(0.2, None, 0.01) == Tenant(0.2, None, 0.01, measured=False)


@pytest.mark.parametrize("tenant", [Tenant(0.05, None, 0.0, measured=False), Tenant(0.0, 5.0, 0.5, measured=True)])
def test_the_stand_in_understands_how_it_shall_behave(tenant: Tenant) -> None:
    faults = tenant.faults()
    for fault in faults:
        check(fault)
    assert len(faults) == bool(tenant.latency) + (tenant.limit is not None) + bool(tenant.errors)


def test_the_stand_in_takes_what_the_mapping_sends() -> None:
    mapping = replace(
        SETTINGS.mapping, passwords=replace(SETTINGS.mapping.passwords, algorithms={"md5": "CUSTOM_OURS"})
    )
    values = switches(replace(SETTINGS, mapping=mapping))
    taken = read_switches([f"{name}={orjson.dumps(value).decode()}" for name, value in values.items()])
    assert set(taken.fields) == {rule.target for rule in SETTINGS.mapping.custom_fields}
    assert taken.fields["newsletter"]["type"] == "CHECKBOX"
    assert PasswordRules(taken).problem({"algorithmTypeId": "CUSTOM_OURS", "passwordHash": "ab"}) is None


# -- what is said -----------------------------------------------------------------------------------------------------

FOUND = Found(
    tenant=Tenant(0.05, None, 0.0, measured=True),
    users=10_000,
    situations={"in_sync": 9_990, "quarantined": 10},
    seconds=20.0,
    refused={"invalid_email": (10, ("7", "9"))},
    night=Night(10.0, 900, 500),
    passing=1.5,
    comparing=4.0,
    differences={},
)


def test_what_a_rehearsal_has_shown_is_said_with_its_arithmetic() -> None:
    text = paper.text(report.build(FOUND, 1_800_000_000.0), 200)
    for said in (
        "10,000 users in 20 s; 10 would be refused.",
        "20 s with one worker, 500 users/s",
        "To catch up with the last 10 h (500 users, 900 changes): 1 s",
        "From freeze to GO: 7 s: twice 1.5 s",
        "invalid_email",
    ):
        assert said in text, (said, text)
    body = report.body(FOUND)
    assert body["night"] == {"hours": 10.0, "changes": 900, "users": 500, "seconds": 1.0}
    assert body["freeze_to_go"]["seconds"] == 7.0
    assert body["refused"][0]["examples"] == ["7", "9"] and body["refused"][0]["remedy"]


def test_what_is_not_known_is_not_made_up() -> None:
    nothing = replace(FOUND, users=0, seconds=0.0, refused={}, night=Night(10.0, 0, 0), differences={"stale": 2})
    text = paper.text(report.build(nothing, 1_800_000_000.0), 200)
    assert "not known, because the last hours have brought no change" in text
    assert "nobody would be refused by what is known of the rules" in text
    assert "2 users differ from the legacy database" in report.verdict(nothing)


# -- its processes ----------------------------------------------------------------------------------------------------


def test_a_process_of_its_own_ends_when_it_is_killed(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    noted = f"pathlib.Path({str(mark)!r}).write_text(f'{{os.getpid()}} {{os.nice(0)}}')"
    child = f"import os, pathlib, time; {noted}; time.sleep(600)"
    parent = (
        "import os, subprocess, sys; from streams.tied import tied; "
        f"subprocess.Popen(tied([sys.executable, '-c', {child!r}], os.getpid())).wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    try:
        pid, nice = _read(mark, process)
        assert nice >= 10
    finally:
        process.kill()
        process.wait()
    _await(lambda: not _runs(pid))


def test_a_command_whose_parent_is_gone_does_not_begin() -> None:
    assert subprocess.run(tied([sys.executable, "-c", "print('began')"], 1), capture_output=True).stdout == b""


def test_a_process_that_ends_says_why(tmp_path: Path) -> None:
    async def scene(program: str) -> str:
        child = await Child.start([sys.executable, "-c", program], dict(os.environ), tmp_path / "log")
        try:
            return await child.said(re.compile(r"listens on (\S+)"), 20.0)
        finally:
            await child.end()

    assert asyncio.run(scene("print('listens on here', flush=True); import time; time.sleep(600)")) == "here"
    with pytest.raises(RefusedError, match="ended with exit code 3: no room left"):
        (tmp_path / "log").unlink()
        asyncio.run(scene("import sys; print('no room left'); sys.exit(3)"))


def _read(mark: Path, process: subprocess.Popen[bytes]) -> tuple[int, int]:
    _await(lambda: (mark.exists() and len(mark.read_text().split()) == 2) or process.poll() is not None)
    pid, nice = mark.read_text().split()
    return int(pid), int(nice)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _await(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # a poll: other processes tell nobody
