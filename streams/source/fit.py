"""Holds `pipeline.toml` to the legacy tables as they are: tables, columns, their types, what may be NULL (pure).

What a type can become is found out by the converters themselves, with values as Debezium writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams.converters import converter
from streams.passwords import UNKNOWN, Passwords
from streams.settings.positions import positions
from streams.settings.section import header, sentence
from streams.source.catalog import INTEGERS, KINDS, ORDINARY, alike, key_kind, nearest
from streams.source.enabling import ENABLE
from streams.source.uses import CREDENTIALS, USERS, For, Use, credentials_key, uses
from streams.values import UNUSABLE, boolean, moment_of, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from streams.settings import FieldRule, Settings
    from streams.settings.positions import Path
    from streams.source.catalog import Column, Table

_NUMBERS = (*INTEGERS, "numeric", "float4", "float8")
_EPOCH = 'Say what it counts since 1970, { column = "...", epoch = "ms" } (or "s", "us"), or map another column.'
_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_JSON = ("json", "jsonb")
_TIME = ("2024-02-29T12:30:00.5Z", "2024-02-29T00:00:00Z")
#: Values of each type as Debezium writes them (streams/source/connector.py); of other types the check knows nothing.
_SAMPLES: dict[str, tuple[Any, ...]] = {
    "bool": (True, False),
    **dict.fromkeys(INTEGERS, (0, 1, 42)),
    **dict.fromkeys(("float4", "float8"), (1.0, 1.5)),
    "numeric": ("1.50",),
    "date": ("2024-02-29Z",),
    **dict.fromkeys(("timestamp", "timestamptz"), _TIME),
    "uuid": ("7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc",),
    **dict.fromkeys(_JSON, ('{"a": 1}',)),
    "bytea": ("aGFzaA==",),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that does not fit (`wrong`), or that a person should know. `key` is the key of the file to look at."""

    key: Path
    what: str
    remedy: str
    wrong: bool = True

    @property
    def where(self) -> str:
        """How a person finds the key in the file."""
        return f"[{header(self.key[:-1])}] {self.key[-1]}"


def described(settings: Settings, found: Iterable[Fault]) -> list[dict[str, Any]]:
    """Return faults as data, each with the line of its key where it is known."""
    lines = positions(settings.path.read_text(encoding="utf-8"))

    def line(key: Path) -> int | None:
        if key[:2] == CREDENTIALS and (*CREDENTIALS, "0") in lines and not key[2].isdecimal():
            key = (*CREDENTIALS, "0", *key[2:])  # the only one, but in double brackets
        return lines.get((*key, "column"), lines.get(key))

    return [
        {
            "key": fault.where,
            "line": line(fault.key),
            "what": fault.what,
            "remedy": fault.remedy,
        }
        for fault in found
    ]


def sentences(settings: Settings, found: Iterable[Fault]) -> list[str]:
    """Write faults as the errors of `pipeline.toml` are written."""
    file = settings.path.name
    return [sentence(file, one["line"], one["key"], one["what"], one["remedy"]) for one in described(settings, found)]


def missing(settings: Settings, tables: Mapping[str, Table | None]) -> list[Fault]:
    """Return which tables and columns are not there; `tables` is what the catalog says of each that is named."""
    found = [
        Fault(key, f"the legacy database has no table {name}", "Correct the name.")
        for key, name in _names(settings)
        if tables[name] is None
    ]
    for use in uses(settings):
        table = tables[use.table]
        if table is not None and table.column(use.column) is None:
            found.append(_no_column(use, table))
    return found


def unreadable(settings: Settings, tables: Mapping[str, Table | None]) -> list[Fault]:
    """Return which columns the role may not read; see `missing`."""
    found: list[Fault] = []
    for use in uses(settings):
        table = tables[use.table]
        if table is not None and (column := table.column(use.column)) is not None:
            found += _right(use, column)
    return found


