"""A password whose parts stand inside JSON, as a row with a column for each part (pure).

Only tables that keep them so pay for it: where every part has a column of its own, there is nothing to take apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.argon2 import Parts
from streams.inside import picker, read
from streams.rows import UNAVAILABLE
from streams.settings import PasswordColumns
from streams.values import UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.settings import CredentialsTable

_PARTS = ("secret", "algorithm", "salt", "params")
#: Where the parameters of argon2 stand among those of a row. No JSON of a row can look like them.
ARGON2 = "argon2"


class Stored:
    """Takes apart the rows of one table; `columns` are those of the rows that it makes."""

    def __init__(self, columns: PasswordColumns | CredentialsTable) -> None:
        found: dict[str, str] = {part: name for part in _PARTS if (name := getattr(columns, part))}
        self._parts = [(part, name, _pick(columns.paths.get(part))) for part, name in found.items()]
        numbers = [
            (name, value, picker(value) if isinstance(value, str) else None) for name, value in columns.numbers.items()
        ]
        self._numbers = [one for one in numbers if one[0] not in Parts._fields]
        self._argon2 = [one for one in numbers if one[0] in Parts._fields]
        given = {part: part for part in found} | ({"params": "params"} if columns.numbers else {})
        self.columns = PasswordColumns(
            "secret", given.get("algorithm"), columns.algorithm_constant, given.get("salt"), given.get("params")
        )

    def row(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parts of one row; what is absent there, or not known, is so here."""
        made: dict[str, Any] = {}
        for part, name, pick in self._parts:
            if name in row:
                value = row[name]
                made[part] = value if pick is None or value is None or value == UNAVAILABLE else pick(value)
        # A hash that is missing inside JSON that is there is a wrong path or a damaged row, and not "no password".
        if made.get("secret", "") is None and row[self._secret] is not None:
            made["secret"] = UNUSABLE
        if (self._numbers or self._argon2) and made.get("params") != UNAVAILABLE:
            made["params"] = self._numbered(made.get("params"))
        return made

    @property
    def _secret(self) -> str:
        return self._parts[0][1]

    def _numbered(self, params: Any) -> dict[str, Any]:
        known = read(params)
        into = dict(known) if isinstance(known, dict) else {}
        for name, value, pick in self._numbers:
            into[name] = value if pick is None else pick(known)
        if self._argon2:
            into[ARGON2] = Parts(**{name: value if pick is None else pick(known) for name, value, pick in self._argon2})
        return into


def _pick(path: str | None) -> Callable[[Any], Any] | None:
    return None if path is None else picker(path)


def stored(columns: PasswordColumns | CredentialsTable | None) -> Stored | None:
    """Return what takes rows apart; None where every part has a column of its own."""
    return Stored(columns) if columns is not None and (columns.paths or columns.numbers) else None
