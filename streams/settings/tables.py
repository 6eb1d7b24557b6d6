"""`[tables.users]` and `[tables.credentials]`: which legacy tables and columns are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import CredentialsTable, Mapping, PasswordColumns, UsersTable

if TYPE_CHECKING:
    from .section import Section


def read_users(tables: Section, mapping: Mapping) -> UsersTable:
    """Read the users table; its columns are the id and all that the mapping mentions."""
    if not tables.has("users"):
        tables.wrong("users", "is missing", "Say which table holds the users: [tables.users] with name and id.")
        tables.get("users")
        return UsersTable("", "", (), frozenset(), None)
    section = tables.table("users")
    name = section.table_name("name")
    id_ = section.needed_column("id", 'Name the primary key column, such as id = "id".')
    lazy = frozenset(section.texts("lazy"))
    password = _password(section.section("password"))
    section.close({"columns": "Columns follow from the mapping and are not listed."})
    columns = tuple(dict.fromkeys(filter(None, (id_, *_mapped(mapping), *_password_columns(password), *sorted(lazy)))))
    decisive = {id_, mapping.status.column, mapping.status.deleted_when_set, mapping.select and mapping.select.column}
    for column in sorted(lazy):
        if section.identifier("lazy", column) and column in decisive:
            section.wrong(
                "lazy", f"names {column!r}, which decides what happens to the user", "Take it out of the list."
            )
    return UsersTable(name, id_, columns, lazy, password)


def read_credentials(tables: Section) -> CredentialsTable | None:
    """Read the credentials table; None when passwords live in the users table or nowhere."""
    section = tables.section("credentials")
    if section is None:
        return None
    name = section.table_name("name")
    id_ = section.needed_column("id", 'Name the primary key column, such as id = "id".')
    user_id = section.needed_column("user_id", 'Name the column with the user\'s id, such as user_id = "user_id".')
    kind = section.column("kind")
    password_kind = section.text("password_kind", "password") or "password"
    totp_kind = section.text("totp_kind")
    columns = _columns_of_password(section)
    created, updated = section.column("created"), section.column("updated")
    if totp_kind and not kind:
        section.wrong("totp_kind", "is set without kind", 'Name the column that tells the kinds apart: kind = "kind".')
    section.close({"columns": "Columns follow from the keys of this table and are not listed."})
    named = (
        id_, user_id, kind, columns.algorithm, columns.secret, columns.salt, columns.params, created, updated,
    )  # fmt: skip
    return CredentialsTable(
        name=name,
        id=id_,
        user_id=user_id,
        kind=kind,
        password_kind=password_kind,
        totp_kind=totp_kind,
        algorithm=columns.algorithm,
        algorithm_constant=columns.algorithm_constant,
        secret=columns.secret,
        salt=columns.salt,
        params=columns.params,
        created=created,
        updated=updated,
        columns=tuple(dict.fromkeys(filter(None, named))),
    )


def _password(section: Section | None) -> PasswordColumns | None:
    if section is None:
        return None
    columns = _columns_of_password(section)
    section.close()
    return columns


def _columns_of_password(section: Section) -> PasswordColumns:
    secret = section.needed_column(
        "secret", 'Name the column with the password hash, such as secret = "password_hash".'
    )
    algorithm, constant = section.column("algorithm"), section.text("algorithm_constant")
    if bool(algorithm) == bool(constant) and not (section.has("algorithm") and not algorithm):
        section.wrong(
            "algorithm",
            "must be a column, or algorithm_constant the one algorithm of all rows, and not both",
            'Write algorithm = "COLUMN" or algorithm_constant = "bcrypt".',
        )
    return PasswordColumns(secret, algorithm, constant, section.column("salt"), section.column("params"))


def _mapped(mapping: Mapping) -> list[str]:
    rules = (*mapping.fields, *mapping.address, *mapping.custom_fields)
    columns = [rule.column for rule in rules]
    columns += [name for name in (mapping.status.column, mapping.status.deleted_when_set) if name]
    return columns + ([mapping.select.column] if mapping.select else [])


def _password_columns(password: PasswordColumns | None) -> list[str]:
    if password is None:
        return []
    return [name for name in (password.secret, password.algorithm, password.salt, password.params) if name]
