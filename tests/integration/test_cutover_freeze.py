"""`cutover freeze` on the real stack: GO under load until the freeze, each NO-GO that can be planted, and the way back.

On pipelines of this file's own, whose brake holds the first delete: what the other tests leave is not in its way.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import psycopg
import pytest

from streams.offline import Controls
from streams.settings import load
from streams.source import faults
from streams.source.guard import Finding
from tests.integration.legacy import email_of, hashed
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.pipeline import Pipeline
    from tests.integration.workers import Worker

KEY = "a key for the tests of the freeze"
HERE, GONE, REFUSED, LOCKED = range(27_001, 27_005)
BUSY = range(27_101, 27_201)
#: Seconds from freeze to GO that an evening may take (issue 7).
SOON = 15.0


class Busy:
    """The shop's users change their names, about 100 a second, until the shop is in maintenance."""

    def __init__(self, sync: Pipeline) -> None:
        self.made, self._url, self._over = 0, sync.legacy.url, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            while not self._over.wait(0.01):
                user = BUSY[self.made % len(BUSY)]
                name = f"Nummer {self.made}"
                connection.execute("UPDATE users SET given_name = %s, updated_at = now() WHERE id = %s", (name, user))
                self.made += 1

    def end(self) -> None:
        """The last change is committed when this returns."""
        self._over.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def evening(fresh: Callable[[str], Pipeline], name: str) -> tuple[Pipeline, Worker]:
    """A pipeline whose users are all judged, and the refused ones signed off."""
    sync = fresh(name)
    sync.env |= {"SYNC_CERTIFICATE_KEY": KEY, "SYNC_OPERATOR": "Anna"}
    # Any delete trips it, and none of before the last second.
    sync.configure(brake__floor="0", brake__ceiling="0", brake__window="1.0")
    assert sync.command("topics", "--yes").code == 0
    worker = sync.start()
    until(lambda: worker.count("pending") == 0 and worker.status()["lag"] == 0, "everybody is judged", 90)
    if worker.count("parked"):  # deletes of other tests, which this pipeline reads, too
        assert sync.command("deletes", "allow", "--yes").code == 0
        until(lambda: worker.count("parked") == worker.count("pending") == 0, "they are deleted", 60)
    assert sync.command("quarantine", "drop", "--all", "--yes").code == 0
    until(lambda: worker.count("quarantined") == 0, "all refused users are signed off")
    return sync, worker


def freeze(sync: Pipeline, code: int, *words: str) -> dict[str, Any]:
    """Freeze; its answer as JSON."""
    said = sync.command("cutover", "freeze", "--yes", "--json", *words, seconds=180)
    assert said.code == code, said
    body: dict[str, Any] = orjson.loads(said.out)
    assert body["verdict"] == ("GO" if code == 0 else "NO-GO")
    return body


def reasons(sync: Pipeline, *words: str) -> dict[str, str]:
    """Freeze, which is a NO-GO; its reasons by slug. Afterwards delivery goes on as before."""
    body = freeze(sync, 1, *words)
    assert body["certificate"] is None
    assert all(one["remedy"] for one in body["reasons"])
    assert orjson.loads(sync.command("status", "--json").out)["paused"] is None
    return {one["slug"]: one["what"] for one in body["reasons"]}


