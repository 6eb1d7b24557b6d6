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


class Planted:
    """Whoever is made to differ: sixty users of thirteen kinds. Few are deleted, for the brake's sake."""

    def __init__(self) -> None:
        ids = iter(range(23_001, 23_100))
        numbers = {"row": 5, "password": 5, "seed": 5, "bare": 5, "giving": 5, "taking": 5, "new": 5, "missing": 5,
                   "changed": 5, "locked": 5, "ghost": 3, "revived": 3}  # fmt: skip
        self.of = {kind: [next(ids) for _ in range(number)] for kind, number in numbers.items()}
        self.strangers = [f"5f6f5c0a-7c7b-4c1e-9d43-0a3f1d7b9e{number:02d}" for number in range(4)]

    def before(self, sync: Pipeline) -> list[int]:
        """Everybody but the new ones, and in sync; return the passwords that will move."""
        there = [user for kind, users in self.of.items() for user in users if kind != "new"]
        sync.legacy.sign_up(*there, word="own")
        with sync.legacy.transaction() as connection:
            moving = [add_password(connection, user, "moving") for user in self.of["giving"]]
        for user in there:
            sync.cidaas.await_user(user)
        sync.legacy.delete(*self.of["revived"])
        for user in self.of["revived"]:
            sync.cidaas.await_gone(user)
        settled(sync)
        return moving

    def behind_replication(self, sync: Pipeline, moving: list[int]) -> None:
        """What nobody captures."""
        of = self.of
        with uncaptured(sync) as connection:
            connection.execute("UPDATE users SET city = 'Verloren' WHERE id = ANY(%s)", (of["row"],))
            connection.execute(
                "UPDATE credentials SET secret = %s WHERE user_id = ANY(%s)", (hashed("newer"), of["password"])
            )
            connection.execute(
                "INSERT INTO credentials (user_id, kind, algorithm, secret)"
                " SELECT id, 'totp', 'totp', 'KANARIENSEED' FROM unnest(%s::bigint[]) AS id",
                (of["seed"],),
            )
            connection.execute("DELETE FROM credentials WHERE user_id = ANY(%s)", (of["bare"],))
            for row, taking in zip(moving, of["taking"], strict=True):
                connection.execute("UPDATE credentials SET user_id = %s WHERE id = %s", (taking, row))
            connection.execute("DELETE FROM users WHERE id = ANY(%s)", (of["ghost"],))
            for user in of["new"]:
                insert(connection, user, given_name="Neu")
                add_password(connection, user, "own")

    def at_cidaas(self, sync: Pipeline, somebody: Somebody) -> None:
        """What others do there, so that the ledger says what is not true."""
        sub = sync.cidaas.sub
        for user in self.of["missing"]:
            somebody.delete(sub(user))
        for user in self.of["changed"]:
            somebody.store(sub(user), given_name="Fremd", email=f"fremd.{user}@example.org")
        for user in self.of["locked"]:
            number = {"customer_number": "4711"}
            somebody.store(sub(user), email=email_of(user), userStatus="LOCKED", customFields=number)
        for user in self.of["revived"]:
            somebody.store(sub(user), email=email_of(user), userStatus="VERIFIED")
        for number, stranger in enumerate(self.strangers):
            somebody.store(stranger, email=f"stranger.{number}@example.org", userStatus="VERIFIED")

    def cases(self) -> dict[str, str]:
        """What has to be found."""
        stale = dict.fromkeys(("row", "password", "seed", "bare", "giving", "taking"), Case.STALE)
        case = stale | {
            "ghost": Case.GHOST, "new": Case.LOST, "missing": Case.MISSING, "revived": Case.NOT_DELETED,
            "changed": Case.CHANGED_AT_TARGET, "locked": Case.CHANGED_AT_TARGET,
        }  # fmt: skip
        found = {str(user): case[kind].value for kind, users in self.of.items() for user in users}
        return found | dict.fromkeys(self.strangers, Case.FOREIGN.value)