def faults(settings: Settings, tables: Mapping[str, Table | None]) -> list[Fault]:
    """Return everything that does not fit, and what a person should know; see `missing`."""
    found = missing(settings, tables)
    for key, name in _names(settings):
        table = tables[name]
        if table is not None and table.kind in KINDS:
            found.append(Fault(key, f"{name} is {KINDS[table.kind]}", ORDINARY))
    for use in uses(settings):
        table = tables[use.table]
        column = table.column(use.column) if table is not None else None
        if column is not None:
            found += _of_column(settings, tables, use, column)
    return found


def not_mapped(settings: Settings, table: Table) -> list[str]:
    """Return the columns of a table that no key names."""
    named = {use.column for use in uses(settings) if use.table == table.name}
    return [column.name for column in table.columns if column.name not in named]


def covered(settings: Settings, tables: Iterable[Table]) -> list[dict[str, Any]]:
    """Return how far the columns of tables are mapped, as data."""
    return [
        {"name": table.name, "columns": len(table.columns), "not_mapped": not_mapped(settings, table)}
        for table in tables
    ]


def _names(settings: Settings) -> list[tuple[Path, str]]:
    source = settings.source
    found: list[tuple[Path, str]] = [((*USERS, "name"), source.users.name)]
    for number, table in enumerate(source.credentials):
        found.append(((*credentials_key(settings, number), "name"), table.name))
    return found


def _no_column(use: Use, table: Table) -> Fault:
    there = [column.name for column in table.columns]
    near = nearest(use.column, there)
    remedy = f"Did you mean {near}?" if near else f"It has {', '.join(sorted(there))}."
    return Fault(use.key, f"the table {table.name} has no column {use.column}", remedy)


def _of_column(settings: Settings, tables: Mapping[str, Table | None], use: Use, column: Column) -> Iterator[Fault]:
    yield from _right(use, column)
    if not column.published:
        what = f"{_named(column)} is generated, and PostgreSQL does not publish it"
        yield Fault(use.key, what, "Map the columns that it is made of, or make it a plain one.")
    if column.composite:
        what = f"{_named(column)} has a composite type, which Debezium leaves out"
        yield Fault(use.key, what, "Map a column of a plain type instead.")
        return
    mapping = settings.mapping
    if use.inside:
        yield from _as_text(use, column, "JSON", _JSON)
        return
    match use.purpose:
        case For.ID:
            owners = [table.user_id for table in settings.source.credentials if table.name == use.table]
            yield from _key(use, column, owners)
            if use.table == settings.source.users.name:
                yield from _sub(settings, use, column)
        case For.OWNER:
            users = tables[settings.source.users.name]
            yield from _owner(use, column, users.column(settings.source.users.id) if users is not None else None)
        case For.FIELD | For.LOGIN:
            assert use.rule is not None
            yield from _field(use, use.rule, column, mapping.phone_region)
        case For.STATUS:
            status = mapping.status
            told: dict[str, Path] = {word: ("mapping", "status", "values", word) for word in status.values}
            told |= dict.fromkeys(status.deleted, ("mapping", "status", "deleted"))
            yield from _words(use, column, told, f"a user becomes {status.other}")
        case For.SELECT:
            assert mapping.select is not None
            told = dict.fromkeys(mapping.select.values, ("mapping", "select", "values"))
            yield from _words(use, column, told, "a user is not migrated")
        case For.GROUP:
            yield from _truth(use, column, "a user does not belong to it")
        case For.CONSENT:
            yield from _truth(use, column, "a consent is not sent")
        case For.MOMENT:
            yield from _tried(use, column, timestamp, "timestamp")
        case For.DELETED:
            yield from _deleted(use, column)
        case For.KIND:
            yield from _kind(settings, use, column)
        case For.ALGORITHM:
            yield from _algorithm(Passwords(mapping.passwords), use, column)
        case For.SECRET:
            yield from _as_text(use, column, "a text with the hash", ())
        case For.SALT:
            yield from _as_text(use, column, "a text", ("uuid",))
        case For.PARAMS:
            yield from _as_text(use, column, "JSON", _JSON)
        case For.AGE:
            yield from _age(use, column)
        case For.LAZY:
            pass  # may be of any type


def _right(use: Use, column: Column) -> Iterator[Fault]:
    if not column.readable:
        yield Fault(use.key, f"the role of LEGACY_DATABASE_URL may not read {_named(column)}", ENABLE)


