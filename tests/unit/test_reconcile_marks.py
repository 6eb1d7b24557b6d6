"""Rows get the same mark whether the legacy tables bring them or Debezium did; whatever they hold, nothing shows."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import date, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from fakes import SETTINGS, credential_row, envelope, user_row
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import Format
from reconciling import KEY, catalog

from streams.legacy import _LOADERS, _values
from streams.reconcile.marks import SIZE, Marker, has_row
from streams.rows import RowChange, RowReader
from streams.snapshots import Merger, Snapshot, decode
from streams.source.everyone import _keyed

_UTC = "+00"


def _plain_time(moment: datetime) -> str:
    """PostgreSQL leaves zeros at the end of a fraction out."""
    text = moment.isoformat(sep=" ")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds") + "Z"


moments = st.datetimes(min_value=datetime(1000, 1, 1))
words = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20)
#: type -> (PostgreSQL's text of a value, Debezium's JSON of it)
VALUES: dict[str, st.SearchStrategy[tuple[str, Any]]] = {
    "text": words.map(lambda text: (text, text)),
    "bpchar": words.map(lambda text: (f"{text:<25}", f"{text:<25}")),
    "bool": st.booleans().map(lambda flag: ("t" if flag else "f", flag)),
    "int4": st.integers(-(2**31), 2**31 - 1).map(lambda number: (str(number), number)),
    "int8": st.integers(-(2**63), 2**63 - 1).map(lambda number: (str(number), number)),
    "float8": st.floats(allow_nan=False, allow_infinity=False).map(lambda number: (repr(number), number)),
    "numeric": st.decimals(-(10**12), 10**12, places=6, allow_nan=False).map(
        lambda number: (format(number, "f"), str(number))
    ),
    "uuid": st.uuids().map(lambda one: (str(one), str(one))),
    "date": st.dates(min_value=date(1000, 1, 1)).map(lambda day: (day.isoformat(), f"{day.isoformat()}Z")),
    "timestamp": moments.map(lambda moment: (_plain_time(moment), _iso(moment))),
    "timestamptz": moments.map(lambda moment: (_plain_time(moment) + _UTC, _iso(moment))),
    "jsonb": st.sampled_from(['{"a": 1}', "[]", '{"b": [1.50, null]}']).map(lambda text: (text, text)),
    "bytea": st.binary(max_size=10).map(lambda data: ("\\x" + data.hex(), base64.b64encode(data).decode())),
}


def loaded(type_name: str, text: str) -> Any:
    """A value as a connection of `Legacy` loads it from PostgreSQL's text."""
    # Of its own: what is registered at psycopg's counts for every connection of this process.
    context = SimpleNamespace(adapters=psycopg.adapt.AdaptersMap(psycopg.adapters), connection=None)
    transformer = psycopg.adapt.Transformer(context)
    for name, loader in _LOADERS.items():
        context.adapters.register_loader(name, loader)
    oid = psycopg.adapters.types[type_name].oid
    return transformer.get_loader(oid, Format.TEXT).load(text.encode())


def of_tables(types: dict[str, str], row: dict[str, Any]) -> dict[str, Any]:
    """A row as `everyone` makes it of what a connection has loaded."""
    oids = [psycopg.adapters.types[types.get(name, "text")].oid for name in row]
    described = [SimpleNamespace(type_code=oid) for oid in [0, *oids]]
    made = _keyed(tuple(row))(SimpleNamespace(description=described))  # type: ignore[arg-type]
    return made([None, *row.values()]).row


def of_debezium(row: dict[str, Any]) -> Snapshot:
    """The snapshot that the join makes of a record, as it stands in the changelog."""
    change = RowReader(SETTINGS.source).read(b"1", envelope("c", "users", 10, row))
    assert isinstance(change, RowChange)
    snap = Snapshot()
    Merger(frozenset(), lambda _: True).change(snap, change, (1, 5), 1)
    return decode(snap.encode(1))


COLUMN = "customer_number"
(TABLE,) = SETTINGS.source.credentials


