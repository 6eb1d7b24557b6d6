"""What cidaas gets of a legacy user: field by field, and that no row whatsoever stops the mapping."""

from __future__ import annotations

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.mapping import Mapped, Mapper, fingerprint, map_user, status_of, sub_of
from streams.phones import reader
from streams.settings import Settings, load

DEFAULT = Path(__file__).parents[2] / "pipeline.toml"
SETTINGS = load(DEFAULT, {})
(CREDENTIALS,) = SETTINGS.source.credentials
BCRYPT = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"
OTHER = "$2y$10$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"

USER: dict[str, Any] = {
    "id": 4711,
    "email": " Jörg.Weiß@Example.org ",
    "username": "joerg",
    "given_name": "  Jörg",
    "family_name": "Weiß-Ångström",
    "phone": "+49 (0)151 12345678",
    "birthdate": "1970-05-01Z",
    "gender": "male",
    "locale": "de-DE",
    "street_address": "Große Straße 5",
    "postal_code": "01067",
    "city": "Dresden",
    "country": "DE",
    "status": "active",
    "customer_number": "K-000815",
    "newsletter": False,
    "created_at": "2019-03-01T08:15:00Z",
    "last_login_at": "2026-11-22T09:15:09.100668Z",
}
PASSWORD: dict[str, Any] = {
    "id": 1,
    "user_id": 4711,
    "kind": "password",
    "algorithm": "bcrypt",
    "secret": BCRYPT,
    "salt": None,
    "params": None,
    "created_at": "2019-03-01T08:15:00Z",
    "updated_at": "2026-01-01T00:00:00Z",
}
TOTP = PASSWORD | {
    "id": 2,
    "kind": "totp",
    "algorithm": "SHA1",
    "secret": "JBSWY3DPEHPK3PXP",
    "params": '{"digits": 6}',
}


def settings_with(tmp_path: Path, *changes: tuple[str, str]) -> Settings:
    """The shipped file with some of its text replaced."""
    text = DEFAULT.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "pipeline.toml"
    path.write_text(text, encoding="utf-8")
    return load(path, {})


def mapped(user: dict[str, Any], *credentials: dict[str, Any], settings: Settings = SETTINGS) -> Mapped:
    return map_user("4711", user, {CREDENTIALS.name: credentials}, settings)


def entity(user: dict[str, Any], *credentials: dict[str, Any], settings: Settings = SETTINGS) -> dict[str, Any]:
    result = mapped(user, *credentials, settings=settings).entity
    assert result is not None
    return result


def test_the_default_mapping_field_by_field() -> None:
    result = mapped(USER, PASSWORD, TOTP)
    assert result.status == "live"
    assert result.notes == ()
    assert result.has_password
    assert result.email_key == "jörg.weiss@example.org", "compared case-folded"
    assert result.entity == {
        "sub": str(uuid.uuid5(SETTINGS.cidaas.sub_namespace, "4711")),
        "provider": "self",
        "userStatus": "VERIFIED",
        "email": "Jörg.Weiß@Example.org",
        "username": "joerg",
        "given_name": "Jörg",
        "family_name": "Weiß-Ångström",
        "mobile_number": "+4915112345678",
        "birthdate": "1970-05-01",
        "gender": "male",
        "locale": "de-DE",
        "createdTime": "2019-03-01T08:15:00Z",
        "lastLoggedInTime": "2026-11-22T09:15:09.100668Z",
        "address": {
            "street_address": "Große Straße 5",
            "postal_code": "01067",
            "locality": "Dresden",
            "country": "DE",
        },
        "customFields": {"legacy_user_id": "4711", "customer_number": "K-000815", "newsletter": False},
        "password_hash_info": {"algorithmTypeId": "BCRYPT_12", "passwordHash": BCRYPT},
    }
    assert result.sub == result.entity["sub"] == sub_of("4711", SETTINGS)
    assert "Weiß" not in repr(result)


def test_columns_that_are_null_or_blank_are_sent_as_null() -> None:
    empty = dict.fromkeys(USER) | {"id": 4711, "email": "a@example.org", "status": "active", "given_name": "  "}
    result = mapped(empty)
    sent = result.entity
    assert sent is not None
    assert result.notes == ()
    for field in ("username", "given_name", "mobile_number", "birthdate", "createdTime", "password_hash_info"):
        assert sent[field] is None
    assert sent["address"] == dict.fromkeys(("street_address", "postal_code", "locality", "country"))
    assert sent["customFields"] == {"legacy_user_id": "4711", "customer_number": None, "newsletter": None}
    assert not result.has_password


