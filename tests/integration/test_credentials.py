"""Credentials that move between users, and large values that do not travel with every change (M4, M5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.legacy import LARGE, add_password, email_of, hashed, insert
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.integration.pipeline import Pipeline


def pair(sync: Pipeline, one: int, other: int) -> int:
    """Two users: one with a password of its own and a newer one on top, the other with its own; return the newer."""
    sync.legacy.sign_up(one, other, word="own")
    with sync.legacy.transaction() as connection:
        moving = add_password(connection, one, "moving")
    for user, word in ((one, "moving"), (other, "own")):
        until(lambda user=user, word=word: sync.cidaas.login(email_of(user), word), f"{user} has {word}")
    return moving


def move(sync: Pipeline, credential: int, *users: int) -> None:
    for user in users:
        sync.legacy.run(
            "UPDATE credentials SET user_id = %s, updated_at = clock_timestamp() WHERE id = %s", user, credential
        )


def test_a_moved_credential_leaves_one_user_and_reaches_the_other(sync: Pipeline) -> None:
    credential = pair(sync, 12_001, 12_002)
    move(sync, credential, 12_002)
    until(lambda: sync.cidaas.login(email_of(12_002), "moving"), "the new user has it")
    until(lambda: sync.cidaas.login(email_of(12_001), "own"), "the old user is back at its own password")
    assert not sync.cidaas.login(email_of(12_001), "moving"), "the old user still gets in with it"


def test_the_only_credential_moves(sync: Pipeline) -> None:
    sync.legacy.sign_up(12_011, word="only")
    with sync.legacy.transaction() as connection:
        insert(connection, 12_012)
    sync.cidaas.await_user(12_011)
    sync.cidaas.await_user(12_012)
    sync.legacy.run("UPDATE credentials SET user_id = 12012 WHERE user_id = 12011")
    until(lambda: sync.cidaas.login(email_of(12_012), "only"), "the new user has it")
    sync.cidaas.await_user(12_011, lambda entity: not entity.get("password_hash_info"))


def test_a_credential_that_moves_there_and_back(sync: Pipeline) -> None:
    pairs = [(12_101 + 2 * number, 12_102 + 2 * number) for number in range(6)]  # several pairs of partitions
    credentials = [pair(sync, *both) for both in pairs]
    for credential, (one, other) in zip(credentials, pairs, strict=True):
        move(sync, credential, other, one)
    for one, other in pairs:
        sync.legacy.name(one, "Danach")
        sync.legacy.name(other, "Danach")
    for one, other in pairs:
        for user, word in ((one, "moving"), (other, "own")):
            sync.cidaas.await_user(user, lambda entity: entity["given_name"] == "Danach")
            until(lambda user=user, word=word: sync.cidaas.login(email_of(user), word), f"{user} has {word} at the end")


def test_a_large_value_is_kept_when_another_column_changes(toasted: Pipeline) -> None:
    sync = toasted
    street = "Straße " + "ä" * LARGE
    sync.legacy.sign_up(12_201, street_address=street, city="Köln")
    sync.cidaas.await_user(12_201, lambda entity: entity["address"]["street_address"] == street)
    sync.legacy.run("UPDATE users SET city = 'Bonn' WHERE id = 12201")
    after = sync.cidaas.await_user(12_201, lambda entity: entity["address"]["locality"] == "Bonn")
    assert after["address"]["street_address"] == street
    assert "set_aside" not in sync.worker.user(12_201)["situation"]


def test_a_password_with_a_large_value_changes_and_is_touched(toasted: Pipeline) -> None:
    sync = toasted
    sync.legacy.sign_up(12_211)
    credential = sync.legacy.add_large_password(12_211, "large")
    until(lambda: sync.cidaas.login(email_of(12_211), "large"), "the large row's password")
    sync.legacy.run("UPDATE credentials SET secret = %s WHERE id = %s", hashed("next"), credential)
    until(lambda: sync.cidaas.login(email_of(12_211), "next"), "the changed password, its parameters unchanged")
