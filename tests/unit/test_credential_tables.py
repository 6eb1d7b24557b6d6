"""Several tables with credentials: each row is its table's, whatever key it has, and the newest password counts."""

from __future__ import annotations

import re
import tomllib
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest
from clock import Clock, run
from fakes import CREDENTIALS_TABLE, OLD_LOGINS, SEEDS, SETTINGS, SEVERAL, credential_row, envelope, user_row
from healthy import CREDENTIAL_TABLE, ROLES, TABLE
from hypothesis import given
from hypothesis import strategies as st
from world import World

from streams import comparison, keys, views
from streams.audit import fingerprint
from streams.census.counting import ORPHANS, Count, Fate
from streams.commands import cdc
from streams.comparison import Rows
from streams.credentials import Names
from streams.doctor import tables as doctor
from streams.legacy import Legacy
from streams.mapping import Mapped, Mapper
from streams.rows import Removal, RowChange, RowReader, UnreadableError, write_control
from streams.settings import Settings, load, schema
from streams.settings.tables import OF_IDENTITIES, OF_PASSWORDS
from streams.snapshots import decode
from streams.source import fit, sql
from streams.source.catalog import Column, Table
from streams.source.connector import connector_config
from streams.source.everyone import wanted
from streams.source.merging import Keyed, Orphan, Stream, User, joined
from streams.source.statements import identity_index
from streams.source.uses import For, uses
from streams.truncation import Probe
from tests.unit.test_settings import OWN_TABLE, read, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

ROOT = Path(__file__).parents[2]
FIRST, SECOND, THIRD = (table.name for table in SEVERAL.source.credentials)
READER, NAMES = RowReader(SEVERAL.source), Names(SEVERAL.source.credentials)
VALIDATOR = jsonschema.Draft7Validator(schema.schema((ROOT / "pipeline.toml").read_text()))

USERS = re.sub(r"\[tables.users.password\]\n(.*\n){2}", "", OWN_TABLE)
KEYS = 'id = "no"\nuser_id = "kunde"\n'
HASH = 'secret = "hash"\nalgorithm_constant = "bcrypt"\n'
LOGINS = f'[[tables.credentials]]\nname = "shop.logins"\n{KEYS}{HASH}created = "seit"\n'
OLD = '[[tables.credentials]]\nname = "shop.alt"\nid = "nr"\nuser_id = "wer"\nsecret = "pw"\nalgorithm = "art"\n'
TOTP = f'[[tables.credentials]]\nname = "shop.seeds"\n{KEYS}holds = "totp"\n'
BCRYPT = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"


def schema_refuses(text: str) -> list[str]:
    return [".".join(map(str, error.absolute_path)) for error in VALIDATOR.iter_errors(tomllib.loads(text))]


# -- the file ----------------------------------------------------------------------------------------------------------


def test_tables_come_in_the_order_of_the_file_each_with_its_columns(tmp_path: Path) -> None:
    source = read(tmp_path, USERS + LOGINS + OLD + TOTP).source
    assert [(table.name, table.columns, table.holds) for table in source.credentials] == [
        ("shop.logins", ("no", "kunde", "hash", "seit"), "passwords"),
        ("shop.alt", ("nr", "wer", "art", "pw"), "passwords"),
        ("shop.seeds", ("no", "kunde"), "totp"),
    ]
    assert [table.name for table in source.tables] == ["shop.logins", "shop.alt", "shop.seeds", "shop.kunde"]
    assert schema_refuses(USERS + LOGINS + OLD + TOTP) == []


def test_one_table_is_the_same_in_either_brackets(tmp_path: Path) -> None:
    """Whoever writes [[ ]] first and adds a table later keeps the state of before."""
    one = read(tmp_path, USERS + LOGINS.replace("[[", "[").replace("]]", "]"))
    other = read(tmp_path, USERS + LOGINS)
    assert (one.source, one.mapping.id) == (other.source, other.mapping.id)


def test_tables_and_their_order_are_part_of_the_mapping_and_their_names_are_not(tmp_path: Path) -> None:
    """C2: another newest password, or none, is another entity."""
    ids = [
        read(tmp_path, USERS + text).mapping.id
        for text in (LOGINS, LOGINS + OLD, OLD + LOGINS, LOGINS + TOTP, LOGINS + OLD + TOTP)
    ]
    assert len(set(ids)) == len(ids)
    renamed = (LOGINS + OLD).replace("shop.alt", "shop.older")
    assert read(tmp_path, USERS + renamed).mapping.id == ids[1]