@pytest.mark.parametrize("type_name", VALUES)
@given(st.data())
def test_both_sides_have_one_mark(type_name: str, data: st.DataObject) -> None:
    text, written = data.draw(VALUES[type_name])
    marker = Marker(SETTINGS, catalog(**{COLUMN: type_name}), KEY)
    assert marker.left_out == []
    value = loaded(type_name, text)
    snap = of_debezium(user_row(1, **{COLUMN: written}))
    row = of_tables({COLUMN: type_name}, user_row(1, **{COLUMN: value}))
    assert marker.of(row, {}) == marker.of_snapshot(snap)
    assert marker.of(_values(user_row(1, **{COLUMN: value})), {}) == marker.of_snapshot(snap), "read again alone"
    other = of_tables({COLUMN: type_name}, user_row(1, **{COLUMN: None}))
    assert marker.of(other, {}) != marker.of_snapshot(snap), "NULL is no value"


@pytest.mark.parametrize(("type_name", "one", "other"), [
    ("numeric", "1E-7", "0.0000001"), ("numeric", "12.50", "12.5"), ("float4", 1, 1.0), ("float8", "NaN", float("nan")),
    ("timestamptz", "infinityZ", "+292278994-08-16T23:00:00.000000Z"), ("date", "0044-03-15TBCZ", "-0043-03-15Z"),
    ("timestamp", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z"),
])  # fmt: skip
def test_other_ways_to_write_one_value_are_one(type_name: str, one: Any, other: Any) -> None:
    marker = Marker(SETTINGS, catalog(**{COLUMN: type_name}), KEY)
    marks = {marker.of(user_row(1, **{COLUMN: value}), {}) for value in (one, other)}
    assert len(marks) == 1


def test_columns_of_types_that_are_written_in_two_ways_are_left_out_and_named() -> None:
    marker = Marker(SETTINGS, catalog(city="interval", salt="inet"), KEY)
    assert marker.left_out == ["public.users.city", "public.credentials.salt"]
    assert marker.of(user_row(1, city="1 day"), {}) == marker.of(user_row(1, city="P1D"), {})
    assert marker.of(user_row(1, phone="1"), {}) != marker.of(user_row(1), {})


def test_every_column_of_every_row_counts_hash_and_seed_too() -> None:
    marker = Marker(SETTINGS, catalog(), KEY)
    user, credential = user_row(1), credential_row(7, 1)
    before = marker.of(user, {TABLE.name: [credential]})
    for name in SETTINGS.source.users.columns:
        assert marker.of({**user, name: "other"}, {TABLE.name: [credential]}) != before, name
        lacking = {key: value for key, value in user.items() if key != name}
        assert marker.of(lacking, {TABLE.name: [credential]}) != before, f"{name}: missing is not NULL (M7)"
    for name in TABLE.columns:
        assert marker.of(user, {TABLE.name: [{**credential, name: "other"}]}) != before, name
    assert marker.of(None, {TABLE.name: [credential]}) != before and marker.of(user, {}) != before


@given(st.lists(st.integers(1, 50), unique=True, max_size=6), st.randoms())
def test_the_order_of_rows_does_not_matter(pks: list[int], random: Any) -> None:
    marker = Marker(SETTINGS, catalog(), KEY)
    rows = [credential_row(pk, 1) for pk in pks]
    whole = marker.of(user_row(1), {TABLE.name: rows})
    random.shuffle(rows)
    grown = marker.of(user_row(1), {})
    for row in rows:
        grown = marker.more(grown, TABLE.name, row)
    assert grown == whole and has_row(grown) and whole < 1 << 8 * SIZE
    assert marker.of(None, {}) == 0 and not has_row(marker.of(None, {TABLE.name: rows}))


def test_another_run_has_other_marks() -> None:
    """Nobody can tell from one report whose rows another one was about."""
    one, other = (Marker(SETTINGS, catalog(), key) for key in (b"a", b"b"))
    assert one.of(user_row(1), {}) != other.of(user_row(1), {})


def test_without_a_table_of_credentials() -> None:
    settings = replace(SETTINGS, source=replace(SETTINGS.source, credentials=()))
    marker = Marker(settings, catalog(settings), KEY)
    assert marker.of_snapshot(of_debezium(user_row(1))) == marker.of(user_row(1), {})