@pytest.mark.timeout(600)
def test_go_under_load_until_the_freeze_then_a_late_write_and_the_way_back(
    fresh: Callable[[str], Pipeline], tmp_path: Path
) -> None:
    sync, worker = evening(fresh, "golive")
    sync.legacy.sign_up(HERE, *BUSY)
    sync.cidaas.await_user(HERE)
    assert "Repeat with --yes" in sync.command("cutover", "freeze").out
    sync.command("cutover", "freeze", "--yes", SYNC_CERTIFICATE_KEY="").refused(2, "SYNC_CERTIFICATE_KEY: is not set")
    sync.command("cutover", "certificate").refused(2, "nobody has frozen yet")

    busy = Busy(sync)
    until(lambda: busy.made > 500, "500 changes", 60)
    busy.end()
    body = freeze(sync, 0)
    assert body["seconds"] <= SOON, body["seconds"]
    assert sync.cidaas.entity(BUSY[(busy.made - 1) % len(BUSY)])["given_name"] == f"Nummer {busy.made - 1}"
    sync.assert_equal(15)

    # The proof: who is not in stands in it, and nothing can be changed in it.
    document = body["certificate"]
    assert document["marker"]["lsn"] == body["marker"]["lsn"] and document["cases"]["confirmed"] > 2_900
    assert document["cases"].keys() <= {
        "confirmed", "deleted", "not_selected", "never_live", "credentials_only", "signed_off",
    }  # fmt: skip
    signed = [one for one in document["not_confirmed"] if one["case"] == "signed_off"]
    assert len(signed) == document["cases"]["signed_off"] == worker.count("dropped") > 0
    assert {one["signed_off"]["command"] for one in signed} == {"quarantine drop"}
    file, page = tmp_path / "certificate.json", tmp_path / "certificate.html"
    shown = sync.command("cutover", "certificate", "--html", str(page))
    assert shown.code == 0 and "GO: every change up to LSN" in shown.out
    assert sync.json("cutover", "certificate") == document
    file.write_bytes(orjson.dumps(document))
    assert sync.command("cutover", "verify", str(file)).out.startswith("genuine: GO")
    file.write_bytes(orjson.dumps(document | {"users": 1}))
    assert "it was changed" in sync.command("cutover", "verify", str(file)).out
    assert "another key" in sync.command("cutover", "verify", str(file), SYNC_CERTIFICATE_KEY=KEY * 2).out
    for text in (orjson.dumps(body).decode(), page.read_text(), shown.text):
        for value in (KEY, hashed("start"), email_of(HERE), "$2b$", sync.env["CIDAAS_CLIENT_SECRET"]):
            assert value not in text

    # It holds: nothing is sent, whoever asks for it.
    assert "go-live  " in (status := sync.command("status").out) and "GO at " in status
    sync.command("resume").refused(2, "cutover abort")
    assert sync.json("cutover", "freeze")["changed"] is False
    sync.stop()
    worker = sync.start()
    before = sync.cidaas.words(HERE)
    sync.legacy.name(HERE, "Spät")
    until(lambda: worker.status()["late"] == {"users": 1, "first": [str(HERE)]}, "the late write is said")
    assert "cidaas_sync_late_users 1.0" in worker.get("/metrics").text
    status = sync.command("status")
    assert status.code == 1 and f"after the GO, and nothing of it is sent: users {HERE}" in status.out
    found = freeze(sync, 1)
    assert [one["slug"] for one in found["reasons"]] == ["late_write"] and str(HERE) in found["reasons"][0]["what"]
    assert sync.cidaas.words(HERE) == before and worker.count("pending") == 1

    # And back.
    assert "over what users have changed" in sync.command("cutover", "abort").out
    assert sync.command("cutover", "abort", "--why", "die Seite steht", "--yes").code == 0
    sync.cidaas.await_user(HERE, lambda entity: entity["given_name"] == "Spät")
    sync.command("cutover", "certificate").refused(2, "aborted at")
    until(lambda: worker.status()["late"]["users"] == 0, "nothing is late any more")
    kept = sync.json("audit", "--command", "cutover")["entries"]
    assert {"cutover freeze", "cutover abort"} <= {one["command"] for one in kept}
    assert freeze(sync, 0)["certificate"]["marker"] != document["marker"]
    assert sync.command("cutover", "abort", "--yes").code == 0
    sync.assert_equal()


