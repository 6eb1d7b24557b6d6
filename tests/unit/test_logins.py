"""Social logins in a table of their own: rows become further identities, one a provider, whatever happens to them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from fakes import CREDENTIALS_TABLE, SETTINGS, credential_row, envelope, user_row
from healthy import CREDENTIAL_TABLE, ROLES, TABLE
from hypothesis import given
from hypothesis import strategies as st
from reconciling import KEY, catalog
from world import World

from streams.audit import fingerprint
from streams.census import counting
from streams.census.counting import ORPHANS, Count, Fate
from streams.census.forecast import Rate, Survey, body
from streams.census.report import build, text
from streams.cidaas.shape import shaped
from streams.doctor import tables as doctor
from streams.logins import ID_INVALID, PROVIDER_UNKNOWN, SEVERAL
from streams.mapping import Mapped, Mapper
from streams.notes import explained
from streams.preview import preview
from streams.reconcile.marks import Marker
from streams.rows import UNAVAILABLE
from streams.settings import FieldRule, Settings
from streams.snapshots import decode
from streams.source import fit, sql
from streams.source.catalog import Column, Table
from streams.source.connector import connector_config
from streams.source.statements import identity_index
from streams.source.uses import For, uses
from tests.unit.test_credential_tables import LOGINS, USERS, schema_refuses
from tests.unit.test_settings import OWN_TABLE, read, refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

PROVIDER = 'provider = { column = "netz", case = "lower", values = { google = "google", fb = "facebook" } }\n'
LOGIN = 'provider_user_id = "netz_id"\n'
KEYS = 'name = "shop.social"\nid = "nr"\nuser_id = "kunde"\nholds = "identities"\n'
SOCIAL = f'[[tables.credentials]]\n{KEYS}{PROVIDER}{LOGIN}created = "seit"\n'
COLUMN = '[mapping.identities]\ngoogle = "google_id"\n'


# -- the file ----------------------------------------------------------------------------------------------------------


def test_a_table_of_logins_reads_the_columns_that_its_keys_name(tmp_path: Path) -> None:
    source = read(tmp_path, USERS + LOGINS + SOCIAL).source
    table = source.credentials[1]
    assert (table.holds, table.columns) == ("identities", ("nr", "kunde", "netz", "netz_id", "seit"))
    assert schema_refuses(USERS + LOGINS + SOCIAL) == []
    assert not read(tmp_path, USERS + SOCIAL).source.has_passwords, "C7 has nothing to wait for"


def test_what_makes_other_entities_is_part_of_the_mapping_and_the_tables_name_is_not(tmp_path: Path) -> None:
    ids = [
        read(tmp_path, USERS + text).mapping.id
        for text in (
            LOGINS, LOGINS + SOCIAL, LOGINS + SOCIAL.replace('"facebook"', '"github"'),
            LOGINS + SOCIAL.replace('"netz_id"', '"netz_nr"'),
        )
    ]  # fmt: skip
    assert len(set(ids)) == len(ids)
    assert read(tmp_path, USERS + LOGINS + SOCIAL.replace("shop.social", "shop.netze")).mapping.id == ids[1]


#: A table of the file, the line that is wrong in it, what is said, and whether a schema can know it.
MISTAKES: dict[str, tuple[str, str, bool]] = {
    SOCIAL.replace(PROVIDER, ""): ("[[tables", r"#1\] provider: is missing. Say which word is which", True),
    SOCIAL.replace(LOGIN, ""): ("[[tables", r"#1\] provider_user_id: is missing. Name the column", True),
    SOCIAL.replace(PROVIDER, 'provider = "netz"\n'): ("provider =", r"\] provider: names no provider of cid", True),
    SOCIAL.replace(PROVIDER, 'provider = { column = "netz", values = {} }\n'): ("provider =", "names no prov", False),
    SOCIAL.replace(PROVIDER, 'provider = { template = "{netz}" }\n'): ("provider =", "names no prov", False),
    SOCIAL.replace(PROVIDER, 'provider = { template = "a b" }\n'): ("provider =", "template: is 'a b', which", False),
    SOCIAL.replace('"facebook"', '"self"'): ("provider =", r"provider\.values\.fb: is cidaas's own identity", False),
    SOCIAL.replace('"facebook"', '"Face Book"'): ("provider =", r"provider\.values\.fb: is 'Face Book', which", False),
    SOCIAL + 'secret = "hash"\n': ("secret =", r"#1\] secret: is of a password or second factor", True),
    SOCIAL + 'kind = "art"\n': ("kind =", r"#1\] kind: is of a password or second factor", True),
    SOCIAL.replace('"identities"', '"identity"'): ("holds =", r"holds: is 'identity'.*did you mean identities", True),
    LOGINS + PROVIDER: ("provider =", r"#1\] provider: is of a social login, and only holds", True),
    SOCIAL.replace('"identities"', '"totp"'): ("created =", r"#1\] created: is of a password", True),
}  # fmt: skip


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_refused_with_its_line_and_a_remedy(tmp_path: Path, text: str) -> None:
    key, said, schema_knows = MISTAKES[text]
    lines = (USERS + text).splitlines()
    at = max(number for number, line in enumerate(lines, 1) if line.startswith(key))
    problems = refused(tmp_path, USERS + text)
    assert problems[0].startswith(f"pipeline.toml:{at}: ") and re.search(said, problems[0]), problems
    if schema_knows:
        assert schema_refuses(USERS + text)[0].startswith("tables.credentials")


def test_all_rows_can_be_of_one_provider(tmp_path: Path) -> None:
    table = SOCIAL.replace(PROVIDER, 'provider = { template = "google" }\n')
    settings = read(tmp_path, USERS + table)
    assert settings.source.credentials[0].columns == ("nr", "kunde", "netz_id", "seit")
    assert schema_refuses(USERS + table) == []
    assert identities(settings, row(1, "?", "g1")) == [("google", "g1")]


# -- the mapping -------------------------------------------------------------------------------------------------------


def row(number: int, network: Any, one: Any, since: str | None = None) -> dict[str, Any]:
    return {"nr": number, "kunde": 1, "netz": network, "netz_id": one, "seit": since}


def mapped(settings: Settings, *rows: dict[str, Any], **user: Any) -> Mapped:
    return Mapper(settings).map("1", {"kunde_id": 1, "mail": "ada@example.org", **user}, {"shop.social": rows})


def identities(settings: Settings, *rows: dict[str, Any], **user: Any) -> list[tuple[str, str]]:
    entity = mapped(settings, *rows, **user).entity
    assert entity is not None
    return [(one["provider"], one["providerUserId"]) for one in entity["identities"]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return read(tmp_path, USERS + SOCIAL)


def test_rows_become_further_identities_in_the_order_of_their_providers(settings: Settings) -> None:
    rows = row(1, "Google ", 108), row(2, "FB", "f1")
    assert (
        identities(settings, *rows) == identities(settings, *reversed(rows)) == [("facebook", "f1"), ("google", "108")]
    )
    entity = mapped(settings, *rows).entity
    assert entity is not None and "password_hash_info" not in entity
    (sent,) = shaped([entity])
    assert [(one["provider"], one["sub"], one["email"]) for one in sent["identities"]] == [
        (provider, entity["sub"], "ada@example.org") for provider in ("self", "facebook", "google")
    ]


def test_a_table_of_logins_says_nothing_of_passwords_and_second_factors(tmp_path: Path) -> None:
    both = USERS.replace("[mapping.fields]", "[mapping]\nmfa_enabled = true\n[mapping.fields]") + SOCIAL
    made = mapped(read(tmp_path, both), row(1, "google", "g1"))
    assert made.entity is not None and not made.has_password
    assert not {"password_hash_info", "mfa_enabled"} & made.entity.keys()


def test_who_has_none_is_sent_in_the_same_shape(settings: Settings) -> None:
    assert identities(settings) == [], "a call has users of one shape only"


@pytest.mark.parametrize(
    ("first", "second", "counts"),
    [
        ("2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "second"),
        ("2022-01-01T00:00:00Z", "2021-01-01T00:00:00Z", "first"),
        (None, "1999-01-01T00:00:00Z", "second"),
        (None, None, "second"),  # the greater id, and 10 comes after 9
    ],
)
def test_of_several_at_one_provider_the_newest_is_sent_and_it_is_noted(
    settings: Settings, first: str | None, second: str | None, counts: str
) -> None:
    rows = row(9, "google", "first", first), row(10, "google", "second", second), row(3, "fb", "f1")
    assert identities(settings, *rows) == [("facebook", "f1"), ("google", counts)]
    assert mapped(settings, *rows).notes == (SEVERAL,)


def test_the_same_login_twice_is_one(settings: Settings) -> None:
    assert mapped(settings, row(1, "google", "g"), row(2, "GOOGLE", " g ")).notes == ()


def test_of_one_moment_the_table_that_stands_first_in_the_file_counts(tmp_path: Path) -> None:
    settings = read(tmp_path, USERS + SOCIAL + SOCIAL.replace("shop.social", "shop.older"))
    rows = {"shop.older": [row(99, "google", "older")], "shop.social": [row(1, "google", "newer")]}
    made = Mapper(settings).map("1", {"kunde_id": 1, "mail": "a@example.org"}, rows)
    assert made.entity is not None
    assert made.entity["identities"] == [{"provider": "google", "providerUserId": "newer"}]


def test_what_a_column_says_goes_before_the_rows(tmp_path: Path) -> None:
    settings = read(tmp_path, USERS + COLUMN + SOCIAL)
    rows = row(1, "google", "g2"), row(2, "fb", "f1")
    assert identities(settings, *rows, google_id="g1") == [("google", "g1"), ("facebook", "f1")]
    assert mapped(settings, *rows, google_id="g1").notes == (SEVERAL,)
    assert mapped(settings, *rows, google_id="g2").notes == ()
    assert identities(settings, *rows, google_id=None) == [("facebook", "f1"), ("google", "g2")]


@pytest.mark.parametrize(
    ("network", "one", "notes"),
    [
        ("google", None, ()),
        ("google", "  ", ()),
        (None, None, ()),
        ("google", ["g"], (ID_INVALID,)),
        ("linkedin", "l", (PROVIDER_UNKNOWN,)),
        ("self", "s", (PROVIDER_UNKNOWN,)),
        (None, "n", (PROVIDER_UNKNOWN,)),
        (["google"], "n", (PROVIDER_UNKNOWN,)),
        (UNAVAILABLE, "n", ("value_unavailable",)),
    ],
)
def test_a_row_that_says_no_login_leaves_the_others(
    settings: Settings, network: Any, one: Any, notes: tuple[str, ...]
) -> None:
    odd = [row(number, network, one) for number in (7, 8)]
    assert identities(settings, *odd, row(1, "fb", "f1")) == [("facebook", "f1")]
    assert mapped(settings, *odd, row(1, "fb", "f1")).notes == notes, "once, however many rows"


def test_each_note_has_words_without_values(settings: Settings) -> None:
    for note in (ID_INVALID, PROVIDER_UNKNOWN, SEVERAL):
        said = explained(note, settings)
        assert said.what != note and said.remedy


@given(st.data())
def test_the_order_of_rows_does_not_matter(data: st.DataObject) -> None:
    words = st.sampled_from(["google", "socials", None])
    moments = st.sampled_from([None, "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"])
    made = st.builds(
        lambda number, network, one, at: social(number, 1, network, one) | {"created_at": at},
        st.integers(1, 4), words, st.sampled_from(["a", "b", None]), moments,
    )  # fmt: skip
    rows = data.draw(st.lists(made, max_size=4, unique_by=lambda one: one["id"]))
    shuffled = data.draw(st.permutations(rows))
    mapper = Mapper(WITH_LOGINS)
    one, other = (mapper.map("1", user_row(1), {SOCIALS.name: some}) for some in (rows, shuffled))
    assert one.entity == other.entity and set(one.notes) == set(other.notes)


def test_preview_shows_them_and_says_why_one_is_missing(settings: Settings) -> None:
    rows = {"shop.social": [row(1, "fb", "f1"), row(2, "linkedin", "l1")]}
    said = preview(settings, "1", {"kunde_id": 1, "mail": "a@example.org"}, rows)
    assert [one["provider"] for one in said["entity"]["identities"]] == ["self", "facebook"]
    assert [one["note"] for one in said["notes"]] == [PROVIDER_UNKNOWN]
    assert said["credential_rows"] == 2


# -- through the topic, the join and the delivery ----------------------------------------------------------------------

SOCIALS = replace(
    CREDENTIALS_TABLE,
    name="public.socials",
    holds="identities",
    kind=None,
    totp_kind=None,
    algorithm=None,
    secret="",
    salt=None,
    params=None,
    updated=None,
    columns=("id", "user_id", "network", "network_id", "created_at"),
    provider=FieldRule("provider", "network", "text", {"google": "google", "socials": "facebook"}),
    provider_user_id=FieldRule("provider_user_id", "network_id", "text", None),
)
WITH_LOGINS = replace(SETTINGS, source=replace(SETTINGS.source, credentials=(CREDENTIALS_TABLE, SOCIALS)))


def social(pk: Any, user: int, network: str | None = "google", one: str | None = "g1") -> dict[str, Any]:
    return {"id": pk, "user_id": user, "network": network, "network_id": one, "created_at": "2020-01-01T00:00:00Z"}


def played(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def inner() -> None:
        world = await World.start(None, clock, settings=WITH_LOGINS)
        world.go()
        await world.sign_up(1, 2)
        await scenario(world)
        assert world.tenant.overlaps == []
        await world.stop()

    clock = Clock()
    run(inner(), clock)


async def put(world: World, op: str, values: dict[str, Any], lsn: int | None = None, **more: Any) -> int:
    lsn = lsn or world.lsn()
    key = b"%d" % values["user_id"]
    world.broker.append("legacy.identity", 0, key, envelope(op, "socials", lsn, values, **more))
    await world.joined()
    return lsn


async def at_cidaas(world: World, *users: int) -> list[list[str]]:
    """The ids that these users log in with, when cidaas has what the legacy tables say."""
    await world.in_sync(*users)
    entities = [world.at_cidaas(user) for user in users]
    return [[one["providerUserId"] for one in entity["identities"]] for entity in entities if entity is not None]


def test_a_row_that_comes_changes_and_goes_is_a_new_version_each_time() -> None:
    async def scenario(world: World) -> None:
        assert await at_cidaas(world, 1) == [[]]
        first = await put(world, "c", social(7, 1))
        assert await at_cidaas(world, 1) == [["g1"]]
        await put(world, "u", social(7, 1, one="g2"))
        assert await at_cidaas(world, 1) == [["g2"]]
        calls = len(world.calls(1))
        await put(world, "u", social(7, 1, one="g2"))  # its token has changed, which is not read
        await put(world, "u", social(7, 1, one=UNAVAILABLE))  # M4
        await put(world, "c", social(7, 1), first)  # M1: Connect repeats itself
        assert await at_cidaas(world, 1) == [["g2"]]
        assert len(world.calls(1)) == calls, "nothing worth a call"
        last = await put(world, "d", social(7, 1))
        assert await at_cidaas(world, 1) == [[]]
        await put(world, "u", social(7, 1), last - 5)  # M2
        assert await at_cidaas(world, 1) == [[]]

    played(scenario)


def test_a_row_that_changes_hands_leaves_its_former_user() -> None:
    """M5: by its own key."""

    async def scenario(world: World) -> None:
        await put(world, "c", social(7, 1))
        await at_cidaas(world, 1)
        await put(world, "u", social(7, 2), __before_user_id=1)
        assert await at_cidaas(world, 1, 2) == [[], ["g1"]]

    played(scenario)


def test_a_row_whose_key_has_the_user_in_it_changes_hands() -> None:
    """Debezium makes a delete and an insert of it, both of one LSN; each user has a row of that name of its own."""

    async def scenario(world: World) -> None:
        await put(world, "c", social("google", 1))
        await put(world, "c", social("socials", 2, "socials", "f2"))
        lsn = world.lsn()
        await put(world, "d", social("google", 1), lsn)
        await put(world, "c", social("google", 2), lsn)
        assert await at_cidaas(world, 1, 2) == [[], ["f2", "g1"]]
        await put(world, "c", social("google", 1, one="g9"))
        assert await at_cidaas(world, 1, 2) == [["g9"], ["f2", "g1"]]

    played(scenario)


def test_a_column_that_is_missing_sets_the_user_aside() -> None:
    """M7."""

    async def scenario(world: World) -> None:
        bare = {name: value for name, value in social(7, 1).items() if name != "network_id"}
        await put(world, "c", bare)
        ((stored, _),) = world.partition.read([b"1"])
        assert stored is not None
        assert "network_id" in str(decode(stored.value).aside)

    played(scenario)


def test_a_changed_login_is_another_mark_for_reconcile() -> None:
    marker = Marker(WITH_LOGINS, catalog(WITH_LOGINS), KEY)
    one, same, other = (
        marker.of(user_row(1), {SOCIALS.name: [social(7, 1, one=value)]}) for value in ("g1", "g1", "g2")
    )
    assert one == same != other
    assert marker.of_named(user_row(1), {f"{SOCIALS.name}\x007": social(7, 1)}) == one


# -- the database ------------------------------------------------------------------------------------------------------

#: As Keycloak has it: the key is provider and user.
BY_PROVIDER = replace(SOCIALS, id="network", columns=("network", "user_id", "network_id"), created=None)
KEYED = replace(WITH_LOGINS, source=replace(WITH_LOGINS.source, credentials=(CREDENTIALS_TABLE, BY_PROVIDER)))


def test_only_the_named_columns_leave_the_database() -> None:
    include = connector_config(KEYED)["column.include.list"].split(",")
    assert re.fullmatch(include[1], "public.socials.network_id") and not re.fullmatch(
        include[1], "public.socials.token"
    )
    enable = sql.enable_sql(KEYED)
    for role in (KEYED.source.role, KEYED.source.read_role):
        assert f'GRANT SELECT ("network", "user_id", "network_id") ON "public"."socials" TO "{role}"' in enable
    assert {use.purpose for use in uses(KEYED) if use.table == "public.socials"} == {For.ID, For.OWNER, For.LOGIN}


def test_a_key_of_provider_and_user_is_one() -> None:
    enable = sql.enable_sql(KEYED)
    assert "bool_and(a.attname IN ('network', 'user_id'))" in enable
    assert "of public.socials is neither (network) nor (user_id, network)" in enable
    assert "of public.users is not (id)" in enable, "a user's key is a single column"
    assert f'"{identity_index(BY_PROVIDER)}" ON "public"."socials" ("user_id", "network")' in enable


def examined(*primary_key: str) -> tuple[str, str]:
    socials = replace(
        CREDENTIAL_TABLE,
        identity_index=identity_index(BY_PROVIDER),
        primary_key=primary_key,
        columns={name: replace(CREDENTIAL_TABLE.columns["user_id"], name=name) for name in BY_PROVIDER.columns},
    )
    found = {SETTINGS.source.users.name: TABLE, CREDENTIALS_TABLE.name: CREDENTIAL_TABLE, BY_PROVIDER.name: socials}
    checks = doctor.judge(KEYED, doctor.Tables(found, dict.fromkeys(found, 0)), ROLES, enabled=True)
    (check,) = [one for one in checks if one.slug == "primary_key"]
    return check.state.value, f"{check.what} {check.remedy}"


def test_doctor_takes_such_a_key_and_no_other() -> None:
    for key in (("network",), ("network", "user_id"), ("user_id", "network")):
        assert examined(*key)[0] == "ok", key
    for key in (("user_id",), ("realm", "network"), ("network", "user_id", "realm"), ()):
        assert examined(*key)[0] == "fault", key
    assert "a single one, or one beside user_id" in examined("realm", "network")[1]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, ""),
        ({"nr": {"unique": False, "paired": "kunde"}}, ""),
        ({"nr": {"unique": False, "paired": "realm"}}, r"\] id: column nr \(int8\) alone is not unique"),
        ({"netz": {"type": "int8[]", "base": "_int8", "is_array": True}}, r"\] provider: .*holds no words"),
        ({"netz": {"base": "n", "labels": ("google", "x")}}, r"values\] fb: 'fb' is no value of column netz"),
        ({"netz": {"base": "n", "labels": ("google", "fb", "x")}}, "x of column netz .* such a login is not sent"),
        ({"netz_id": {"base": "int8"}}, ""),
        ({"seit": {"base": "int8", "type": "int8"}}, r"\] created: column seit is of type int8, and must be a timest"),
    ],
)
def test_the_table_is_held_to_the_database(tmp_path: Path, columns: dict[str, dict[str, Any]], said: str) -> None:
    settings = read(tmp_path, USERS + SOCIAL)
    there = {
        "nr": Column("nr", "int8", "int8", not_null=True, unique=True),
        "kunde": Column("kunde", "int8", "int8", not_null=True),
        **{name: Column(name, "text", "text") for name in ("netz", "netz_id")},
        "seit": Column("seit", "timestamptz", "timestamptz"),
    }
    there |= {name: replace(there[name], **change) for name, change in columns.items()}
    key = Column("kunde_id", "int8", "int8", not_null=True, unique=True)
    tables: dict[str, Table | None] = {
        "shop.kunde": Table("shop.kunde", "r", (key, Column("mail", "text", "text"))),
        "shop.social": Table("shop.social", "r", tuple(there.values())),
    }
    found = fit.sentences(settings, fit.faults(settings, tables))
    assert bool(found) == bool(said), found
    assert any(re.search(said, line) for line in found) or not said, found


# -- counting ----------------------------------------------------------------------------------------------------------


def test_census_counts_logins_by_provider_and_who_has_nothing_else() -> None:
    count = Count(WITH_LOGINS)
    google, facebook = social(1, 1), social(2, 1, "socials", "f1")
    people = [
        ([google, facebook], [credential_row(1, 1)]),
        ([google], []),
        ([social(3, 1, "warehouse", "w")], []),
        ([], [credential_row(1, 1)]),
    ]
    for number, (logins, passwords) in enumerate(people, 1):
        count.user(str(number), user_row(number), {SOCIALS.name: logins, CREDENTIALS_TABLE.name: passwords})
    count.orphan(SOCIALS.name, google)
    census = count.census
    assert (census.logins.rows, census.logins.users, census.logins.alone) == (4, 2, 1)
    assert census.logins.providers == {"google": 2, "facebook": 1}
    assert census.credentials == {"password": 2, ORPHANS: 1}, "logins are no rows of other kinds"
    assert census.why(Fate.RESET) == {counting.NO_PASSWORD: 2} and census.of(Fate.UNCHANGED) == 2
    assert (census.notes, census.ids(PROVIDER_UNKNOWN)) == ({PROVIDER_UNKNOWN: 1}, ["3"])

    survey = Survey(WITH_LOGINS, (), 1_795_791_600.0, 1.0, census, Rate(None, "nobody"), None)
    assert body(survey)["social_logins"] == {
        "rows": 4, "users": 2, "without_password": 1,
        "providers": [{"provider": "google", "users": 2}, {"provider": "facebook", "users": 1}],
    }  # fmt: skip
    said = text(build(survey))
    for line in (
        r"2 +50\.0 % +live users with a social login that is sent", r"2 +50\.0 % +live users with one at google",
        r"1 +25\.0 % +live users with a social login and no password", r"4 +rows with a social login",
        "none that pipeline.toml lists",
    ):  # fmt: skip
        assert re.search(line, said), said
    assert "warehouse" not in said, "no word of a row is shown"


def test_census_counts_logins_of_columns_too(tmp_path: Path) -> None:
    count = Count(read(tmp_path, OWN_TABLE + COLUMN))
    for number, google in enumerate(("g1", None), 1):
        row = {"kunde_id": number, "mail": f"u{number}@example.org", "kennwort": None, "google_id": google}
        count.user(str(number), row, {})
    logins = count.census.logins
    assert (logins.rows, logins.users, logins.alone, logins.providers) == (0, 1, 1, {"google": 1})


def test_the_audit_tells_what_has_changed() -> None:
    before, after = fingerprint.digests(SETTINGS), fingerprint.digests(WITH_LOGINS)
    named = set(fingerprint.differing(before, after))
    assert "tables.credentials.public.socials.provider.values.google" in named
    assert not any(key.startswith("tables.credentials.provider") for key in after), "an upgrade alone is no change"
