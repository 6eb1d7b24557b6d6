"""An upgrade changes nothing for an unchanged pipeline.toml: the same mapping id and fingerprint, the same entities.

The ids and digests were computed by the code before keys such as `template`, `path` and `epoch` existed. Who
changes them on purpose raises MAPPING_CODE: every user is pending once, and CHANGELOG.md says so.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from streams.audit.fingerprint import digests, fingerprint
from streams.mapping import Mapper
from streams.settings import load

if TYPE_CHECKING:
    from pathlib import Path

CIDAAS = '[cidaas]\nsub_namespace = "7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc"\n'
BCRYPT = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"

TWO_TABLES = f"""
[tables.users]
name = "public.users"
id = "id"
lazy = ["last_login_at"]
[tables.credentials]
name = "public.credentials"
id = "id"
user_id = "user_id"
kind = "kind"
password_kind = "password"
totp_kind = "totp"
algorithm = "algorithm"
secret = "secret"
salt = "salt"
params = "params"
created = "created_at"
updated = "updated_at"
[mapping]
mfa_enabled = true
phone_region = "DE"
[mapping.fields]
email = "email"
username = "username"
given_name = "given_name"
mobile_number = "phone"
birthdate = "birthdate"
gender = {{ column = "sex", values = {{ m = "male", f = "female" }} }}
createdTime = "created_at"
lastLoggedInTime = "last_login_at"
[mapping.address]
locality = "city"
[mapping.custom_fields]
legacy_user_id = "id"
newsletter = {{ column = "newsletter", type = "boolean" }}
points = {{ column = "points", type = "number" }}
[mapping.status]
column = "status"
values = {{ active = "VERIFIED", pending = "PENDING" }}
deleted = ["deleted"]
[mapping.select]
column = "brand"
values = ["shop"]
[mapping.passwords]
bcrypt_prefix = "$2b$"
[mapping.passwords.algorithms]
old = "CUSTOM_OLD"
{CIDAAS}"""
ONE_TABLE = """
[tables.users]
name = "public.accounts"
id = "uid"
[tables.users.password]
secret = "pw"
algorithm_constant = "pbkdf2"
salt = "pw_salt"
params = "pw_params"
[mapping.fields]
email = "mail"
family_name = "last_name"
[mapping.status]
column = "blocked"
values = { false = "VERIFIED", true = "LOCKED" }
deleted_when_set = "removed_at"
[cidaas]
sub = "id"
no_event = true
"""

USER: dict[str, Any] = {
    "id": 4711, "email": " Jörg.Weiß@Example.org ", "username": "joerg", "given_name": "  Jörg",
    "phone": "0171 1234567", "birthdate": "1970-05-01Z", "sex": "m", "city": "Dresden", "status": "active",
    "brand": "shop", "newsletter": "yes", "points": "12.50", "created_at": "2019-03-01T08:15:00.000000Z",
    "last_login_at": "2026-11-22T10:15:09+01:00",
}  # fmt: skip
PASSWORD: dict[str, Any] = {
    "id": 1, "user_id": 4711, "kind": "password", "algorithm": "bcrypt", "secret": BCRYPT, "salt": None, "params": None,
    "created_at": "2019-03-01T08:15:00Z", "updated_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
ACCOUNT: dict[str, Any] = {
    "uid": "0b9f6c1e-7a52-4f0e-9a31-5d3c7e1f2a44", "mail": "ada@example.org", "last_name": "Lovelace", "blocked": True,
    "removed_at": None, "pw": "c2VjcmV0", "pw_salt": "s", "pw_params": '{"iterations": 27500, "keylen": "64"}',
}  # fmt: skip
#: Rows with NULL, blank, odd, unknown and missing values.
USERS: list[tuple[dict[str, Any], list[dict[str, Any]]]] = [
    (USER, [PASSWORD, PASSWORD | {"id": 2, "kind": "totp"}]),
    (USER | {"email": None, "username": " ", "phone": "12", "sex": "x", "points": "many"}, []),
    (USER | {"status": "odd", "newsletter": None, "city": 5, "birthdate": "1.5.70"}, [PASSWORD | {"algorithm": "md5"}]),
    ({k: v for k, v in USER.items() if k != "city"} | {"given_name": "__debezium_unavailable_value"}, [PASSWORD]),
    (
        USER,
        [
            PASSWORD | {"secret": "a" * 64, "algorithm": "sha256", "salt": "pepper"},
            PASSWORD | {"id": 10, "secret": "ab", "algorithm": "old", "params": {"iterations": 5}},
            PASSWORD | {"id": 9, "secret": BCRYPT},
        ],
    ),
    (USER | {"status": "deleted"}, []),
    (USER | {"brand": "other"}, []),
]
ACCOUNTS = [
    (ACCOUNT, []),
    (ACCOUNT | {"pw": None}, []),
    (ACCOUNT | {"pw_params": None}, []),
    (ACCOUNT | {"blocked": False}, []),
]


@pytest.mark.parametrize(
    ("text", "users", "key", "mapping_id", "digest"),
    [
        (TWO_TABLES, USERS, "id", "926bf5e4671e1566", "692e6f7d5af9f9efc887abbf626b8a7b"),
        (ONE_TABLE, ACCOUNTS, "uid", "cf9f1ba566897561", "8d65a8676f77e7db453101b1f43497e8"),
    ],
    ids=["two tables", "one table"],
)
def test_an_unchanged_file_makes_the_same_of_every_user(
    tmp_path: Path, text: str, users: list[Any], key: str, mapping_id: str, digest: str
) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    settings = load(path, {})
    mapper = Mapper(settings)
    made = [mapper.map(str(row[key]), row, {"public.credentials": rows}) for row, rows in users]
    entities = orjson.dumps([[one.status, one.entity, one.has_password, one.notes] for one in made])
    assert (settings.mapping.id, hashlib.sha256(entities).hexdigest()[:32]) == (mapping_id, digest)


@pytest.mark.parametrize(
    ("text", "known"), [(TWO_TABLES, "d4a037cf4200"), (ONE_TABLE, "b16487f014f5")], ids=["two tables", "one table"]
)
def test_an_unchanged_file_has_the_same_fingerprint(tmp_path: Path, text: str, known: str) -> None:
    """Else `audit` would say of each worker that its configuration was changed, when only the code was."""
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    assert fingerprint(digests(load(path, {}))) == known