def test_a_column_that_is_not_known_is_neither_sent_nor_cleared() -> None:
    row = {name: value for name, value in USER.items() if name != "city"} | {"gender": "__debezium_unavailable_value"}
    result = mapped(row, PASSWORD | {"secret": "__debezium_unavailable_value"})
    sent = result.entity
    assert sent is not None
    assert "locality" not in sent["address"]
    assert "gender" not in sent
    assert "password_hash_info" not in sent
    assert result.notes == ("value_unavailable", "value_unavailable", "password_unavailable")


@pytest.mark.parametrize(
    ("status", "sent", "notes"),
    [
        ("active", "VERIFIED", ()),
        ("pending", "PENDING", ()),
        ("locked", "LOCKED", ()),
        (" active ", "VERIFIED", ()),
        ("Active", "LOCKED", ("status_unknown",)),
        (None, "LOCKED", ("status_unknown",)),
        ([1], "LOCKED", ("status_unknown",)),
    ],
)
def test_only_a_known_status_lets_a_user_in(status: Any, sent: str, notes: tuple[str, ...]) -> None:
    result = mapped(USER | {"status": status})
    assert result.entity is not None
    assert (result.entity["userStatus"], result.notes) == (sent, notes)


def test_a_boolean_can_be_the_status(tmp_path: Path) -> None:
    values = '{ active = "VERIFIED", pending = "PENDING", locked = "LOCKED" }'
    own = settings_with(tmp_path, (values, '{ true = "VERIFIED", false = "DECLINED" }'))
    assert entity(USER | {"status": True}, settings=own)["userStatus"] == "VERIFIED"
    assert entity(USER | {"status": False}, settings=own)["userStatus"] == "DECLINED"


def test_a_soft_delete_is_a_delete() -> None:
    result = mapped(USER | {"status": "deleted"}, PASSWORD)
    assert (result.status, result.entity, result.email_key) == ("deleted", None, None)
    assert result.sub == sub_of("4711", SETTINGS)
    assert status_of({"status": "deleted"}, SETTINGS) == "deleted"
    assert status_of({"status": "active"}, SETTINGS) == "live"
    assert status_of({}, SETTINGS) == "live", "absence deletes nobody (M9)"


def test_a_column_can_mark_deleted_users_and_another_select_users(tmp_path: Path) -> None:
    own = settings_with(
        tmp_path,
        ('# deleted_when_set = "deleted_at"', 'deleted_when_set = "deleted_at"'),
        ("# [mapping.select]", '[mapping.select]\ncolumn = "brand"\nvalues = ["shop", "7"]\n#'),
    )
    assert {"deleted_at", "brand"} <= set(own.source.users.columns)
    for mark, expected in (
        (None, "live"),
        (False, "live"),
        ("", "live"),
        (True, "deleted"),
        ("2026-01-01T00:00:00Z", "deleted"),
    ):
        assert status_of(USER | {"deleted_at": mark, "brand": "shop"}, own) == expected
    assert mapped(USER | {"deleted_at": None, "brand": "club"}, settings=own).status == "not_selected"
    assert mapped(USER | {"deleted_at": None, "brand": 7}, settings=own).status == "live"
    assert mapped(USER | {"deleted_at": True, "brand": "club"}, settings=own).status == "deleted"


@pytest.mark.parametrize(
    "phone", ["ask my wife", "+49", "+4915", "0151 12345678", "+99912345678", 5, True, "+" + "1" * 40]
)
def test_an_invalid_phone_number_is_left_out_and_counted(phone: Any) -> None:
    result = mapped(USER | {"phone": phone})
    assert result.entity is not None
    assert result.entity["mobile_number"] is None
    assert result.notes == ("invalid_phone",)


def test_a_default_region_reads_national_numbers(tmp_path: Path) -> None:
    own = settings_with(tmp_path, ('# phone_region = "DE"', 'phone_region = "DE"'))
    assert entity(USER | {"phone": "0151/1234 5678"}, settings=own)["mobile_number"] == "+4915112345678"


@pytest.mark.parametrize("birthdate", ["infinity", "1970-02-30", "0044-03-15 BC", 123, "١٩٧٠-٠٥-٠١", "1970-W01-1"])
def test_a_date_that_is_none_is_left_out_and_counted(birthdate: Any) -> None:
    result = mapped(USER | {"birthdate": birthdate})
    assert result.entity is not None
    assert result.entity["birthdate"] is None
    assert result.notes == ("birthdate_invalid",)


