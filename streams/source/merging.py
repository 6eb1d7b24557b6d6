"""Joins streams of rows that come in the order of one key; in memory is one user at a time (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

Row = dict[str, Any]


class Keyed(NamedTuple):
    """A row and the key that orders it; None for one whose key is NULL, which comes last."""

    key: Any
    row: Row


class User(NamedTuple):
    """A user row with its credential rows, by the names of their tables."""

    id: str
    row: Row
    credentials: dict[str, list[Row]]


class Orphan(NamedTuple):
    """A credential row without a user row."""

    table: str
    row: Row


class OrderError(ValueError):
    """Rows did not come in the order of their keys, so that nothing that was joined can be believed."""


class Stream:
    """One row after the other, fetched by chunks; the end is for good."""

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[Keyed]]]) -> None:
        """`fetch` returns the next rows, none at the end."""
        self._fetch = fetch
        self._rows: Sequence[Keyed] = ()
        self._at = 0
        self._last: Any = None

    async def next(self) -> Keyed | None:
        """Return the next row, None at the end.

        Raises:
            OrderError: its key is smaller than the one before.
        """
        if self._at == len(self._rows):
            self._rows, self._at = await self._fetch(), 0
            if not self._rows:
                return None
        found = self._rows[self._at]
        self._at += 1
        if found.key is not None:
            if self._last is not None and found.key < self._last:
                raise OrderError("the database did not bring the rows in the order of their keys")
            self._last = found.key
        return found


async def joined(users: Stream, credentials: Mapping[str, Stream]) -> AsyncIterator[User | Orphan]:
    """Bring each user with its credentials, and the credentials that have no user.

    `credentials` are by the names of their tables.

    Raises:
        OrderError: the rows of one stream are not in order.
    """
    heads = {table: await stream.next() for table, stream in credentials.items()}
    while (user := await users.next()) is not None:
        found: dict[str, list[Row]] = {}
        for table, stream in credentials.items():
            rows, head = found.setdefault(table, []), heads[table]
            while head is not None and head.key is not None and head.key <= user.key:
                if head.key == user.key:
                    rows.append(head.row)
                else:
                    yield Orphan(table, head.row)
                head = await stream.next()
            heads[table] = head
        yield User(str(user.key), user.row, found)
    for table, stream in credentials.items():
        head = heads[table]
        while head is not None:
            yield Orphan(table, head.row)
            head = await stream.next()
