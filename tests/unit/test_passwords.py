"""Each hash algorithm of the reference schema, and what happens to the others."""

from __future__ import annotations

from typing import Any

import bcrypt
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.argon2 import Parts
from streams.passwords import COST, MALFORMED, NOTES, UNKNOWN, UNUSUAL, Passwords
from streams.settings import PasswordColumns, PasswordRule
from streams.stored import ARGON2 as PARTS
from streams.stored import Stored

PASSWORDS = Passwords(PasswordRule({}, None))
BCRYPT = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"
#: Anything that JSON can hold, and what the parts of argon2 usually are.
odd = st.one_of(
    st.none(), st.integers(-2, 1 << 40), st.text(max_size=4), st.floats(),
    st.sampled_from(["id", "1.3", ["19"], "8", "AAAAAAAAAAA", "AAAAAAAAAAA=", {}]),
)  # fmt: skip
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


#: Of the reference implementation's own tests (`test.c`): password, 2 rounds, 64 MiB, one lane, salt "somesalt".
KNOWN = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
HASH, SALT = "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc=", "c29tZXNhbHQ="
WHOLE = Parts("id", "1.3", "65536", "1", "32")


def apart(algorithm: str = "argon2", secret: str = HASH, salt: str | None = SALT, rounds: Any = 2, **parts: Any) -> Any:
    return PASSWORDS.info(algorithm, secret, salt, {"iterations": rounds, PARTS: WHOLE._replace(**parts)})


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"type": ["id"], "version": ["1.3"], "memory": ["65536"], "parallelism": ["1"], "length": ["32"]},
        {"type": "argon2id", "version": 19, "memory": 65536, "parallelism": 1, "length": 32, "rounds": "2"},
        {"version": 1.3, "length": None, "secret": HASH.rstrip("="), "salt": SALT.rstrip("=")},
        {"algorithm": "argon2id", "type": None},
        {"secret": KNOWN, "salt": None, "memory": None},
    ],
)
def test_an_argon2_hash_is_put_together_of_its_parts(change: dict[str, Any]) -> None:
    assert apart(**change) == ({"algorithmTypeId": "argon2id", "passwordHash": KNOWN}, None)


@pytest.mark.parametrize(
    ("type_", "version", "string"), [("i", "1.0", "$argon2i$v=16$"), ("d", "1.3", "$argon2d$v=19$")]
)
def test_the_other_variants_and_the_old_version(type_: str, version: str, string: str) -> None:
    info, note = apart(type=type_, version=version)
    assert note is None and info["passwordHash"] == string + KNOWN.split("$v=19$")[1]
    assert info["algorithmTypeId"] == f"argon2{type_}"


@pytest.mark.parametrize(
    "change",
    [
        *({name: value} for name in ("type", "version", "memory", "parallelism") for value in (None, "", "x", [], {})),
        *({name: value} for name in ("memory", "parallelism") for value in (0, -1, "0", "01", 1.5, True, ["1", "2"])),
        *({"rounds": value} for value in (None, 0, "x", 1 << 32)),
        *({"salt": value} for value in (None, "", "c29t", "kein salz!", "c29tZXNhbHQ\n", "c29tZXNhbHQ\u00fc")),
        *({"secret": value} for value in ("x", "AAAA", "-_-_-_-_", HASH[:-9], "", "$argon2id$v=19$")),
        {"length": 31}, {"length": "x"}, {"length": []}, {"version": "1.4"}, {"version": 2},
        {"memory": 7}, {"memory": 16, "parallelism": 4}, {"memory": 1 << 33},
        {"parallelism": 1 << 24, "memory": 1 << 30},
        {"algorithm": "argon2", "type": None}, {"algorithm": "argon2id", "type": "x"},
    ],
)  # fmt: skip
def test_an_argon2_hash_that_lacks_a_part_is_not_sent(change: dict[str, Any]) -> None:
    """Nobody could ever log in with it; without one the user gets a new password."""
    assert apart(**change) == (None, MALFORMED)


def test_parts_are_put_together_only_where_the_file_says_where_they_stand() -> None:
    """Else an upgrade would make another entity of the same row."""
    params = {"iterations": 2, "type": "id", "version": "1.3", "memory": 65536, "parallelism": 1, "argon2": {}}
    assert PASSWORDS.info("argon2", HASH, SALT, params) == (None, MALFORMED)
    passwords = Passwords(PasswordRule({"argon2": "CUSTOM_KEYCLOAK"}, None))
    info, _ = passwords.info("argon2", HASH, SALT, {"iterations": 2, PARTS: WHOLE})
    assert info is not None and info["passwordHash"] == HASH, "a service of one's own gets what it got"
    assert info["hData"] == {"salt": SALT, "iterations": "2"}


@pytest.mark.parametrize("numbers", [{"memory": "m.k", "version": 19}, {"iterations": "t", "memory": "m.k"}])
def test_parameters_are_taken_out_of_json_or_said_for_everybody(numbers: dict[str, Any]) -> None:
    row = Stored(PasswordColumns("s", "a", None, None, "p", {}, numbers)).row(
        {"s": "x", "a": "y", "p": '{"m": {"k": [5]}, "t": 3}'}
    )
    assert row["params"][PARTS] == Parts(memory=[5], version=numbers.get("version"))
    assert row["params"].get("iterations") == (3 if "iterations" in numbers else None)


@given(st.builds(Parts, *[odd] * 5), odd, odd, odd)
def test_whatever_the_parts_are_what_is_sent_can_be_read_again(
    parts: Parts, secret: Any, salt: Any, rounds: Any
) -> None:
    info, note = PASSWORDS.info("argon2", secret, salt, {"iterations": rounds, PARTS: parts})
    assert (note == MALFORMED) == (info is None)
    if info is not None:
        assert PASSWORDS.info("argon2", info["passwordHash"]) == (info, None)


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
