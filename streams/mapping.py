"""A legacy user becomes a cidaas user (pure): the rules of `[mapping]` applied to one snapshot.

Nothing here raises, whatever stands in the columns: a value that cannot be used gets a note and is sent as null, so
that no older value stays behind at cidaas. A value that is not known (a column absent from the row, an unresolved
TOAST placeholder) is neither sent nor cleared, since missing is not NULL (M4, M7).

Whoever changes what comes out of the same row raises `streams.settings.model.MAPPING_CODE`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from streams.converters import converter, derived
from streams.credentials import is_login, is_second_factor
from streams.memberships import memberships
from streams.newest import Newest
from streams.passwords import Passwords
from streams.rows import UNAVAILABLE
from streams.settings import MAPPING_CODE
from streams.values import UNUSABLE, boolean, text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streams.newest import Credentials
    from streams.settings import CredentialsTable, FieldRule, PasswordColumns, Settings

__all__ = ["MAPPING_CODE", "Mapped", "Mapper", "Status", "fingerprint", "map_user", "slug", "status_of", "sub_of"]

Status = Literal["live", "deleted", "not_selected"]
_Rule = tuple[str, str, "Callable[[Any], Any]", str]
_MISSING: Any = object()
#: How notes about parts of the address and about custom fields begin.
ADDRESS, CUSTOM = "address_", "custom_"


class Mapped(NamedTuple):  # made once for every mapping; a frozen dataclass takes 1.5 µs longer
    """What the mapping makes of one user.

    `entity` is the item of the bulk call, None unless the user is live. `email_key` is the e-mail as collisions are
    judged (case-folded). `has_password` tells that the legacy user has a password, usable for cidaas or not (C7).
    `notes` are words to count, never values.
    """

    status: Status
    entity: dict[str, Any] | None
    sub: str
    email_key: str | None
    has_password: bool
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Mapped({self.status}, sub={self.sub}, notes={self.notes})"


class Mapper:
    """The mapping of one configuration, prepared once: `map` is called for every user."""

    def __init__(self, settings: Settings) -> None:
        mapping, cidaas = settings.mapping, settings.cidaas
        self._namespace = None if cidaas.sub == "id" else cidaas.sub_namespace.bytes
        self._no_event = cidaas.no_event
        self._status, self._select = mapping.status, mapping.select
        self._mfa = mapping.mfa_enabled
        region, id_column = mapping.phone_region, settings.source.users.id

        def prepared(rules: tuple[FieldRule, ...], prefix: str = "") -> tuple[_Rule, ...]:
            plain = [rule for rule in rules if not rule.derived]
            return tuple((rule.target, rule.column, converter(rule, region), slug(rule, prefix)) for rule in plain)

        self._id = id_column
        self._fields, self._address = prepared(mapping.fields), prepared(mapping.address, ADDRESS)
        self._custom = prepared(mapping.custom_fields, CUSTOM)
        parts = (("", mapping.fields, ""), ("address", mapping.address, ADDRESS))
        self._derived = tuple(
            (part, rule.target, rule.reads, derived(rule, region), slug(rule, prefix))
            for part, rules, prefix in (*parts, ("customFields", mapping.custom_fields, CUSTOM))
            for rule in rules
            if rule.derived
        )
        self._memberships = memberships(mapping, settings.source.credentials)
        self._passwords = Passwords(mapping.passwords)
        self._tables = tuple(table for table in settings.source.credentials if not is_login(table))
        self.password_of = Newest(settings.source).of

    def map(self, user_id: str, user: Mapping[str, Any], credentials: Credentials) -> Mapped:
        """Map one user; `user` and `credentials` hold the columns as Debezium's JSON has them."""
        sub = self.sub_of(user_id)
        notes: list[str] = []
        status = self.status_of(user)
        if status != "live":
            return Mapped(status, None, sub, None, False, ())
        entity: dict[str, Any] = {"sub": sub, "provider": "self", "userStatus": self._user_status(user, notes)}
        row = user if self._id in user else {**user, self._id: user_id}
        _fill(entity, self._fields, row, notes)
        if self._address:
            entity["address"] = _fill({}, self._address, row, notes)
        if self._custom:
            entity["customFields"] = _fill({}, self._custom, row, notes)
        if self._memberships is not None:
            self._memberships.fill(entity, row, credentials, notes)
        if self._derived:
            self._derive(entity, row, notes)
        has_password = self._credentials_of(entity, user, credentials, notes)
        if self._no_event:
            entity["no_event"] = "true"  # a text in the documentation's examples (facts/cidaas-api.md §1.1)
        email = entity.get("email")
        if not (email or entity.get("username") or entity.get("mobile_number")):
            notes.append("no_identifier")
        return Mapped("live", entity, sub, email.casefold() if email else None, has_password, tuple(notes))

    def sub_of(self, user_id: str) -> str:
        """Return the user's id at cidaas: UUIDv5 of namespace and id, or the id itself."""
        name = user_id.encode("utf-8", "replace")
        if self._namespace is None:
            return name.decode()
        # RFC 9562, 5.5, by hand: uuid.uuid5 takes four times as long, and this runs once for every mapping
        digest = hashlib.sha1(self._namespace + name, usedforsecurity=False).hexdigest()
        variant = "89ab"[int(digest[16], 16) & 3]
        return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"

    def status_of(self, user: Mapping[str, Any]) -> Status:
        """Tell what a user's row alone says: live, deleted by its status, or not among the selected ones.

        A delete needs an explicit mark (M9): what is unknown or absent never says deleted.
        """
        rule = self._status
        if rule.deleted and rule.column is not None and _word(user.get(rule.column)) in rule.deleted:
            return "deleted"
        if rule.deleted_when_set is not None and _is_set(user.get(rule.deleted_when_set)):
            return "deleted"
        if self._select is not None and _word(user.get(self._select.column)) not in self._select.values:
            return "not_selected"
        return "live"

    def _derive(self, entity: dict[str, Any], row: Mapping[str, Any], notes: list[str]) -> None:
        """Fill the fields that are made by a template or a function."""
        for part, target, columns, make, slug in self._derived:
            values = [row.get(column, UNAVAILABLE) for column in columns]
            if UNAVAILABLE in values:
                notes.append("value_unavailable")
                continue
            made = make(values)
            if made is UNUSABLE:
                notes.append(slug)
            into = entity.setdefault(part, {}) if part else entity
            into[target] = None if made is UNUSABLE else made

    def _user_status(self, user: Mapping[str, Any], notes: list[str]) -> str:
        rule = self._status
        if rule.column is None:
            return rule.other
        status = rule.values.get(_word(user.get(rule.column)))
        if status is None:
            notes.append("status_unknown")
            return rule.other
        return status

    def _credentials_of(
        self,
        entity: dict[str, Any],
        user: Mapping[str, Any],
        credentials: Credentials,
        notes: list[str],
    ) -> bool:
        """Put `password_hash_info` (and `mfa_enabled`, when switched on) into the entity."""
        if self._tables and self._mfa:
            entity["mfa_enabled"] = any(
                is_second_factor(table, row) for table in self._tables for row in credentials.get(table.name, ())
            )
        columns, found = self.password_of(user, credentials)
        if columns is None:
            return False  # no password is configured at all: say nothing about it
        return self._password(entity, columns, found or {columns.secret: None}, notes)

    def _password(
        self,
        entity: dict[str, Any],
        columns: PasswordColumns | CredentialsTable,
        row: Mapping[str, Any],
        notes: list[str],
    ) -> bool:
        secret = row.get(columns.secret, _MISSING)
        if secret is None or secret == "":
            entity["password_hash_info"] = None
            return False
        algorithm = columns.algorithm_constant or row.get(columns.algorithm or "")
        salt = row.get(columns.salt) if columns.salt else None
        params = row.get(columns.params) if columns.params else None
        if secret is _MISSING or UNAVAILABLE in (secret, algorithm, salt, params):
            notes.append("password_unavailable")
            return True
        info, note = self._passwords.info(algorithm, secret, salt, params)
        entity["password_hash_info"] = info
        if note is not None:
            notes.append(note)
        return True


