"""Each kind of live change arrives as it is, and never a user without the password that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.legacy import add_password, email_of, hashed, insert
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.integration.pipeline import Pipeline

WITHOUT = None  # the fingerprint of no password


@pytest.mark.oldest
def test_a_sign_up_is_one_call_with_its_password(sync: Pipeline) -> None:
    users = range(11_001, 11_011)
    for user in users:
        sync.legacy.sign_up(user, word=f"word-{user}")
    for user in users:
        entity = sync.cidaas.await_user(user)
        assert entity["email"] == email_of(user)
        assert entity["userStatus"] == "VERIFIED"
        assert sync.cidaas.words(user) == ["CREATED"], "one call, and it was complete"
        assert sync.cidaas.states(user)[0]["password"] is not WITHOUT
    assert sync.cidaas.login(email_of(11_001), "word-11001")


@pytest.mark.oldest
def test_a_sign_up_whose_rows_are_far_apart_waits_for_its_password(sync: Pipeline) -> None:
    with sync.legacy.transaction() as connection:
        insert(connection, 11_050)
        for number in range(300):  # other rows of the same transaction, and two heartbeats, in between
            insert(connection, 11_100 + number)
            add_password(connection, 11_100 + number, "start")
            if number % 100 == 0:
                connection.execute("SELECT pg_sleep(0.7)")
        add_password(connection, 11_050, "late")
    until(lambda: sync.cidaas.login(email_of(11_050), "late"), "a log-in with the password that came last")
    assert [state["password"] is not WITHOUT for state in sync.cidaas.states(11_050)] == [True], "one call, complete"


def test_a_user_without_password_arrives_without_one(sync: Pipeline) -> None:
    with sync.legacy.transaction() as connection:
        insert(connection, 11_060)
    assert not sync.cidaas.await_user(11_060).get("password_hash_info")
    with sync.legacy.transaction() as connection:
        add_password(connection, 11_060, "first")
    until(lambda: sync.cidaas.login(email_of(11_060), "first"), "the user logs in with its first password")


@pytest.mark.oldest
def test_profile_status_and_null(sync: Pipeline) -> None:
    sync.legacy.sign_up(11_501, username="kunde11501", city="Köln", country="DE", customer_number="K-1", locale="de-DE")
    before = sync.cidaas.await_user(11_501)
    assert before["address"]["locality"] == "Köln"
    sync.legacy.run(
        "UPDATE users SET given_name = 'Änne', username = NULL, city = NULL, country = NULL, newsletter = true,"
        " customer_number = NULL, birthdate = '1999-12-31', phone = '+491711234567' WHERE id = 11501"
    )
    after = sync.cidaas.await_user(11_501, lambda entity: entity["given_name"] == "Änne")
    assert (after["birthdate"], after["mobile_number"]) == ("1999-12-31", "+491711234567")
    assert after["customFields"]["newsletter"] is True
    assert not after.get("username")
    assert not (after.get("address") or {}).get("locality")
    for word, state in (("locked", "LOCKED"), ("pending", "PENDING"), ("active", "VERIFIED")):
        sync.legacy.run("UPDATE users SET status = %s WHERE id = 11501", word)
        sync.cidaas.await_user(11_501, lambda entity, state=state: entity["userStatus"] == state)


def test_a_new_address_holds_at_once(sync: Pipeline) -> None:
    sync.legacy.sign_up(11_510, word="mail")
    sync.cidaas.await_user(11_510)
    sync.legacy.run("UPDATE users SET email = 'Neue.Adresse@example.net' WHERE id = 11510")
    until(lambda: sync.cidaas.login("neue.adresse@example.net", "mail"), "a log-in with the new address")
    assert not sync.cidaas.login(email_of(11_510), "mail"), "the old address still lets somebody in"


def test_a_refused_address_keeps_the_user_and_its_cure_lets_it_on(sync: Pipeline) -> None:
    sync.legacy.sign_up(11_520)
    sync.cidaas.await_user(11_520)
    sync.legacy.run("UPDATE users SET email = 'weg@mailinator.com' WHERE id = 11520")
    sync.sentence(11_520, "refused by cidaas")
    assert (sync.cidaas.entity(11_520) or {})["email"] == email_of(11_520)
    sync.legacy.run("UPDATE users SET email = 'geheilt@example.org' WHERE id = 11520")
    sync.cidaas.await_user(11_520, lambda entity: entity["email"] == "geheilt@example.org")
    sync.sentence(11_520, "in sync")


@pytest.mark.oldest
def test_passwords_changed_in_place_replaced_and_two_of_them(sync: Pipeline) -> None:
    for user in (11_601, 11_602, 11_603):
        sync.legacy.sign_up(user, word="old")
        sync.cidaas.await_user(user)
    sync.legacy.run("UPDATE credentials SET secret = %s, updated_at = now() WHERE user_id = 11601", hashed("in-place"))
    with sync.legacy.transaction() as connection:
        connection.execute("DELETE FROM credentials WHERE user_id = 11602")
        connection.execute("SELECT pg_sleep(0.5)")  # time is no proof that the transaction is over (C7)
        add_password(connection, 11_602, "replaced")
    with sync.legacy.transaction() as connection:
        add_password(connection, 11_603, "second")
    for user, word in ((11_601, "in-place"), (11_602, "replaced"), (11_603, "second")):
        until(lambda user=user, word=word: sync.cidaas.login(email_of(user), word), f"{word} lets {user} in")
        assert not sync.cidaas.login(email_of(user), "old"), "the old password still lets somebody in"
        assert all(state["password"] is not WITHOUT for state in sync.cidaas.states(user))
    sync.legacy.run("DELETE FROM credentials WHERE user_id = 11603 AND secret = %s", hashed("second"))
    until(lambda: sync.cidaas.login(email_of(11_603), "old"), "the older password counts again")
    sync.legacy.run("DELETE FROM credentials WHERE user_id = 11601")
    sync.cidaas.await_user(11_601, lambda entity: not entity.get("password_hash_info"))


def test_an_unknown_algorithm_does_not_hold_the_user_back(sync: Pipeline) -> None:
    with sync.legacy.transaction() as connection:
        insert(connection, 11_620)
        connection.execute(
            "INSERT INTO credentials (user_id, kind, algorithm, secret) VALUES (11620, 'password', 'rot13', 'truvzavf')"
        )
    assert not sync.cidaas.await_user(11_620).get("password_hash_info")
    assert sync.json("user", "11620")["ledger"]["notes"], "what was left out is named"


def test_second_factors_and_log_ins_change_nothing_at_cidaas(sync: Pipeline) -> None:
    sync.legacy.sign_up(11_701)
    sync.cidaas.await_user(11_701)
    sync.legacy.run(
        "INSERT INTO credentials (user_id, kind, algorithm, secret) VALUES (11701, 'totp', 'SHA1', 'GEZDGNBVGY3TQOJQ')"
    )
    sync.legacy.run("DELETE FROM credentials WHERE user_id = 11701 AND kind = 'totp'")
    sync.legacy.name(11_701, "Rita")  # is read behind them
    before = sync.cidaas.await_user(11_701, lambda entity: entity["given_name"] == "Rita")
    sync.sentence(11_701, "in sync")
    calls = len(sync.cidaas.states(11_701))
    for _ in range(5):
        sync.legacy.run("UPDATE users SET last_login_at = clock_timestamp() WHERE id = 11701")
    sync.legacy.sign_up(11_702)  # is read behind them
    sync.cidaas.await_user(11_702)
    assert len(sync.cidaas.states(11_701)) == calls, "a log-in is no reason for a call"
    assert sync.cidaas.entity(11_701) == before
    sync.legacy.name(11_701, "Ruth")
    after = sync.cidaas.await_user(11_701, lambda entity: entity["given_name"] == "Ruth")
    assert after["lastLoggedInTime"], "but it travels with the next real change"


def test_what_was_rolled_back_never_happened(sync: Pipeline) -> None:
    sync.legacy.sign_up(11_710)
    sync.cidaas.await_user(11_710)
    with sync.legacy.transaction() as connection:
        connection.execute("UPDATE users SET given_name = 'Nie' WHERE id = 11710")
        insert(connection, 11_711)
        connection.rollback()
    sync.legacy.name(11_710, "Doch")
    sync.cidaas.await_user(11_710, lambda entity: entity["given_name"] == "Doch")
    assert [state["full"]["given_name"] for state in sync.cidaas.states(11_710)] == ["Jörg", "Doch"]
    assert sync.cidaas.states(11_711) == []


def test_ten_thousand_rows_in_one_transaction(sync: Pipeline) -> None:
    users = sync.legacy.ids("id BETWEEN 900001 AND 902000")
    with sync.legacy.transaction() as connection:
        for name in ("Erst", "Dann", "Zuletzt", "Endlich"):
            connection.execute("UPDATE users SET given_name = %s WHERE id = ANY(%s)", (name, users))
        connection.execute(
            "UPDATE credentials SET secret = %s, updated_at = now() WHERE user_id = ANY(%s)", (hashed("zehn"), users)
        )
    sync.assert_equal(90)
    seen = {state["full"]["given_name"] for user in users[::100] for state in sync.cidaas.states(user)}
    assert "Endlich" in seen
    last = [sync.cidaas.states(user)[-1] for user in users[::100]]
    assert all(state["full"]["given_name"] == "Endlich" for state in last)
    assert sync.cidaas.login(email_of(users[-1]), "zehn")
