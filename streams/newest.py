"""Which of a user's passwords counts: the newest one over all tables (pure; design: *newest*)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.stored import Stored, stored
from streams.values import moment_of, since_epoch, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.settings import CredentialsTable, PasswordColumns, Source

    Row = Mapping[str, Any]
    #: The credential rows of a user, by the names of their tables.
    Credentials = Mapping[str, Sequence[Row]]
    #: Where the parts of a password stand in a row, None if no password is configured; the row, None for no password.
    Found = tuple[PasswordColumns | CredentialsTable | None, Row | None]
    #: What rows are ordered by, the newest last.
    Age = tuple[datetime, int, int, int, str]

_FIRST = datetime.min.replace(tzinfo=UTC)


class _Place(NamedTuple):
    """A table with passwords, its place in the file, and what takes its rows apart where parts stand inside JSON."""

    number: int
    table: CredentialsTable
    stored: Stored | None

    def of(self, row: Row | None) -> Found:
        if self.stored is None:
            return self.table, row
        return self.stored.columns, None if row is None else self.stored.row(row)


class Newest:
    """Finds the password that counts; made once per configuration."""

    def __init__(self, source: Source) -> None:
        self._own, self._own_stored = source.users.password, stored(source.users.password)
        tables = enumerate(source.credentials)
        self._places = [_Place(at, table, stored(table)) for at, table in tables if table.holds == "passwords"]

    def of(self, user: Row, credentials: Credentials) -> Found:
        """Return where passwords stand, and the row of the one that counts. One in the users table is the only one.

        Parts that stand inside JSON come as columns of their own.
        """
        if self._own is not None:
            if self._own_stored is None:
                return self._own, user
            return self._own_stored.columns, self._own_stored.row(user)
        if not self._places:
            return None, None
        found: list[tuple[_Place, Row]] = []
        for place in self._places:
            table = place.table
            kind, word = table.kind, table.password_kind
            rows = credentials.get(table.name, ())
            found += [(place, row) for row in rows if kind is None or row.get(kind) == word]
        if not found:
            return self._places[0].of(None)
        place, row = found[0] if len(found) == 1 else max(found, key=_age)
        return place.of(row)


def _age(found: tuple[_Place, Row]) -> Age:
    place, row = found
    return age(place.number, place.table, row)


def age(place: int, table: CredentialsTable, row: Row) -> Age:
    """Order rows of tables, each with its place in the file: coalesce(updated, created), the earlier table, the id.

    Ids of two tables say nothing of each other, so of one moment the table that stands first in the file has the newer.
    Ids are compared by number where they are numbers.
    """
    changed, epoch = row.get(table.updated) if table.updated else None, table.epochs.get("updated")
    if changed is None:
        changed, epoch = row.get(table.created) if table.created else None, table.epochs.get("created")
    if changed is not None and epoch is not None:
        changed = since_epoch(epoch)(changed)
    key = text(row.get(table.id))
    word = key if isinstance(key, str) else ""
    digits = word.isascii() and word.isdigit() and len(word) < 80
    return moment_of(changed) or _FIRST, -place, int(digits), int(word) if digits else 0, word