# -- keys --------------------------------------------------------------------------------------------------------------


def _key(use: Use, column: Column, owners: Collection[str]) -> Iterator[Fault]:
    """Judge a key, which may be one together with the column of the user's id."""
    if key_kind(column) is None:
        yield _type(use, column, "which cannot be a key", "Keys are bigint, integer, uuid or text.")
    if not column.not_null:
        what = f"{_named(column)} may be NULL: such a row belongs to nobody"
        yield Fault(use.key, what, "Make it NOT NULL, or name the primary key.")
    if not column.unique and column.paired not in owners:
        what = f"{_named(column)} alone is not unique: two rows could have the same one"
        yield Fault(use.key, what, "Name the primary key, or make a unique index on this column.")


def _sub(settings: Settings, use: Use, column: Column) -> Iterator[Fault]:
    if settings.cidaas.sub != "id" or column.base == "uuid":
        return
    wrong = column.base not in _TEXTS
    what = f'the ids are of type {column.type}, and sub = "id" sends them as they are, which suits UUIDs only'
    remedy = 'Use sub = "uuid5"' + (", unless every id is the text of a UUID." if not wrong else ".")
    yield Fault(("cidaas", "sub"), what, remedy, wrong)


def _owner(use: Use, column: Column, users: Column | None) -> Iterator[Fault]:
    if not column.not_null:
        what = f"{_named(column)} may be NULL: such a row belongs to nobody"
        yield Fault(use.key, what, "Make it NOT NULL.")
    if users is not None and not alike(column, users):
        more = f"and the id of the users table is {users.type}: they would never be equal"
        yield _type(use, column, more, "Name the column that refers to the users table.")


# -- values ------------------------------------------------------------------------------------------------------------


def _field(use: Use, rule: FieldRule, column: Column, region: str | None) -> Iterator[Fault]:
    if rule.path is not None:
        yield from _as_text(use, column, "JSON", _JSON)
        return
    if rule.derived:
        if rule.template is not None and (column.is_array or column.base in ("bytea", *_JSON)):
            yield _type(use, column, "which is no text for a template", "Use a function for it, or another column.")
        return
    convert = converter(rule, region)
    if rule.values is not None:
        told = {word: (*use.key, "values", word) for word in rule.values}
        for word, key in told.items():
            if convert(word) is UNUSABLE:
                what = f"{rule.values[word]!r} cannot be sent as {rule.kind}"
                yield Fault(key, what, "Correct what the value becomes.")
        effect = "a login is not sent" if use.purpose is For.LOGIN else "a value is sent as null"
        yield from _words(use, column, told, effect)
        return
    if rule.kind == "phone" and column.base in (*INTEGERS, "numeric"):
        what = f"{_named(column)} is a number, so it has no + in front: it is read as one of {region or 'no country'}"
        remedy = "Look at some users with `mapping preview`." if region else 'Set mapping.phone_region, such as "DE".'
        yield Fault(use.key, what, remedy, wrong=region is None)
        return
    if column.base == "bytea":
        yield _type(use, column, "and is sent as base64", "Map a column that holds text.", wrong=False)
    yield from _tried(use, column, convert, rule.kind)


def _truth(use: Use, column: Column, effect: str) -> Iterator[Fault]:
    """Compare with the words that the file lists, or with true and false."""
    if use.words is not None:
        yield from _words(use, column, dict.fromkeys(use.words, (*use.key, "values")), effect)
    else:
        yield from _tried(use, column, boolean, "boolean")


def _tried(use: Use, column: Column, convert: Callable[[Any], Any], kind: str) -> Iterator[Fault]:
    """Try the converter with samples of the type; of texts nothing can be said beforehand."""
    if column.base in _TEXTS or column.labels:
        return
    samples: tuple[Any, ...] | None = (["a"],) if column.is_array else _SAMPLES.get(column.base)
    if samples is None:
        remedy = "Look at some users with `mapping preview` first."
        yield _type(use, column, "of which this check knows nothing", remedy, wrong=False)
        return
    bad = sum(convert(sample) is UNUSABLE for sample in samples)
    remedy = "Map another column" + (', or choose another type = "...".' if "custom_fields" in use.key else ".")
    if kind in ("date", "timestamp") and column.base in _NUMBERS:
        remedy = _EPOCH
    if bad == len(samples):
        yield _type(use, column, f"which cannot be sent as {kind}: it would always be null", remedy)
    elif bad:
        what = f"of which only some values can be sent as {kind}, and the others as null"
        yield _type(use, column, what, remedy, wrong=False)


