"""What a person asks and orders: user, status, pause, resume; and the first contact with a tenant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.integration.legacy import email_of
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.pipeline import Pipeline


def test_status_without_and_with_a_problem(sync: Pipeline) -> None:
    sync.legacy.sign_up(16_001)
    sync.cidaas.await_user(16_001)
    until(lambda: sync.worker.count("pending") == 0, "nothing to do")
    said = sync.command("status")
    assert said.code == 0, said
    assert "nothing is wrong" in said.out
    body = sync.json("status")
    assert body["problems"] == []
    assert body["users"]["in_sync"] > 2900
    assert body["source"]["slot"]["lag_bytes"] is not None

    sync.stop()
    alone = sync.command("status")
    assert alone.code == 1
    assert "no worker answers" in alone.out
    assert "faust -A streams.app worker" in alone.out
    sync.ensure()


def test_pause_holds_everything_and_resume_lets_it_go(sync: Pipeline) -> None:
    assert sync.command("pause", "--why", "Wartung 4711").code == 0
    try:
        sync.legacy.sign_up(16_011)
        sync.sentence(16_011, "delivery is paused .Wartung 4711")
        said = sync.command("status")
        assert said.code == 1
        assert "delivery is paused: Wartung 4711" in said.out
        assert "resume" in said.out
        sync.stop()
        sync.ensure()  # a restart does not forget it, and DELIVERY_START=running does not undo it
        sync.sentence(16_011, "delivery is paused")
        assert sync.cidaas.states(16_011) == []
    finally:
        assert sync.command("resume").code == 0
    sync.cidaas.await_user(16_011)


def test_deletes_are_paused_alone(sync: Pipeline) -> None:
    gone, changed = 16_012, 16_013
    sync.legacy.sign_up(gone, changed)
    for user in (gone, changed):
        sync.cidaas.await_user(user)
    said = sync.command("pause", "--deletes", "--why", "erst ansehen")
    assert said.code == 0 and "erst ansehen (" in said.out and "`resume --deletes`" in said.out
    try:
        sync.legacy.delete(gone)
        sync.legacy.name(changed, "Weiter")
        sync.cidaas.await_user(changed, lambda entity: entity["given_name"] == "Weiter")
        sync.sentence(gone, "deletes wait: .* paused them .erst ansehen")
        said = sync.command("status")
        assert said.code == 1 and "deletes are paused: erst ansehen" in said.out and "resume --deletes" in said.out
        assert "cidaas_sync_deletes_paused 1" in sync.worker.get("/metrics").text
        assert sync.cidaas.entity(gone)
    finally:
        assert sync.command("resume", "--deletes").code == 0
    sync.cidaas.await_gone(gone)


def test_resync_of_several_of_a_file_of_the_changed_and_of_all(sync: Pipeline, tmp_path: Path) -> None:
    users = range(16_041, 16_045)
    sync.legacy.sign_up(users[0], *users[1:3])
    for user in users[:3]:
        sync.cidaas.await_user(user)
    until(lambda: sync.worker.count("pending") == 0, "everybody is in sync", 60)
    one, two, three = map(str, users[:3])

    said = sync.command("resync", one, two)
    assert said.code == 0 and "2 users would be sent again" in said.out and "Repeat with --yes" in said.out
    assert sync.command("resync", one, two, "--yes").code == 0
    for user in users[:2]:
        until(lambda user=user: len(sync.cidaas.states(user)) == 2, "sent again", 30)
    assert len(sync.cidaas.states(users[2])) == 1

    ids = tmp_path / "ids"
    ids.write_text(f"{three}\n4711004711\n")
    said = sync.command("resync", "--from-file", str(ids), "--yes")
    assert said.code == 1 and "4711004711 was never seen" in said.err and "1 user;" in said.out, said
    until(lambda: len(sync.cidaas.states(users[2])) == 2, "sent again", 30)
    sync.command("resync", "4711004711").refused(1, "4711004711 was never seen")

    until(lambda: sync.worker.count("pending") == 0, "everybody is in sync", 60)
    since = datetime.now(UTC).isoformat()
    sync.legacy.sign_up(users[3])
    sync.cidaas.await_user(users[3])
    until(lambda: sync.worker.count("pending") == 0, "its answer is in the ledger", 30)
    assert sync.json("resync", "--changed-since", since)["users"] == 1
    assert sync.command("resync", "--changed-since", since, "--yes").code == 0
    until(lambda: len(sync.cidaas.states(users[3])) == 2, "sent again", 30)

    # Only the preview: the orders would stand in the topic for each later pipeline that reads it from its beginning.
    asked = sync.json("resync", "--all")
    assert asked["changed"] is False and asked["users"] > 2900 and asked["unknown"] == []


def test_the_connector_stopped_started_and_restarted(sync: Pipeline) -> None:
    late, after = 16_051, 16_052
    assert sync.json("connector", "status")["state"] == "RUNNING"
    preview = sync.json("connector", "stop")
    assert preview["changed"] is False and preview["wal"]["kept"] >= 0 and len(preview["would"]) == 2
    assert sync.json("connector", "status")["state"] == "RUNNING", "nothing is done without --yes"
    assert sync.json("connector", "start")["changed"] is False
    try:
        said = sync.command("connector", "stop", "--yes")
        assert said.code == 0 and "PostgreSQL keeps" in said.out and "of WAL for the slot now" in said.out, said
        assert sync.json("connector", "status", code=1)["state"] == "STOPPED"
        sync.legacy.sign_up(late)
        sync.command("connector", "restart", "--yes").refused(1, "connector start --yes")
        assert "Repeat with --yes" in sync.command("connector", "start").out
    finally:
        said = sync.command("connector", "start", "--yes")
    assert said.code == 0 and "started; its task runs" in said.out, said
    sync.cidaas.await_user(late, seconds=60)
    assert sync.json("connector", "restart", "--yes")["changed"] is False
    said = sync.command("connector", "restart", "--all", "--yes")
    assert said.code == 0 and "started again; its task runs" in said.out, said
    sync.legacy.sign_up(after)
    sync.cidaas.await_user(after, seconds=60)


def test_previews_on_a_pipeline_where_nothing_is_to_be_done(sync: Pipeline) -> None:
    assert sync.json("topics")["changed"] is False
    assert "there, as it must be" in sync.command("connector", "apply").out
    for words in (
        ("cdc", "enable"),
        ("cdc", "disable"),
        ("connector", "remove"),
        ("source", "repair"),
        ("source", "sweep"),
    ):
        body = sync.json(*words)
        assert body["changed"] is False and body["would"], words
        said = sync.command(*words)
        assert said.code == 0 and said.out.rstrip().endswith("Repeat with --yes to do it."), said
    assert sync.json("connector", "status")["state"] == "RUNNING"


def test_user_by_address_unknown_and_without_a_worker(sync: Pipeline) -> None:
    sync.legacy.sign_up(16_021)
    sync.cidaas.await_user(16_021)
    sync.sentence(16_021, "in sync")
    asked = sync.command("user", "--email", email_of(16_021).upper())
    assert asked.code == 0
    assert asked.out.startswith("user 16021: in sync")
    assert email_of(16_021) not in asked.text.lower(), "values are not shown"
    assert "$2b$" not in asked.text

    sync.command("user", "--email", "niemand@example.org").refused(1, "no row of the legacy database has this address")
    unknown = sync.command("user", "4711004711")
    assert unknown.code == 1
    assert "never seen" in unknown.out
    sync.command("user").refused(2, "name one user")

    with_worker = sync.json("user", "16021")
    sync.stop()
    without = sync.json("user", "16021")
    assert "topics" in without["from"]
    assert "worker" in with_worker["from"]
    for name in ("situation", "sentence"):
        assert without[name] == with_worker[name]
    assert without["ledger"] == with_worker["ledger"]
    sync.ensure()


def test_pages_for_machines(sync: Pipeline) -> None:
    sync.legacy.sign_up(16_031)
    sync.cidaas.await_user(16_031)
    assert sync.worker.get("/live").status_code == 200
    ready = sync.worker.get("/ready")
    assert (ready.status_code, ready.json()["owned"]) == (200, 12)
    metrics = sync.worker.get("/metrics").text
    for name in ("cidaas_sync_users{", "cidaas_sync_latency_p99_seconds", "cidaas_sync_paused 0"):
        assert name in metrics
    assert sync.worker.get("/table/snapshots").status_code == 404, "Faust's own table pages stay off"


def test_the_first_contact_with_a_tenant(fresh: Callable[[str], Pipeline]) -> None:
    """Paused by default, then named users, then the first 50, then everybody."""
    sync = fresh("first-contact")
    one, two, other = sync.legacy.ids("id BETWEEN 900001 AND 902000 AND status = 'active'")[:3]
    worker = sync.start(DELIVERY_START="", DELIVERY_ONLY=f"{one},{two}")
    until(lambda: worker.count("pending") > 2900, "everybody is joined", 60)
    assert sync.cidaas.users() == 0
    said = sync.command("status", DELIVERY_START="")
    assert said.code == 1
    assert 'delivery.start = "paused"' in said.out
    sync.sentence(one, "delivery is paused")

    assert sync.command("resume").code == 0
    for user in (one, two):
        sync.cidaas.await_user(user)
    sync.sentence(other, "delivery.only")
    assert sync.cidaas.users() == 2
    sync.stop()

    sync.start(DELIVERY_START="", DELIVERY_ONLY="first:50")
    until(lambda: sync.cidaas.users() >= 40, "the first users", 60)
    until(lambda: "delivery.only" in sync.command("status").out, "status says why the others wait", 20)
    assert sync.cidaas.users() <= 50
    sync.stop()

    sync.start(DELIVERY_START="")
    sync.assert_equal(90)
