"""On which line a key of pipeline.toml stands: right, or not said at all."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.settings.positions import _inside, positions
from tests.unit.test_settings import OWN_TABLE, refused

ROOT = Path(__file__).parents[2]

#: A text, and the line of each of its keys; what a value over several lines holds has none.
DOCUMENTS: dict[str, tuple[str, dict[str, int]]] = {
    "nothing": ("", {}),
    "comments and blank lines": ("# a = 1\n\n  # [b]\n", {}),
    "tables": ("[a]\nx = 1\n\n[b.c]\nx = 2 # [d]\n", {"a": 1, "a.x": 2, "b": 4, "b.c": 4, "b.c.x": 5}),
    "a table after one inside it": ("[a.b]\nx = 1\n[a]\ny = 2\n", {"a": 3, "a.b": 1, "a.b.x": 2, "a.y": 4}),
    "dotted and quoted keys": (
        'a . b = 1\n"x=y".\'z # w\' = "= [q]"\n[" t.u "]\n"" = 1\n',
        {"a": 1, "a.b": 1, "x=y": 2, "x=y.z # w": 2, " t.u ": 3, " t.u .": 4},
    ),
    "an inline table": (
        "[s]\nv = { a = 1, b.c = { d = 2 } }\n",
        {"s": 1, "s.v": 2, "s.v.a": 2, "s.v.b": 2, "s.v.b.c": 2, "s.v.b.c.d": 2},
    ),
    "an array over lines": (
        '[t]\nlazy = [ # one\n  "x = 1",\n\n  "[u]",\n]\nname = "n"\n',
        {"t": 1, "t.lazy": 2, "t.name": 7},
    ),
    "an array on one line": ("a = [1, [2]]\n", {"a": 1, "a.0": 1, "a.1": 1, "a.1.0": 1}),
    "an inline table with an array over lines": ("v = { a = [\n1,\n], b = 2 }\nw = 3\n", {"v": 1, "w": 4}),
    "texts over lines": ("a = \"\"\"\n[b]\nc = 1\n\"\"\"\nd = '''\ne = 2'''\nf = 3\n", {"a": 1, "d": 5, "f": 7}),
    "a line that goes on": ('a = """x \\\n  y"""\nb = 1\n', {"a": 1, "b": 3}),
    "arrays of tables": (
        "[[a]]\nx = 1\n[[a]]\nx = 2\n[a.b]\ny = 3\n[[a.c]]\nz = 4\n",
        {
            "a": 1,
            "a.0": 1,
            "a.0.x": 2,
            "a.1": 3,
            "a.1.x": 4,
            "a.1.b": 5,
            "a.1.b.y": 6,
            "a.1.c": 7,
            "a.1.c.0": 7,
            "a.1.c.0.z": 8,
        },
    ),
    "no line end at the end": ("a = 1\n[b]\nc = 2", {"a": 1, "b": 2, "b.c": 3}),
    "other marks that end lines elsewhere": ('a = "\u2028"\nb = 1\n', {"a": 1, "b": 2}),
}


@pytest.mark.parametrize(("text", "lines"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_each_key_has_its_line_or_none(text: str, lines: dict[str, int]) -> None:
    assert {".".join(path): line for path, line in positions(text).items()} == lines
    there = set(_inside(tomllib.loads(text)))
    assert set(positions(text)) <= there, "no key is named that is not there"


#: Values of every shape.
VALUES = [
    "1",
    '"a = [b]"',
    "[1, 2] # c = 3",
    "[\n 'x',\n # ]\n]",
    '"""\n[t]\ny = 1\n"""',
    "{ q = 1, r.s = { t = 2 } }",
    "'''= '''",
]


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from(VALUES), st.sampled_from(["", "\n", "# a = 1\n"])), max_size=12)
)
def test_whatever_stands_before_a_key_its_line_is_right(statements: list[tuple[bool, str, str]]) -> None:
    text, table, expected = "", "", {}
    for number, (header, value, before) in enumerate(statements):
        text += before
        line = text.count("\n") + 1
        if header:
            table = f"t{number}"
            text += f"[{table}]\n"
            expected[(table,)] = line
        else:
            text += f"k{number} = {value}\n"
            expected[(table, f"k{number}") if table else (f"k{number}",)] = line
    found = positions(text)
    assert {path: line for path, line in found.items() if path in expected} == expected
    assert set(found) <= set(_inside(tomllib.loads(text)))


def test_each_key_of_the_shipped_file_has_the_line_that_holds_it() -> None:
    text = (ROOT / "pipeline.toml").read_text()
    found = positions(text)
    assert {path for path in _inside(tomllib.loads(text)) if not path[-1].isdigit()} <= set(found)
    lines = text.split("\n")
    assert all(path[-1] in lines[line - 1] for path, line in found.items() if not path[-1].isdigit())


MISTAKES: dict[str, tuple[str, str]] = {
    "a misspelt key": ("[pipeline]\npartitons = 3", "pipeline.toml:13: [pipeline] partitons: is not a known key"),
    "a misspelt table": ("[pipelin]\napp_id = 'x'", "pipeline.toml:12: [pipelin]: is not a known key"),
    "a value of the wrong type": ('[brake]\n# how many\nfloor = "2"', "pipeline.toml:14: [brake] floor: is '2'"),
    "a value that is no table": (
        "[kafka]\n[mapping.passwords]\nalgorithms = 1",
        "pipeline.toml:14: [mapping.passwords] algorithms",
    ),
    "inside an inline table": (
        "[mapping.status]\ncolumn = 's'\nvalues = { a = 'VERIFIED', b = 'ACTIVE' }",
        "pipeline.toml:14: [mapping.status] values.b: is 'ACTIVE'",
    ),
    "inside a table of its own": (
        "[mapping.status]\ncolumn = 's'\n[mapping.status.values]\na = 'VERIFIED'\nb = 'ACTIVE'",
        "pipeline.toml:16: [mapping.status] values.b: is 'ACTIVE'",
    ),
    "a list over lines": ("[delivery]\nonly = [\n 1.5,\n]", "pipeline.toml:13: [delivery] only"),
    "after a list over lines": (
        "[mapping.select]\nvalues = [\n 'x',\n]\ncolumn = 'a b'",
        "pipeline.toml:16: [mapping.select] column",
    ),
    "a missing key has the line of its table": (
        "[mapping.select]\nvalues = ['x']",
        "pipeline.toml:12: [mapping.select] column: is missing",
    ),
    "a dotted key": (
        "[mapping]\nselect.column = 'c'\nselect.values = []",
        "pipeline.toml:14: [mapping.select] values: is missing or empty",
    ),
    "a key of an inline table over lines has none": (
        "[mapping]\nselect = { column = 'a b', values = [\n'x'] }",
        "pipeline.toml: [mapping.select] column: is 'a b'",
    ),
    "a table written twice as a list": (
        "[[delivery]]\nwindow = 3",
        "pipeline.toml:12: [delivery]: is [{'window': 3}] and must be a table",
    ),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert len(OWN_TABLE.split("\n")) == 12, "the mistakes begin on line 12"
    (line,) = refused(tmp_path, OWN_TABLE + text + "\n")
    assert line.startswith(said)
    assert line.endswith(".") and line.count(". ") >= 1, "a remedy follows"


@pytest.mark.parametrize(("text", "line"), [("a = 1\nb = \n", ":2"), ("[pipeline\n", ":1"), ("a = [\n", "")])
def test_what_is_no_toml_is_named_with_its_line(tmp_path: Path, text: str, line: str) -> None:
    (said,) = refused(tmp_path, text)
    assert said.startswith(f"pipeline.toml{line}: is not valid TOML: ")


def test_a_missing_table_has_no_line(tmp_path: Path) -> None:
    lines = refused(tmp_path, "[pipeline]\napp_id = 'x'\n")
    assert "pipeline.toml: [tables] users: is missing" in "\n".join(lines)