def test_a_table_without_passwords_reads_no_seed(tmp_path: Path) -> None:
    """cidaas takes none, so none has to leave the database."""
    (table,) = read(tmp_path, USERS + TOTP + 'kind = "art"\ntotp_kind = "app"\n').source.credentials
    assert table.columns == ("no", "kunde", "art")
    assert not read(tmp_path, USERS + TOTP).source.has_passwords and read(tmp_path, USERS + LOGINS).source.has_passwords


#: A table of the file, the line that is wrong in it, and what is said.
MISTAKES = {
    TOTP + 'secret = "hash"\n': ('secret = "hash"', "#1] secret", "says that there is none"),
    LOGINS + TOTP + 'kind = "k"\n': ('kind = "k"', "#2] kind", "without the other"),
    LOGINS + TOTP.replace('"totp"', '"seeds"'): ('holds = "seeds"', "#2] holds", "is 'seeds'"),
    LOGINS + OLD.replace('secret = "pw"\n', ""): ("[[tables.credentials]]", "#2] secret", "is missing"),
    LOGINS + LOGINS: ('name = "shop.logins"', "#2] name", "once more"),
    LOGINS + OLD.replace("shop.alt", "shop.kunde"): ('name = "shop.kunde"', "#2] name", "same table as users"),
    '[tables]\ncredentials = ["shop.logins"]\n': ("credentials =", "[tables] credentials", "Write each one as [["),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_refused_with_its_table_and_its_line(tmp_path: Path, text: str) -> None:
    key, place, what = MISTAKES[text]
    lines = (USERS + text).splitlines()
    at = max(number for number, line in enumerate(lines, 1) if line.startswith(key))
    problems = refused(tmp_path, USERS + text)
    assert problems[0].startswith(f"pipeline.toml:{at}: ")
    assert place in problems[0] and what in problems[0]
    if "name =" not in key:  # of the other tables in the list a schema knows nothing
        assert schema_refuses(USERS + text)[0].startswith("tables.credentials")


def test_the_index_of_each_table_has_a_name_of_its_own(tmp_path: Path) -> None:
    """CREATE INDEX IF NOT EXISTS would take the one of the other table for it."""
    long = "shop." + "k" * 40
    text = LOGINS.replace("shop.logins", f"{long}1") + OLD.replace("shop.alt", f"{long}2")
    assert "the same 40 characters" in refused(tmp_path, USERS + text)[0]
    apart = read(tmp_path, USERS + text.replace(f"{long}2", f"alt.{'k' * 40}2")).source.credentials
    assert len({identity_index(table) for table in apart}) == 1, "in another schema it is another index"


# -- names of rows -----------------------------------------------------------------------------------------------------

#: What PostgreSQL can have in a key.
_KEYS = st.text(st.characters(exclude_characters="\0", codec="utf-8"))


@given(st.sets(st.tuples(st.integers(0, 2), _KEYS)))
def test_rows_of_different_tables_never_have_one_name(rows: set[tuple[int, str]]) -> None:
    tables = SEVERAL.source.credentials
    named = {f"{NAMES.prefix(tables[at])}{key}": {"table": tables[at].name, "key": key} for at, key in rows}
    assert len(named) == len(rows)
    by_table = NAMES.by_table(named)
    for at, table in enumerate(tables):
        assert {row["key"] for row in by_table[table.name]} == {key for one, key in rows if one == at}
    assert all(NAMES.table(name) == row["table"] for name, row in named.items())


def test_a_row_of_the_first_table_is_named_as_where_there_is_no_other() -> None:
    """The state of a pipeline with one table stays valid when another one comes behind it."""
    alone = Names(SETTINGS.source.credentials)
    assert alone.prefix(CREDENTIALS_TABLE) == NAMES.prefix(CREDENTIALS_TABLE) == ""
    assert NAMES.prefix(OLD_LOGINS) == "public.old_logins\0"


def test_a_row_of_a_table_that_is_not_read_any_more_belongs_to_nobody() -> None:
    names = Names((CREDENTIALS_TABLE, SEEDS))
    assert names.by_table({"7": {}, "public.old_logins\x007": {}}) == {FIRST: [{}], THIRD: []}
    assert names.table("public.old_logins\x007") is None


def change(table: str, pk: int, user: int, op: str = "u", reader: RowReader = READER, **more: Any) -> RowChange:
    found = reader.read(b"%d" % user, envelope(op, table, 900, credential_row(pk, user), **more))
    assert isinstance(found, RowChange)
    return found


def test_a_record_is_read_as_its_table_says() -> None:
    assert change("credentials", 7, 2) == change("credentials", 7, 2, reader=RowReader(SETTINGS.source))
    assert change("old_logins", 7, 2).pk == "public.old_logins\x007"
    seed = change("seeds", 7, 2)
    assert (seed.pk, seed.row) == ("public.seeds\x007", {"id": 7, "user_id": 2})


def test_a_column_that_is_missing_is_one_of_its_own_table() -> None:
    """M7."""
    row = credential_row(7, 2)
    del row["secret"]
    found = READER.read(b"2", envelope("u", "old_logins", 900, row))
    assert isinstance(found, RowChange) and found.missing == ("secret",)
    assert isinstance(found := READER.read(b"2", envelope("u", "seeds", 900, row)), RowChange) and not found.missing


def test_each_table_tells_its_own_former_owner() -> None:
    """M5: another table's column of that name says nothing."""
    source = replace(SEVERAL.source, credentials=(CREDENTIALS_TABLE, replace(OLD_LOGINS, user_id="owner")))
    fields = connector_config(replace(SEVERAL, source=source))["transforms.flat.add.fields"]
    assert fields.endswith(",before.user_id,before.owner")
    reader = RowReader(source)
    row = credential_row(7, 2) | {"owner": 3}
    moved = {"__before_user_id": 1, "__before_owner": 4}
    first = reader.read(b"2", envelope("u", "credentials", 900, row, **moved))
    second = reader.read(b"3", envelope("u", "old_logins", 900, row, **moved))
    assert isinstance(first, RowChange) and isinstance(second, RowChange)
    assert (first.moved_from, second.moved_from) == ("1", "4")


def test_tables_of_one_name_in_two_schemas_are_told_apart() -> None:
    """Debezium names a table without its schema, unless it is asked for it."""
    source = replace(SEVERAL.source, credentials=(replace(CREDENTIALS_TABLE, name="auth.users"), OLD_LOGINS))
    fields = connector_config(replace(SEVERAL, source=source))["transforms.flat.add.fields"].split(",")
    assert "source.schema" in fields
    assert "schema" not in connector_config(SEVERAL)["transforms.flat.add.fields"], "nothing changes without need"
    reader = RowReader(source)
    row = user_row(2) | credential_row(7, 2)
    assert change("users", 7, 2, reader=reader, __source_schema="auth").table == "credentials"
    user = reader.read(b"7", orjson.dumps(row | {"__op": "u", "__source_table": "users", "__source_schema": "public"}))
    assert isinstance(user, RowChange) and user.table == "users"
    with pytest.raises(UnreadableError, match="does not name"):
        reader.read(b"7", orjson.dumps(row | {"__op": "u", "__source_table": "users"}))


# -- merging, through the topic and the join ---------------------------------------------------------------------------


def played(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def inner() -> None:
        world = await World.start(None, clock, settings=SEVERAL)
        await scenario(world)
        await world.stop()

    clock = Clock()
    run(inner(), clock)


def put(world: World, table: str, op: str, pk: int, user: int, **more: Any) -> None:
    world.broker.append(
        "legacy.identity", 0, b"%d" % user, envelope(op, table, world.lsn(), credential_row(pk, user), **more)
    )


def there(world: World, user: int) -> set[str]:
    stored = world.partition.snapshots.store.get(b"%d" % user)
    assert stored is not None
    return set(decode(stored.value).live_credentials())


def test_rows_with_one_key_live_and_die_by_themselves() -> None:
    """M2, M5: one table's delete, or move, is not another's."""

    async def scenario(world: World) -> None:
        for number in (1, 2):
            world.put_user(number, "c")
        for table in ("credentials", "old_logins", "seeds"):
            put(world, table, "c", 7, 1)
        await world.joined()
        assert there(world, 1) == {"7", "public.old_logins\x007", "public.seeds\x007"}

        put(world, "old_logins", "d", 7, 1)
        await world.joined()
        assert there(world, 1) == {"7", "public.seeds\x007"}

        put(world, "seeds", "u", 7, 2, __before_user_id=1)
        await world.joined()
        (key, value) = world.pipeline.sent[-1]
        removal = READER.read(key, value)
        assert isinstance(removal, Removal) and (key, removal.pk) == (b"1", "public.seeds\x007")
        await world.joined()  # what the join has sent
        assert (there(world, 1), there(world, 2)) == ({"7"}, {"public.seeds\x007"})

        world.put_user(2, "d")
        await world.joined()
        assert there(world, 2) == set(), "with the user go the rows of all tables"

    played(scenario)


def test_a_control_record_carries_the_name_as_it_is() -> None:
    removal = Removal("credentials", "public.seeds\x007", 1, 5, None)
    assert READER.read(b"1", write_control(removal)) == removal


def test_people_read_the_table_and_the_key() -> None:
    async def scenario(world: World) -> None:
        world.put_user(1, "c")
        put(world, "credentials", "c", 7, 1)
        put(world, "old_logins", "c", 7, 1)
        await world.joined()
        ((snap, entry),) = world.partition.read([b"1"])
        body = views.look(SEVERAL, "1", snap, entry, SEVERAL.mapping.id)
        assert [one["id"] for one in body["snapshot"]["credentials"]] == ["7", "public.old_logins 7"]

    played(scenario)


def test_a_truncated_table_is_missed_by_its_own_rows() -> None:
    """TRUNCATE makes a new file; of which table rows are gone decides which one is reported."""

    async def scenario(world: World) -> None:
        world.put_user(1, "c")
        for table in ("credentials", "old_logins"):
            put(world, table, "c", 7, 1)
        await world.joined()

        async def present(ids: Sequence[str]) -> dict[str, Rows]:
            return {one: Rows(True, frozenset({"public.old_logins\x007"})) for one in ids}

        world.pipeline.legacy.present = present  # type: ignore[attr-defined]
        look: Any = SimpleNamespace(database=None)
        assert await Probe(world.pipeline, SECOND, 1).step(look) is False  # type: ignore[arg-type]
        assert await Probe(world.pipeline, FIRST, 1).step(look) is None, "a row is missing: it is looked into"  # type: ignore[arg-type]

    played(scenario)


# -- the newest password -----------------------------------------------------------------------------------------------


def password(pk: object, secret: str = BCRYPT, **columns: Any) -> dict[str, Any]:
    return credential_row(1, 1, secret=secret) | {"id": pk, "updated_at": None} | columns


def mapped(settings: Settings = SEVERAL, **rows: list[dict[str, Any]]) -> Mapped:
    """The user with these rows, by the tables' names without their schema."""
    return Mapper(settings).map("1", user_row(1), {f"public.{table}": some for table, some in rows.items()})


def sent(**rows: list[dict[str, Any]]) -> str:
    entity = mapped(**rows).entity
    assert entity is not None
    return str(entity["password_hash_info"]["passwordHash"][-1])


def hashed(letter: str) -> str:
    return BCRYPT[:-1] + letter


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ({"created_at": "2020-01-01T00:00:00Z"}, {"created_at": "2021-01-01T00:00:00Z"}, "b"),
        ({"created_at": "2022-01-01T00:00:00Z"}, {"created_at": "2021-01-01T00:00:00Z"}, "a"),
        (
            {"created_at": "2022-01-01T00:00:00Z"},
            {"created_at": "2021-01-01T00:00:00Z", "updated_at": "2023-01-01T00:00:00Z"},
            "b",
        ),
        ({"created_at": None}, {"created_at": "1999-01-01T00:00:00Z"}, "b"),
        ({"id": 1}, {"id": 2}, "a"),  # of one moment
        ({"id": 1, "created_at": None}, {"id": 9, "created_at": None}, "a"),
    ],
)
def test_the_newest_of_all_tables_counts_and_of_one_moment_the_first_tables(
    first: dict[str, Any], second: dict[str, Any], counts: str
) -> None:
    """Ids of two tables say nothing of each other."""
    rows = {"credentials": [password(5, hashed("a"), **first)], "old_logins": [password(5, hashed("b"), **second)]}
    assert sent(**rows) == sent(**dict(reversed(rows.items()))) == counts


