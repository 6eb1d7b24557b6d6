"""Fields that are more than a column's value: JSON paths, letters, epochs, templates and Python functions."""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from streams import converters
from streams.mapping import Mapped, Mapper
from streams.notes import explained
from streams.preview import preview
from streams.settings import ConfigError, Settings, load
from streams.source import fit
from streams.source.catalog import Column, Table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD = """
[tables.users]
name = "public.people"
id = "id"
[tables.users.password]
secret = "pw"
algorithm_constant = "bcrypt"
[cidaas]
sub = "id"
[mapping]
phone_region = "DE"
[mapping.fields]
email = "mail"
"""
MODULE = """
def shout(value):
    return value and value.upper() + "!"

def salutation(row):
    return {"m": "Mr", "f": "Ms"}.get(row["sex"], "") + " " + row["last"]

def broken(value):
    raise ValueError("secret value " + str(value))

def leaving(value):
    raise SystemExit(3)

def wrong(value):
    return [value]

def agreed(value):
    return value == "J"

def two(one, other):
    return None

async def later(value):
    return None
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[str]:
    """A module beside pipeline.toml; its name is new for each test, because Python keeps what it has imported."""
    name = "own_" + re.sub(r"\W", "_", tmp_path.name)
    (tmp_path / f"{name}.py").write_text(MODULE)
    yield name
    sys.modules.pop(name, None)
    sys.path[:] = [place for place in sys.path if place != str(tmp_path.resolve())]


def configured(folder: Path, *lines: str) -> Settings:
    path = folder / "pipeline.toml"
    path.write_text(HEAD + "\n".join(lines))
    return load(path, {})


def refused(folder: Path, *lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(folder, *lines)
    (line,) = caught.value.problems
    return line


def made(settings: Settings, **row: Any) -> Mapped:
    return Mapper(settings).map("u1", {"id": "u1", "mail": "a@example.org", "pw": None} | row, {})


def field(settings: Settings, name: str, **row: Any) -> Any:
    entity = made(settings, **row).entity
    assert entity is not None
    return entity[name]


# -- one column --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "value", "expected"),
    [
        ('{ column = "x", case = "lower" }', " ÄRGER@X ", "ärger@x"),
        ('{ column = "x", case = "upper" }', "de", "DE"),
        ('{ column = "x", case = "lower", values = { m = "male" } }', "M", "male"),
        ('{ column = "x", case = "lower" }', "  ", None),
        ('{ column = "x", path = "name.first" }', '{"name": {"first": " Ada "}}', "Ada"),
        ('{ column = "x", path = "name.first" }', '{"name": {}}', None),
        ('{ column = "x", path = "name.first" }', '{"name": null}', None),
        ('{ column = "x", path = "n" }', '{"n": 5}', "5"),
    ],
)
def test_the_value_of_one_column(tmp_path: Path, rule: str, value: Any, expected: Any) -> None:
    settings = configured(tmp_path, f"nickname = {rule}")
    assert field(settings, "nickname", x=value) == expected
    assert made(settings, x=value).notes == ()


@pytest.mark.parametrize("value", ["no json", "[1]", '"text"', '{"name": "flat"}', '{"name": {"first": [1]}}'])
def test_json_without_the_value_is_counted(tmp_path: Path, value: str) -> None:
    settings = configured(tmp_path, 'nickname = { column = "x", path = "name.first" }')
    assert field(settings, "nickname", x=value) is None
    assert made(settings, x=value).notes == ("nickname_invalid",)
    assert explained("nickname_invalid", settings).what.startswith("nickname: the value of name.first in the JSON of")


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("ms", 1551428100000, "2019-03-01T08:15:00Z"),
        ("ms", 1551428100123, "2019-03-01T08:15:00.123000Z"),
        ("s", 1551428100, "2019-03-01T08:15:00Z"),
        ("s", "1551428100", "2019-03-01T08:15:00Z"),
        ("us", 1551428100000001, "2019-03-01T08:15:00.000001Z"),
        ("s", 0, "1970-01-01T00:00:00Z"),
        ("s", -1, "1969-12-31T23:59:59Z"),
        ("s", 1.5, "1970-01-01T00:00:01.500000Z"),
    ],
)
def test_moments_that_are_numbers(tmp_path: Path, unit: str, value: Any, expected: str) -> None:
    settings = configured(tmp_path, f'createdTime = {{ column = "x", epoch = "{unit}" }}')
    assert field(settings, "createdTime", x=value) == expected


@pytest.mark.parametrize("value", [2**62, -(2**62), True, "2019-03-01", [1], 1e308])
def test_numbers_that_are_no_moments_are_counted(tmp_path: Path, value: Any) -> None:
    settings = configured(tmp_path, 'createdTime = { column = "x", epoch = "s" }')
    assert made(settings, x=value).notes == ("createdTime_invalid",)


def test_a_day_of_a_number(tmp_path: Path) -> None:
    settings = configured(tmp_path, 'birthdate = { column = "x", epoch = "ms" }')
    assert field(settings, "birthdate", x=0) == "1970-01-01"


# -- templates ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "row", "expected"),
    [
        ("{a} {b}", {"a": " Ada ", "b": "Lovelace"}, "Ada Lovelace"),
        ("{a} {b} {c}", {"a": "Ada", "b": None, "c": "Lovelace"}, "Ada Lovelace"),
        ("{a} {b}", {"a": "Ada", "b": "  "}, "Ada"),
        ("{a}, {b}", {"a": None, "b": None}, None),
        ("{a}-{a}", {"a": 5}, "5-5"),
        ("{{{a}}}", {"a": "x"}, "{x}"),
        ("always", {}, "always"),
        ("{a}\\n{b}", {"a": "Street  5", "b": "01067"}, "Street  5\n01067"),
    ],
)
def test_a_template(tmp_path: Path, template: str, row: dict[str, Any], expected: str | None) -> None:
    settings = configured(tmp_path, f'nickname = {{ template = "{template}" }}')
    assert field(settings, "nickname", **row) == expected
    assert set(row) <= set(settings.source.users.columns), "what a template names is read"


def test_a_template_is_read_as_its_field_wants_it(tmp_path: Path) -> None:
    settings = configured(
        tmp_path,
        'mobile_number = { template = "+{cc}{tel}" }',
        "[mapping.address]",
        'formatted = { template = "{street}, {city}" }',
        "[mapping.custom_fields]",
        'vip = { template = "{level}", type = "boolean" }',
    )
    row = {"cc": 49, "tel": "1711234567", "street": "Weg 1", "city": "Ulm", "level": "yes"}
    entity = made(settings, **row).entity
    assert entity is not None
    assert (entity["mobile_number"], entity["address"]) == ("+491711234567", {"formatted": "Weg 1, Ulm"})
    assert entity["customFields"] == {"vip": True}
    odd = made(settings, **row | {"tel": "12", "level": "perhaps"})
    assert odd.notes == ("invalid_phone", "custom_vip_invalid")
    assert "no valid telephone number in the template with columns cc, tel" in str(
        preview(settings, "u1", {"id": "u1"} | row | {"tel": "12"}, {})["empty"]
    )


def test_what_is_not_known_of_a_template_is_neither_sent_nor_cleared(tmp_path: Path) -> None:
    settings = configured(tmp_path, 'nickname = { template = "{a} {b}" }')
    for row in ({"a": "x"}, {"a": "x", "b": "__debezium_unavailable_value"}):
        result = made(settings, **row)
        assert result.entity is not None
        assert ("nickname" in result.entity, result.notes) == (False, ("value_unavailable",))


def test_an_address_that_is_made_is_an_identifier(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.toml"
    path.write_text(HEAD.replace('"mail"', '{ template = "{mail}@Example.org" }'))
    result = made(load(path, {}), mail="Ada")
    assert (result.email_key, result.notes) == ("ada@example.org", ())


# -- functions ---------------------------------------------------------------------------------------------------------


def test_a_function_of_a_column_and_of_a_row(tmp_path: Path, own: str) -> None:
    settings = configured(
        tmp_path,
        f'nickname = {{ column = "x", function = "{own}:shout" }}',
        f'profile = {{ columns = ["sex", "last"], function = "{own}:salutation" }}',
        "[mapping.custom_fields]",
        f'terms = {{ column = "agb", type = "boolean", function = "{own}:agreed" }}',
    )
    entity = made(settings, x="ada", sex="f", last="Lovelace", agb="J").entity
    assert entity is not None
    assert (entity["nickname"], entity["profile"], entity["customFields"]) == ("ADA!", "Ms Lovelace", {"terms": True})
    assert field(settings, "nickname", x=None, sex="f", last="L", agb=None) is None, "NULL is given, too"


@pytest.mark.parametrize("name", ["broken", "leaving", "wrong", "salutation"])
def test_a_function_that_fails_is_counted_and_named_without_the_value(
    tmp_path: Path, own: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = configured(tmp_path, f'nickname = {{ column = "x", function = "{own}:{name}" }}')
    mapper = Mapper(settings)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            result = mapper.map("u1", {"id": "u1", "mail": "a@example.org", "pw": None, "x": "Geheim"}, {})
            assert result.entity is not None
            assert (result.entity["nickname"], result.notes) == (None, ("nickname_invalid",))
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == (name != "wrong"), "each place once"
    assert all(re.search(rf"{own}:{name} .* in line \d+ of {own}\.py", line) for line in logged), logged
    assert "Geheim" not in caplog.text
    said = preview(settings, "u1", {"id": "u1", "mail": "a@example.org", "pw": None, "x": "Geheim"}, {})
    (empty,) = said["empty"]
    assert f"{own}:{name}" in empty["what"]
    assert said["notes"][0]["note"] == "nickname_invalid"


def test_a_changed_function_is_a_changed_mapping(tmp_path: Path, own: str) -> None:
    line = f'nickname = {{ column = "x", function = "{own}:shout" }}'
    before = configured(tmp_path, line).mapping.id
    assert configured(tmp_path, line).mapping.id == before
    module = tmp_path / f"{own}.py"
    module.write_text(module.read_text().replace("!", "?"))
    sys.modules.pop(own)
    assert configured(tmp_path, line).mapping.id != before


def test_a_rule_without_a_transform_is_not_made_slower(tmp_path: Path) -> None:
    """`text` itself is what the fast way through a row recognizes."""
    settings = configured(tmp_path, 'nickname = "x"')
    assert all(converters.converter(rule, None) is converters.text for rule in settings.mapping.fields)
    assert Mapper(settings)._derived == ()


#: A line, and what is said of it.
MISTAKES = {
    '{ column = "x", function = "OWN:nobody" }': "function: names nobody, which the module .* does not have",
    '{ column = "x", function = "no_such_module:f" }': "function: names the module no_such_module, which cannot",
    '{ column = "x", function = "shout" }': "function: is 'shout'. Write \"package.module:function\"",
    '{ column = "x", function = "OWN:two" }': "function: does not take exactly one argument",
    '{ column = "x", function = "OWN:later" }': "function: is no plain function",
    '{ function = "OWN:shout" }': "column: is missing. Name the column",
    '{ columns = [], function = "OWN:salutation" }': "columns: is empty",
    '{ columns = ["a"] }': "columns: is set without function",
    '{ columns = ["a b"], function = "OWN:salutation" }': "columns: is 'a b', which is no plain column name",
    '{ template = "{a}", column = "x" }': "template: stands beside column",
    '{ template = "{a}", function = "OWN:shout" }': "function: stands beside template",
    '{ template = "{a" }': "template: has a brace without its counterpart",
    '{ template = "{a:>5}" }': "template: has more than the name of a column",
    '{ template = "{}" }': "template: has more than the name of a column",
    '{ template = "{a.b}" }': "template: is 'a.b', which is no plain column name",
    '{ column = "x", path = "a..b" }': "path: is 'a..b'. Write the names that lead to the value",
    '{ template = "{a}", path = "b" }': "path: is for one column of JSON",
    '{ column = "x", epoch = "ms" }': "nickname.epoch: is text, and epoch makes a moment",
    '{ column = "x", case = "title" }': "case: is 'title'. Use one of lower, upper",
}


@pytest.mark.parametrize(("rule", "said"), MISTAKES.items(), ids=MISTAKES)
def test_mistakes_are_named_with_line_key_and_remedy(tmp_path: Path, own: str, rule: str, said: str) -> None:
    line = refused(tmp_path, f"nickname = {rule.replace('OWN', own)}")
    assert re.match(rf"pipeline\.toml:14: \[mapping\.fields(\.nickname)?\] {said}", line), line


def test_a_module_that_fails_is_one_sentence(tmp_path: Path, own: str) -> None:
    (tmp_path / f"{own}.py").write_text("import os\n1 / 0\n")
    line = refused(tmp_path, f'nickname = {{ column = "x", function = "{own}:shout" }}')
    assert "cannot be imported (ZeroDivisionError: division by zero)" in line


# -- the tables as they are --------------------------------------------------------------------------------------------


def people(**types: str) -> dict[str, Table | None]:
    columns = [
        Column("id", "uuid", "uuid", not_null=True, unique=True),
        Column("mail", "text", "text", not_null=True),
        Column("pw", "text", "text"),
        *(Column(name, type_, type_) for name, type_ in types.items()),
    ]
    return {"public.people": Table("public.people", "r", tuple(columns))}


@pytest.mark.parametrize(
    ("rule", "types", "said"),
    [
        ('nickname = { template = "{a} {b}" }', {"a": "text"}, "the table public.people has no column b"),
        (
            'nickname = { template = "{a}" }',
            {"a": "bytea"},
            "column a is of type bytea, which is no text",
        ),
        ('nickname = { column = "a", path = "b" }', {"a": "int8"}, "column a is of type int8, and must be JSON"),
        ('createdTime = "a"', {"a": "int8"}, "Say what it counts since 1970"),
        (
            'createdTime = { column = "a", epoch = "ms" }',
            {"a": "bool"},
            "column a is of type bool, which cannot",
        ),
    ],
)
def test_what_does_not_fit_the_tables(tmp_path: Path, rule: str, types: dict[str, str], said: str) -> None:
    settings = configured(tmp_path, rule)
    (found,) = fit.sentences(settings, fit.faults(settings, people(**types)))
    assert found.startswith("pipeline.toml:14: [mapping.fields] ")
    assert said in found


def test_what_fits_is_left_alone(tmp_path: Path, own: str) -> None:
    settings = configured(
        tmp_path,
        'nickname = { template = "{a} {n}" }',
        'given_name = { column = "j", path = "name" }',
        'createdTime = { column = "n", epoch = "ms" }',
        f'profile = {{ columns = ["a", "j"], function = "{own}:salutation" }}',
    )
    tables = people(a="text", n="int8", j="jsonb")
    assert fit.faults(settings, tables) == []
    table = tables["public.people"]
    assert table is not None
    assert fit.not_mapped(settings, table) == []


def test_secrets_stay_hidden_in_whatever_they_are_put(tmp_path: Path, own: str) -> None:
    settings = configured(
        tmp_path,
        'nickname = { template = "hash {pw}" }',
        f'profile = {{ column = "pw", function = "{own}:shout" }}',
    )
    said = preview(settings, "u1", {"id": "u1", "mail": "a@example.org", "pw": "$2b$geheim"}, {})
    assert "geheim" not in str(said).lower()


# -- whatever comes ----------------------------------------------------------------------------------------------------

VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers()))


@examples(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(("a", "b", "j", "n"), VALUES)))
def test_no_row_stops_the_mapping(tmp_path: Path, own: str, row: dict[str, Any]) -> None:
    settings = configured(
        tmp_path,
        'nickname = { template = "{a} {b}" }',
        'given_name = { column = "j", path = "name.first", case = "lower" }',
        'createdTime = { column = "n", epoch = "ms" }',
        'birthdate = { template = "{n}", epoch = "s" }',
        f'profile = {{ columns = ["a", "b"], function = "{own}:salutation" }}',
        f'website = {{ column = "a", path = "x", function = "{own}:shout" }}',
    )
    assert made(settings, **row).status == "live"
