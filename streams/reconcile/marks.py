"""Fingerprints of a user's rows, the same for the legacy tables and for the snapshots (pure).

A mark is made of all rows of a user, hash and seeds too, and nobody can tell anything from it: it is keyed with random
bytes that live as long as the run. Rows are added up, so their order does not matter, and 0 is *no rows*.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

from streams.credentials import Names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.newest import Credentials
    from streams.settings import CredentialsTable, Settings, UsersTable
    from streams.snapshots import Snapshot
    from streams.source.catalog import Column, Table

    Canon = Callable[[Any], Any]

#: Bits of a digest; a mark has one more, which says whether the user's own row is among the rows.
_BITS = 128
_MASK = (1 << _BITS) - 1
#: Bytes of a mark.
SIZE = _BITS // 8 + 1
#: Stands for a column that a row lacks, which is not NULL (M7); no value of a column is an object.
_ABSENT: dict[str, Any] = {}
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d)?)(?:\.(\d+))?Z", re.ASCII)
#: Whatever is no plain date or time is this, on both sides: PostgreSQL and Debezium write `infinity` each in its way.
_ODD = "?"


def _moment(value: Any) -> Any:
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _ODD
    fraction = (match[2] or "").rstrip("0")
    return f"{match[1]}.{fraction}" if fraction else match[1]


def _decimal(value: Any) -> Any:
    text = str(value)
    if "e" in text.lower():
        try:
            text = format(Decimal(text), "f")
        except InvalidOperation:
            return text
    return text.rstrip("0").rstrip(".") if "." in text else text


def _float(value: Any) -> Any:
    try:
        return repr(float(value))
    except (TypeError, ValueError):
        return str(value)


#: Types (below domains) that both sides write alike, and what makes them alike where they only nearly do.
_PLAIN = ("text", "varchar", "bpchar", "bool", "int2", "int4", "int8", "uuid", "json", "jsonb", "bytea", "citext")
_CANON: dict[str, Canon | None] = {
    **dict.fromkeys(_PLAIN),
    **dict.fromkeys(f"_{name}" for name in ("text", "varchar", "bool", "int2", "int4", "int8", "uuid")),
    **dict.fromkeys(("date", "timestamp", "timestamptz"), _moment),
    "numeric": _decimal,
    **dict.fromkeys(("float4", "float8"), _float),
}


class _Rows:
    """What is compared of the rows of one table."""

    def __init__(self, table: UsersTable | CredentialsTable, known: Table) -> None:
        found = {name: known.column(name) for name in table.columns}
        self.left_out = [name for name, column in found.items() if column is None or not _alike(column)]
        self.columns = tuple(name for name in table.columns if name not in self.left_out)
        canons = [(at, _canon(found[name])) for at, name in enumerate(self.columns)]
        self._canons = [(at, canon) for at, canon in canons if canon is not None]
        self._name = table.name

    def text(self, row: Mapping[str, Any]) -> bytes:
        values: list[Any] = [row.get(name, _ABSENT) for name in self.columns]
        for at, canon in self._canons:
            if values[at] is not None and values[at] is not _ABSENT:
                values[at] = canon(values[at])
        values.append(self._name)
        return orjson.dumps(values, default=str)


def _alike(column: Column) -> bool:
    return column.base in _CANON or bool(column.labels)


def _canon(column: Column | None) -> Canon | None:
    return None if column is None else _CANON.get(column.base)


class Marker:
    """Makes the marks of one run."""

    def __init__(self, settings: Settings, tables: Mapping[str, Table], key: bytes) -> None:
        """`tables` is what the catalog says of the configured tables; `key` up to 64 random bytes."""
        source = settings.source
        self._key, self._names = key, Names(source.credentials)
        self._users = _Rows(source.users, tables[source.users.name])
        self._credentials = {table.name: _Rows(table, tables[table.name]) for table in source.credentials}
        rows = {source.users.name: self._users, **self._credentials}
        #: columns whose values both sides may write in different ways, and which are not compared.
        self.left_out = [f"{table}.{name}" for table, one in rows.items() for name in one.left_out]

    def of(self, user: Mapping[str, Any] | None, credentials: Credentials) -> int:
        """The mark of all rows of a user; `user` is None when its own row is not there, `credentials` by table."""
        total = 0 if user is None else self._digest(self._users.text(user))
        for table, rows in credentials.items():
            for row in rows:
                total += self._digest(self._credentials[table].text(row))
        return (total & _MASK) << 1 | (user is not None)

    def of_named(self, user: Mapping[str, Any] | None, credentials: Mapping[str, Mapping[str, Any]]) -> int:
        """The same of credentials by their names."""
        return self.of(user, self._names.by_table(credentials))

    def of_snapshot(self, snap: Snapshot) -> int:
        """The mark of the rows that are there by a snapshot."""
        return self.of_named(snap.user.values if snap.user is not None else None, snap.live_credentials())

    def more(self, known: int, table: str, credential: Mapping[str, Any]) -> int:
        """The mark of the rows of `known` and one row more of this table with credentials."""
        return ((known >> 1) + self._digest(self._credentials[table].text(credential)) & _MASK) << 1 | known & 1

    def _digest(self, text: bytes) -> int:
        return int.from_bytes(blake2b(text, digest_size=_BITS // 8, key=self._key).digest())


def has_row(mark: int) -> bool:
    """Whether the user's own row is among the rows."""
    return bool(mark & 1)