def test_within_a_table_the_greater_id_counts_as_before() -> None:
    rows = [password(9, hashed("a")), password(10, hashed("b"))]
    assert sent(credentials=rows) == sent(old_logins=rows) == sent(credentials=rows, old_logins=[password(99)]) == "b"


@given(st.data())
def test_the_order_of_rows_and_tables_does_not_matter(data: st.DataObject) -> None:
    moments = st.sampled_from([None, "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"])
    row = st.builds(
        lambda pk, letter, created: password(pk, hashed(letter), created_at=created),
        st.integers(1, 3), st.sampled_from("ab"), moments,
    )  # fmt: skip
    tables = {
        name: data.draw(st.lists(row, max_size=3, unique_by=lambda one: one["id"])) for name in (FIRST, SECOND, THIRD)
    }
    shuffled = {name: data.draw(st.permutations(tables[name])) for name in data.draw(st.permutations(list(tables)))}
    mapper = Mapper(SEVERAL)
    assert mapper.map("1", user_row(1), tables) == mapper.map("1", user_row(1), shuffled)
    passwords = [(name, one) for name in (FIRST, SECOND) for one in tables[name]]
    columns, found = mapper.password_of(user_row(1), tables)
    assert columns is not None and (found is None) == (not passwords)


def test_a_seed_in_a_table_of_its_own_is_a_second_factor_and_no_password() -> None:
    seed = {"id": 1, "user_id": 1}
    with_mfa = replace(SEVERAL, mapping=replace(SEVERAL.mapping, mfa_enabled=True))
    for rows, expected in (([seed], True), ([], False)):
        made = mapped(with_mfa, credentials=[password(1)], seeds=rows).entity
        assert made is not None and made["mfa_enabled"] is expected and made["password_hash_info"] is not None
    assert not mapped(seeds=[seed]).has_password