@pytest.mark.timeout(600)
def test_each_no_go_says_why_and_leaves_everything_as_it_was(fresh: Callable[[str], Pipeline]) -> None:
    sync, worker = evening(fresh, "nogo")
    sync.legacy.sign_up(GONE, LOCKED)
    for user in (GONE, LOCKED):
        sync.cidaas.await_user(user)

    with sync.legacy.transaction() as open_one:
        open_one.execute("SET application_name = 'shop-admin'")
        open_one.execute("UPDATE users SET updated_at = now() WHERE id = %s", (LOCKED,))
        found = reasons(sync)
        assert list(found) == ["open_transactions"]
        assert f"pid {open_one.info.backend_pid} (shop-admin as " in found["open_transactions"]

    prepared(sync)

    connector = f"{sync.env['CONNECT_URL']}/connectors/cidaas_sync"
    httpx.put(f"{connector}/pause", trust_env=False).raise_for_status()
    try:
        until(lambda: sync.command("connector", "status").code == 1, "the connector is paused")
        assert "connector_stopped" in reasons(sync)
    finally:
        httpx.put(f"{connector}/resume", trust_env=False).raise_for_status()
    until(lambda: sync.command("status").code == 0, "the connector runs, and its heartbeats come", 60)

    failed(sync, connector)
    gap(sync)

    sync.cidaas.away(120, "503")
    try:
        assert list(reasons(sync)) == ["cidaas"]
    finally:
        sync.cidaas.away(0, "503")

    # Refused: signed off in one version, and not in the next one.
    sync.legacy.sign_up(REFUSED, email=f"test.{REFUSED}@example.com")  # a dead domain of the stand-in
    until(lambda: worker.count("quarantined") == 1, "refused")
    found = reasons(sync)
    assert list(found) == ["quarantine"] and f"{REFUSED} (invalid_email)" in found["quarantine"]
    signed_off(sync, REFUSED)
    version = worker.user(REFUSED)["snapshot"]["version"]
    sync.legacy.name(REFUSED, "Neu")
    until(lambda: worker.user(REFUSED)["snapshot"]["version"] != version, "a newer version")
    until(lambda: worker.user(REFUSED)["situation"] == "quarantined", "refused again")
    assert "an older version is signed off" in reasons(sync)["quarantine"]
    signed_off(sync, REFUSED)

    # A parked delete.
    sync.legacy.delete(GONE)
    until(lambda: worker.count("parked") == 1, "the delete is parked")
    found = reasons(sync)
    assert list(found) == ["deletes_parked"] and str(GONE) in found["deletes_parked"]
    signed_off(sync, GONE)

    held = {one["user"]: one for one in freeze(sync, 0)["certificate"]["not_confirmed"]}
    for user, case in ((REFUSED, "quarantined"), (GONE, "parked")):
        assert held[str(user)]["case"] == case
        word = held[str(user)]["signed_off"]
        assert (word["by"], word["command"], word["why"]) == ("Anna", "cutover sign-off", "ruft an")
    assert sync.command("cutover", "abort", "--yes").code == 0
    assert sync.command("deletes", "allow", "--yes").code == 0
    sync.cidaas.await_gone(GONE)
    sync.legacy.run("UPDATE users SET email = %s WHERE id = %s", email_of(REFUSED), REFUSED)
    sync.cidaas.await_user(REFUSED)
    sync.assert_equal()

    sync.stop()
    began = time.monotonic()
    found = reasons(sync)
    assert {"workers", "partitions"} <= set(found) and time.monotonic() - began < 60


def failed(sync: Pipeline, connector: str) -> None:
    """The connector's task has failed: its role could not log in when it was started."""

    def tasks() -> list[str]:
        return [task["state"] for task in httpx.get(f"{connector}/status", trust_env=False).json()["tasks"]]

    def restart(only_failed: str) -> bool:
        words = f"{connector}/restart?includeTasks=true&onlyFailed={only_failed}"
        return httpx.post(words, trust_env=False).is_success  # while tasks are shared out it takes no order

    sync.legacy.run("ALTER ROLE cdc_debezium NOLOGIN")
    try:
        until(lambda: restart("false"), "the restart is taken")
        until(lambda: tasks() == ["FAILED"], "the task has failed", 60)
    finally:
        sync.legacy.run("ALTER ROLE cdc_debezium LOGIN")
    assert "connector_failed" in reasons(sync)
    until(lambda: restart("true"), "the restart is taken")
    until(lambda: sync.command("status").code == 0, "the connector runs, and its heartbeats come", 60)


def gap(sync: Pipeline) -> None:
    """Changes were lost, as the guard has noted it: how it finds that out is tried in test_source.py."""

    async def note(body: dict[str, Any] | None) -> None:
        async with Controls(load(sync.config_file, sync.env)) as control:
            await control.put(faults.record_name("slot_gap"), body)

    found = Finding("slot_gap", "the slot begins behind the connector's position", "Run `source repair`.")
    asyncio.run(note(faults.new({}, found, 1)))
    try:
        until(lambda: sync.worker.status()["faults"], "the worker has heard it")
        said = reasons(sync)
    finally:
        asyncio.run(note(None))
    assert "behind the connector's position" in said["slot_gap"]
    until(lambda: not sync.worker.status()["faults"], "the worker has heard that, too")


def prepared(sync: Pipeline) -> None:
    """A prepared transaction is open until a person ends it."""
    with psycopg.connect(sync.legacy.url, autocommit=True, connect_timeout=5) as connection:
        connection.execute("BEGIN")
        connection.execute("UPDATE users SET updated_at = now() WHERE id = %s", (LOCKED,))
        connection.execute("PREPARE TRANSACTION 'shop-7'")
        try:
            found = reasons(sync)
        finally:
            connection.execute("ROLLBACK PREPARED 'shop-7'")
    assert list(found) == ["open_prepared"] and "shop-7 (prepared by " in found["open_prepared"]


def signed_off(sync: Pipeline, user: int) -> None:
    said = sync.command("cutover", "sign-off", str(user), "--why", "ruft an")
    assert said.code == 0 and "@" not in said.text, said
