"""The worked examples under docs/examples: their files load, and make of each kind of row what their pages say."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
import uuid
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from streams.mapping import Mapped, Mapper
from streams.settings import Settings, load, schema
from tests.unit.test_docs import FAUST, resolve

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "docs" / "examples").glob("*/pipeline.toml"))


def settings_of(name: str) -> Settings:
    return load(ROOT / "docs" / "examples" / name / "pipeline.toml", {})


def named(folder: Path) -> str:
    return folder.name


@pytest.mark.parametrize("folder", EXAMPLES, ids=named)
def test_each_example_is_whole_and_linked(folder: Path) -> None:
    text = (folder / "pipeline.toml").read_text()
    validator = jsonschema.Draft7Validator(schema.schema((ROOT / "pipeline.toml").read_text()))
    assert [error.message for error in validator.iter_errors(tomllib.loads(text))] == []
    assert (folder / text.splitlines()[0].removeprefix("#:schema ")).resolve() == ROOT / schema.FILE
    assert f"examples/{folder.name}/README.md" in (ROOT / "docs/mapping.md").read_text()
    page = (folder / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page):
        assert (folder / target).exists(), target


@pytest.mark.parametrize("folder", EXAMPLES, ids=named)
def test_each_call_of_an_example_is_one_that_the_commands_take(folder: Path) -> None:
    lines = [line for line in (folder / "README.md").read_text().splitlines() if line.startswith(FAUST)]
    assert len(lines) > 8
    for line in lines:
        command, arguments = resolve(shlex.split(line.removeprefix(FAUST)))
        command.make_context(command.name, arguments)


@pytest.mark.parametrize("folder", EXAMPLES, ids=named)
def test_an_example_reads_columns_of_its_own_table_only(folder: Path) -> None:
    """The tables themselves are asked by the integration test; this finds a slip of the pen at once."""
    sql = (folder / "schema.sql").read_text()
    source = settings_of(folder.name).source
    for table in source.tables:
        (body,) = re.findall(rf"CREATE TABLE {table.name.split('.')[1]} \((.*?)^\);", sql, re.M | re.S)
        there = set(re.findall(r"^    (\w+)", body, re.M))
        assert set(table.columns) <= there


# -- one table, md5 with a salt ----------------------------------------------------------------------------------------

CUSTOMER: dict[str, Any] = {
    "customer_id": 1001,
    "mail": "ada@example.org",
    "pw_md5": "5f4dcc3b5aa765d61d8327deb882cf99",
    "pw_salt": "k3Vq",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "phone": "0171 1234567",
    "state": "active",
    "removed": False,
    "newsletter": True,
    "registered": "2012-03-01T08:15:00.000000Z",
    "last_login": None,
}


def shop(**changes: Any) -> Mapped:
    row = CUSTOMER | changes
    return Mapper(settings_of("one-table-shop")).map(str(row["customer_id"]), row, {})


def test_a_customer_of_the_shop() -> None:
    made = shop()
    assert (made.status, made.notes, made.has_password) == ("live", (), True)
    assert made.sub == str(uuid.uuid5(settings_of("one-table-shop").cidaas.sub_namespace, "1001"))
    assert made.entity == {
        "sub": made.sub,
        "provider": "self",
        "userStatus": "VERIFIED",
        "email": "ada@example.org",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "mobile_number": "+491711234567",
        "createdTime": "2012-03-01T08:15:00.000000Z",
        "lastLoggedInTime": None,
        "customFields": {"legacy_user_id": "1001", "newsletter": True},
        "password_hash_info": {
            "algorithmTypeId": "CUSTOM_MD5",
            "passwordHash": "5f4dcc3b5aa765d61d8327deb882cf99",
            "hData": {"salt": "k3Vq"},
        },
    }


@pytest.mark.parametrize(
    ("state", "status"),
    [("active", "VERIFIED"), ("unconfirmed", "PENDING"), ("blocked", "LOCKED"), ("?", "LOCKED"), (None, "LOCKED")],
)
def test_the_states_of_a_customer(state: str | None, status: str) -> None:
    entity = shop(state=state).entity
    assert entity is not None
    assert entity["userStatus"] == status


def test_a_closed_account_is_deleted_and_one_without_password_arrives_without() -> None:
    assert shop(removed=True).status == "deleted"
    made = shop(pw_md5=None, pw_salt=None)
    assert made.entity is not None
    assert (made.entity["password_hash_info"], made.has_password, made.notes) == (None, False, ())


# -- Keycloak ----------------------------------------------------------------------------------------------------------

ADA = "8f14e45f-ceea-467f-ab11-0d3c7e1f2a44"
PERSON: dict[str, Any] = {
    "id": ADA,
    "email": "ada@example.org",
    "username": "ada",
    "first_name": "Ada",
    "last_name": "Lovelace",
    "created_timestamp": 1551428100000,
    "enabled": True,
    "realm_id": "shop",
}


def credential(value: str | None, created: int, **changes: Any) -> dict[str, Any]:
    secret = {"value": value, "salt": "AAECAwQFBgcICQoLDA0ODw=="} if value else {"salt": "AAECAwQFBgcICQoLDA0ODw=="}
    return {
        "id": f"5b0a5c5e-0000-4000-8000-{created:012}",
        "user_id": ADA,
        "type": "password",
        "created_date": created,
        "secret_data": json.dumps(secret),
        "credential_data": '{"hashIterations":27500,"algorithm":"pbkdf2-sha256","additionalParameters":{}}',
    } | changes


def keycloak(*credentials: dict[str, Any], logins: tuple[tuple[str, str | None], ...] = (), **changes: Any) -> Mapped:
    """`logins` are aliases of identity providers with the user's id there."""
    linked = [{"identity_provider": alias, "federated_user_id": one, "user_id": ADA} for alias, one in logins]
    rows = {"public.credential": credentials, "public.federated_identity": linked}
    return Mapper(settings_of("keycloak-like")).map(ADA, PERSON | changes, rows)


