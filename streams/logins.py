"""Social logins in tables of their own, such as one row for each user and provider (pure; facts/cidaas-api.md §1.1).

They come in the order of the providers' names, whatever the order of the rows. No account with two identities of one
provider is documented, so of several the newest is sent, and that there are others is counted. What a column of the
users table says (`[mapping.identities]`) goes before all rows, as a password there does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from streams.converters import maker
from streams.newest import age
from streams.rows import UNAVAILABLE
from streams.values import UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.newest import Age, Credentials
    from streams.settings import CredentialsTable, FieldRule

    Row = Mapping[str, Any]

#: Notes: a row's provider is none of the file; its id cannot be sent; there are several at one provider.
PROVIDER_UNKNOWN, ID_INVALID, SEVERAL = "login_provider_unknown", "login_id_invalid", "login_several"


class _Part(NamedTuple):
    """A part of a login: the columns that it is made of, and what makes it."""

    reads: tuple[str, ...]
    make: Callable[[Sequence[Any]], Any]

    @classmethod
    def of(cls, rule: FieldRule | None) -> _Part:
        assert rule is not None  # of a table that holds identities
        return cls(rule.reads, maker(rule, None))

    def made(self, row: Row) -> Any:
        """The part, None for none, UNUSABLE or UNAVAILABLE."""
        values = [row.get(column, UNAVAILABLE) for column in self.reads]
        return UNAVAILABLE if UNAVAILABLE in values else self.make(values)


class _Place(NamedTuple):
    """A table with social logins, and its place in the file."""

    number: int
    table: CredentialsTable
    provider: _Part
    id: _Part


class Logins:
    """Finds the social logins of a user; made once per configuration."""

    def __init__(self, tables: Sequence[CredentialsTable]) -> None:
        self._places = [
            _Place(at, table, _Part.of(table.provider), _Part.of(table.provider_user_id))
            for at, table in enumerate(tables)
            if table.holds == "identities"
        ]

    def __bool__(self) -> bool:
        """Whether there is such a table."""
        return bool(self._places)

    def of(self, credentials: Credentials, own: Sequence[Row], notes: list[str]) -> list[dict[str, Any]]:
        """Return the logins of a user's rows, one for each provider that is not among `own`, those of columns."""
        taken = {one["provider"]: one["providerUserId"] for one in own}
        found: dict[str, list[tuple[Age, str]]] = {}
        noted: dict[str, None] = {}  # each once, however many rows
        for place in self._places:
            for row in credentials.get(place.table.name, ()):
                if (login := _login(place, row, noted)) is not None:
                    provider, one = login
                    found.setdefault(provider, []).append((age(place.number, place.table, row), one))
        logins = []
        for provider, several in sorted(found.items()):
            if len({one for _, one in several} | {taken.get(provider, several[0][1])}) > 1:
                noted[SEVERAL] = None
            if provider not in taken:
                logins.append({"provider": provider, "providerUserId": max(several)[1]})
        notes.extend(noted)
        return logins


def _login(place: _Place, row: Row, noted: dict[str, None]) -> tuple[str, str] | None:
    """Return provider and id of one row; None for a row without an id, or with what cannot be sent, which is noted."""
    one = place.id.made(row)
    if one is None:
        return None
    provider = place.provider.made(row)
    if UNAVAILABLE in (one, provider):
        noted["value_unavailable"] = None
    elif one is UNUSABLE:
        noted[ID_INVALID] = None
    elif provider is None or provider is UNUSABLE:
        noted[PROVIDER_UNKNOWN] = None
    else:
        return provider, one
    return None