def test_of_a_table_of_seeds_a_kind_can_say_which_count() -> None:
    """Who has scanned the code and never confirmed it has no second factor."""
    seeds = replace(SEEDS, kind="state", totp_kind="confirmed")
    source = replace(SEVERAL.source, credentials=(CREDENTIALS_TABLE, seeds))
    settings = replace(SEVERAL, source=source, mapping=replace(SEVERAL.mapping, mfa_enabled=True))
    for state in ("confirmed", "offered"):
        made = mapped(settings, seeds=[{"id": 1, "user_id": 1, "state": state}]).entity
        assert made is not None and made["mfa_enabled"] is (state == "confirmed")


def test_each_table_has_its_parts_where_it_says(tmp_path: Path) -> None:
    inside = (
        'secret = { column = "daten", path = "h" }\nalgorithm = { column = "daten", path = "a" }\ncreated = "wann"\n'
    )
    old = re.sub(r"secret.*\nalgorithm.*\n", inside, OLD)
    mapper = Mapper(read(tmp_path, USERS + LOGINS + old))
    daten = orjson.dumps({"h": hashed("b"), "a": "bcrypt"}).decode()
    rows = {
        "shop.logins": [{"no": 1, "kunde": 1, "hash": hashed("a"), "seit": "2020-01-01T00:00:00Z"}],
        "shop.alt": [{"nr": 1, "wer": 1, "daten": daten, "wann": "2021-01-01T00:00:00Z"}],
    }
    user = {"kunde_id": 1, "mail": "a@example.org"}
    for name, letter in (("shop.alt", "b"), ("shop.logins", "a")):
        entity = mapper.map("1", user, rows).entity
        assert entity is not None
        assert entity["password_hash_info"] == {"algorithmTypeId": "BCRYPT_12", "passwordHash": hashed(letter)}
        rows[name] = []
    assert mapper.map("1", user, rows).has_password is False