def _fill(into: dict[str, Any], rules: tuple[_Rule, ...], row: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    for target, column, convert, slug in rules:
        value = row.get(column, _MISSING)
        if value is None:
            into[target] = None
        elif convert is text and type(value) is str and value.isascii() and value != UNAVAILABLE:
            into[target] = value.strip() or None  # `text`, without the call: most columns of most users
        elif value is _MISSING or value == UNAVAILABLE:
            notes.append("value_unavailable")
        elif (sent := convert(value)) is UNUSABLE:
            notes.append(slug)
            into[target] = None
        else:
            into[target] = sent
    return into


def slug(rule: FieldRule, prefix: str) -> str:
    """Return the note of a rule whose value cannot be sent; `prefix` tells parts of the address and custom fields."""
    return "invalid_phone" if rule.kind == "phone" else f"{prefix}{rule.target}_invalid"


def _word(value: Any) -> str:
    """Return a status as a word to look up: trimmed text, a blank one for NULL and for what is no text."""
    word = text(value) if value is not None else None
    return word if isinstance(word, str) else ""


def _is_set(value: Any) -> bool:
    """Tell whether a column marks a deleted user: true, or a time or text that is there."""
    if value is None or value == UNAVAILABLE:
        return False
    word = boolean(value)
    return word is not None and word is not False


_mapper: tuple[Settings, Mapper] | None = None


def _mapper_of(settings: Settings) -> Mapper:
    """Return the prepared mapping; a process has one configuration, so the last one is kept."""
    global _mapper
    if _mapper is None or _mapper[0] is not settings:
        _mapper = (settings, Mapper(settings))
    return _mapper[1]


def map_user(user_id: str, user: Mapping[str, Any], credentials: Credentials, settings: Settings) -> Mapped:
    """Map one user; see `Mapper.map`."""
    return _mapper_of(settings).map(user_id, user, credentials)


def sub_of(user_id: str, settings: Settings) -> str:
    """Return the user's id at cidaas; see `Mapper.sub_of`."""
    return _mapper_of(settings).sub_of(user_id)


def status_of(user_row: Mapping[str, Any], settings: Settings) -> Status:
    """Tell what a user's row alone says; see `Mapper.status_of`."""
    return _mapper_of(settings).status_of(user_row)


def fingerprint(entity: Mapping[str, Any]) -> str:
    """Return 32 hex digits that are the same for the same entity only (C2)."""
    return hashlib.sha256(orjson.dumps(entity, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]
