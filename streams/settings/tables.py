"""`[tables.users]` and `[[tables.credentials]]`: which legacy tables and columns are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .memberships import is_provider
from .model import CredentialsTable, Epoch, Mapping, PasswordColumns, UsersTable
from .moments import read_epoch
from .rules import read_rule

if TYPE_CHECKING:
    from .model import FieldRule
    from .section import Section


_COLUMN = 'Name the column: column = "...".'
_PROVIDER = (
    'Say which word is which provider of cidaas: provider = { column = "...", values = { google = "google" } }; '
    'or, where all rows are of one: provider = { template = "google" }.'
)
_PROVIDER_USER_ID = 'Name the column with the user\'s id at the provider: provider_user_id = "...".'
HOLDS = ("passwords", "totp", "identities")
AGES = ("created", "updated")
#: What a table with second factors only has no use for; with social logins it has for the ages alone.
OF_PASSWORDS = ("password_kind", "algorithm", "algorithm_constant", "secret", "salt", "params", *AGES)
#: What a table with social logins needs, and no other has.
OF_IDENTITIES = ("provider", "provider_user_id")
#: Parameters of argon2, which go into its one string; those that it cannot do without.
ARGON2, NEEDED = ("type", "version", "memory", "parallelism", "length"), ("version", "memory", "parallelism")
#: So many characters of a table's name stand in that of its index (streams/source/statements.py).
INDEX_NAME = 40


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


def read_credentials(tables: Section, users: UsersTable) -> tuple[CredentialsTable, ...]:
    """Read the tables with credentials, in their order; none when passwords live in the users table or nowhere."""
    found: list[CredentialsTable] = []
    for section in tables.sections("credentials"):
        table = _credentials(section)
        if table.name:
            _assert_alone(section, table.name, users.name, [other.name for other in found])
        found.append(table)
    return tuple(found)


def _assert_alone(section: Section, name: str, users: str, others: list[str]) -> None:
    """Note a table that is named before, or whose index would have the name of another one's."""
    if name == users:
        section.wrong("name", "is the same table as users", "Leave it out and write [tables.users.password].")
    elif name in others:
        section.wrong("name", f"is {name!r} once more", "Name each table once; kind tells its rows apart.")
    elif near := next((other for other in others if _index(other) == _index(name)), None):
        what = f"begins with the same {INDEX_NAME} characters as {near}, and the index of each is named by them"
        section.wrong("name", what, "Rename one of the two tables.")


def _index(table: str) -> tuple[str, str]:
    schema, _, name = table.rpartition(".")
    return schema, name[:INDEX_NAME]


def _credentials(section: Section) -> CredentialsTable:
    name = section.table_name("name")
    id_ = section.needed_column("id", 'Name the primary key column, such as id = "id".')
    user_id = section.needed_column("user_id", 'Name the column with the user\'s id, such as user_id = "user_id".')
    kind, totp_kind = section.column("kind"), section.text("totp_kind")
    holds = section.text("holds", "passwords", HOLDS)
    provider, provider_user_id = (read_rule(section, key, "text") for key in OF_IDENTITIES)
    if holds == "totp":
        return _second_factors(section, name, id_, user_id, kind, totp_kind)
    if holds == "identities":
        return _identities(section, name, id_, user_id, provider, provider_user_id)
    _refuse(section, OF_IDENTITIES, 'is of a social login, and only holds = "identities" says that there are such')
    password_kind = section.text("password_kind", "password") or "password"
    columns = _columns_of_password(section)
    (created, updated), epochs = _ages(section)
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
        paths=columns.paths,
        numbers=columns.numbers,
        epochs=epochs,
    )


def _refuse(section: Section, keys: tuple[str, ...], what: str) -> None:
    """Note each of these keys that is there."""
    for key in keys:
        if section.get(key) is not None:
            section.wrong(key, what, f"Take {key} out.")


def _second_factors(
    section: Section, name: str, id_: str, user_id: str, kind: str | None, totp_kind: str | None
) -> CredentialsTable:
    """Read a table without passwords: each row is a second factor, or each whose kind says so."""
    _refuse(section, OF_PASSWORDS, 'is of a password, and holds = "totp" says that there is none')
    _refuse(section, OF_IDENTITIES, 'is of a social login, and holds = "totp" says that there is none')
    if bool(kind) != bool(totp_kind):
        remedy = "Name both, the column and the value of rows that count, or none, and all rows count."
        section.wrong("kind" if kind else "totp_kind", "is set without the other of kind and totp_kind", remedy)
    section.close({"columns": "Columns follow from the keys of this table and are not listed."})
    return CredentialsTable(
        name=name,
        id=id_,
        user_id=user_id,
        kind=kind,
        password_kind="",
        totp_kind=totp_kind,
        algorithm=None,
        algorithm_constant=None,
        secret="",
        salt=None,
        params=None,
        created=None,
        updated=None,
        columns=tuple(dict.fromkeys(filter(None, (id_, user_id, kind)))),
        holds="totp",
    )


