"""The example people and the plan of live changes."""

from __future__ import annotations

from collections import Counter
from random import Random

import bcrypt

from demo.legacy.changes import DEMO, KINDS, plan
from demo.legacy.hashes import PASSWORDS
from demo.legacy.people import CREDENTIAL_COLUMNS, USER_COLUMNS, People


def test_the_same_seed_makes_the_same_people() -> None:
    assert [each.row for each in People(3)(50)] == [each.row for each in People(3)(50)]
    assert People(3).make(17).credentials == People(3).make(17).credentials
    assert [each.row for each in People(3)(50)] != [each.row for each in People(5)(50)]


def test_even_a_small_database_has_somebody_of_each_kind() -> None:
    people = list(People(5)(2000))
    marks = Counter(mark for person in people for mark in person.marks)
    kinds = ("bcrypt", "pbkdf2-sha256", "sha256", "sha1", "argon2id", "md5")
    wanted = {"soft-deleted", "pending", "locked", "without password", "two passwords", "with TOTP", "damaged hash",
              "refused e-mail", "phone as free text", *(f"hash {kind}" for kind in kinds)}  # fmt: skip
    assert wanted <= marks.keys()
    for column in ("given_name", "phone", "birthdate", "username", "last_login_at", "city"):
        values = [person.row[USER_COLUMNS.index(column)] for person in people]
        assert None in values
        assert any(value is not None for value in values)
    prefixes = {str(row[3])[:4] for person in people for row in person.credentials if row[2] == "bcrypt"}
    assert prefixes == {"$2a$", "$2b$", "$2y$"}


def test_rows_have_all_columns_and_unique_addresses() -> None:
    people = list(People(5)(1000))
    assert {len(person.row) for person in people} == {len(USER_COLUMNS)}
    assert {len(row) for person in people for row in person.credentials} == {len(CREDENTIAL_COLUMNS)}
    emails = [str(person.row[1]).strip().casefold() for person in people]
    assert len(set(emails)) == len(emails)


def test_the_pool_has_real_hashes_of_known_passwords() -> None:
    hashes = {str(row[3]) for person in People(5)(200) for row in person.credentials if row[2] == "bcrypt"}
    cheap = next(each for each in hashes if each[4:6] == "04" and len(each) == 60)
    assert any(bcrypt.checkpw(word.encode(), cheap.encode()) for word in PASSWORDS)


def test_the_demo_makes_every_kind_but_the_swap_and_stays_under_the_brake() -> None:
    names = plan(Random(1))
    # A swap comes right only where delivery.temporary_email is configured, and it is not by default.
    assert set(names) == KINDS.keys() - {"e-mail swap"}
    assert Counter(names) == DEMO
    assert sum(KINDS[name].deletes for name in names) < 15