def test_without_any_table_of_passwords_nothing_is_said_of_one(tmp_path: Path) -> None:
    made = Mapper(read(tmp_path, USERS + TOTP)).map("1", {"kunde_id": 1, "mail": "a@example.org"}, {})
    assert made.entity is not None and "password_hash_info" not in made.entity


def test_a_password_of_the_users_table_goes_with_a_table_of_seeds(tmp_path: Path) -> None:
    settings = read(
        tmp_path, OWN_TABLE.replace("[mapping.fields]", "[mapping]\nmfa_enabled = true\n[mapping.fields]") + TOTP
    )
    user = {"kunde_id": 1, "mail": "a@example.org", "kennwort": BCRYPT}
    made = Mapper(settings).map("1", user, {"shop.seeds": [{"no": 1, "kunde": 1}]})
    assert made.entity is not None and made.entity["mfa_enabled"] is True and made.has_password


# -- reading the database ----------------------------------------------------------------------------------------------


async def test_single_users_are_read_with_the_rows_of_each_table(monkeypatch: pytest.MonkeyPatch) -> None:
    legacy = Legacy(SEVERAL)
    asked: list[str] = []

    async def queries(statements: Sequence[Any], params: Any = ()) -> list[list[dict[str, Any]]]:
        asked[:] = [statement.as_string(None) for statement in statements]
        rows = [{"id": 7, "user_id": 1, "secret": "x"}]
        return [[{"standby": False}], [{"id": 1}], rows, rows, rows]

    monkeypatch.setattr(legacy, "queries", queries)
    names = ["7", "public.old_logins\x007", "public.seeds\x007"]
    user, credentials = (await legacy.rows(["1"]))["1"]
    assert user == {"id": 1} and list(credentials) == names
    assert [re.findall(r'FROM "public"."(\w+)"', text) for text in asked[1:]] == [
        ["users"], ["credentials"], ["old_logins"], ["seeds"],
    ]  # fmt: skip
    assert "secret" not in asked[4], "no seed is read"
    assert await legacy.present(["1"]) == {"1": Rows(True, frozenset(names))}


