"""`reconcile` on the real stack: it finds what was planted and nothing else, and a repair brings everybody back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from streams.reconcile.cases import Case
from tests.integration.legacy import add_password, email_of, hashed, insert
from tests.integration.test_crashes import Load
from tests.integration.test_sweep import uncaptured
from tests.integration.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.pipeline import Pipeline

STRANGER = "5f6f5c0a-7c7b-4c1e-9d43-0a3f1d7b9e01"
#: As quick as it goes: nobody has to be spared here.
QUICK = ("--rate", "1000")


class Somebody:
    """Whoever else may write at cidaas, past the pipeline."""

    def __init__(self, sync: Pipeline) -> None:
        self._sync = sync
        self._http = httpx.Client(base_url=sync.cidaas.url, timeout=10, trust_env=False)

    def _authorization(self) -> dict[str, str]:
        """A token of its own for each call: those of the stand-in live for seconds."""
        asked = {
            "grant_type": "client_credentials",
            "client_id": self._sync.env["CIDAAS_CLIENT_ID"],
            "client_secret": self._sync.env["CIDAAS_CLIENT_SECRET"],
        }
        answer = self._http.post("/token-srv/token", json=asked).raise_for_status().json()
        return {"Authorization": f"Bearer {answer['access_token']}"}

    def store(self, sub: str, **fields: Any) -> None:
        """Create or change a user."""
        answer = self._http.post(
            "/users-srv/user/bulk", json=[{"sub": sub, "provider": "self", **fields}], headers=self._authorization()
        )
        (state,) = answer.raise_for_status().json()["process_states"]
        assert state["process_state"] in ("CREATED", "UPDATED"), state

    def delete(self, sub: str) -> None:
        """Delete a user."""
        self._http.delete(f"/users-srv/user/purge/{sub}", headers=self._authorization()).raise_for_status()


def reconciled(sync: Pipeline, *words: str, code: int = 0) -> dict[str, Any]:
    """Run it; its answer as JSON."""
    said = sync.command("reconcile", *QUICK, *words, "--json", seconds=180)
    assert said.code == code, said
    body: dict[str, Any] = orjson.loads(said.out)
    return body


def wrong(body: dict[str, Any]) -> dict[str, str]:
    """Who differs, and how."""
    return {one["user"]: one["case"] for one in body["wrong"]}


def settled(sync: Pipeline) -> None:
    """Wait until nobody waits for anything."""
    for what in ("pending", "set_aside"):
        until(lambda what=what: sync.worker.count(what) == 0, f"nobody is {what}", 60)


def test_what_was_planted_is_found_and_a_repair_brings_everybody_back(sync: Pipeline, tmp_path: Path) -> None:
    users = range(23_001, 23_013)
    row, password, seed, bare, giving, taking, ghost, missing, changed, locked, revived, new = users
    sync.legacy.sign_up(*(user for user in users if user != new), word="own")
    with sync.legacy.transaction() as connection:
        moving = add_password(connection, giving, "moving")
    for user in users:
        if user != new:
            sync.cidaas.await_user(user)
    sync.legacy.delete(revived)
    sync.cidaas.await_gone(revived)
    settled(sync)
    assert wrong(reconciled(sync)) == {}, "before anything is planted"

    with uncaptured(sync) as connection:
        connection.execute("UPDATE users SET city = 'Verloren' WHERE id = %s", (row,))
        connection.execute("UPDATE credentials SET secret = %s WHERE user_id = %s", (hashed("newer"), password))
        connection.execute(
            "INSERT INTO credentials (user_id, kind, algorithm, secret) VALUES (%s, 'totp', 'totp', 'KANARIENSEED')",
            (seed,),
        )
        connection.execute("DELETE FROM credentials WHERE user_id = %s", (bare,))
        connection.execute("UPDATE credentials SET user_id = %s WHERE id = %s", (taking, moving))
        connection.execute("DELETE FROM users WHERE id = %s", (ghost,))
        insert(connection, new, given_name="Neu")
        add_password(connection, new, "own")
    somebody = Somebody(sync)
    somebody.delete(sync.cidaas.sub(missing))
    somebody.store(sync.cidaas.sub(changed), given_name="Fremd", email=f"fremd.{changed}@example.org")
    somebody.store(
        sync.cidaas.sub(locked), email=email_of(locked), userStatus="LOCKED", customFields={"customer_number": "4711"}
    )
    somebody.store(sync.cidaas.sub(revived), email=email_of(revived), userStatus="VERIFIED")
    somebody.store(STRANGER, email="stranger@example.org", userStatus="VERIFIED")

    planted = {
        **dict.fromkeys(map(str, (row, password, seed, bare, giving, taking)), Case.STALE.value),
        str(ghost): Case.GHOST.value, str(new): Case.LOST.value, str(missing): Case.MISSING.value,
        **dict.fromkeys(map(str, (changed, locked)), Case.CHANGED_AT_TARGET.value),
        str(revived): Case.NOT_DELETED.value, STRANGER: Case.FOREIGN.value,
    }  # fmt: skip
    page = tmp_path / "page.html"
    found = reconciled(sync, "--html", str(page), code=1)
    assert wrong(found) == planted
    fields = {one["user"]: set(one["fields"]) for one in found["wrong"] if one["fields"]}
    assert fields == {
        str(changed): {"given_name", "email"}, str(locked): {"userStatus", "customFields.customer_number"},
    }  # fmt: skip
    text = sync.command("reconcile", *QUICK, "--repair", seconds=180)
    assert text.code == 1 and "Repeat with --yes" in text.out and sync.cidaas.entity(ghost)
    for shown in (page.read_text(), text.out, orjson.dumps(found).decode()):
        for value in ("KANARIENSEED", "Verloren", "Fremd", "@example.org", "$2b$"):
            assert value not in shown, value
    status = sync.command("status")
    assert status.code == 1 and "13 differences" in status.out and "last reconcile" in status.out
    assert 'cidaas_sync_reconcile_users{case="stale"} 6.0' in sync.worker.get("/metrics").text

    said = sync.command("reconcile", *QUICK, "--repair", "--yes", "--accept-foreign", seconds=180)
    assert said.code == 0, said
    for user in (ghost, revived):
        sync.cidaas.await_gone(user)
    for user in (new, missing):
        sync.cidaas.await_user(user)
    for user in (changed, locked):
        sync.cidaas.await_user(
            user, lambda entity: (entity["given_name"], entity["userStatus"]) == ("Jörg", "VERIFIED")
        )
    for user, word in ((password, "newer"), (taking, "moving"), (giving, "own"), (new, "own")):
        until(lambda user=user, word=word: sync.cidaas.login(email_of(user), word), f"{user} has {word}")
    settled(sync)
    after = reconciled(sync, "--accept-foreign")
    assert wrong(after) == {STRANGER: "foreign"} and after["differences"] == {}
    assert "clean" in sync.command("status").out
    somebody.delete(STRANGER)
    assert wrong(reconciled(sync)) == {}
    (act,) = [
        one for one in sync.json("audit", "--command", "reconcile")["entries"] if "--accept-foreign" in one["arguments"]
    ]
    assert act["changed"] is True and act["code"] == 0


def test_nobody_is_reported_while_everything_changes(sync: Pipeline) -> None:
    """Every kind of change, some tens a second, in the middle of everything that it reads."""
    settled(sync)
    load = Load(sync.stack.env["LEGACY_ADMIN_URL"], seconds=40.0)
    load.made(50)
    seconds = []
    for _ in range(3):
        began = time.monotonic()
        body = reconciled(sync)
        seconds.append(time.monotonic() - began)
        assert wrong(body) == {}, (body["wrong"], seconds)
    load.end()
    assert body["users"] > 2_900


def test_without_a_worker_it_compares_what_was_joined(sync: Pipeline) -> None:
    settled(sync)
    sync.stop()
    try:
        body = reconciled(sync, "--sample", "50")
        assert wrong(body) == {} and body["sampled"] and 10 < body["read_back"] < 120
        sync.legacy.sign_up(23_101)
        said = sync.command("reconcile", "--without-cidaas", seconds=240)
        assert said.code == 2 and "start a worker" in said.err, said
    finally:
        sync.ensure()
    sync.cidaas.await_user(23_101)
    assert wrong(reconciled(sync, "--without-cidaas")) == {}


@pytest.mark.parametrize("words", [("--sample", "0"), ("--only", "foreign")])
def test_what_makes_no_sense_is_refused(sync: Pipeline, words: tuple[str, ...]) -> None:
    assert sync.command("reconcile", *words).code == 2
