"""Social logins, groups and consents of a user (pure; facts/cidaas-api.md §1.1).

Made only where pipeline.toml has such tables. Each is a list that is sent as a whole; what cidaas does with a part that
is in the list no longer is not documented (docs/restrictions.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.converters import maker
from streams.logins import Logins
from streams.rows import UNAVAILABLE
from streams.values import UNUSABLE, boolean, text, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streams.newest import Credentials
    from streams.settings import ConsentRule, CredentialsTable, FieldRule, GroupRule
    from streams.settings import Mapping as Rules

#: How notes about them begin.
IDENTITY, CONSENT = "identity_", "consent_"
_STATES = {True: "ACCEPTED", False: "REVOKED"}


class Memberships:
    """What the mapping makes of these tables, prepared once."""

    def __init__(self, mapping: Rules, logins: Logins) -> None:
        """`logins` finds those in tables of their own."""
        self._groups, self._consents = mapping.groups, mapping.consents
        self._identities = tuple((rule, maker(rule, mapping.phone_region)) for rule in mapping.identities)
        self._logins = logins

    def fill(self, entity: dict[str, Any], row: Mapping[str, Any], credentials: Credentials, notes: list[str]) -> None:
        """Put `identities` (beside the user's own), `groups` and `consents` into an entity."""
        if self._identities or self._logins:  # also an empty list: a call has users of one shape only
            found = (self._identity(rule, make, row, notes) for rule, make in self._identities)
            own = [one for one in found if one is not None]
            entity["identities"] = own + self._logins.of(credentials, own, notes)
        if self._groups:
            groups = [one for rule in self._groups if (one := _group(rule, entity["sub"], row, notes)) is not None]
            entity["groups"] = groups
        if self._consents:
            consents = [one for rule in self._consents if (one := _consent(rule, row, notes)) is not None]
            entity["consents"] = consents

    @staticmethod
    def _identity(
        rule: FieldRule, make: Callable[[Sequence[Any]], Any], row: Mapping[str, Any], notes: list[str]
    ) -> dict[str, Any] | None:
        values = [_known(row, column, notes) for column in rule.reads]
        made = None if UNAVAILABLE in values else make(values)
        if made is UNUSABLE:
            notes.append(f"{IDENTITY}{rule.target}_invalid")
            return None
        return None if made is None else {"provider": rule.target, "providerUserId": made}


def memberships(mapping: Rules, tables: Sequence[CredentialsTable]) -> Memberships | None:
    """Return what makes them; None where none is configured."""
    logins = Logins(tables)
    there = mapping.identities or mapping.groups or mapping.consents or logins
    return Memberships(mapping, logins) if there else None


def _known(row: Mapping[str, Any], column: str, notes: list[str]) -> Any:
    value = row.get(column, UNAVAILABLE)
    if value == UNAVAILABLE:
        notes.append("value_unavailable")
    return value


def _group(rule: GroupRule, sub: str, row: Mapping[str, Any], notes: list[str]) -> dict[str, Any] | None:
    if rule.column is not None:
        value = _known(row, rule.column, notes)
        if value is None or value == UNAVAILABLE:
            return None
        if (text(value) not in rule.values) if rule.values is not None else (boolean(value) is not True):
            return None
    group: dict[str, Any] = {"sub": sub, "groupId": rule.group}
    return group | {"roles": list(rule.roles)} if rule.roles else group


def _consent(rule: ConsentRule, row: Mapping[str, Any], notes: list[str]) -> dict[str, Any] | None:
    state = rule.state
    if rule.column is not None:
        value = _known(row, rule.column, notes)
        if value is None or value == UNAVAILABLE:
            return None
        state = rule.values.get(str(text(value))) if rule.values is not None else _STATES.get(boolean(value))
        if state is None:
            notes.append(f"{CONSENT}{rule.field}_invalid")
            return None
    made: dict[str, Any] = {"fieldKey": rule.field, "state": state}
    if rule.consent_id is not None:
        made["consentId"] = rule.consent_id
    if rule.version_id is not None:
        made["versionId"] = rule.version_id
    if rule.time is not None and (moment := _known(row, rule.time, notes)) not in (None, UNAVAILABLE):
        if (written := timestamp(moment)) is UNUSABLE:
            notes.append(f"{CONSENT}{rule.field}_time_invalid")
        elif written is not None:
            made["time"] = written
    return made


def explained(note: str, mapping: Rules) -> str:
    """Say in words what a note of this module means; "" for another one."""
    for one in mapping.identities:
        if note == f"{IDENTITY}{one.target}_invalid":
            return f"the id at {one.target} (column {', '.join(one.reads)}) cannot be used: that login is not sent"
    for rule in mapping.consents:
        if note == f"{CONSENT}{rule.field}_invalid":
            return f"column {rule.column} holds no word that {rule.field} knows: that consent is not sent"
        if note == f"{CONSENT}{rule.field}_time_invalid":
            return f"column {rule.time} is no moment: the consent {rule.field} is sent without one"
    return ""