async def test_the_first_look_of_a_sweep_marks_rows_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"users": [(1,)], "credentials": [(1, 7)], "old_logins": [(1, 7), (2, 8), (None, 9)], "seeds": []}

    async def chunks(_: Any, query: Any) -> AsyncIterator[list[tuple[Any, ...]]]:
        (table,) = re.findall(r'FROM "public"."(\w+)"', query.as_string(None))
        yield rows[table]

    @asynccontextmanager
    async def moment(_: Any) -> AsyncIterator[None]:
        yield None

    async def one(*_: Any) -> dict[str, Any]:
        return {"standby": False, "lsn": 5}

    monkeypatch.setattr(keys, "_chunks", chunks)
    monkeypatch.setattr(keys, "_one", one)
    monkeypatch.setattr(Legacy, "moment", moment)
    look = await keys.first_look(SEVERAL, "", lambda key: True)
    assert look.marks == {
        b"1": comparison.mark(True, ["7", "public.old_logins\x007"]),
        b"2": comparison.mark(False, ["public.old_logins\x008"]),
    }


def stream(*rows: tuple[Any, int]) -> Stream:
    chunks = iter([[Keyed(key, {"at": at}) for key, at in rows]])

    async def fetch() -> list[Keyed]:
        return next(chunks, [])

    return Stream(fetch)


async def test_everybody_comes_with_the_rows_of_each_table() -> None:
    tables = {"a": stream((1, 1), (2, 2), (2, 3)), "b": stream((0, 4), (2, 5), (9, 6), (None, 7))}
    found = [one async for one in joined(stream((1, 0), (2, 0), (3, 0)), tables)]
    users = [
        {name: [row["at"] for row in rows] for name, rows in one.credentials.items()}
        for one in found
        if isinstance(one, User)
    ]
    assert users == [{"a": [1], "b": []}, {"a": [2, 3], "b": [5]}, {"a": [], "b": []}]
    assert {(one.table, one.row["at"]) for one in found if isinstance(one, Orphan)} == {("b", 4), ("b", 6), ("b", 7)}


@given(
    users=st.sets(st.integers(0, 9)),
    tables=st.dictionaries(st.sampled_from("abc"), st.lists(st.integers(0, 9), max_size=8)),
)
async def test_it_is_what_a_join_of_each_table_is(users: set[int], tables: dict[str, list[int]]) -> None:
    streams = {name: stream(*((key, 0) for key in sorted(keys))) for name, keys in tables.items()}
    found = [one async for one in joined(stream(*((key, 0) for key in sorted(users))), streams)]
    assert {
        one.id: {name: len(rows) for name, rows in one.credentials.items()} for one in found if isinstance(one, User)
    } == {str(user): {name: keys.count(user) for name, keys in tables.items()} for user in users}
    orphans = [one.table for one in found if isinstance(one, Orphan)]
    assert {name: orphans.count(name) for name in tables} == {
        name: sum(key not in users for key in keys) for name, keys in tables.items()
    }


def test_a_file_with_a_table_more_can_be_compared_with_the_one_of_before(tmp_path: Path) -> None:
    """`mapping diff` before anybody adds it."""
    (tmp_path / "before").mkdir()
    before, after = read(tmp_path / "before", USERS + LOGINS), read(tmp_path, USERS + LOGINS + OLD)
    assert [one.table for one in wanted(before, after)] == ["shop.kunde", "shop.logins", "shop.alt"]
    other = read(tmp_path, USERS + LOGINS.replace('user_id = "kunde"', 'user_id = "wer"'))
    with pytest.raises(ValueError, match="compare files for the same tables"):
        wanted(before, other)


