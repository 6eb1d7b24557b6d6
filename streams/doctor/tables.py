"""The captured legacy tables: columns, keys, replica identity, rights, and what hides or loses rows (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.doctor.checks import fault, ok, problem, some, unknown, warning
from streams.source.catalog import KINDS, ORDINARY, alike, nearest
from streams.source.enabling import ENABLE
from streams.source.look import captured
from streams.source.statements import identity_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from streams.doctor.checks import Check
    from streams.doctor.roles import Role
    from streams.settings import CredentialsTable, Settings, UsersTable
    from streams.source.catalog import Column

    Captured = UsersTable | CredentialsTable
    #: What is wrong with one table, and the remedy; None for nothing.
    Rule = Callable[["_World", Captured, "Table"], tuple[str, str] | None]

#: Orphans are counted up to here.
MANY = 1_000
_IDENTITIES = {"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX"}
#: Kinds with rows of their own: only these have a replica identity, and columns that are NOT NULL.
_OWN_ROWS = ("r", "p")


@dataclass(frozen=True, slots=True)
class Table:
    """One captured table as it is."""

    kind: str  # pg_class.relkind
    persistence: str  # pg_class.relpersistence
    partition: bool
    identity: str  # pg_class.relreplident
    identity_index: str | None
    primary_key: tuple[str, ...]
    row_security: bool
    columns: Mapping[str, Column]
    schema_readers: frozenset[str] = frozenset()
    #: publications of others that leave out columns which deletes need -> those columns.
    narrow: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tables:
    """The captured tables by name; those that are not there are left out.

    `orphans` has of each table with credentials how many ids in it are of no user, or why that is not known.
    """

    found: Mapping[str, Table]
    orphans: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _World:
    settings: Settings
    tables: Tables
    roles: Mapping[str, Role]
    enabled: bool


def judge(settings: Settings, tables: Tables, roles: Mapping[str, Role | None], *, enabled: bool) -> list[Check]:
    """Judge the tables; `enabled` says that the publication is there, and so all that `cdc enable` does."""
    missing = [table.name for table in captured(settings) if table.name not in tables.found]
    if missing:
        remedy = f"Correct the name under [tables] in {settings.path.name}, or bring the table back."
        there = fault("tables_there", f"the legacy database has no table {', '.join(missing)}", remedy)
    else:
        there = ok("tables_there", f"{', '.join(table.name for table in captured(settings))} are there")
    if not tables.found:
        return [there]
    world = _World(settings, tables, {name: role for name, role in roles.items() if role is not None}, enabled)
    return [there, *_tables(world), *_owner(world)]


def _tables(world: _World) -> Iterator[Check]:
    rules: list[tuple[str, Rule, str]] = [
        ("table_columns", _columns, "all mapped columns are there"),
        ("table_kind", _kind, "ordinary tables"),
        ("table_logged", _logged, "every change is written to the WAL"),
        ("primary_key", _primary_key, "the primary keys are those of the configuration"),
        ("generated_columns", _generated, "no mapped column is left out for being generated"),
        ("column_types", _types, "Debezium knows the types of all mapped columns"),
        ("row_security", _row_security, "no row level security hides users"),
        ("other_publications", _narrow, "no other publication makes deletes fail"),
    ]
    for slug, rule, fine in rules:
        yield _judged(world, slug, rule, fine, fault)
    yield _replica_identity(world)
    if large := [name for table, there in _pairs(world) for name, column in _mapped(table, there) if column.large]:
        # M4: the WAL says "unchanged" of such a value, and the worker keeps the one that it has.
        yield ok("large_columns", f"values of {len(large)} columns may be stored apart; unchanged ones are kept")
    if world.roles:
        late = world.enabled
        for slug, rule, fine in (
            ("schema_right", _schema_right, "both roles may name the tables"),
            ("column_rights", _column_rights, "both roles may read the mapped columns"),
        ):
            yield _judged(world, slug, rule, fine, lambda s, what, remedy: problem(s, what, remedy, enabled=late))


def _judged(
    world: _World,
    slug: str,
    rule: Rule,
    fine: str,
    bad: Callable[[str, str, str], Check],
) -> Check:
    problems = [found for table, there in _pairs(world) if (found := rule(world, table, there)) is not None]
    if not problems:
        return ok(slug, fine)
    return bad(slug, "; ".join(what for what, _ in problems), problems[0][1])


def _pairs(world: _World) -> Iterator[tuple[Captured, Table]]:
    for table in captured(world.settings):
        if (there := world.tables.found.get(table.name)) is not None:
            yield table, there


def _mapped(table: Captured, there: Table) -> Iterator[tuple[str, Column]]:
    for name in table.columns:
        if (column := there.columns.get(name)) is not None:
            yield name, column


def _named(names: Iterable[str]) -> str:
    return ", ".join(names)


def _columns(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    missing = [name for name in table.columns if name not in there.columns]
    if not missing:
        return None
    near = nearest(missing[0], there.columns)
    hint = f"Did you mean {near}? " if near else ""
    remedy = f"{hint}Correct {world.settings.path.name} (`mapping check` names the line), or bring the column back."
    return f"{table.name} has no column {some(missing)}", remedy


def _kind(_: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    if there.partition:
        return f"{table.name} is a partition of another table", ORDINARY
    return None if there.kind == "r" else (f"{table.name} is {KINDS.get(there.kind, 'no table')}", ORDINARY)


def _logged(_: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    if there.persistence == "p":
        return None
    return f"{table.name} is not logged: its changes are in no WAL", f"ALTER TABLE {table.name} SET LOGGED."


def _primary_key(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    if there.kind != "r" or table.id not in there.columns:
        return None
    owners = [one.user_id for one in world.settings.source.credentials if one is table]
    if table.id in there.primary_key and {table.id, *owners} >= set(there.primary_key):
        return None
    if not there.primary_key:
        what = f"{table.name} has no primary key: once it is published, UPDATE and DELETE fail"
        return what, f"ALTER TABLE {table.name} ADD PRIMARY KEY ({table.id})."
    what = f"the primary key of {table.name} is ({_named(there.primary_key)}), not ({table.id})"
    beside = f", or one beside {owners[0]}" if owners else ""
    return what, f"Name the key column in {world.settings.path.name}; it has to be a single one{beside}."


def _generated(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    bad = [name for name, column in _mapped(table, there) if not column.published]
    if not bad:
        return None
    remedy = f"Map the columns that it is made of, in {world.settings.path.name}."
    return f"{table.name}: {_named(bad)} is generated, and PostgreSQL does not publish it", remedy


def _types(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    bad = [name for name, column in _mapped(table, there) if column.composite]
    if not bad:
        return None
    remedy = f"Map a column of a plain type instead, in {world.settings.path.name}."
    return f"{table.name}: {_named(bad)} has a composite type, which Debezium leaves out", remedy


def _row_security(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    source = world.settings.source
    names = (source.role, source.read_role)
    without = [name for name in names if (role := world.roles.get(name)) is None or not role.bypass]
    if not there.row_security or not without:
        return None
    verb = "ALTER" if all(name in world.roles for name in without) else "CREATE"
    remedy = "; ".join(f'{verb} ROLE "{name}" BYPASSRLS' for name in without) + " (a superuser can)."
    return f"row level security of {table.name} hides users from {_named(without)}", remedy


def _narrow(_: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    if not there.narrow:
        return None
    name, columns = next(iter(there.narrow.items()))
    what = f"the publication {name} of somebody else leaves {_named(columns)} of {table.name} out"
    return what, f"Add the column there: with our replica identity UPDATE and DELETE on {table.name} would fail."


def _replica_identity(world: _World) -> Check:
    """Deletes and moves of a credential have to tell its user; a user's own need the key only."""
    bad: dict[str, str] = {}
    undone: list[str] = []
    for table, there in _pairs(world):
        ours = table is not world.settings.source.users
        if there.kind not in _OWN_ROWS:
            continue  # `table_kind` says what to do
        if ours and there.identity == "i" and there.identity_index == identity_index(table):
            continue
        # Without its index the table goes on saying "an index": `cdc enable` makes it again.
        if there.identity == "d" or (ours and there.identity == "i" and there.identity_index is None):
            undone += [table.name] if ours else []
            continue
        bad[table.name] = _IDENTITIES.get(there.identity, there.identity)
    if bad:
        cure = "; ".join(f"ALTER TABLE {name} REPLICA IDENTITY DEFAULT" for name in bad)
        what = "; ".join(f"the replica identity of {name} is {identity}" for name, identity in bad.items())
        # Between the two a delete does not tell the user, which the guard takes for what it is: lost.
        lost = world.enabled and any(table.name in bad for table in world.settings.source.credentials)
        then = "`source repair`, which does `cdc enable`, too" if lost else "`cdc enable`"
        return fault("replica_identity", what, f"Find out who needs it; if nobody: {cure}; then {then}.")
    if undone:
        what = f"deletes and moves in {_named(undone)} do not tell the user{'' if world.enabled else ' yet'}"
        return problem("replica_identity", what, ENABLE, enabled=world.enabled)
    return ok("replica_identity", "deletes and moves tell whose row it was")