def test_a_user_of_keycloak() -> None:
    otp = credential("seed", 3, type="otp", credential_data='{"subType":"totp","digits":6}')
    made = keycloak(credential("bmV3", 2), credential("b2xk", 1), otp)
    assert (made.status, made.notes, made.has_password, made.sub) == ("live", (), True, ADA)
    assert made.entity == {
        "sub": ADA,
        "provider": "self",
        "userStatus": "VERIFIED",
        "email": "ada@example.org",
        "username": "ada",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "createdTime": "2019-03-01T08:15:00Z",
        "customFields": {"legacy_user_id": ADA},
        "identities": [],
        "password_hash_info": {
            "algorithmTypeId": "PBKDF2",
            "passwordHash": "bmV3",
            "hData": {"salt": "AAECAwQFBgcICQoLDA0ODw==", "iterations": "27500", "keylen": "64"},
        },
    }


def test_social_logins_of_keycloak_have_the_names_that_cidaas_knows() -> None:
    table = settings_of("keycloak-like").source.credentials[1]
    assert table.columns == ("identity_provider", "user_id", "federated_user_id"), "no token is read"
    made = keycloak(logins=(("warehouse", "karl.w"), ("shop-facebook", "10224"), ("google", "108"), ("google2", None)))
    assert made.entity is not None
    assert made.entity["identities"] == [
        {"provider": "facebook", "providerUserId": "10224"},
        {"provider": "google", "providerUserId": "108"},
    ]
    assert made.notes == ("login_provider_unknown",), "of the one that cidaas does not have"


def test_the_newest_password_by_milliseconds() -> None:
    """As texts, 999 would come after 1551428100000."""
    made = keycloak(credential("bmV3", 1551428100000), credential("b2xk", 999))
    assert made.entity is not None
    assert made.entity["password_hash_info"]["passwordHash"] == "bmV3"


