"""`mapping preview`: what one user becomes, why a field is empty, and that no secret is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.commands.mapping import _preview_text
from streams.mapping import Mapper
from streams.notes import explained, fields
from streams.passwords import NOTES
from streams.preview import hidden, preview
from streams.settings import Settings, load
from tests.unit.test_fit import configured
from tests.unit.test_mapping import BCRYPT, PASSWORD, TOTP, USER
from tests.unit.test_settings import OWN_TABLE

SEED = TOTP["secret"]


def shown(settings: Settings, row: dict[str, Any] = USER, *credentials: dict[str, Any]) -> dict[str, Any]:
    return preview(settings, str(row["id"]), row, {"public.credentials": credentials})


def test_a_live_user_is_shown_with_secrets_hidden(tmp_path: Path) -> None:
    pbkdf2 = PASSWORD | {"algorithm": "pbkdf2-sha256", "secret": "c2VjcmV0aGFzaA==", "salt": "pepper-and-salt"}
    pbkdf2["params"] = '{"iterations": 27500, "keylen": 64}'
    settings = configured(tmp_path, ('start = "paused"', 'start = "running"'))
    body = shown(settings, USER, pbkdf2, TOTP)
    assert (body["status"], body["sent"], body["sentence"]) == ("live", True, "sent as below.")
    assert body["sub"] == Mapper(settings).sub_of("4711") == body["entity"]["sub"]
    assert body["entity"]["email"] == "Jörg.Weiß@Example.org", "personal values are what was asked for"
    assert body["entity"]["password_hash_info"] == {
        "algorithmTypeId": "PBKDF2",
        "passwordHash": "(hidden, 16 characters)",
        "hData": {"salt": "(hidden, 15 characters)", "iterations": "27500", "keylen": "64"},
    }
    text = _preview_text(body) + orjson.dumps(body).decode()
    for secret in ("c2VjcmV0aGFzaA==", "pepper-and-salt", SEED):
        assert secret not in text
    assert BCRYPT not in _preview_text(shown(settings, USER, PASSWORD))
    assert '"passwordHash": "(hidden, 60 characters)"' in _preview_text(shown(settings, USER, PASSWORD))


def test_a_hash_that_is_also_mapped_as_a_field_stays_hidden(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    custom = '[mapping.custom_fields]\nold = "kennwort"\nnumber = { column = "kennwort", type = "number" }\n'
    path.write_text(OWN_TABLE.replace("[cidaas]", custom + "[cidaas]"))
    body = preview(load(path, {}), "7", {"kunde_id": 7, "mail": "a@example.org", "kennwort": BCRYPT}, {})
    assert body["entity"]["customFields"] == {"old": hidden(BCRYPT), "number": None}
    assert BCRYPT not in _preview_text(body) + orjson.dumps(body).decode()


#: What is changed in the row, and the reason why a field has no value.
EMPTY = {
    "NULL": ({"gender": None}, ("gender", "column gender is NULL")),
    "blank": ({"gender": "  "}, ("gender", "column gender is blank")),
    "no telephone number": (
        {"phone": "call me"},
        ("mobile_number", "no valid telephone number in column phone: null is sent (it holds 'call me')"),
    ),
    "no date": (
        {"birthdate": "01.05.1970"},
        ("birthdate", "the value of column birthdate cannot be read as date: null is sent (it holds '01.05.1970')"),
    ),
    "a custom field": (
        {"newsletter": "perhaps"},
        (
            "customFields.newsletter",
            "the value of column newsletter cannot be read as boolean: null is sent (it holds 'perhaps')",
        ),
    ),
    "a part of the address": ({"city": None}, ("address.locality", "column city is NULL")),
}


@pytest.mark.parametrize(("change", "expected"), EMPTY.values(), ids=EMPTY)
def test_it_says_why_a_field_has_no_value(tmp_path: Path, change: dict[str, Any], expected: tuple[str, str]) -> None:
    body = shown(configured(tmp_path), USER | change, PASSWORD)
    assert [(one["field"], one["what"]) for one in body["empty"]] == [expected]
    assert expected[1] in _preview_text(body)


def test_a_word_that_is_not_listed(tmp_path: Path) -> None:
    settings = configured(
        tmp_path, ('gender = "gender"', 'gender = { column = "gender", values = { m = "male", f = "female" } }')
    )
    body = shown(settings, USER, PASSWORD)
    assert [one["what"] for one in body["empty"]] == [
        "the value of column gender is not among f, m: null is sent (it holds 'male')"
    ]
    assert body["notes"] == [
        {
            "note": "gender_invalid",
            "what": "gender: the value of column gender is not among f, m: null is sent",
            "remedy": "",
        }
    ]


SELECT = ("# [mapping.select]", '[mapping.select]\ncolumn = "country"\nvalues = ["AT", "CH"]\n# [x]')
#: A change of the file and of the row, the status, and what the sentence says.
SENTENCES: dict[str, tuple[list[tuple[str, str]], dict[str, Any], str, str]] = {
    "paused": ([], {}, "live", 'sent as below, as soon as delivery is not paused (delivery.start is "paused"'),
    "others first": ([("# only = [", "only = [")], {}, "live", "not yet: delivery.only (or DELIVERY_ONLY) names other"),
    "deleted by its status": (
        [],
        {"status": "deleted"},
        "deleted",
        "deleted at cidaas: column status holds 'deleted', which [mapping.status] counts as deleted",
    ),
    "deleted by a mark": (
        [("# deleted_when_set", "deleted_when_set")],
        {"deleted_at": "2026-01-01T00:00:00Z"},
        "deleted",
        "deleted at cidaas: column deleted_at is set",
    ),
    "left out, kept": (
        [SELECT],
        {},
        "not_selected",
        "not sent: column country holds 'DE', and [mapping.select] wants AT or CH. If it was sent before, it stays",
    ),
    "left out, deleted": (
        [SELECT, ('# on_leave = "keep"', 'on_leave = "delete"')],
        {"country": None},
        "not_selected",
        "not sent: column country is NULL, and [mapping.select] wants AT or CH. If it was sent before, it is deleted",
    ),
    "nothing to know it by": (
        [],
        {"email": None, "username": "", "phone": None},
        "live",
        "sent as below, and refused by cidaas: it has no e-mail address",
    ),
}


@pytest.mark.parametrize(("changes", "row", "status", "words"), SENTENCES.values(), ids=SENTENCES)
def test_it_says_whether_it_would_be_sent_and_why(
    tmp_path: Path, changes: list[tuple[str, str]], row: dict[str, Any], status: str, words: str
) -> None:
    body = shown(configured(tmp_path, *changes), USER | row, PASSWORD)
    assert body["status"] == status
    assert words in body["sentence"]
    assert (body["entity"] is None) is (status != "live")
    assert _preview_text(body).startswith(f"user 4711: {body['sentence']}\n")


def test_every_note_of_the_mapping_has_words(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    notes = {field.note for field in fields(settings)} | set(NOTES)
    notes |= {"no_identifier", "value_unavailable", "password_unavailable", "status_unknown"}
    assert {note for note in notes if explained(note, settings).what == note} == set()
    text = (Path(__file__).parents[2] / "streams" / "mapping.py").read_text()
    assert text.count("notes.append(") == text.count('notes.append("') + 3, (
        "the others are those of fields, of made ones, and NOTES"
    )
    assert "column status is not listed: the user becomes LOCKED" in explained("status_unknown", settings).what


def test_the_notes_of_a_user_are_said_once_each(tmp_path: Path) -> None:
    row = USER | {"status": "frozen", "phone": "x"}
    body = shown(
        configured(tmp_path), row, PASSWORD | {"algorithm": "md5", "secret": "5f4dcc3b5aa765d61d8327deb882cf99"}
    )
    assert [one["note"] for one in body["notes"]] == ["status_unknown", "invalid_phone", "password_algorithm_unknown"]
    assert body["entity"]["password_hash_info"] is None
    assert "arrives without password" in _preview_text(body)