def _words(use: Use, column: Column, told: Mapping[str, Path], effect: str) -> Iterator[Fault]:
    """Compare the words that the file lists with those that the column can have, where its type says which."""
    can = ("true", "false") if column.base == "bool" else column.labels
    if column.is_array or column.base == "bytea":
        yield _type(use, column, "which holds no words", "Name another column.")
    if not can:
        return
    for word, key in told.items():
        if word not in can:
            what = f"{word!r} is no value of {_named(column)}"
            yield Fault(key, what, _meant(word, can))
    left = [word for word in can if word not in told]
    if left:
        what = f"{', '.join(left)} of {_named(column)} {'is' if len(left) == 1 else 'are'} not listed: such {effect}"
        yield Fault(use.key, what, "List it if that is not meant.", wrong=False)


def _meant(word: str, can: Collection[str]) -> str:
    near = nearest(word.lower(), can)
    return f"Did you mean {near}?" if near else f"It has {', '.join(can)}."


def _deleted(use: Use, column: Column) -> Iterator[Fault]:
    if column.not_null and column.base not in (*_TEXTS, *INTEGERS, "bool") and not column.labels:
        what = f"{_named(column)} is never NULL: every user would count as deleted"
        yield Fault(use.key, what, "Name a column that only deleted users have set.")


# -- credentials -------------------------------------------------------------------------------------------------------


def _kind(settings: Settings, use: Use, column: Column) -> Iterator[Fault]:
    if column.base in (*INTEGERS, "bool", "float4", "float8") or column.is_array:
        yield _type(use, column, "and is compared with a text", "Name a text column, or leave kind out.")
        return
    table = next(one for one in settings.source.credentials if one.name == use.table)
    keys = {"password_kind": table.password_kind, "totp_kind": table.totp_kind}
    told = {word: (*use.key[:-1], key) for key, word in keys.items() if word}
    yield from _words(use, column, told, "a row counts neither as a password nor as a second factor")


def _algorithm(passwords: Passwords, use: Use, column: Column) -> Iterator[Fault]:
    if column.base not in _TEXTS and not column.labels:
        yield _type(use, column, "and must be a text", "Name the column with the algorithm's name.")
    unknown = [label for label in column.labels if passwords.info(label, "-")[1] == UNKNOWN]
    if unknown:
        what = f"{', '.join(unknown)} of {_named(column)}: users with such a hash arrive without password"
        remedy = "Give it an algorithm of cidaas under [mapping.passwords.algorithms]."
        yield Fault(use.key, what, remedy, wrong=False)


def _as_text(use: Use, column: Column, wanted: str, also: tuple[str, ...]) -> Iterator[Fault]:
    if column.base not in (*_TEXTS, *also):
        yield _type(use, column, f"and must be {wanted}", "Name a text column.")


def _age(use: Use, column: Column) -> Iterator[Fault]:
    samples = _SAMPLES.get(column.base, ())
    if use.epoch:
        if column.base not in (*_TEXTS, *_NUMBERS):
            yield _type(use, column, "and epoch is for numbers", "Leave epoch out, or name the column with the number.")
        return
    if column.base in _NUMBERS:
        yield _type(use, column, "and must be a timestamp", _EPOCH)
        return
    if column.base not in _TEXTS and not any(moment_of(sample) for sample in samples):
        yield _type(use, column, "and must be a timestamp", "Name the column with the time of the change.")


def _type(use: Use, column: Column, more: str, remedy: str, *, wrong: bool = True) -> Fault:
    return Fault(use.key, f"column {column.name} is of type {column.type}, {more}", remedy, wrong)


def _named(column: Column) -> str:
    return f"column {column.name} ({column.type})"
