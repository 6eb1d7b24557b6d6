"""`mapping diff`: what another mapping makes of the users, counted by outcome and by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from streams.commands.mapping import _diff_text, _new_columns
from streams.divergence import EXAMPLES, Divergence
from tests.unit.test_fit import configured
from tests.unit.test_mapping import PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

SELECT = ("# [mapping.select]", '[mapping.select]\ncolumn = "country"\nvalues = ["AT"]\n# [x]')


def compared(before: Settings, after: Settings, *rows: dict[str, Any]) -> dict[str, Any]:
    divergence = Divergence(before, after)
    for row in rows:
        divergence.add(str(row["id"]), row, {"public.credentials": [PASSWORD]})
    return divergence.report()


def pair(tmp_path: Path, *changes: tuple[str, str]) -> tuple[Settings, Settings]:
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    return configured(tmp_path / "before"), configured(tmp_path / "after", *changes)


#: A change of the file, and what is said of which field.
FIELDS: dict[str, tuple[tuple[str, str], list[tuple[str, str]]]] = {
    "another column": (('locale = "locale"', 'locale = "country"'), [("locale", "another value")]),
    "a field less": (('locale = "locale"', ""), [("locale", "no longer sent")]),
    "a field more": (
        ('locale = "locale"', 'locale = "locale"\nnickname = "username"'),
        [("nickname", "sent for the first time")],
    ),
    "a field more that is NULL": (
        ('locale = "locale"', 'locale = "locale"\nnickname = "absent"'),
        [("nickname", "sent for the first time, as null")],
    ),
    "a value that is lost": (
        ('gender = "gender"', 'gender = { column = "gender", values = { m = "male" } }'),
        [("gender", "null instead of a value")],
    ),
    "a value that is won": (
        ('birthdate = "birthdate"', 'birthdate = "born"'),
        [("birthdate", "a value instead of null")],
    ),
    "a part of the address": (('country = "country"', 'country = "city"'), [("address.country", "another value")]),
    "a custom field of another type": (
        ('newsletter = { column = "newsletter", type = "boolean" }', 'newsletter = "newsletter"'),
        [("customFields.newsletter", "another value")],
    ),
    "a password": (('bcrypt_prefix = "keep"', 'bcrypt_prefix = "$2y$"'), [("password_hash_info", "another value")]),
    "another status": (('active = "VERIFIED"', 'active = "PENDING"'), [("userStatus", "another value")]),
    "another sub": (('sub_namespace = "7', 'sub_namespace = "8'), [("sub", "another value")]),
    "an event less": (("no_event = false", "no_event = true"), [("no_event", "sent for the first time")]),
}


@pytest.mark.parametrize(("change", "expected"), FIELDS.values(), ids=FIELDS)
def test_each_field_that_changes_is_named(
    tmp_path: Path, change: tuple[str, str], expected: list[tuple[str, str]]
) -> None:
    row = USER | {"absent": None, "born": "1970-05-01Z"}
    if expected == [("birthdate", "a value instead of null")]:
        row["birthdate"] = None
    report = compared(*pair(tmp_path, change), row)
    assert [(one["field"], one["change"]) for one in report["fields"]] == expected
    assert (report["read"], report["differ"], report["same"], report["sent_again"]) == (1, 1, 0, 1)
    assert report["outcomes"] == []


def test_a_truth_value_and_the_number_one_are_not_the_same(tmp_path: Path) -> None:
    """They are equal in Python; cidaas gets JSON, and so does the fingerprint."""
    before, after = pair(tmp_path, ('type = "boolean"', 'type = "number"'))
    report = compared(before, after, USER | {"newsletter": "1"})
    assert [(one["field"], one["change"]) for one in report["fields"]] == [("customFields.newsletter", "another value")]


#: A change of the file and of the row, the outcomes, and how many are sent.
OUTCOMES: dict[str, tuple[list[tuple[str, str]], dict[str, Any], tuple[str, str], int]] = {
    "deleted": ([('deleted = ["deleted"]', 'deleted = ["frozen"]')], {"status": "frozen"}, ("sent", "deleted"), 0),
    "back to life": ([('deleted = ["deleted"]', "deleted = []")], {"status": "deleted"}, ("deleted", "sent"), 1),
    "left out": ([SELECT], {}, ("sent", "left out"), 0),
    "left out and deleted": (
        [SELECT, ('# on_leave = "keep"', 'on_leave = "delete"')],
        {},
        ("sent", "left out, and deleted if it was sent"),
        0,
    ),
}


@pytest.mark.parametrize(("changes", "row", "expected", "sent"), OUTCOMES.values(), ids=OUTCOMES)
def test_each_outcome_that_changes_is_named(
    tmp_path: Path, changes: list[tuple[str, str]], row: dict[str, Any], expected: tuple[str, str], sent: int
) -> None:
    report = compared(*pair(tmp_path, *changes), USER | row)
    assert [(one["before"], one["after"], one["users"]) for one in report["outcomes"]] == [(*expected, 1)]
    assert (report["differ"], report["sent_again"], report["fields"]) == (1, sent, [])


def test_who_comes_out_the_same_is_only_counted(tmp_path: Path) -> None:
    before, after = pair(tmp_path, ('gender = "gender"', 'gender = { column = "gender", values = { male = "male" } }'))
    assert before.mapping.id != after.mapping.id
    report = compared(before, after, USER, USER | {"id": 2, "gender": "female"}, USER | {"id": 3, "status": "deleted"})
    assert (report["read"], report["same"], report["differ"]) == (3, 2, 1)
    assert report["fields"] == [{"field": "gender", "change": "null instead of a value", "users": 1, "examples": ["2"]}]
    (note,) = report["notes"]
    assert (note["note"], note["before"], note["after"]) == ("gender_invalid", 0, 1)
    assert "not among male" in note["what"], "in the words of the mapping that makes it"


def test_only_some_ids_stand_for_many_users_and_no_value_does(tmp_path: Path) -> None:
    before, after = pair(tmp_path, ('given_name = "given_name"', 'given_name = "family_name"'))
    report = compared(before, after, *({**USER, "id": number} for number in range(1, 100)))
    (field,) = report["fields"]
    assert (field["users"], field["examples"]) == (99, [str(number) for number in range(1, EXAMPLES + 1)])
    text = _diff_text(body(before, after) | report)
    assert "given_name  another value  99  such as 1, 2, 3, 4, 5" in text
    assert not {USER["given_name"].strip(), USER["family_name"], USER["email"].strip()} & set(text.split())


def body(before: Settings, after: Settings, users: int = 99) -> dict[str, Any]:
    ids = [before.mapping.id, after.mapping.id]
    return {"before": "old.toml", "after": "pipeline.toml", "mapping_ids": ids, "users": users, "new_columns": []}


def test_the_text_warns_of_another_sub_of_a_sample_and_of_new_columns(tmp_path: Path) -> None:
    before, after = pair(
        tmp_path, ('sub_namespace = "7', 'sub_namespace = "8'), ('locale = "locale"', 'locale = "language"')
    )
    report = compared(before, after, USER | {"language": "de"})
    text = _diff_text(body(before, after, 2_000) | {"new_columns": _new_columns(before, after)} | report)
    assert "a sample: 1 of 2,000 users were read" in text
    assert "! sub changes" in text
    assert "! columns that were not read before: public.users.language." in text
    assert "1 users: 0 come out the same (noted, without a call), 1 would be sent, 0 would be deleted" in text
    assert "both make the same" in _diff_text(body(before, before))
