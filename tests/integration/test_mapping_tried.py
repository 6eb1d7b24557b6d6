"""`mapping check`, `preview` and `diff` through the real command line, against a PostgreSQL of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest

from demo.legacy.seed import fill
from demo.stack import Stack, postgres
from demo.stack.capture import enable
from demo.stack.places import ROOT
from tests.integration.workers import TRACEBACK, Said

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USERS = 300
TEXT = (ROOT / "pipeline.toml").read_text()

#: A table with everything that a legacy table may have, and nothing that fits.
ODD = """
CREATE TYPE state AS ENUM ('active', 'blocked', 'gone');
CREATE DOMAIN address AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN key AS address NOT NULL;
CREATE TABLE "Kunden" (
    "Nummer" numeric, mail address, zweitmail key DEFAULT 'a@b', anlage date, geboren timestamptz, tags text[],
    zustand state, hash bytea, geheim text, stadt text GENERATED ALWAYS AS (lower(geheim)) VIRTUAL
);
INSERT INTO "Kunden" ("Nummer", mail) VALUES (1, 'a@example.org');
CREATE VIEW sight AS SELECT * FROM users;
GRANT SELECT ON "Kunden", sight TO cidaas_sync_read;
REVOKE SELECT ON "Kunden" FROM cidaas_sync_read;
GRANT SELECT ("Nummer", mail, zweitmail, anlage, geboren, tags, zustand, hash, stadt) ON "Kunden" TO cidaas_sync_read;
"""
ODD_FILE = """
[tables.users]
name = "public.Kunden"
id = "Nummer"
[tables.users.password]
secret = "hash"
algorithm_constant = "bcrypt"
[mapping.fields]
email = "mail"
username = "zweitmail"
createdTime = "anlage"
birthdate = "geboren"
nickname = "tags"
given_name = "geheim"
family_name = "nachname"
zoneinfo = "stadt"
[mapping.status]
column = "zustand"
values = { active = "VERIFIED", blockt = "LOCKED" }
[cidaas]
sub = "id"
"""


class Commands:
    """The commands with a configuration of their own, against one database."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.config = stack, folder / "pipeline.toml"
        self.env = stack.layout.environment({"PIPELINE_CONFIG": str(self.config)})
        self.configure()

    def configure(self, *changes: tuple[str, str], text: str = TEXT) -> Path:
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new, 1)
        self.config.write_text(text)
        return self.config

    def run(self, *words: str, **env: str) -> Said:
        command = [sys.executable, "-m", "streams", *words]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env | env, capture_output=True, text=True, timeout=120, check=False
        )
        said = Said(done.returncode, done.stdout, done.stderr)
        assert TRACEBACK not in said.text, said.text
        return said

    def json(self, code: int, *words: str) -> dict[str, Any]:
        said = self.run(*words, "--json")
        assert (said.code, said.err) == (code, ""), said
        body: dict[str, Any] = orjson.loads(said.out)
        return body


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL alone, with users and the roles of `cdc enable`."""
    made = Stack(tmp_path_factory.mktemp("mapping") / "run")
    try:
        made.up(("postgres",), capture=False)
        with postgres.connect(made.layout) as legacy:
            fill(legacy, USERS)
        enable(made.layout)
        with postgres.connect(made.layout) as legacy:
            legacy.execute(ODD.encode())
        yield made
    finally:
        made.clean()


@pytest.fixture
def commands(database: Stack, tmp_path: Path) -> Commands:
    return Commands(database, tmp_path)


# -- check -------------------------------------------------------------------------------------------------------------


def test_the_shipped_file_fits_the_reference_schema(commands: Commands) -> None:
    said = commands.run("mapping", "check")
    assert said.code == 0, said
    assert "public.users: 18 of 20 columns are mapped" in said.out
    assert "not mapped, and never read: email_verified, updated_at" in said.out
    assert said.out.endswith("nothing is wrong with the mapping\n")
    body = commands.json(0, "mapping", "check")
    assert (body["problems"], body["notes"]) == ([], [])


def test_everything_that_does_not_fit_is_named_with_its_line(commands: Commands) -> None:
    commands.configure(text=ODD_FILE)
    body = commands.json(1, "mapping", "check")
    text = "\n".join(f"{one['what']}. {one['remedy']}" for one in [*body["problems"], *body["notes"]])
    for part in (
        "Nummer is of type numeric, which cannot be a key",
        "Nummer (numeric) may be NULL",
        "Nummer (numeric) alone is not unique",
        'the ids are of type numeric, and sub = "id"',
        "anlage is of type date, which cannot be sent as timestamp",
        "geboren is of type timestamp with time zone, of which only some values can be sent as date",
        "tags is of type text[], which cannot be sent as text",
        "may not read column geheim",
        "stadt (text) is generated",
        "the table public.Kunden has no column nachname",
        "'blockt' is no value of column zustand (state). Did you mean blocked?",
        "blocked, gone of column zustand (state) are not listed: such a user becomes LOCKED",
        "hash is of type bytea, and must be a text with the hash",
    ):
        assert part in text, part
    lines = ODD_FILE.splitlines()
    for one in body["problems"]:
        assert one["key"].split()[-1] in lines[one["line"] - 1], one
    said = commands.run("mapping", "check").out
    line = lines.index('nickname = "tags"') + 1
    assert f"! pipeline.toml:{line}: [mapping.fields] nickname: column tags is of type text[]" in said
    assert len(body["problems"]) == 11
    assert body["tables"] == [{"name": "public.Kunden", "columns": 10, "not_mapped": []}]


def test_a_view_and_a_table_that_is_not_there(commands: Commands) -> None:
    commands.configure(('name = "public.users"', 'name = "public.sight"'))
    assert "public.sight is a view. Name an ordinary table" in commands.run("mapping", "check").out
    commands.configure(('name = "public.credentials"', 'name = "shop.credentials"'))
    said = commands.run("mapping", "check")
    assert said.code == 1
    assert re.search(
        r"! pipeline.toml:\d+: \[tables.credentials\] name: the legacy database has no table shop", said.out
    )


def test_what_cannot_be_used_is_one_sentence(commands: Commands) -> None:
    url = "postgresql://u:geheim@127.0.0.1:9/legacy"
    for words in (("check",), ("preview", "42")):
        said = commands.run("mapping", *words, LEGACY_DATABASE_URL=url)
        said.refused(2, "the legacy database does not answer")
        assert "geheim" not in said.text
    commands.run("mapping", "check", LEGACY_DATABASE_URL="").refused(2, "LEGACY_DATABASE_URL: is not set")
    commands.run("mapping", "diff", "/nowhere/old.toml").refused(2, "there is no such file")
    line = TEXT.splitlines().index("[delivery]") + 2
    commands.configure(("[delivery]\n", "[delivery]\nwindwo = 3\n"))
    commands.run("mapping", "check").refused(2, rf"^pipeline.toml:{line}: \[delivery\] windwo: .*did you mean window")


# -- preview -----------------------------------------------------------------------------------------------------------


def test_one_user_is_shown_as_it_stands_in_the_database(commands: Commands) -> None:
    with psycopg.connect(commands.env["LEGACY_ADMIN_URL"]) as legacy:
        row = legacy.execute(
            "SELECT u.id, u.email, c.secret FROM users u JOIN credentials c ON c.user_id = u.id "
            "WHERE c.algorithm = 'bcrypt' AND u.status = 'active' AND c.secret LIKE '$2b$%' "
            "AND NOT EXISTS (SELECT FROM credentials o WHERE o.user_id = u.id AND o.id <> c.id) LIMIT 1"
        ).fetchone()
        assert row is not None
        user, email, secret = row
        legacy.execute("UPDATE users SET phone = 'ask my sister', gender = NULL WHERE id = %s", (user,))
    body = commands.json(0, "mapping", "preview", str(user))
    assert (body["status"], body["sent"], body["entity"]["email"]) == ("live", True, email)
    assert body["entity"]["password_hash_info"]["passwordHash"] == f"(hidden, {len(secret)} characters)"
    assert {one["field"]: one["what"] for one in body["empty"]}["mobile_number"].endswith("(it holds 'ask my sister')")
    said = commands.run("mapping", "preview", f"0{user}")
    assert said.code == 0
    assert said.out.startswith(f"user {user}: sent as below"), "the id as the database writes it"
    assert body["sub"] in said.out
    assert "invalid_phone  no valid telephone number" in said.out
    assert secret not in said.text + str(body)


def test_a_deleted_user_one_that_is_not_there_and_no_id(commands: Commands) -> None:
    with psycopg.connect(commands.env["LEGACY_ADMIN_URL"]) as legacy:
        row = legacy.execute("SELECT min(id) FROM users WHERE status = 'deleted'").fetchone()
        assert row is not None
    body = commands.json(0, "mapping", "preview", str(row[0]))
    assert (body["status"], body["entity"]) == ("deleted", None)
    assert "column status holds 'deleted'" in body["sentence"]
    commands.run("mapping", "preview", "4711004711").refused(1, "public.users has no row with this id")
    commands.run("mapping", "preview", "ada").refused(2, "'ada' is no id")
    commands.run("mapping", "preview").refused(2, "Missing argument", lines=4)


# -- diff --------------------------------------------------------------------------------------------------------------


def test_the_present_file_changes_nothing_against_itself(commands: Commands) -> None:
    said = commands.run("mapping", "diff", str(commands.config))
    assert said.code == 0, said
    assert "both make the same of every user" in said.out


def test_what_a_changed_mapping_changes_is_counted_as_sql_counts_it(commands: Commands, tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text(TEXT)
    commands.configure(
        ('gender = "gender"', 'gender = { column = "gender", values = { male = "male" } }'),
        ('deleted = ["deleted"]', 'deleted = ["deleted", "locked"]'),
        (', locked = "LOCKED" }', " }"),
        ('locale = "locale"', 'locale = "locale"\nnickname = "username"'),
    )

    def count(where: str) -> int:
        with psycopg.connect(commands.env["LEGACY_ADMIN_URL"]) as legacy:
            row = legacy.execute(f"SELECT count(*) FROM users WHERE {where}".encode()).fetchone()
        assert row is not None
        return int(row[0])

    body = commands.json(1, "mapping", "diff", str(old))
    live = count("status IN ('active', 'pending')")
    locked = count("status = 'locked'")
    assert locked > 0
    assert (body["users"], body["read"], body["sent_again"]) == (count("true"), count("true"), live)
    assert [(one["before"], one["after"], one["users"]) for one in body["outcomes"]] == [("sent", "deleted", locked)]
    fields = {(one["field"], one["change"]): one["users"] for one in body["fields"]}
    named = count("status IN ('active', 'pending') AND username IS NOT NULL")
    assert fields == {
        ("gender", "null instead of a value"): count("status IN ('active', 'pending') AND gender <> 'male'"),
        ("nickname", "sent for the first time"): named,
        ("nickname", "sent for the first time, as null"): live - named,
    }
    said = commands.run("mapping", "diff", str(old))
    assert said.code == 1
    assert f"sent -> deleted: {locked} (such as " in said.out
    assert said.err == ""

    part = commands.json(1, "mapping", "diff", str(old), "--sample", "60")
    assert part["users"] == body["users"]
    assert 20 <= part["read"] <= 140, "about 60, at random"


def test_fields_that_are_made_are_checked_shown_and_compared(commands: Commands, tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    old.write_text(TEXT)
    (tmp_path / "own_greetings.py").write_text("def greet(row):\n    return 'Dear ' + row['given_name'].upper()\n")
    commands.configure(
        (
            'locale = "locale"',
            'locale = "locale"\nnickname = { template = "{given_name} {family_name}", case = "lower" }\n'
            'profile = { columns = ["given_name", "city"], function = "own_greetings:greet" }',
        ),
        ("# [mapping.consents]", '[mapping.consents]\nnews = { column = "newsletter", time = "created_at" }\n#'),
    )
    assert commands.json(0, "mapping", "check")["problems"] == []
    with psycopg.connect(commands.env["LEGACY_ADMIN_URL"]) as legacy:
        row = legacy.execute(
            "SELECT id, lower(given_name || ' ' || family_name), 'Dear ' || upper(given_name), newsletter FROM users "
            "WHERE status = 'active' AND given_name ~ '^[a-zA-Z]+$' AND family_name ~ '^[a-zA-Z]+$' LIMIT 1"
        ).fetchone()
        assert row is not None
        legacy.execute("UPDATE users SET given_name = NULL WHERE id = (SELECT max(id) FROM users)")
        last = legacy.execute("SELECT max(id) FROM users").fetchone()
        assert last is not None
        legacy.execute("UPDATE users SET status = 'active' WHERE id = %s", last)
    user, nickname, profile, news = row
    entity = commands.json(0, "mapping", "preview", str(user))["entity"]
    assert (entity["nickname"], entity["profile"]) == (nickname, profile)
    (consent,) = entity["consents"]
    assert (consent["fieldKey"], consent["state"]) == ("news", "ACCEPTED" if news else "REVOKED")
    assert consent["time"].endswith("Z")

    said = commands.run("mapping", "preview", str(last[0]))
    assert re.search(r"profile +own_greetings:greet raised AttributeError in line 2 of own_greetings.py", said.out), (
        said
    )

    said = commands.run("mapping", "diff", str(old), "--json")
    assert (said.code, said.err.count("AttributeError in line 2 of own_greetings.py")) == (1, 1), said
    body = orjson.loads(said.out)
    assert body["new_columns"] == []
    fields = {one["field"] for one in body["fields"] if one["change"] == "sent for the first time"}
    assert fields == {"nickname", "profile", "consents"}
    assert [one["note"] for one in body["notes"]] == ["profile_invalid"]


def test_credentials_of_one_file_only_and_files_of_other_tables(commands: Commands, tmp_path: Path) -> None:
    old = tmp_path / "old.toml"
    without = re.sub(r"^\[tables.credentials\].*?\n\n", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    assert without != TEXT
    old.write_text(without)
    body = commands.json(1, "mapping", "diff", str(old))
    assert {one["field"] for one in body["fields"]} == {"password_hash_info"}
    assert "public.credentials.secret" in body["new_columns"]
    old.write_text(TEXT.replace('name = "public.users"', 'name = "public.sight"'))
    commands.run("mapping", "diff", str(old)).refused(2, "compare files for the same tables")
    old.write_text(TEXT.replace('family_name = "family_name"', 'family_name = "nachname"'))
    commands.run("mapping", "diff", str(old)).refused(2, r"^old.toml:\d+: .* has no column nachname")


# -- the command itself ------------------------------------------------------------------------------------------------


def test_it_is_the_same_as_faust_and_starts_no_worker_by_itself(commands: Commands) -> None:
    faust = [sys.executable, "-m", "faust", "-A", "streams.app", "mapping", "check", "--json"]
    done = subprocess.run(faust, cwd=ROOT, env=commands.env, capture_output=True, timeout=120, check=True)
    assert orjson.loads(done.stdout) == commands.json(0, "mapping", "check")
    nothing = commands.run()
    assert nothing.code == 0
    assert nothing.out.startswith("Usage: cidaas-sync ")
    assert re.search(r"^  mapping ", nothing.out, re.MULTILINE)
    commands.run("wroker").refused(2, "No such command 'wroker'", lines=4)
