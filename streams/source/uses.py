"""Which key of `pipeline.toml` names which column of which table, and what for (pure)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.settings import CredentialsTable, FieldRule, Mapping, PasswordColumns, Settings
    from streams.settings.positions import Path

USERS = ("tables", "users")
CREDENTIALS = ("tables", "credentials")


def credentials_key(settings: Settings, number: int) -> Path:
    """Name the table of the file that describes a table with credentials; the only one needs no number."""
    return CREDENTIALS if len(settings.source.credentials) == 1 else (*CREDENTIALS, str(number))


class For(enum.Enum):
    """What a column is read for."""

    ID = "the primary key"
    OWNER = "the user's id"
    FIELD = "a field"
    STATUS = "the status"
    DELETED = "the mark of a deleted user"
    SELECT = "the choice of users"
    GROUP = "who belongs to a group"
    CONSENT = "a consent"
    MOMENT = "when a consent was given"
    KIND = "the kind of credential"
    ALGORITHM = "the hash algorithm"
    SECRET = "the hash"  # noqa: S105  a name, not a password
    SALT = "the salt"
    PARAMS = "the hash's parameters"
    AGE = "which row is the newest"
    LOGIN = "a part of a social login"
    LAZY = "nothing by itself"


@dataclass(frozen=True, slots=True)
class Use:
    """One key that names a column. `rule` is there for a field and for a part of a login.

    `inside`: what is used stands inside the JSON of the column. `epoch`: the column holds numbers of moments.
    """

    table: str
    key: Path
    column: str
    purpose: For
    rule: FieldRule | None = None
    #: the words that the file lists, None where it wants a truth value.
    words: frozenset[str] | None = None
    inside: bool = False
    epoch: bool = False


def uses(settings: Settings) -> list[Use]:
    """Return every use of a column; a column may have several."""
    found = list(_of_users(settings))
    for number, table in enumerate(settings.source.credentials):
        found += _of_credentials(table, credentials_key(settings, number))
    return found


def _of_users(settings: Settings) -> Iterator[Use]:
    users, mapping = settings.source.users, settings.mapping
    yield Use(users.name, (*USERS, "id"), users.id, For.ID)
    if users.password is not None:
        yield from _of_password(users.name, (*USERS, "password"), users.password)
    for name, rules in (
        ("fields", mapping.fields),
        ("address", mapping.address),
        ("custom_fields", mapping.custom_fields),
        ("identities", mapping.identities),
    ):
        for rule in rules:
            for column in rule.reads:
                yield Use(users.name, ("mapping", name, rule.target), column, For.FIELD, rule)
    yield from _of_memberships(users.name, mapping)
    status, select = mapping.status, mapping.select
    if status.column is not None:
        yield Use(users.name, ("mapping", "status", "column"), status.column, For.STATUS)
    if status.deleted_when_set is not None:
        yield Use(users.name, ("mapping", "status", "deleted_when_set"), status.deleted_when_set, For.DELETED)
    if select is not None:
        yield Use(users.name, ("mapping", "select", "column"), select.column, For.SELECT)
    for column in sorted(users.lazy):
        yield Use(users.name, (*USERS, "lazy"), column, For.LAZY)


def _of_memberships(table: str, mapping: Mapping) -> Iterator[Use]:
    for group in mapping.groups:
        if group.column is not None:
            yield Use(table, ("mapping", "groups", group.group), group.column, For.GROUP, words=group.values)
    for consent in mapping.consents:
        key = ("mapping", "consents", consent.field)
        if consent.column is not None:
            words = None if consent.values is None else frozenset(consent.values)
            yield Use(table, key, consent.column, For.CONSENT, words=words)
        if consent.time is not None:
            yield Use(table, key, consent.time, For.MOMENT)


def _of_credentials(table: CredentialsTable, path: Path) -> Iterator[Use]:
    yield Use(table.name, (*path, "id"), table.id, For.ID)
    yield Use(table.name, (*path, "user_id"), table.user_id, For.OWNER)
    if table.kind is not None:
        yield Use(table.name, (*path, "kind"), table.kind, For.KIND)
    if table.holds == "passwords":
        yield from _of_password(table.name, path, table)
    yield from _of_login(table, path)
    for key, column in (("created", table.created), ("updated", table.updated)):
        if column is not None:
            yield Use(table.name, (*path, key), column, For.AGE, epoch=key in table.epochs)


def _of_login(table: CredentialsTable, path: Path) -> Iterator[Use]:
    for key, rule in (("provider", table.provider), ("provider_user_id", table.provider_user_id)):
        if rule is not None:
            for column in rule.reads:
                yield Use(table.name, (*path, key), column, For.LOGIN, rule)


def _of_password(table: str, path: Path, columns: PasswordColumns | CredentialsTable) -> Iterator[Use]:
    yield Use(table, (*path, "secret"), columns.secret, For.SECRET, inside="secret" in columns.paths)
    for key, column, purpose in (
        ("algorithm", columns.algorithm, For.ALGORITHM),
        ("salt", columns.salt, For.SALT),
        ("params", columns.params, For.PARAMS),
    ):
        if column is not None:
            yield Use(table, (*path, key), column, purpose, inside=key in columns.paths)