def test_what_was_planted_is_found_and_a_repair_brings_everybody_back(sync: Pipeline, tmp_path: Path) -> None:
    planted = Planted()
    of = planted.of
    moving = planted.before(sync)
    assert wrong(reconciled(sync)) == {}, "before anything is planted"
    planted.behind_replication(sync, moving)
    somebody = Somebody(sync)
    planted.at_cidaas(sync, somebody)

    page = tmp_path / "page.html"
    found = reconciled(sync, "--html", str(page), code=1)
    assert wrong(found) == planted.cases() and len(planted.cases()) == 60
    fields = {one["user"]: set(one["fields"]) for one in found["wrong"] if one["fields"]}
    assert fields == {str(user): {"given_name", "email"} for user in of["changed"]} | {
        str(user): {"userStatus", "customFields.customer_number"} for user in of["locked"]
    }
    text = sync.command("reconcile", *QUICK, "--repair", seconds=180)
    assert text.code == 1 and "Repeat with --yes" in text.out and sync.cidaas.entity(of["ghost"][0])
    for shown in (page.read_text(), text.out, orjson.dumps(found).decode()):
        for value in ("KANARIENSEED", "Verloren", "Fremd", "@example.org", "$2b$"):
            assert value not in shown, value
    status = sync.command("status")
    assert status.code == 1 and "60 differences" in status.out and "last reconcile" in status.out
    assert 'cidaas_sync_reconcile_users{case="stale"} 30.0' in sync.worker.get("/metrics").text

    said = sync.command("reconcile", *QUICK, "--repair", "--yes", "--accept-foreign", seconds=180)
    assert said.code == 0, said
    for user in (*of["ghost"], *of["revived"]):
        sync.cidaas.await_gone(user)
    for user in (*of["new"], *of["missing"]):
        sync.cidaas.await_user(user)
    for user in (*of["changed"], *of["locked"]):
        sync.cidaas.await_user(
            user, lambda entity: (entity["given_name"], entity["userStatus"]) == ("Jörg", "VERIFIED")
        )
    for kind, word in (("password", "newer"), ("taking", "moving"), ("giving", "own"), ("new", "own")):
        for user in of[kind]:
            until(lambda user=user, word=word: sync.cidaas.login(email_of(user), word), f"{user} has {word}")
    settled(sync)
    after = reconciled(sync, "--accept-foreign")
    assert wrong(after) == dict.fromkeys(planted.strangers, "foreign") and after["differences"] == {}
    assert "clean" in sync.command("status").out
    for stranger in planted.strangers:
        somebody.delete(stranger)
    assert wrong(reconciled(sync)) == {}
    (act,) = [
        one for one in sync.json("audit", "--command", "reconcile")["entries"] if "--accept-foreign" in one["arguments"]
    ]
    assert act["changed"] is True and act["code"] == 0


def test_it_runs_by_itself_and_says_when_it_cannot(sync: Pipeline) -> None:
    """`--every`: the worker runs it at once, again after a while, and not any more after `never`."""
    before = (sync.json("status")["reconcile"] or {"at": 0.0})["at"]
    said = sync.command("reconcile", *QUICK, "--every", "1min", "--yes")
    assert said.code == 0 and "every 1 min" in said.out, said
    until(lambda: (sync.json("status")["reconcile"] or {"at": 0.0})["at"] > before, "the worker has compared", 120)
    until(lambda: sync.worker.status()["reconcile_plan"]["due"] > time.time(), "and has noted its end")
    status = sync.command("status")
    assert "reconcile_overdue" not in status.out and "every 1 min, by " in status.out, status
    assert "cidaas_sync_reconcile_overdue_seconds 0.0" in sync.worker.get("/metrics").text
    assert sync.command("reconcile", "--every", "never", "--yes").code == 0
    until(lambda: sync.worker.status()["reconcile_plan"] is None, "the worker has heard it")


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
