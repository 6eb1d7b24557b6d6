"""`trace` through the real command line: what it says of one user in each case, with and without a worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import orjson

from tests.integration.legacy import add_password, email_of
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.pipeline import Pipeline

USER, REFUSED, AWAY, ONE, TWO, NOBODY, NEW = range(21_001, 21_008)
SELECT = '\n[mapping.select]\ncolumn = "locale"\nvalues = ["xx-XX"]\n'


def traced(sync: Pipeline, user: int | str, *words: str, code: int = 1) -> dict[str, Any]:
    """What `trace --json` says; the text says the same, and neither has a value of the user."""
    said = sync.command("trace", str(user), "--json")
    assert said.code == code, said
    body: dict[str, Any] = orjson.loads(said.out)
    assert all(word in body["sentence"] for word in words), body["sentence"]
    assert "@" not in said.text and "$2b$" not in said.text and "Jörg" not in said.text
    return body


def stages(body: dict[str, Any]) -> list[str]:
    """The stages of the timeline, in order."""
    return [one["stage"] for one in body["timeline"]]


def connector(sync: Pipeline, order: str, state: str) -> None:
    """Pause or resume the connector."""
    url = f"{sync.env['CONNECT_URL']}/connectors/cidaas_sync"
    httpx.put(f"{url}/{order}", trust_env=False).raise_for_status()

    def states() -> set[str]:
        body = httpx.get(f"{url}/status", trust_env=False).json()
        return {body["connector"]["state"], *(task["state"] for task in body["tasks"])}

    until(lambda: states() == {state}, f"the connector {state}")


def test_a_user_is_traced_from_its_row_to_cidaas(sync: Pipeline) -> None:
    """In sync, by each of its three names; what has not come through yet; what waits while no worker runs."""
    sync.legacy.sign_up(USER)
    sync.sentence(USER, "^in sync: cidaas")
    body = traced(sync, USER, "in sync: cidaas confirmed", code=0)
    assert stages(body) == ["committed", "in Kafka", "joined", "confirmed", "legacy row", "topic"]
    made = body["topic"]["records"][str(body["snapshot"]["version"][1])]
    assert (made["op"], made["lsn"]) == ("c", body["snapshot"]["lsn"])
    text = sync.command("trace", "--email", email_of(USER).upper())
    assert text.code == 0, text
    assert text.out.startswith(f"user {USER}, cidaas sub {sync.cidaas.sub(USER)}")
    assert text.out.rstrip().splitlines()[-1] == body["sentence"]
    assert email_of(USER) not in text.text.lower()
    again = sync.command("trace", "--sub", sync.cidaas.sub(USER).upper())
    assert again.out.splitlines()[0] == text.out.splitlines()[0]

    connector(sync, "pause", "PAUSED")
    try:
        sync.legacy.name(USER, "Grace")
        body = traced(sync, USER, "other values now", "What was read before: in sync")
        assert "Grace" not in str(body)
        sync.legacy.sign_up(NEW)
        body = traced(sync, NEW, "never seen in the source: the legacy database has its row", "made a moment ago")
        assert stages(body) == ["legacy row", "topic"]
    finally:
        connector(sync, "resume", "RUNNING")
    sync.cidaas.await_user(USER, lambda entity: entity["given_name"] == "Grace", 60)
    sync.cidaas.await_user(NEW)
    sync.sentence(USER, "^in sync: cidaas")
    traced(sync, USER, "in sync", code=0)

    traced(sync, 4711004711, "never seen: the legacy database has no row with this id")
    sync.command("trace", "forty-two").refused(2, "no id of public.users looks like that")
    sync.command("trace").refused(2, "name one user")
    sync.command("trace", "--sub", "00000000-0000-5000-8000-000000000000").refused(1, "no user has this sub")

    sync.stop()
    body = traced(sync, USER, "in sync", code=0)
    assert "topics" in body["from"]
    sync.legacy.name(USER, "Ada")
    until(lambda: "not joined yet" in orjson.loads(sync.command("trace", str(USER), "--json").out)["sentence"], "read")
    body = traced(sync, USER, "is not joined yet: 1 record waits there; no worker runs.")
    assert body["topic"]["waiting"] == body["topic"]["end"] - 1
    sync.ensure()


def test_why_a_user_is_not_there(fresh: Callable[[str], Pipeline]) -> None:
    """Credentials only, paused, refused, on its way, cidaas away, a parked delete, left out by the mapping."""
    sync = fresh("trace")
    # A call may take as long as a person needs to ask about it.
    sync.configure(brake__floor="1", brake__ceiling="1", cidaas__timeout="12.0")
    sync.legacy.sign_up(AWAY, ONE, TWO)
    with sync.legacy.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")  # no foreign key is looked at
        add_password(connection, NOBODY, "start")
    sync.legacy.sign_up(REFUSED, email=f"test.{REFUSED}@example.com")  # a dead domain of the stand-in
    worker = sync.start(DELIVERY_START="paused")
    until(lambda: worker.count("pending") > 2_900 and worker.status()["lag"] == 0, "everybody is joined", 60)
    body = traced(sync, ONE, "waiting because delivery is paused", "`resume`")
    assert "delivery" in stages(body)
    body = traced(sync, NOBODY, "not a user yet: only credential rows")
    assert (body["legacy"]["row"], len(body["legacy"]["credentials"])) == ("not there", 1)
    sync.legacy.run("DELETE FROM credentials WHERE user_id = %s", NOBODY)
    assert sync.command("resume").code == 0
    for user in (AWAY, ONE, TWO):
        sync.sentence(user, "^in sync: cidaas", 60)

    sync.sentence(REFUSED, "refused by cidaas")
    body = traced(sync, REFUSED, "refused by cidaas (invalid_email)", "quarantine retry")
    assert "refused" in stages(body)

    until(lambda: worker.count("pending") == 0, "nothing to do", 60)
    held = sync.cidaas.fault("bulk", "hold", user=TWO, seconds=30)
    sync.legacy.name(TWO, "Grace")
    until(lambda: sync.cidaas.fired(held), "its call is under way")
    body = traced(sync, TWO, "waiting because its call is on its way")
    assert stages(body)[-2:] == ["legacy row", "topic"]
    sync.cidaas.end_fault(held)
    sync.cidaas.await_user(TWO, lambda entity: entity["given_name"] == "Grace")
    sync.sentence(TWO, "^in sync: cidaas")
    sync.cidaas.away(15, "503")
    sync.legacy.name(AWAY, "Grace")
    sync.sentence(AWAY, "cidaas does not take calls", 15)
    traced(sync, AWAY, "waiting because cidaas does not take calls")
    sync.cidaas.await_user(AWAY, lambda entity: entity["given_name"] == "Grace", 60)

    sync.legacy.delete(ONE, TWO)
    sync.sentence(ONE, "delete brake")
    body = traced(sync, ONE, "the delete brake holds all deletes", "deletes allow")
    assert body["legacy"]["row"] == "not there"
    assert sync.command("deletes", "allow", "--yes").code == 0
    sync.cidaas.await_gone(ONE)
    sync.sentence(ONE, "^in sync: deleted")
    gone = sync.command("trace", "--sub", sync.cidaas.sub(ONE))
    assert gone.code == 0, gone
    assert gone.out.startswith(f"user {ONE}, ")
    sync.stop()

    sync.config_file.write_text(sync.config_file.read_text() + SELECT)
    sync.start()
    sync.sentence(AWAY, "not selected", 60)
    traced(sync, AWAY, "not selected: the mapping leaves this user out")
