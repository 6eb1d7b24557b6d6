"""All users come with their credentials, in one pass and without holding more than one, whatever keys they have."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.legacy import Moment, written
from streams.settings import Settings, load
from streams.source.catalog import Column, Table
from streams.source.everyone import Read, order_of, wanted
from streams.source.merging import Keyed, OrderError, Orphan, Stream, User, joined
from tests.unit.test_settings import OWN_TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def stream(keys: Sequence[Any], chunk: int = 2) -> Stream:
    rows = [Keyed(key, {"at": at}) for at, key in enumerate(keys)]
    chunks = iter([rows[at : at + chunk] for at in range(0, len(rows), chunk)])

    async def fetch() -> list[Keyed]:
        return next(chunks, [])

    return Stream(fetch)


async def join(users: Sequence[Any], credentials: Sequence[Any] | None, chunk: int = 2) -> tuple[dict[str, int], int]:
    """How many credentials each user has, and how many have no user."""
    found: dict[str, int] = {}
    orphans = 0
    streams = {} if credentials is None else {"shop.pw": stream(credentials, chunk)}
    async for one in joined(stream(users, chunk), streams):
        if isinstance(one, User):
            found[one.id] = sum(map(len, one.credentials.values()))
        else:
            assert isinstance(one, Orphan)
            orphans += 1
    return found, orphans


async def test_users_get_their_credentials_and_the_rest_are_orphans() -> None:
    found = await join([2, 3, 5, 9], [1, 2, 2, 2, 4, 5, 10, 11, None])
    assert found == ({"2": 3, "3": 0, "5": 1, "9": 0}, 5)


async def test_without_users_and_without_credentials() -> None:
    assert await join([], [1, None]) == ({}, 2)
    assert await join([1, 2], []) == ({"1": 0, "2": 0}, 0)
    assert await join([1, 2], None) == ({"1": 0, "2": 0}, 0)


@given(users=st.sets(st.integers(0, 30)), credentials=st.lists(st.integers(0, 30)), chunk=st.integers(1, 7))
async def test_it_is_what_a_join_of_everything_is(users: set[int], credentials: list[int], chunk: int) -> None:
    expected = {str(user): credentials.count(user) for user in users}
    assert await join(sorted(users), sorted(credentials), chunk) == (
        expected,
        len(credentials) - sum(expected.values()),
    )


@pytest.mark.parametrize(("users", "credentials"), [([1, 3, 2], []), (["a", "B"], ["a"]), ([1, 9], [3, 2])])
async def test_rows_out_of_order_are_no_census(users: list[Any], credentials: list[Any]) -> None:
    with pytest.raises(OrderError):
        await join(users, credentials)


def test_what_both_tables_are_ordered_by() -> None:
    def order(*bases: str) -> str:
        found = {base: Table(base, "r", (Column("key", base, base),)) for base in bases}
        return order_of([Read(base, "key", ()) for base in bases], found)

    assert order("int8") == order("int4", "int8") == "number"
    assert order("uuid") == "uuid"
    assert order("text") == order("uuid", "text") == order("int8", "text") == order("numeric") == "text"


@given(st.datetimes(min_value=datetime(1000, 1, 1)), st.sampled_from(["", "+00"]))
def test_times_are_written_as_debezium_writes_them(moment: datetime, zone: str) -> None:
    """`time.precision.mode` isostring: six digits of a second in any case; PostgreSQL leaves zeros at the end out."""
    text = moment.isoformat()
    postgresql = f"{(text.rstrip('0') if '.' in text else text).replace('T', ' ')}{zone}".encode()
    assert Moment(0).load(postgresql) == moment.isoformat(timespec="microseconds") + "Z"
    assert Moment(0).load(moment.date().isoformat().encode()) == f"{moment.date().isoformat()}Z"


# -- what is read for it -----------------------------------------------------------------------------------------------


def own(tmp_path: Path, name: str, *changes: tuple[str, str]) -> Settings:
    text = OWN_TABLE
    for old, new in changes:
        text = text.replace(old, new)
    path = tmp_path / name
    path.write_text(text)
    return load(path, {})


def test_both_files_read_their_columns_in_one_pass(tmp_path: Path) -> None:
    table = '[tables.credentials]\nname = "shop.pw"\nid = "n"\nuser_id = "owner"\nsecret = "hash"\nalgorithm = "how"\n'
    before = own(tmp_path, "before.toml", ("[mapping.fields]", '[mapping.fields]\ngiven_name = "vorname"'))
    after = own(tmp_path, "after.toml", ("[mapping.fields]", table + "[mapping.fields]"))
    users, credentials = wanted(before, after)
    assert (users.key, set(users.columns)) == ("kunde_id", {"kunde_id", "vorname", "mail", "kennwort"})
    assert (credentials.table, credentials.key) == ("shop.pw", "owner")
    assert set(credentials.columns) == {"n", "owner", "hash", "how"}


@pytest.mark.parametrize(
    "change", [('"shop.kunde"', '"shop.kunden"'), ('"kunde_id"', '"nummer"')], ids=["another table", "another key"]
)
def test_files_of_other_tables_cannot_be_compared(tmp_path: Path, change: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="compare files for the same tables"):
        wanted(own(tmp_path, "a.toml"), own(tmp_path, "b.toml", change))


@pytest.mark.parametrize(
    ("name", "as_it_is"),
    [
        ("text", True), ("varchar", True), ("int8", True), ("bool", True), ("timestamptz", True), ("jsonb", True),
        ("bytea", False), ("interval", False), ("inet", False),
    ],
)  # fmt: skip
def test_only_columns_of_other_types_are_written_anew_and_arrays(name: str, as_it_is: bool) -> None:
    known = psycopg.adapters.types[name]
    assert written(SimpleNamespace(type_code=known.oid)) is as_it_is  # type: ignore[arg-type]
    assert not written(SimpleNamespace(type_code=known.array_oid))  # type: ignore[arg-type]


def test_a_type_of_somebodys_own_is_written_anew() -> None:
    assert not written(SimpleNamespace(type_code=16_500))  # type: ignore[arg-type]