def _identities(
    section: Section,
    name: str,
    id_: str,
    user_id: str,
    provider: FieldRule | None,
    provider_user_id: FieldRule | None,
) -> CredentialsTable:
    """Read a table with social logins: each row is one, and says whose and which."""
    others = ("kind", "totp_kind", *(key for key in OF_PASSWORDS if key not in AGES))
    _refuse(section, others, 'is of a password or second factor, and holds = "identities" says that there is none')
    (created, updated), epochs = _ages(section)
    for key, remedy in zip(OF_IDENTITIES, (_PROVIDER, _PROVIDER_USER_ID), strict=True):
        if not section.has(key):
            section.wrong(key, "is missing", remedy)
    if provider is not None:
        _assert_providers(section, provider)
    section.close({"columns": "Columns follow from the keys of this table and are not listed."})
    reads = [column for rule in (provider, provider_user_id) if rule is not None for column in rule.reads]
    return CredentialsTable(
        name=name,
        id=id_,
        user_id=user_id,
        kind=None,
        password_kind="",
        totp_kind=None,
        algorithm=None,
        algorithm_constant=None,
        secret="",
        salt=None,
        params=None,
        created=created,
        updated=updated,
        columns=tuple(dict.fromkeys(filter(None, (id_, user_id, *reads, created, updated)))),
        epochs=epochs,
        holds="identities",
        provider=provider,
        provider_user_id=provider_user_id,
    )


def _assert_providers(section: Section, rule: FieldRule) -> None:
    """Note what is no provider. All stand in the file, as in [mapping.identities]: no word of a row is sent as one."""
    if rule.values:
        for word, provider in rule.values.items():
            is_provider(section, "provider", provider, "values", word)
    elif rule.template is not None and not rule.columns:
        is_provider(section, "provider", rule.template, "template")
    else:
        section.wrong("provider", "names no provider of cidaas", _PROVIDER)


def _password(section: Section | None) -> PasswordColumns | None:
    if section is None:
        return None
    columns = _columns_of_password(section)
    section.close()
    return columns


def _ages(section: Section) -> tuple[list[str | None], dict[str, Epoch]]:
    """Read which columns say when a password was made and changed, and which of them are numbers."""
    columns: list[str | None] = []
    epochs: dict[str, Epoch] = {}
    for key in ("created", "updated"):
        found = section.column_or_section(key, "moment")
        if found is None or isinstance(found, str):
            columns.append(found)
            continue
        columns.append(found.needed_column("column", _COLUMN))
        if epoch := read_epoch(found):
            epochs[key] = epoch
        found.close()
    return columns, epochs


def _part(section: Section, key: str, paths: dict[str, str], remedy: str = "") -> str | None:
    """Read a part of a password: a column, or a column of JSON and the path in it, which goes into `paths`."""
    found = section.needed_column_or_section(key, "part", remedy) if remedy else section.column_or_section(key, "part")
    if found is None or isinstance(found, str):
        return found
    column, path = found.needed_column("column", _COLUMN), found.json_path("path")
    if path:
        paths[key] = path
    found.close()
    return column


def _parameters(section: Section, paths: dict[str, str]) -> tuple[str | None, dict[str, str | int]]:
    """Read where the parameters of a hash stand, and under which names."""
    found = section.column_or_section("params", "parameters")
    if found is None or isinstance(found, str):
        return found, {}
    column, path = found.needed_column("column", _COLUMN), found.json_path("path")
    if path:
        paths["params"] = path
    given = {name: found.json_path_or_number(name) for name in ("iterations", "keylen", *ARGON2[1:])}
    given["type"] = found.json_path("type")
    lacking = [name for name in ("iterations", *NEEDED) if not found.has(name)]
    if lacking and (named := [name for name in ARGON2 if found.has(name)]):
        remedy = f"An argon2 hash has them all; say where {', '.join(lacking)} stand{'s' * (len(lacking) == 1)}."
        found.wrong(named[0], f"is set without {', '.join(lacking)}", remedy)
    found.close()
    return column, {name: value for name, value in given.items() if value is not None}


def _columns_of_password(section: Section) -> PasswordColumns:
    paths: dict[str, str] = {}
    secret = _part(
        section, "secret", paths, 'Name the column with the password hash, such as secret = "password_hash".'
    )
    algorithm, constant = _part(section, "algorithm", paths), section.text("algorithm_constant")
    salt, (params, numbers) = _part(section, "salt", paths), _parameters(section, paths)
    if bool(algorithm) == bool(constant) and not (section.has("algorithm") and not algorithm):
        section.wrong(
            "algorithm",
            "must be a column, or algorithm_constant the one algorithm of all rows, and not both",
            'Write algorithm = "COLUMN" or algorithm_constant = "bcrypt".',
        )
    return PasswordColumns(secret or "", algorithm, constant, salt, params, paths, numbers)


def _mapped(mapping: Mapping) -> list[str]:
    rules = (*mapping.fields, *mapping.address, *mapping.custom_fields)
    columns = [column for rule in rules for column in rule.reads]
    columns += [column for rule in mapping.identities for column in rule.reads]
    columns += [rule.column for rule in mapping.groups if rule.column]
    columns += [name for rule in mapping.consents for name in (rule.column, rule.time) if name]
    columns += [name for name in (mapping.status.column, mapping.status.deleted_when_set) if name]
    return columns + ([mapping.select.column] if mapping.select else [])


def _password_columns(password: PasswordColumns | None) -> list[str]:
    if password is None:
        return []
    return [name for name in (password.secret, password.algorithm, password.salt, password.params) if name]