# -- before the start --------------------------------------------------------------------------------------------------


def test_the_connector_reads_all_of_them_credentials_first() -> None:
    """M6: a user is complete when its own row comes."""
    config = connector_config(SEVERAL)
    tables = ["public.credentials", "public.old_logins", "public.seeds", "public.users"]
    assert config["table.include.list"].replace("\\", "").split(",") == tables
    *_, seeds, _ = config["column.include.list"].split(",")
    assert re.fullmatch(seeds, "public.seeds.user_id") and not re.fullmatch(seeds, "public.seeds.secret")
    owners = {}
    for name in config["predicates"].split(",")[1:]:
        (table,) = [one for one in tables if re.fullmatch(config[f"predicates.{name}.pattern"], f"legacy.{one}")]
        letters = name.removeprefix("is")
        assert config[f"transforms.vk{letters}.fields"] == config[f"transforms.xk{letters}.field"]
        assert config[f"transforms.vk{letters}.predicate"] == config[f"transforms.xk{letters}.predicate"] == name
        owners[table] = config[f"transforms.vk{letters}.fields"]
    assert owners == {**dict.fromkeys(tables, "user_id"), "public.users": "id"}
    names = config["transforms"].split(",")
    assert (names[0], names[-1], len(names)) == ("flat", "one", 10) and len(set(names)) == 10


def test_each_table_gets_grants_a_replica_identity_and_its_place_in_the_publication() -> None:
    enable, disable = sql.enable_sql(SEVERAL), sql.disable_sql(SEVERAL)
    for table in SEVERAL.source.credentials:
        name = table.name.partition(".")[2]
        assert f'ALTER TABLE "public"."{name}" REPLICA IDENTITY USING INDEX "{identity_index(table)}"' in enable
        assert f'ALTER TABLE "public"."{name}" REPLICA IDENTITY DEFAULT' in disable
        assert f'DROP INDEX "public"."{identity_index(table)}"' in disable
        for role in (SEVERAL.source.role, SEVERAL.source.read_role):
            columns = ", ".join(f'"{column}"' for column in table.columns)
            assert f'GRANT SELECT ({columns}) ON "public"."{name}" TO "{role}"' in enable
    (published,) = re.findall(r"THEN '(.*)'\n", enable)
    assert re.findall(r'"public"\."(\w+)"', published) == ["credentials", "old_logins", "seeds", "users"]
    said = " ".join(cdc._enabling(SEVERAL)) + " ".join(cdc._disabling(SEVERAL))
    assert all(said.count(f"{table.name} ") >= 2 for table in SEVERAL.source.credentials)


def catalog(**types: str) -> tuple[Column, ...]:
    ids, owners = {"no", "nr", "kunde_id"}, {"kunde", "wer"}
    return tuple(
        Column(name, base, base, not_null=name in ids | owners, unique=name in ids) for name, base in types.items()
    )


def test_each_table_is_held_to_the_database_with_its_own_lines(tmp_path: Path) -> None:
    settings = read(tmp_path, USERS + LOGINS + OLD + TOTP)
    tables: dict[str, Table | None] = {
        "shop.kunde": Table("shop.kunde", "r", catalog(kunde_id="int8", mail="text")),
        "shop.logins": Table("shop.logins", "r", catalog(no="int8", kunde="int8", hash="text", seit="timestamptz")),
        "shop.alt": Table("shop.alt", "r", catalog(nr="int8", wer="text", pw="bytea", art="text")),
        "shop.seeds": None,
    }
    found = fit.sentences(settings, fit.faults(settings, tables))
    lines = (tmp_path / "pipeline.toml").read_text().splitlines()
    assert [line.partition(": ")[2].partition(":")[0] for line in found] == [
        "[tables.credentials #3] name", "[tables.credentials #2] user_id", "[tables.credentials #2] secret",
    ]  # fmt: skip
    for line, key in zip(found, ('name = "shop.seeds"', 'user_id = "wer"', 'secret = "pw"'), strict=True):
        assert line.startswith(f"pipeline.toml:{lines.index(key) + 1}: ")
    seeds = {use.purpose for use in uses(settings) if use.table == "shop.seeds"}
    assert seeds == {For.ID, For.OWNER}