def _schema_right(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    without = [name for name in world.roles if name not in there.schema_readers]
    return (f"{_named(without)} may not use the schema of {table.name}", ENABLE) if without else None


def _column_rights(world: _World, table: Captured, there: Table) -> tuple[str, str] | None:
    for role in world.roles:
        unread = [name for name, column in _mapped(table, there) if role not in column.readers]
        if unread:
            return f"{role} may not read {some(unread)} of {table.name}", ENABLE
    return None


@dataclass(frozen=True, slots=True)
class _Owner:
    """The column of one table that says whose credential it is."""

    table: CredentialsTable
    column: Column

    @property
    def name(self) -> str:
        """As it is said."""
        return f"{self.table.name}.{self.table.user_id}"


def _owner(world: _World) -> Iterator[Check]:
    """Judge the columns that say whose credential it is, and the rows behind them."""
    users = world.settings.source.users
    owners = [
        _Owner(table, column)
        for table in world.settings.source.credentials
        if (there := world.tables.found.get(table.name)) is not None
        if (column := there.columns.get(table.user_id)) is not None  # else `table_columns` says so
    ]
    if not owners:
        return
    tables = [owner for owner in owners if world.tables.found[owner.table.name].kind in _OWN_ROWS]
    if null := [owner for owner in tables if not owner.column.not_null]:
        cure = f"ALTER TABLE {null[0].table.name} ALTER COLUMN {null[0].table.user_id} SET NOT NULL"
        remedy = f"Give rows without a user one, or remove them; then {cure}."
        what = f"{_said(null)} may be NULL, so it cannot be part of a replica identity"
        yield fault("owner_not_null", what, remedy)
    elif tables:
        yield ok("owner_not_null", f"{_said(tables)} is NOT NULL")
    there = world.tables.found.get(users.name)
    key = there.columns.get(users.id) if there is not None else None
    if key is None:
        return
    if other := [owner for owner in owners if not alike(owner.column, key)]:
        types = ", ".join(f"{owner.name} is {owner.column.type}" for owner in other)
        what = f"{types}, {users.name}.{users.id} is {key.type}: their values are not written alike"
        yield fault("owner_type", what, f"Give {_said(other)} the type {key.type}.")
    else:
        yield ok("owner_type", f"{_said(owners)} has the type of {users.name}.{users.id}")
    if fine := [owner for owner in owners if owner not in other]:
        yield _orphans(world, fine)


def _said(owners: Iterable[_Owner]) -> str:
    return _named(owner.name for owner in owners)


def _orphans(world: _World, owners: list[_Owner]) -> Check:
    numbers = {owner.name: world.tables.orphans.get(owner.table.name, "it was not asked") for owner in owners}
    if unasked := [number for number in numbers.values() if isinstance(number, str)]:
        return unknown("orphans", f"rows without a user were not looked for: {unasked[0]}")
    if found := {name: int(number) for name, number in numbers.items() if number}:
        many = [f"{'at least ' if number >= MANY else ''}{number:,} values of {name}" for name, number in found.items()]
        what = f"{_named(many)} belong to no user; they are never sent"
        return warning("orphans", what, "Remove these rows, or leave them: `status` counts them as credentials only.")
    return ok("orphans", f"every {_said(owners)} belongs to a user")
