"""Two tables are joined in key order without holding more than a user, whatever keys they have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.census.merging import Keyed, OrderError, Orphan, Stream, User, joined
from streams.census.reading import _Moment, _order

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    async for one in joined(stream(users, chunk), None if credentials is None else stream(credentials, chunk)):
        if isinstance(one, User):
            found[one.id] = len(one.credentials)
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
    assert _order({"bigint"}) == _order({"integer", "bigint"}) == "integer"
    assert _order({"uuid"}) == "uuid"
    assert _order({"text"}) == _order({"uuid", "text"}) == _order({"bigint", "text"}) == _order({"numeric"}) == "text"


@pytest.mark.parametrize(
    ("written", "debezium"),
    [
        (b"2026-11-27 15:36:20+00", "2026-11-27T15:36:20Z"),
        (b"2026-11-27 15:36:20.1+00", "2026-11-27T15:36:20.1Z"),
        (b"2026-11-27 15:36:20.100001", "2026-11-27T15:36:20.100001Z"),
        (b"2026-11-27", "2026-11-27Z"),
    ],
)
def test_times_are_written_as_debezium_writes_them(written: bytes, debezium: str) -> None:
    assert _Moment(0).load(written) == debezium
