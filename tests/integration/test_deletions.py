"""Deletes: soft, hard, taken back in time, and held by the brake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.legacy import add_password, email_of, insert
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.pipeline import Pipeline


def signed_up(sync: Pipeline, *users: int) -> None:
    sync.legacy.sign_up(*users)
    for user in users:
        sync.cidaas.await_user(user)


@pytest.mark.oldest
def test_hard_and_soft_deletes_arrive(sync: Pipeline) -> None:
    signed_up(sync, 13_001, 13_002, 13_003)
    sync.legacy.delete(13_001)
    sync.legacy.run("UPDATE users SET status = 'deleted' WHERE id = 13002")
    sync.legacy.run("DELETE FROM credentials WHERE user_id = 13003")
    sync.legacy.run("DELETE FROM users WHERE id = 13003")
    for user in (13_001, 13_002, 13_003):
        sync.cidaas.await_gone(user)
        sync.sentence(user, "deleted in the legacy database and at cidaas")
    sync.legacy.run("UPDATE users SET status = 'active' WHERE id = 13002")
    sync.cidaas.await_user(13_002)
    assert sync.cidaas.login(email_of(13_002), "start"), "revived with its password"


def test_who_is_there_again_under_the_same_id_is_there(sync: Pipeline) -> None:
    signed_up(sync, 13_101, 13_102, 13_103)
    with sync.legacy.transaction() as connection:  # within one transaction
        connection.execute("DELETE FROM users WHERE id = 13101")
        insert(connection, 13_101, given_name="Wieder")
        add_password(connection, 13_101, "again")
    sync.legacy.delete(13_102)  # at once
    sync.legacy.sign_up(13_102, word="again", given_name="Wieder")
    sync.legacy.delete(13_103)  # after the delete has been sent
    sync.cidaas.await_gone(13_103)
    sync.legacy.sign_up(13_103, word="again", given_name="Wieder")
    for user in (13_101, 13_102, 13_103):
        sync.cidaas.await_user(user, lambda entity: entity["given_name"] == "Wieder")
        assert sync.cidaas.login(email_of(user), "again")
        assert not sync.cidaas.login(email_of(user), "start"), "a password of before the delete"
    assert "DELETED" not in sync.cidaas.words(13_101), "nobody saw this user gone"


def test_the_address_of_a_deleted_user_is_free_for_a_new_one(sync: Pipeline) -> None:
    signed_up(sync, 13_201, 13_203)
    sync.legacy.delete(13_201)
    sync.legacy.sign_up(13_202, word="new", email=email_of(13_201))
    with sync.legacy.transaction() as connection:
        connection.execute("DELETE FROM users WHERE id = 13203")
        insert(connection, 13_204, email=email_of(13_203))
        add_password(connection, 13_204, "new")
    for old, new in ((13_201, 13_202), (13_203, 13_204)):
        sync.cidaas.await_user(new)
        sync.cidaas.await_gone(old)
        assert sync.cidaas.login(email_of(old), "new")


def test_a_changed_primary_key_is_the_old_ones_end_and_a_new_user(sync: Pipeline) -> None:
    with sync.legacy.transaction() as connection:
        insert(connection, 13_301)
    sync.cidaas.await_user(13_301)
    sync.legacy.run("UPDATE users SET id = 13302 WHERE id = 13301")
    sync.cidaas.await_user(13_302, lambda entity: entity["customFields"]["legacy_user_id"] == "13302")
    sync.cidaas.await_gone(13_301)


def test_a_user_that_nobody_saw_live_needs_no_delete(sync: Pipeline) -> None:
    with sync.legacy.transaction() as connection:
        insert(connection, 13_401, status="deleted")
        insert(connection, 13_402)
        connection.execute("DELETE FROM users WHERE id = 13402")
    signed_up(sync, 13_403)
    sync.sentence(13_401, "nothing to do")
    assert sync.cidaas.states(13_401) == [] == sync.cidaas.states(13_402)


def test_a_delete_whose_row_is_there_again_is_not_sent(sync: Pipeline) -> None:
    """The second look: the connector stands still, so only the table itself can tell."""
    signed_up(sync, 13_501)
    connector = f"{sync.env['CONNECT_URL']}/connectors/cidaas_sync"
    before = sync.worker.status()["outcomes"].get("delete_not_sent_row_is_there", 0)
    assert sync.command("pause", "--why", "test").code == 0
    try:
        sync.legacy.delete(13_501)
        until(lambda: sync.worker.user(13_501)["snapshot"]["row"] == "deleted", "the delete has been joined")
        httpx.put(f"{connector}/pause", trust_env=False).raise_for_status()
        until(lambda: _connector(connector) == "PAUSED", "the connector paused")
        sync.legacy.sign_up(13_501, word="again", given_name="Wieder")
        assert sync.command("resume").code == 0
        until(
            lambda: sync.worker.status()["outcomes"].get("delete_not_sent_row_is_there", 0) > before,
            "the second look found the row",
        )
        assert "DELETED" not in sync.cidaas.words(13_501)
    finally:
        httpx.put(f"{connector}/resume", trust_env=False).raise_for_status()
        sync.command("resume")
    sync.cidaas.await_user(13_501, lambda entity: entity["given_name"] == "Wieder", 60)
    assert "DELETED" not in sync.cidaas.words(13_501)


def _connector(url: str) -> str:
    body = httpx.get(f"{url}/status", trust_env=False).json()
    states = {body["connector"]["state"], *(task["state"] for task in body["tasks"])}
    return states.pop() if len(states) == 1 else ""


BRAKE = pytest.mark.configured(brake__floor="20", brake__ceiling="20", brake__window="10.0")


@pytest.fixture
def braked(sync: Pipeline) -> Iterator[Pipeline]:
    """The main pipeline with a brake of 20 deletes in 10 seconds: what other tests deleted does not count."""
    yield sync
    sync.command("deletes", "allow", "--yes")  # where the test has failed; else there is nothing to allow


@BRAKE
def test_the_brake_holds_a_mass_delete_until_a_person_allows_it(braked: Pipeline) -> None:
    sync, users = braked, list(range(13_601, 13_631))
    signed_up(sync, *users, 13_699)
    sync.legacy.delete(*users)
    until(lambda: sync.worker.count("pending") == 0 and sync.worker.status()["brake"]["tripped"], "the brake holds")
    sync.legacy.name(13_699, "Fließt")
    sync.cidaas.await_user(13_699, lambda entity: entity["given_name"] == "Fließt")
    assert sync.cidaas.calls("purge") == 0, "a mass delete in one transaction sends none"
    assert sync.worker.count("parked") == len(users)
    sync.sentence(users[0], "the delete brake holds all deletes")

    status = sync.command("status")
    assert status.code == 1
    assert "deletes are parked" in status.out
    assert "deletes allow" in status.out
    listed = sync.command("deletes", "list")
    assert listed.code == 1
    why = r"deletes are parked: \d+ deletes within 10 s, until [\d: -]+ UTC, more than 20\n"
    assert re.match(why, listed.out), listed
    assert f"\n{len(users)} parked\n" in listed.out and "no delete leaves now" not in listed.out
    asked = sync.command("deletes", "allow")
    assert asked.code == 0
    assert "--yes" in asked.out
    assert sync.worker.count("parked") == len(users), "without --yes nothing happens"

    sync.stop()
    sync.start()  # a restart forgets neither the decision nor the deletes
    assert sync.worker.count("parked") == len(users)
    assert sync.command("deletes", "allow", "--yes").code == 0
    for user in users:
        sync.cidaas.await_gone(user)
    until(lambda: sync.worker.count("parked") == 0, "none parked")


@BRAKE
def test_rejected_deletes_keep_the_users_until_a_newer_version(braked: Pipeline) -> None:
    sync, users = braked, list(range(13_701, 13_726))
    signed_up(sync, *users)
    sync.legacy.run("UPDATE users SET status = 'deleted' WHERE id = ANY(%s)", users)
    until(lambda: sync.worker.count("parked") == len(users), "all of them parked")
    assert sync.command("deletes", "reject", "--yes").code == 0
    until(lambda: sync.worker.count("rejected") == len(users), "all of them rejected")
    assert sync.cidaas.calls("purge") == 0
    sync.sentence(users[0], "a person rejected the delete")
    sync.legacy.run("UPDATE users SET status = 'active', given_name = 'Bleibt' WHERE id = ANY(%s)", users)
    for user in users:
        sync.cidaas.await_user(user, lambda entity: entity["given_name"] == "Bleibt")
