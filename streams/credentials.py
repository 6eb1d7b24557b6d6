"""How the rows of several credential tables are called, so that two with the same key are not taken for one (pure).

A row of the first table in the file is called by its key alone, as where there is no other table: what a pipeline with
one table knows stays true when another one comes behind it. The names of all others begin with their table's name and a
zero byte, which PostgreSQL has in no text, so no key can look like such a name. In snapshots, removals, readings and
sweeps the name stands for the row. It must never mean another table's: `streams.source.reading` sees to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.settings import CredentialsTable

    Row = Mapping[str, Any]


class Names:
    """The names of the rows of these tables; made once, because every row is asked for its own."""

    def __init__(self, tables: Sequence[CredentialsTable]) -> None:
        self._prefixes = {table.name: f"{table.name}\0" if place else "" for place, table in enumerate(tables)}
        self._tables = {prefix: name for name, prefix in self._prefixes.items()}

    def prefix(self, table: CredentialsTable) -> str:
        """What the names of a table's rows begin with; the key follows."""
        return self._prefixes[table.name]

    def table(self, name: str) -> str | None:
        """The table of a row; None for one that is not read any more."""
        return self._tables.get(_prefix(name))

    def by_table(self, rows: Mapping[str, Row]) -> dict[str, list[Row]]:
        """Put rows by name into lists by table; those of a table that is not read any more belong to nobody."""
        found: dict[str, list[Row]] = {table: [] for table in self._prefixes}
        for name, row in rows.items():
            table = self._tables.get(_prefix(name))
            if table is not None:
                found[table].append(row)
        return found


def _prefix(name: str) -> str:
    return name[: name.find("\0") + 1]  # "" where there is none


def shown(name: str) -> str:
    """Write a row's name for people."""
    return name.replace("\0", " ")


def is_second_factor(table: CredentialsTable, row: Row) -> bool:
    """Tell whether a row of this table is a second factor."""
    if table.holds == "totp" and table.kind is None:
        return True
    return table.totp_kind is not None and row.get(table.kind or "") == table.totp_kind


def is_password(table: CredentialsTable, row: Row) -> bool:
    """Tell whether a row of this table is a password."""
    return table.holds == "passwords" and (table.kind is None or row.get(table.kind) == table.password_kind)


def is_login(table: CredentialsTable) -> bool:
    """Tell whether the rows of this table are social logins."""
    return table.holds == "identities"
