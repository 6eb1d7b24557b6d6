"""`mapping check`: what does not fit between pipeline.toml and the legacy tables, found for each kind of mistake."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from streams.settings import Settings, load
from streams.source import fit
from streams.source.catalog import Column, Table
from streams.source.uses import For, uses

TEXT = (Path(__file__).parents[2] / "pipeline.toml").read_text()
_BASES = {"bigint": "int8", "timestamp with time zone": "timestamptz", "boolean": "bool"}


def _columns(words: str) -> tuple[Column, ...]:
    """`name type` each on a line; `!` is NOT NULL, `*` a primary key."""
    found = []
    for line in words.strip().splitlines():
        name, type_ = line.strip().rstrip("!*").strip().split(" ", 1)
        marks = line.strip()[-1]
        found.append(Column(name, type_, _BASES.get(type_, type_), not_null=marks in "!*", unique=marks == "*"))
    return tuple(found)


USERS = Table(
    "public.users",
    "r",
    _columns(
        """
        id bigint*
        email text!
        email_verified boolean!
        username text
        given_name text
        family_name text
        phone text
        birthdate date
        gender text
        locale text
        street_address text
        postal_code text
        city text
        country text
        status text!
        customer_number text
        newsletter boolean!
        created_at timestamp with time zone!
        updated_at timestamp with time zone!
        last_login_at timestamp with time zone
        """
    ),
)
CREDENTIALS = Table(
    "public.credentials",
    "r",
    _columns(
        """
        id bigint*
        user_id bigint!
        kind text!
        algorithm text
        secret text!
        salt text
        params jsonb
        created_at timestamp with time zone!
        updated_at timestamp with time zone!
        """
    ),
)


def changed(table: Table, name: str, **change: object) -> Table:
    """The table with another column of this name."""
    found = []
    for column in table.columns:
        if column.name == name:
            type_ = str(change.get("type", column.type))
            column = replace(column, **{"base": _BASES.get(type_, type_), **change})
        found.append(column)
    return replace(table, columns=tuple(found))


def configured(tmp_path: Path, *changes: tuple[str, str]) -> Settings:
    text = TEXT
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    return load(path, {})


def said(settings: Settings, users: Table | None = USERS, credentials: Table | None = CREDENTIALS) -> list[str]:
    """Problems begin with `!`, notes with `-`."""
    found = fit.faults(settings, {"public.users": users, "public.credentials": credentials})
    marks = ["!" if fault.wrong else "-" for fault in found]
    return [f"{mark} {line}" for mark, line in zip(marks, fit.sentences(settings, found), strict=True)]


def test_the_reference_schema_fits_and_what_is_not_mapped_is_listed(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    assert said(settings) == []
    assert fit.not_mapped(settings, USERS) == ["email_verified", "updated_at"]
    assert fit.not_mapped(settings, CREDENTIALS) == []


def test_each_purpose_of_a_column_is_looked_at(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        ("# deleted_when_set", "deleted_when_set"),
        ("# [mapping.select]", "[mapping.select]"),
        ("# column =", "column ="),
        ("# values = [", "values = ["),
    )
    beside = {For.GROUP, For.CONSENT, For.MOMENT, For.LOGIN}  # tests/unit/test_memberships.py, test_logins.py
    assert {use.purpose for use in uses(settings)} == set(For) - beside
    columns = {use.column for use in uses(settings) if use.table == "public.users"}
    assert columns == set(settings.source.users.columns)
    assert {use.column for use in uses(settings) if use.table == "public.credentials"} == {
        column.name for column in CREDENTIALS.columns
    }


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    (line,) = said(settings, users=None)
    assert re.fullmatch(
        r"! pipeline.toml:\d+: \[tables.users\] name: the legacy database has no table public.users. .*", line
    )
    assert "public.credentials" in said(settings, credentials=None)[0]


def test_a_column_that_is_not_there_is_named_with_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        ('given_name = "given_name"', 'given_name = "givenname"'),
        ('gender = "gender"', 'gender = { column = "sex", values = { m = "male" } }'),
        ('lazy = ["last_login_at"]', 'lazy = [\n  "nothing_like_it",\n]'),
    )
    lines = (settings.path.read_text()).splitlines()
    found = said(settings)
    assert len(found) == 3
    for line, part in zip(found, ("givenname", "sex", "lazy"), strict=True):
        number = int(line.split(":")[1])
        assert part in lines[number - 1]
    assert "Did you mean given_name?" in found[0]
    assert "It has birthdate, city" in found[1]


#: In which table which column is of another kind, and what is said of it: `!` wrong, `-` a note.
COLUMNS: dict[str, tuple[str, str, dict[str, object], str]] = {
    "an id of a type that is no key": (
        "u",
        "id",
        {"type": "numeric"},
        "! .*id is of type numeric, which cannot be a key",
    ),
    "an id that may be NULL": ("u", "id", {"not_null": False}, "! .*id .bigint. may be NULL"),
    "an id that is not unique": ("u", "id", {"unique": False}, "! .*id .bigint. alone is not unique"),
    "a credential's id of a wrong type": (
        "c",
        "id",
        {"type": "jsonb"},
        r"! .*\[tables.credentials\] id: .*cannot be a key",
    ),
    "an owner that may be NULL": ("c", "user_id", {"not_null": False}, "! .*user_id .bigint. may be NULL"),
    "an owner of another type": (
        "c",
        "user_id",
        {"type": "uuid"},
        "! .*user_id is of type uuid, and the id of the users table is bigint",
    ),
    "a column without a right": (
        "u",
        "phone",
        {"readable": False},
        "! .*may not read column phone .*Run `cdc enable`",
    ),
    "a composite column": ("u", "city", {"composite": True}, "! .*city .text. has a composite type, which Debezium"),
    "a generated column": (
        "u",
        "customer_number",
        {"published": False},
        "! .*customer_number .text. is generated, and PostgreSQL does not publish it",
    ),
    "a date that is a number": (
        "u",
        "birthdate",
        {"type": "int4"},
        "! .*birthdate is of type int4, which cannot be sent as date",
    ),
    "a date that is a timestamp": (
        "u",
        "birthdate",
        {"type": "timestamp"},
        "- .*birthdate is of type timestamp, of which only some values",
    ),
    "a timestamp that is a date": (
        "u",
        "created_at",
        {"type": "date"},
        "! .*created_at is of type date, which cannot be sent as timestamp",
    ),
    "a truth value that is a number": (
        "u",
        "newsletter",
        {"type": "int2"},
        "- .*newsletter is of type int2, of which only some values .* type =",
    ),
    "a text that is an array": (
        "u",
        "email",
        {"type": "text[]", "base": "_text", "is_array": True},
        "! .*email is of type text.., which cannot be sent as text",
    ),
    "a text that is bytes": (
        "u",
        "given_name",
        {"type": "bytea"},
        "- .*given_name is of type bytea, and is sent as base64",
    ),
    "a type that is not known": (
        "u",
        "city",
        {"type": "point"},
        "- .*city is of type point, of which this check knows nothing",
    ),
    "a number as telephone number": (
        "u",
        "phone",
        {"type": "bigint"},
        '! .*phone .bigint. is a number.*phone_region, such as "DE"',
    ),
    "a truth value as telephone number": (
        "u",
        "phone",
        {"type": "bool"},
        "! .*phone is of type bool, which cannot be sent as phone",
    ),
    "a status whose words are others": (
        "u",
        "status",
        {"type": "bool"},
        "! .*'active' is no value of column status .bool.",
    ),
    "an enum with another word": (
        "u",
        "status",
        {"type": "state", "labels": ("active", "pending", "locked", "deleted", "frozen")},
        "- .*frozen of column status .state. is not listed: such a user becomes LOCKED",
    ),
    "an enum without a word": (
        "u",
        "status",
        {"type": "state", "labels": ("active", "pending", "lock", "deleted")},
        r"! .*\[mapping.status.values\] locked: 'locked' is no value of .*Did you mean lock\?",
    ),
    "a status that is an array": (
        "u",
        "status",
        {"type": "text[]", "base": "_text", "is_array": True},
        "! .*which holds no words",
    ),
    "a kind that is a number": ("c", "kind", {"type": "int4"}, "! .*kind is of type int4, and is compared with a text"),
    "a kind that is an enum with other words": (
        "c",
        "kind",
        {"type": "k", "labels": ("pw", "totp")},
        "! .*'password' is no value of column kind",
    ),
    "an algorithm that is a number": (
        "c",
        "algorithm",
        {"type": "int4"},
        "! .*algorithm is of type int4, and must be a text",
    ),
    "an algorithm that is an enum": (
        "c",
        "algorithm",
        {"type": "a", "labels": ("bcrypt", "md5")},
        "- .*md5 of column algorithm .*arrive without password",
    ),
    "a hash in bytes": (
        "c",
        "secret",
        {"type": "bytea"},
        "! .*secret is of type bytea, and must be a text with the hash",
    ),
    "a salt in bytes": ("c", "salt", {"type": "bytea"}, "! .*salt is of type bytea, and must be a text"),
    "parameters that are no JSON": ("c", "params", {"type": "int4"}, "! .*params is of type int4, and must be JSON"),
    "an age that is a date": (
        "c",
        "updated_at",
        {"type": "date"},
        "! .*updated_at is of type date, and must be a timestamp",
    ),
}


@pytest.mark.parametrize(("table", "column", "change", "expected"), COLUMNS.values(), ids=COLUMNS)
def test_a_column_that_does_not_fit(
    tmp_path: Path, table: str, column: str, change: dict[str, object], expected: str
) -> None:
    settings = configured(tmp_path)
    if table == "u":
        found = said(settings, users=changed(USERS, column, **change))
    else:
        found = said(settings, credentials=changed(CREDENTIALS, column, **change))
    assert [line for line in found if re.match(expected, line)], found
    assert {line[0] for line in found} >= {expected[0]}
    lines = settings.path.read_text().splitlines()
    for line in found:
        number = re.match(r". pipeline\.toml:(\d+): \[[\w.]+\] (\w+)", line)
        assert number is None or number[2] in lines[int(number[1]) - 1], line


#: A change of the file, and what is said of it on the reference schema.
FILES: dict[str, tuple[tuple[str, str], str]] = {
    "ids that are no UUIDs": (('sub = "uuid5"', 'sub = "id"'), '! .*the ids are of type bigint, and sub = "id"'),
    "a mark of deletion that is always set": (
        ('# deleted_when_set = "deleted_at"', 'deleted_when_set = "updated_at"'),
        "! .*updated_at .timestamp with time zone. is never NULL: every user would count as deleted",
    ),
    "a choice by a truth value": (
        ("# [mapping.select]", '[mapping.select]\ncolumn = "newsletter"\nvalues = ["yes"]'),
        "! .*'yes' is no value of column newsletter .boolean.. It has true, false",
    ),
    "a word that becomes nothing": (
        (
            'newsletter = { column = "newsletter", type = "boolean" }',
            'newsletter = { column = "gender", type = "boolean", values = { a = "true", b = "maybe" } }',
        ),
        r"! .*newsletter.values\] b: 'maybe' cannot be sent as boolean",
    ),
    "a custom field of another type": (
        ('newsletter = { column = "newsletter", type = "boolean" }', 'x = { column = "birthdate", type = "number" }'),
        "! .*birthdate is of type date, which cannot be sent as number.* type =",
    ),
}


@pytest.mark.parametrize(("change", "expected"), FILES.values(), ids=FILES)
def test_a_file_that_does_not_fit(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    found = said(configured(tmp_path, change))
    assert [line for line in found if re.match(expected, line)], found


def test_phone_numbers_that_are_numbers_are_read_with_a_region(tmp_path: Path) -> None:
    settings = configured(tmp_path, ("# phone_region", "phone_region"))
    (line,) = said(settings, users=changed(USERS, "phone", type="bigint"))
    assert line.startswith("- ")
    assert "DE" in line


@pytest.mark.parametrize("kind", ["p", "v", "m", "f"])
def test_what_is_no_ordinary_table_is_not_read(tmp_path: Path, kind: str) -> None:
    (line,) = said(configured(tmp_path), users=replace(USERS, kind=kind))
    assert "Name an ordinary table" in line


def test_domains_and_texts_of_any_kind_fit(tmp_path: Path) -> None:
    users = changed(changed(USERS, "email", type="address", base="citext"), "username", type="varchar")
    assert said(configured(tmp_path), users=users) == []


def test_nobody_reads_all_users_without_the_right_to(tmp_path: Path) -> None:
    settings, users = configured(tmp_path), changed(USERS, "phone", readable=False)
    (fault,) = fit.unreadable(settings, {users.name: users, CREDENTIALS.name: CREDENTIALS})
    assert fault.where == "[mapping.fields] mobile_number"