@pytest.mark.parametrize(
    ("changes", "notes", "has_password"),
    [
        ({"secret_data": "no JSON"}, ("password_malformed",), True),
        ({"secret_data": '["a list"]'}, ("password_malformed",), True),
        ({"secret_data": '{"salt": "s"}'}, ("password_malformed",), True),
        ({"secret_data": '{"value": {"deeper": 1}, "salt": "s"}'}, ("password_malformed",), True),
        ({"secret_data": '{"value": "h"}'}, ("password_malformed",), True),
        ({"credential_data": '{"algorithm": "pbkdf2-sha256"}'}, ("password_malformed",), True),
        ({"credential_data": '{"algorithm": "scrypt", "hashIterations": 3}'}, ("password_algorithm_unknown",), True),
        ({"credential_data": None}, ("password_algorithm_unknown",), True),
        ({"secret_data": None}, (), False),
    ],
)
def test_a_damaged_credential_holds_nobody_back(
    changes: dict[str, Any], notes: tuple[str, ...], has_password: bool
) -> None:
    made = keycloak(credential("bmV3", 2) | changes)
    assert made.entity is not None
    assert (made.entity["password_hash_info"], made.notes, made.has_password) == (None, notes, has_password)


def argon2(**parameters: Any) -> dict[str, Any]:
    more = {
        "hashLength": ["32"],
        "memory": ["7168"],
        "type": ["id"],
        "version": ["1.3"],
        "parallelism": ["1"],
    } | parameters
    there = {name: value for name, value in more.items() if value is not None}
    data = {"hashIterations": 5, "algorithm": "argon2", "additionalParameters": there}
    secret = {"value": "19adjxLPwTENbPvQAFfW84qgMhs7RaIbt1BUGTXdAok=", "salt": "QEFCQ0RFRkdISUpLTE1OTw=="}
    return credential("x", 3, secret_data=json.dumps(secret), credential_data=json.dumps(data))


def test_a_hash_of_keycloak_25_becomes_the_string_of_argon2() -> None:
    """Of "a third word"; computed and verified by another implementation."""
    made = keycloak(credential("b2xk", 1), argon2())
    assert made.entity is not None and made.notes == ()
    salt, value = "QEFCQ0RFRkdISUpLTE1OTw", "19adjxLPwTENbPvQAFfW84qgMhs7RaIbt1BUGTXdAok"
    assert made.entity["password_hash_info"] == {
        "algorithmTypeId": "argon2id",
        "passwordHash": f"$argon2id$v=19$m=7168,t=5,p=1${salt}${value}",
    }
    schema = (ROOT / "docs/examples/keycloak-like/schema.sql").read_text()
    assert json.loads(argon2()["secret_data"])["value"] in schema, "it is Karl's"


@pytest.mark.parametrize("name", ["hashLength", "memory", "type", "version", "parallelism"])
def test_argon2_without_one_of_its_parameters_is_not_sent(name: str) -> None:
    made = keycloak(argon2(**{name: ["x"]}))
    assert made.entity is not None
    assert (made.entity["password_hash_info"], made.notes) == (None, ("password_malformed",))
    if name != "hashLength":  # without it there is nothing to compare
        assert keycloak(argon2(**{name: None})).notes == ("password_malformed",)


@pytest.mark.parametrize("column", ["secret_data", "credential_data"])
def test_json_that_is_not_known_is_neither_sent_nor_cleared(column: str) -> None:
    made = keycloak(credential("bmV3", 2) | {column: "__debezium_unavailable_value"})
    assert made.entity is not None
    assert ("password_hash_info" in made.entity, made.notes) == (False, ("password_unavailable",))


def test_other_realms_are_left_out() -> None:
    assert keycloak(realm_id="master").status == "not_selected"