def test_the_only_table_in_double_brackets_has_its_line_too(tmp_path: Path) -> None:
    settings = read(tmp_path, USERS + LOGINS)
    tables = {name: Table(name, "r", catalog(kunde_id="int8", mail="text")) for name in ("shop.kunde", "shop.logins")}
    found = fit.sentences(settings, fit.missing(settings, tables))  # type: ignore[arg-type]
    assert len(found) == 4 and all(re.match(r"pipeline.toml:\d+: \[tables.credentials\] ", line) for line in found)


def examined(orphans: dict[str, int | str], **changes: Any) -> dict[str, tuple[str, str]]:
    names = [table.name for table in SEVERAL.source.credentials]
    found = {name: replace(CREDENTIAL_TABLE, identity_index=f"{name.split('.')[1]}_cidaas_sync_ri") for name in names}
    found[SECOND] = replace(found[SECOND], **changes)
    there = doctor.Tables({SEVERAL.source.users.name: TABLE, **found}, orphans)
    return {one.slug: (one.state.value, one.what) for one in doctor.judge(SEVERAL, there, ROLES, enabled=True)}


def test_doctor_looks_at_each_table() -> None:
    nobody: dict[str, int | str] = dict.fromkeys((FIRST, SECOND, THIRD), 0)
    fine = examined(nobody)
    assert {state for state, _ in fine.values()} == {"ok"}
    assert fine["owner_type"][1].startswith(
        "public.credentials.user_id, public.old_logins.user_id, public.seeds.user_id"
    )
    assert "old_logins" in examined(nobody, identity="d")["replica_identity"][1]
    assert examined(nobody, identity_index=identity_index(CREDENTIALS_TABLE))["replica_identity"][0] == "fault"
    text = {
        **CREDENTIAL_TABLE.columns,
        "user_id": replace(CREDENTIAL_TABLE.columns["user_id"], type="text", base="text"),
    }
    wrong = examined({**nobody, THIRD: 3}, columns=text)
    assert wrong["owner_type"] == (
        "fault",
        "public.old_logins.user_id is text, public.users.id is bigint: their values are not written alike",
    )
    assert wrong["orphans"][1].startswith("3 values of public.seeds.user_id belong to no user")
    assert "not looked for: a lock" in examined({**nobody, SECOND: "a lock"})["orphans"][1]


def test_census_counts_rows_of_all_tables_and_names_orphans_by_theirs() -> None:
    count = Count(SEVERAL)
    rows = {FIRST: [password(1)], SECOND: [password(1, "5f4dcc3b5aa765d61d8327deb882cf99", algorithm="md5")]}
    count.user("1", user_row(1), {**rows, THIRD: [{"id": 1, "user_id": 1}]})
    count.orphan(SECOND, {"id": 7})
    census = count.census
    assert census.credentials == {"password": 2, "totp": 1, ORPHANS: 1}
    assert census.of(Fate.SECOND_FACTOR_LOST) == 1, "the password of the first table counts"
    assert census.ids(ORPHANS) == ["public.old_logins 7"]


def test_the_audit_tells_which_table_has_changed() -> None:
    before, after = fingerprint.digests(SETTINGS), fingerprint.digests(SEVERAL)
    assert before.items() <= after.items(), "the keys of the first table are those of an only one"
    assert {"tables.credentials", "tables.credentials.public.seeds.holds"} <= set(fingerprint.differing(before, after))
    swapped = replace(SEVERAL.source, credentials=(CREDENTIALS_TABLE, SEEDS, OLD_LOGINS))
    assert fingerprint.differing(after, fingerprint.digests(replace(SEVERAL, source=swapped))) == ["tables.credentials"]


def test_what_a_table_of_second_factors_cannot_have_are_keys_of_the_file() -> None:
    """A key that is new has to be refused there, too."""
    named = VALIDATOR.schema["properties"]["tables"]["properties"]["credentials"]["properties"]
    others = {"name", "id", "user_id", "kind", "totp_kind", "holds", *OF_IDENTITIES}
    assert set(OF_PASSWORDS) == named.keys() - others


def test_the_shipped_file_can_be_written_with_double_brackets(tmp_path: Path) -> None:
    text = (ROOT / "pipeline.toml").read_text().replace("[tables.credentials]         #", "[[tables.credentials]] #")
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    assert load(path, {}).mapping.id == SETTINGS.mapping.id
    assert schema_refuses(text) == []
