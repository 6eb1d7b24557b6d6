"""Social logins, groups and consents: what is made of a row, and in which shape it is sent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from demo.standin.checks import Checks
from demo.standin.switches import Switches
from streams.cidaas.answers import read_bulk
from streams.cidaas.shape import shaped
from streams.mapping import Mapped, Mapper
from streams.notes import explained
from streams.preview import preview
from streams.settings import ConfigError, Settings, load
from streams.source import fit
from streams.source.catalog import Column, Table

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """
[tables.users]
name = "public.people"
id = "id"
[cidaas]
sub = "id"
[mapping.fields]
email = "mail"
given_name = "first"
createdTime = "made"
[mapping.address]
locality = "city"
"""
ALL = """
[mapping.identities]
facebook = "fb"
google = { column = "links", path = "google.id" }
[mapping.groups]
EVERYBODY = { roles = ["USER"] }
VIP = { column = "vip", roles = ["USER", "BUYER"] }
B2B = { column = "kind", values = ["firm", "office"] }
[mapping.consents]
newsletter = { column = "news", time = "news_at", consent_id = "c1", version_id = "v2" }
terms = { column = "agb", values = { J = "ACCEPTED", N = "REVOKED" } }
privacy = { state = "SKIPPED" }
"""
ROW: dict[str, Any] = {
    "id": "u1",
    "mail": "ada@example.org",
    "first": "Ada",
    "made": "2019-03-01T08:15:00Z",
    "city": "Ulm",
    "fb": 10224,
    "links": '{"google": {"id": "g-7"}}',
    "vip": True,
    "kind": "firm",
    "news": False,
    "news_at": "2024-02-29T12:30:00Z",
    "agb": "J",
}


def configured(folder: Path, lines: str = ALL) -> Settings:
    path = folder / "pipeline.toml"
    path.write_text(HEAD + lines)
    return load(path, {})


def made(settings: Settings, **changes: Any) -> Mapped:
    return Mapper(settings).map("u1", ROW | changes, {})


def entity(settings: Settings, **changes: Any) -> dict[str, Any]:
    result = made(settings, **changes).entity
    assert result is not None
    return result


def test_everything_that_a_user_has_beside_its_fields(tmp_path: Path) -> None:
    result = made(configured(tmp_path))
    assert result.notes == ()
    assert result.entity is not None
    assert result.entity["identities"] == [
        {"provider": "facebook", "providerUserId": "10224"},
        {"provider": "google", "providerUserId": "g-7"},
    ]
    assert result.entity["groups"] == [
        {"sub": "u1", "groupId": "EVERYBODY", "roles": ["USER"]},
        {"sub": "u1", "groupId": "VIP", "roles": ["USER", "BUYER"]},
        {"sub": "u1", "groupId": "B2B"},
    ]
    assert result.entity["consents"] == [
        {
            "fieldKey": "newsletter",
            "state": "REVOKED",
            "consentId": "c1",
            "versionId": "v2",
            "time": "2024-02-29T12:30:00Z",
        },
        {"fieldKey": "terms", "state": "ACCEPTED"},
        {"fieldKey": "privacy", "state": "SKIPPED"},
    ]


def test_null_and_other_words_leave_a_part_out(tmp_path: Path) -> None:
    settings = configured(tmp_path)
    nothing = entity(settings, fb=None, links="{}", vip=None, kind="person", news=None, agb=None)
    assert (nothing["identities"], [one["groupId"] for one in nothing["groups"]]) == ([], ["EVERYBODY"])
    assert [one["fieldKey"] for one in nothing["consents"]] == ["privacy"]
    odd = made(settings, fb=[1], news="perhaps", agb="?", vip="no")
    assert odd.notes == ("identity_facebook_invalid", "consent_newsletter_invalid", "consent_terms_invalid")
    for note in odd.notes:
        assert "not sent" in explained(note, settings).what
    late = made(settings, news_at="soon")
    assert late.notes == ("consent_newsletter_time_invalid",)
    assert "without one" in explained(late.notes[0], settings).what


def test_what_is_not_known_is_counted(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name not in ("vip", "fb")}
    result = Mapper(configured(tmp_path)).map("u1", row | {"agb": "__debezium_unavailable_value"}, {})
    assert result.notes == ("value_unavailable",) * 3


# -- the shape of a call -----------------------------------------------------------------------------------------------


def test_a_user_with_identities_is_an_account_and_its_identities(tmp_path: Path) -> None:
    flat = entity(configured(tmp_path))
    (sent,) = shaped([flat])
    assert sent["identities"] == [
        {
            "sub": "u1",
            "provider": "self",
            "email": "ada@example.org",
            "given_name": "Ada",
            "address": {"locality": "Ulm"},
        },
        {"sub": "u1", "provider": "facebook", "providerUserId": "10224", "email": "ada@example.org"},
        {"sub": "u1", "provider": "google", "providerUserId": "g-7", "email": "ada@example.org"},
    ]
    assert sent.keys() == {"sub", "userStatus", "createdTime", "groups", "consents", "identities"}
    assert Checks(Switches()).user(dict(sent)) == sent, "the schema keeps every part of it"


def test_all_users_of_a_call_have_one_shape(tmp_path: Path) -> None:
    """cidaas takes either flat users or users with identities in one call (oneOf)."""
    settings = configured(tmp_path)
    sent = shaped([entity(settings), entity(settings, fb=None, links=None)])
    assert [len(one["identities"]) for one in sent] == [3, 1]


def test_without_identities_a_user_is_sent_as_it_is(tmp_path: Path) -> None:
    flat = entity(configured(tmp_path, '[mapping.groups]\nVIP = { column = "vip" }\n'))
    (sent,) = shaped([flat])
    assert sent is flat
    assert Checks(Switches()).user(dict(flat)) == flat


def test_an_answer_is_matched_by_the_users_own_address(tmp_path: Path) -> None:
    flat = entity(configured(tmp_path))
    answer = b'{"process_states": [{"identifier": {"email": "ada@example.org", "provider": "self"}, "sub": "u1", '
    (outcome,) = read_bulk(answer + b'"process_state": "CREATED"}]}', [flat])
    assert (outcome.kind.name, outcome.others) == ("DONE", ())
    (refused,) = read_bulk(
        b'{"process_states": [{"identifier": {"email": "ada@example.org", "provider": "self"}, "sub": "ANONYMOUS", '
        b'"process_state": "FAILED", "message": "10224 is taken"}]}',
        [flat],
    )
    assert refused.kind.name == "FAILED"
    assert "10224" not in refused.message, "an id at another provider was shown"


def test_preview_shows_what_is_sent(tmp_path: Path) -> None:
    said = preview(configured(tmp_path), "u1", ROW, {})
    assert [one["provider"] for one in said["entity"]["identities"]] == ["self", "facebook", "google"]
    assert said["entity"]["groups"][0]["groupId"] == "EVERYBODY"


# -- mistakes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('[mapping.identities]\nself = "fb"', "[mapping.identities] self: is cidaas's own identity. Name social"),
        ('[mapping.identities]\n"a b" = "fb"', "[mapping.identities] a b: is no key of cidaas"),
        ('[mapping.groups]\nVIP = { values = ["x"] }', "[mapping.groups.VIP] values: is set without column"),
        ('[mapping.groups]\nVIP = "vip"', "[mapping.groups] VIP: is 'vip' and must be a table. Write it as"),
        ('[mapping.groups]\nVIP = { colum = "x" }', "[mapping.groups.VIP] colum: is not a known key"),
        ('[mapping.consents]\nnews = { time = "t" }', "[mapping.consents.news] column: must be there, or state"),
        ('[mapping.consents]\nnews = { column = "c", state = "ACCEPTED" }', "column: must be there, or state, and not"),
        ('[mapping.consents]\nnews = { state = "YES" }', "[mapping.consents.news] state: is 'YES'. Use one of"),
        ('[mapping.consents]\nnews = { column = "c", values = { j = "yes" } }', "values.j: is 'yes'. Use one of ACC"),
    ],
)
def test_mistakes_are_named_with_line_key_and_remedy(tmp_path: Path, lines: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, lines)
    assert any(line.startswith("pipeline.toml:1") and said in line for line in caught.value.problems), caught.value


def table(**types: str) -> dict[str, Table | None]:
    base = {"mail": "text", "first": "text", "made": "timestamptz", "city": "text", "fb": "int8", "links": "jsonb"}
    rest = {"vip": "bool", "kind": "text", "news": "bool", "news_at": "timestamptz", "agb": "text"}
    columns = [Column(name, base_, base_) for name, base_ in (base | rest | types).items()]
    key = Column("id", "uuid", "uuid", not_null=True, unique=True)
    return {"public.people": Table("public.people", "r", (key, *columns))}


@pytest.mark.parametrize(
    ("types", "said"),
    [
        ({}, ""),
        ({"vip": "timestamptz"}, r"\[mapping.groups\] VIP: column vip is of type timestamptz, which cannot be sent"),
        ({"kind": "bool"}, r"\[mapping.groups.B2B\] values: '(firm|office)' is no value of column kind"),
        ({"news": "date"}, r"\[mapping.consents\] newsletter: column news is of type date, which cannot be sent"),
        ({"news_at": "bool"}, r"newsletter: column news_at is of type bool, which cannot be sent as timestamp"),
        ({"links": "int8"}, r"\[mapping.identities\] google: column links is of type int8, and must be JSON"),
    ],
)
def test_they_are_held_to_the_tables(tmp_path: Path, types: dict[str, str], said: str) -> None:
    settings = configured(tmp_path)
    found = fit.sentences(settings, fit.faults(settings, table(**types)))
    assert bool(found) == bool(said), found
    assert any(re.search(said, line) for line in found) or not said, found
    there = table(**types)["public.people"]
    assert there is not None
    assert fit.not_mapped(settings, there) == []
