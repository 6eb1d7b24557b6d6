"""Addresses that change hands: cidaas takes no address twice, and two users may have swapped theirs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.integration.legacy import email_of
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.integration.pipeline import Pipeline


TEMPORARY = '"tausch+{id}@example.org"'
#: On a busy machine the rows of one transaction arrive more than 20 ms apart (C7: time is no proof), and a swap whose
#: address in between has been sent is none any more.
PATIENT = "0.5"


def swap(sync: Pipeline, *users: int) -> None:
    """Each user takes the next one's address, the last one the first one's, in one transaction."""
    with sync.legacy.transaction() as connection:
        rows = connection.execute("SELECT id, email FROM users WHERE id = ANY(%s)", (list(users),)).fetchall()
        had = dict(rows)
        for user in users:
            connection.execute("UPDATE users SET email = 'tausch.' || id || '@example.org' WHERE id = %s", (user,))
        for number, user in enumerate(users):
            following = users[(number + 1) % len(users)]
            connection.execute("UPDATE users SET email = %s WHERE id = %s", (had[following], user))


def has(sync: Pipeline, user: int, email: str) -> bool:
    entity = sync.cidaas.entity(user)
    return entity is not None and str(entity["email"]).lower() == email.lower()


def test_an_address_goes_on_to_another_user(sync: Pipeline) -> None:
    sync.legacy.sign_up(14_001, 14_002)
    sync.cidaas.await_user(14_002)
    with sync.legacy.transaction() as connection:  # the taker's record may be read first
        connection.execute("UPDATE users SET email = 'frei.14001@example.org' WHERE id = 14001")
        connection.execute("UPDATE users SET email = %s WHERE id = 14002", (email_of(14_001),))
    until(lambda: has(sync, 14_002, email_of(14_001)), "the address is the second user's")
    assert has(sync, 14_001, "frei.14001@example.org")


def test_a_chain_of_addresses_comes_right(sync: Pipeline) -> None:
    users = list(range(14_011, 14_019))
    sync.legacy.sign_up(*users)
    for user in users:
        sync.cidaas.await_user(user)
    with sync.legacy.transaction() as connection:
        connection.execute("UPDATE users SET email = 'kette@example.org' WHERE id = %s", (users[0],))
        for before, user in pairwise(users):
            connection.execute("UPDATE users SET email = %s WHERE id = %s", (email_of(before), user))
    for before, user in pairwise(users):
        until(lambda user=user, before=before: has(sync, user, email_of(before)), f"{user} moved up", 60)


def test_two_users_who_want_one_address_are_both_shown(sync: Pipeline) -> None:
    """Only the case differs: two addresses for PostgreSQL, one for cidaas."""
    sync.legacy.sign_up(14_301)
    sync.cidaas.await_user(14_301)
    sync.legacy.sign_up(14_302, email=email_of(14_301).upper())
    sync.sentence(14_302, "cidaas refused it|set aside")
    assert sync.cidaas.entity(14_302) is None
    sync.legacy.run("UPDATE users SET email = 'frei.14301@example.org' WHERE id = 14301")
    sync.cidaas.await_user(14_302)


@pytest.mark.configured(delivery__quiet=PATIENT)
def test_a_swap_without_a_temporary_address_is_explained_and_cured_by_one(sync: Pipeline) -> None:
    pair = (14_101, 14_102)
    sync.legacy.sign_up(*pair)
    for user in pair:
        sync.cidaas.await_user(user)
    swap(sync, *pair)
    for user in pair:
        sentence = sync.sentence(user, "refused by cidaas.*swap.*delivery.temporary_email", 60)
        assert "set delivery.temporary_email" in sentence
        assert has(sync, user, email_of(user)), "each stays as it was"

    sync.ensure(delivery__temporary_email=TEMPORARY, delivery__quiet=PATIENT)
    for user in pair:
        sync.legacy.name(user, "Neu")  # a newer version leaves quarantine
    for user, other in (pair, pair[::-1]):
        until(lambda user=user, other=other: has(sync, user, email_of(other)), f"{user} has its new address", 60)


@pytest.mark.configured(delivery__temporary_email=TEMPORARY, delivery__quiet=PATIENT)
@pytest.mark.parametrize("size", [2, 3])
def test_a_ring_is_broken_by_a_temporary_address(sync: Pipeline, size: int) -> None:
    ring = list(range(14_200 + 10 * size, 14_200 + 11 * size))
    sync.legacy.sign_up(*ring)
    for user in ring:
        sync.cidaas.await_user(user)
    swap(sync, *ring)
    for number, user in enumerate(ring):
        wanted = email_of(ring[(number + 1) % size])
        until(lambda user=user, wanted=wanted: has(sync, user, wanted), f"{user} has its new address", 60)
        sync.sentence(user, "in sync")
