"""Each hash algorithm of the reference schema, and what happens to the others."""

from __future__ import annotations

from typing import Any

import bcrypt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.passwords import COST, MALFORMED, NOTES, UNKNOWN, UNUSUAL, Passwords
from streams.settings import PasswordRule

PASSWORDS = Passwords(PasswordRule({}, None))
BCRYPT = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_bcrypt_goes_unchanged_and_names_its_own_cost(prefix: str) -> None:
    secret = prefix + BCRYPT[4:]
    assert PASSWORDS.info("bcrypt", secret) == ({"algorithmTypeId": "BCRYPT_12", "passwordHash": secret}, None)
    low = prefix + "04" + BCRYPT[6:]
    assert PASSWORDS.info("bcrypt", low)[0] == {"algorithmTypeId": "BCRYPT_4", "passwordHash": low}


def test_a_hash_that_bcrypt_itself_wrote() -> None:
    secret = bcrypt.hashpw(b"geheim", bcrypt.gensalt(5)).decode()
    assert PASSWORDS.info("BCrypt ", secret)[0] == {"algorithmTypeId": "BCRYPT_5", "passwordHash": secret}


@pytest.mark.parametrize("cost", ["00", "03", "21", "31", "99"])
def test_a_cost_that_cidaas_has_no_id_for_is_left_out(cost: str) -> None:
    assert PASSWORDS.info("bcrypt", f"$2b${cost}" + BCRYPT[6:]) == (None, COST)


@pytest.mark.parametrize(
    "secret", ["", " ", "geheim", BCRYPT[:-1], BCRYPT + "x", "$2x$" + BCRYPT[4:], BCRYPT + "\n$", None, 5]
)
def test_a_malformed_bcrypt_hash_is_left_out(secret: Any) -> None:
    assert PASSWORDS.info("bcrypt", secret) == (None, MALFORMED)


def test_the_prefix_is_rewritten_where_configured() -> None:
    info, _ = Passwords(PasswordRule({}, "$2b$")).info("bcrypt", "$2y$" + BCRYPT[4:])
    assert info == {"algorithmTypeId": "BCRYPT_12", "passwordHash": BCRYPT}


def test_digests_carry_the_users_salt() -> None:
    salted = {"algorithmTypeId": "SHA256", "passwordHash": SHA256, "hData": {"salt": " s a l t "}}
    assert PASSWORDS.info("sha256", SHA256, " s a l t ") == (salted, None), "a salt is never trimmed"
    assert PASSWORDS.info("SHA1", "a" * 40) == ({"algorithmTypeId": "SHA1", "passwordHash": "a" * 40}, None)
    assert PASSWORDS.info("sha1", "base64+/=", "x")[1] == UNUSUAL


@pytest.mark.parametrize("algorithm", ["pbkdf2-sha256", "pbkdf2-sha512", "PBKDF2"])
@pytest.mark.parametrize("params", ['{"iterations": 27500, "keylen": 64}', {"iterations": "27500", "keylen": 64}])
def test_pbkdf2_puts_its_parameters_into_hdata_as_texts(algorithm: str, params: Any) -> None:
    assert PASSWORDS.info(algorithm, "c0ffee", "salt", params) == (
        {
            "algorithmTypeId": "PBKDF2",
            "passwordHash": "c0ffee",
            "hData": {"salt": "salt", "iterations": "27500", "keylen": "64"},
        },
        None,
    )


@pytest.mark.parametrize(
    ("salt", "params"), [(None, '{"iterations": 1}'), ("s", None), ("s", "{}"), ("s", "{"), ("s", '{"iterations": 0}')]
)
def test_pbkdf2_without_its_parameters_is_left_out(salt: str | None, params: str | None) -> None:
    assert PASSWORDS.info("pbkdf2-sha256", "c0ffee", salt, params) == (None, MALFORMED)


@pytest.mark.parametrize("variant", ["argon2id", "argon2i", "argon2d"])
def test_argon2_goes_whole(variant: str) -> None:
    secret = ARGON2.replace("argon2id", variant)
    assert PASSWORDS.info(variant, secret) == ({"algorithmTypeId": variant, "passwordHash": secret}, None)
    assert PASSWORDS.info("argon2id", secret[:30]) == (None, MALFORMED)


def test_md5_and_unknown_algorithms_are_left_out_and_counted() -> None:
    assert PASSWORDS.info("md5", "a" * 32) == (None, UNKNOWN)
    assert PASSWORDS.info("rot13", "a") == (None, UNKNOWN)
    assert PASSWORDS.info(None, "a" * 32) == (None, UNKNOWN)


def test_md5_goes_where_the_tenant_has_an_id_for_it() -> None:
    passwords = Passwords(PasswordRule({"md5": "CUSTOM_MD5", "blowfish": "bcrypt"}, None))
    custom = {"algorithmTypeId": "CUSTOM_MD5", "passwordHash": "a" * 32, "hData": {"salt": "s"}}
    assert passwords.info("MD5", "a" * 32, "s") == (custom, None)
    assert passwords.info("blowfish", BCRYPT)[0] == {"algorithmTypeId": "BCRYPT_12", "passwordHash": BCRYPT}


def test_a_hash_that_says_its_algorithm_needs_no_column() -> None:
    assert PASSWORDS.info(None, BCRYPT)[1] is None
    assert PASSWORDS.info("", ARGON2)[1] is None
    assert PASSWORDS.info("md5", BCRYPT) == (None, UNKNOWN), "a named algorithm is believed"


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["bcrypt", "sha1", "sha256", "pbkdf2-sha256", "argon2id", "md5", "custom"]) | anything
hashes = st.sampled_from([BCRYPT, ARGON2, SHA256]) | anything


@given(names, hashes, anything, anything)
def test_it_never_raises_and_what_it_sends_is_json(algorithm: Any, secret: Any, salt: Any, params: Any) -> None:
    passwords = Passwords(PasswordRule({"custom": "CUSTOM_X"}, "$2b$"))
    info, note = passwords.info(algorithm, secret, salt, params)
    assert (info, note) == passwords.info(algorithm, secret, salt, params)
    assert note is None or note in NOTES
    assert info is not None or note is not None
    orjson.dumps(info)