@pytest.mark.parametrize(
    ("stamp", "sent"),
    [
        ("2026-11-22T09:15:09.100668Z", "2026-11-22T09:15:09.100668Z"),
        ("2026-11-22T10:15:09+01:00", "2026-11-22T09:15:09Z"),
        ("2026-11-22T09:15:09.5", "2026-11-22T09:15:09.500000Z"),
        ("2026-11-22 09:15:09Z", "2026-11-22T09:15:09Z"),
        ("2026-02-30T09:15:09Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("infinity", None),
    ],
)
def test_timestamps_are_sent_in_utc(stamp: str, sent: str | None) -> None:
    result = mapped(USER | {"created_at": stamp})
    assert result.entity is not None
    assert result.entity["createdTime"] == sent
    assert result.notes == (() if sent else ("createdTime_invalid",))


@pytest.mark.parametrize(("value", "sent"), [(True, True), ("t", True), (0, False), ("No", False), ("maybe", None)])
def test_newsletter_is_a_boolean(value: Any, sent: bool | None) -> None:
    result = mapped(USER | {"newsletter": value})
    assert result.entity is not None
    assert result.entity["customFields"]["newsletter"] is sent
    assert result.notes == (() if sent is not None else ("custom_newsletter_invalid",))


def newest(*credentials: dict[str, Any]) -> Any:
    hashes = {entity(USER, *order)["password_hash_info"]["passwordHash"] for order in (credentials, credentials[::-1])}
    assert len(hashes) == 1, "the order of the rows must not matter"
    return hashes.pop()


def test_of_two_passwords_the_newest_wins() -> None:
    first, second = PASSWORD, PASSWORD | {"id": 9, "secret": OTHER}
    assert newest(first, second | {"updated_at": "2026-01-01T00:00:00.000001Z"}) == OTHER
    assert newest(first, second | {"updated_at": "2025-12-31T23:59:59.9Z"}) == BCRYPT
    assert newest(first, second | {"updated_at": None, "created_at": "2026-02-01T00:00:00Z"}) == OTHER
    assert newest(first, second | {"updated_at": None, "created_at": None}) == BCRYPT
    assert newest(first, second | {"updated_at": "2026-01-01T00:30:00+01:00"}) == BCRYPT, "instants are compared"


def test_equally_new_passwords_are_told_apart_by_id_as_a_number() -> None:
    assert newest(PASSWORD | {"id": 9}, PASSWORD | {"id": 10, "secret": OTHER}) == OTHER
    assert newest(PASSWORD | {"id": "9"}, PASSWORD | {"id": "10", "secret": OTHER}) == OTHER
    assert newest(PASSWORD | {"id": "b1"}, PASSWORD | {"id": "a2", "secret": OTHER}) == BCRYPT


def test_an_unknown_algorithm_does_not_hold_the_user_back() -> None:
    result = mapped(USER, PASSWORD | {"algorithm": "md5", "secret": "a" * 32})
    assert result.entity is not None
    assert result.entity["password_hash_info"] is None
    assert result.notes == ("password_algorithm_unknown",)
    assert result.has_password, "there is one, cidaas only cannot use it"


def test_a_newer_unusable_password_does_not_revive_the_older_one() -> None:
    newer = PASSWORD | {"id": 5, "algorithm": "md5", "secret": "a" * 32, "updated_at": "2026-06-01T00:00:00Z"}
    assert entity(USER, PASSWORD, newer)["password_hash_info"] is None


def test_mfa_is_sent_only_when_switched_on(tmp_path: Path) -> None:
    assert "mfa_enabled" not in entity(USER, TOTP)
    own = settings_with(tmp_path, ("mfa_enabled = false", "mfa_enabled = true "))
    assert entity(USER, PASSWORD, TOTP, settings=own)["mfa_enabled"] is True
    assert entity(USER, PASSWORD, settings=own)["mfa_enabled"] is False


def test_no_event_is_sent_only_when_switched_on(tmp_path: Path) -> None:
    assert "no_event" not in entity(USER)
    assert (
        entity(USER, settings=settings_with(tmp_path, ("no_event = false", "no_event = true ")))["no_event"] == "true"
    )


def test_the_legacy_id_itself_can_be_the_sub(tmp_path: Path) -> None:
    own = settings_with(tmp_path, ('sub = "uuid5"', 'sub = "id"'))
    id_ = "0b9f6c1e-7a52-5f0e-9a31-5d3c7e1f2a44"
    assert map_user(id_, USER | {"id": id_}, {}, own).sub == id_


def test_a_user_without_identifier_is_counted() -> None:
    assert "no_identifier" in mapped(USER | {"email": " ", "username": None, "phone": None}).notes


OWN = """
[tables.users]
name = "shop.kunde"
id = "kunde_id"
[tables.users.password]
secret = "kennwort"
algorithm_constant = "sha1"
salt = "salz"
[mapping.fields]
email = "mail"
family_name = "nachname"
gender = { column = "anrede", values = { Herr = "male", Frau = "female" } }
[mapping.custom_fields]
punkte = { column = "punkte", type = "number" }
[cidaas]
sub_namespace = "7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc"
"""


def test_an_own_table_with_other_names_and_the_password_in_it(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_text(OWN)
    own = load(path, {})
    row = {"kunde_id": "ab", "mail": "a@example.org", "nachname": "Öz", "anrede": "Frau", "punkte": "12.5"}
    row |= {"kennwort": "a" * 40, "salz": "x"}
    result = map_user("ab", row, {}, own)
    assert result.entity == {
        "sub": sub_of("ab", own),
        "provider": "self",
        "userStatus": "VERIFIED",
        "email": "a@example.org",
        "family_name": "Öz",
        "gender": "female",
        "customFields": {"punkte": 12.5},
        "password_hash_info": {"algorithmTypeId": "SHA1", "passwordHash": "a" * 40, "hData": {"salt": "x"}},
    }
    assert result.has_password
    assert map_user("ab", row | {"anrede": "Firma"}, {}, own).notes == ("gender_invalid",)
    without = map_user("ab", row | {"kennwort": None}, {}, own)
    assert without.entity is not None
    assert without.entity["password_hash_info"] is None
    assert not without.has_password


def test_a_fingerprint_follows_the_content_and_not_the_order() -> None:
    one = entity(USER, PASSWORD)
    assert fingerprint(one) == fingerprint(dict(reversed(one.items())))
    assert len(fingerprint(one)) == 32
    assert fingerprint(one) != fingerprint(one | {"given_name": "Georg"})
    assert fingerprint(one) != fingerprint({k: v for k, v in one.items() if k != "username"} | {"username": None})


@given(st.text())
def test_a_sub_is_the_standard_uuid5(user_id: str) -> None:
    assert sub_of(user_id, SETTINGS) == str(uuid.uuid5(SETTINGS.cidaas.sub_namespace, user_id))


# Whatever JSON can carry, and a little more: lone surrogates, huge integers, infinities.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
PLAUSIBLE = """active deleted password totp bcrypt md5 pbkdf2-sha1 infinity 1970-05-01 2026-11-22T09:15:09Z
    +4915112345678 +1-650-253-0000 __debezium_unavailable_value ٣٣٣٣٣٣٣٣٣ {"iterations":1}"""
plausible = st.sampled_from([*PLAUSIBLE.split(), BCRYPT])
cells = anything | plausible


def rows(columns: tuple[str, ...], usual: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    usually = {name: st.just(usual[name]) | cells for name in columns}
    return st.fixed_dictionaries({}, optional=usually)


some_users = rows(SETTINGS.source.users.columns, USER)
some_credentials = st.lists(rows(CREDENTIALS.columns, PASSWORD), max_size=3)
WITH_MFA = replace(SETTINGS, mapping=replace(SETTINGS.mapping, mfa_enabled=True))


@given(st.text(st.characters(categories=None)), some_users, some_credentials)
def test_no_row_whatsoever_stops_the_mapping(user_id: str, user: dict[str, Any], found: list[dict[str, Any]]) -> None:
    by_table = {CREDENTIALS.name: found}
    result = map_user(user_id, user, by_table, WITH_MFA)
    assert result == Mapper(WITH_MFA).map(user_id, user, by_table), "the same row makes the same user"
    assert (result.entity is None) == (result.status != "live")
    for note in result.notes:
        assert note.replace("_", "").isalnum()
        assert note.isascii()
    if result.entity is not None:
        again = orjson.loads(orjson.dumps(result.entity))
        assert again == result.entity
        assert result.entity["userStatus"] in ("VERIFIED", "PENDING", "LOCKED")
        assert fingerprint(again) == fingerprint(result.entity)


EXAMPLES = [
    phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    for region in sorted(phonenumbers.SUPPORTED_REGIONS)
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    if (number := phonenumbers.example_number_for_type(region, kind)) is not None
]
read_phone = reader(None)


def library(text: str) -> str | None:
    try:
        number = phonenumbers.parse(text, None)
    except phonenumbers.NumberParseException:
        return None
    valid = phonenumbers.is_valid_number(number)
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164) if valid else None


def test_the_short_way_for_phone_numbers_agrees_with_the_library_for_every_country() -> None:
    assert len(EXAMPLES) > 400
    assert [read_phone(number) for number in EXAMPLES] == [library(number) for number in EXAMPLES]


@given(st.sampled_from(EXAMPLES), st.integers(0, 14), st.text("0123456789", max_size=4))
def test_the_short_way_for_phone_numbers_agrees_with_the_library_near_the_rules(number: str, at: int, new: str) -> None:
    changed = number[: at + 1] + new + number[at + 2 :]
    expected = library(changed)
    assert read_phone(changed) == (expected if expected is None or 8 <= len(expected) <= 16 else None)
