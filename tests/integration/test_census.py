"""`census` on a real PostgreSQL: each figure is that of a query that knows nothing of the pipeline's code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from demo.stack import Stack, capture, postgres
from demo.stack.places import ROOT
from streams.census.counting import Fate
from streams.commands.census import take
from streams.legacy import Legacy
from streams.settings import load
from streams.source.everyone import everyone
from streams.source.merging import User
from tests.integration.workers import FAUST, Said, command, free_ports
from tests.unit.nameserver import name_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import psycopg

ODDITIES = (ROOT / "tests/integration/census.sql").read_text()

SHOP = """
CREATE TABLE accounts (uid {type} PRIMARY KEY, mail text, pw text, note text, tel text);
INSERT INTO accounts
  SELECT {key}, 'geheim' || i || '@example.org', '$2b$10$' || substr(md5(i::text) || md5('a' || i), 1, 53)
  FROM generate_series(1, 500) AS i;
CREATE TABLE seeds (no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, account {other}, pw text NOT NULL);
INSERT INTO seeds (account, pw) SELECT uid::text::{other}, pw FROM accounts WHERE mail < 'geheim3';
INSERT INTO seeds (account, pw) SELECT {orphan}, 'geheim' FROM generate_series(1, 3) AS i;
"""


class Database:
    """The legacy database and the command line on it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.env = stack.layout.environment({"WORKER_URL": f"http://127.0.0.1:{next(free_ports)}"})
        self.env["APP_DATADIR"] = str(folder / "data")

    def admin(self) -> psycopg.Connection:
        return postgres.connect(self.stack.layout)

    def run(self, script: str) -> None:
        with self.admin() as admin:
            admin.execute(script.encode())

    def figures(self, query: str) -> dict[str, Any]:
        """Two columns as a dictionary."""
        with self.admin() as admin:
            return {row[0]: row[1] for row in admin.execute(query.encode()).fetchall()}

    def number(self, query: str) -> int:
        with self.admin() as admin:
            row = admin.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])

    def census(self, *options: str, **env: str) -> Said:
        return command(self.env | env, "census", *options)

    def json(self, *options: str, code: int = 0, **env: str) -> dict[str, Any]:
        said = self.census("--json", *options, **env)
        assert said.code == code, said
        assert said.err == "", "no bar where nobody looks"
        body: dict[str, Any] = json.loads(said.out)
        return body


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A PostgreSQL with odd users, and the read-only role."""
    folder = tmp_path_factory.mktemp("census")
    made = Stack(folder / "run")
    try:
        made.up(("postgres",), capture=False)
        found = Database(made, folder)
        found.run(ODDITIES)
        # The right to read is all that a census needs; `cdc enable` would refuse a user column that may be NULL.
        found.run("CREATE ROLE cidaas_sync_read LOGIN")
        settings = capture.settings_of(made.layout)
        for table in settings.source.tables:
            found.run(f"GRANT SELECT ({', '.join(table.columns)}) ON {table.name} TO cidaas_sync_read")
        password = made.env["LEGACY_DATABASE_URL"].split(":")[2].split("@")[0]
        found.run(f"ALTER ROLE cidaas_sync_read PASSWORD '{password}'")
        yield found
    finally:
        made.clean()


def of(body: dict[str, Any], fate: str) -> int:
    return sum(one["users"] for one in body["fates"] if one["fate"] == fate)


def refusals(body: dict[str, Any]) -> dict[str, int]:
    return {one["reason"]: one["users"] for one in body["fates"] if one["fate"] == "refused"}


@pytest.fixture(scope="module")
def body(database: Database) -> dict[str, Any]:
    return database.json(code=1)


def test_each_live_user_has_the_fate_that_sql_says(database: Database, body: dict[str, Any]) -> None:
    expected = database.figures("SELECT fate, count(*) FROM fates GROUP BY 1")
    fates = {f"{one['fate']} {one['reason']}".strip(): one["users"] for one in body["fates"]}
    assert fates == expected
    assert len(expected) == 14, "each fate is tried"
    assert body["wrong"] is True


def test_users_hashes_and_rows_are_those_of_sql(database: Database, body: dict[str, Any]) -> None:
    states = "SELECT CASE status WHEN 'deleted' THEN 'deleted' ELSE 'live' END, count(*) FROM users GROUP BY 1"
    assert body["status"] == database.figures(states) | {"not_selected": 0}
    assert body["users"] == sum(body["status"].values())
    status = {"active": "VERIFIED", "pending": "PENDING", "locked": "LOCKED"}
    counted = database.figures("SELECT status, count(*) FROM checked GROUP BY 1")
    assert body["user_status"] == {status[name]: number for name, number in counted.items()}

    hashes = "SELECT hash || ' ' || note, count(*) FROM newest JOIN checked c ON c.id = user_id GROUP BY 1"
    named = {
        f"{', '.join(filter(None, (one['name'], one['cost'])))} {one['note']}": one["users"] for one in body["hashes"]
    }
    assert named == database.figures(hashes)
    assert {one["name"] for one in body["hashes"] if one["sent"]} == {"bcrypt", "SHA256", "PBKDF2"}

    rows = database.figures(
        "SELECT CASE WHEN u.id IS NULL THEN 'orphans' WHEN kind = 'webauthn' THEN 'other' ELSE kind END, count(*)"
        " FROM credentials c LEFT JOIN users u ON u.id = c.user_id GROUP BY 1"
    )
    assert body["credentials"] | {"orphans": body["orphans"]["rows"]} == rows
    seeds = "SELECT count(DISTINCT user_id) FROM credentials JOIN checked c ON c.id = user_id WHERE kind = 'totp'"
    assert body["second_factor"]["users"] == database.number(seeds)


def test_identifiers_notes_and_columns_are_those_of_sql(database: Database, body: dict[str, Any]) -> None:
    shared = (
        "SELECT count(*), sum(n)::int"
        " FROM (SELECT count(*) AS n FROM judged WHERE {0} <> '' GROUP BY {0} HAVING count(*) > 1) s"
    )
    for name, column in (("emails", "address"), ("usernames", "lower(username)")):
        with database.admin() as admin:
            assert admin.execute(shared.format(column).encode()).fetchone() == tuple(body[name].values())
    phones = {name: number for name, number in body["phones"].items() if name != "examples"}
    assert phones == {
        "read": database.number("SELECT count(*) FROM checked"),
        "users": database.number("SELECT count(*) FROM checked WHERE phone <> ''"),
        "invalid": database.number("SELECT count(*) FROM checked WHERE phone = 'keine'"),
    }
    notes = database.figures(
        "SELECT note, count(*) FROM newest JOIN checked c ON c.id = user_id WHERE note <> '' GROUP BY 1"
    )
    notes |= {
        "no_identifier": database.number("SELECT count(*) FROM checked WHERE wrong = 'no_identifier'"),
        "birthdate_invalid": database.number("SELECT count(*) FROM checked WHERE birthdate = 'infinity'"),
        "createdTime_invalid": database.number("SELECT count(*) FROM checked WHERE created_at < '0001-01-01'"),
    }
    assert {one["note"]: one["users"] for one in body["notes"]} == notes
    assert {one["name"]: one["not_mapped"] for one in body["tables"]} == {
        "public.users": ["email_verified", "updated_at"],
        "public.credentials": [],
    }
    assert body["domains"] is None


def test_examples_are_ids_of_such_users(database: Database, body: dict[str, Any]) -> None:
    fates = database.figures("SELECT id::text, fate FROM fates")
    for one in body["fates"]:
        assert len(one["examples"]) <= 5
        if one["fate"] in ("reset", "refused", "second_factor_lost"):
            assert {fates[user] for user in one["examples"]} == {f"{one['fate']} {one['reason']}".strip()}
    orphans = database.figures(
        "SELECT c.id::text, 1 FROM credentials c LEFT JOIN users u ON u.id = user_id WHERE u.id IS NULL"
    )
    assert 1 <= len(body["orphans"]["examples"]) <= 5
    assert set(body["orphans"]["examples"]) <= set(orphans)
    assert 1 <= len(body["phones"]["examples"]) <= 5


def test_the_screen_and_the_page_say_the_same_and_show_no_value(database: Database, body: dict[str, Any]) -> None:
    file = database.folder / "census.html"
    said = database.census("--html", str(file), "--rate", "50")
    assert said.code == 1, said
    page = file.read_text()
    live, refused = body["status"]["live"], sum(refusals(body).values())
    for shown in (said.out, page):
        assert f"{of(body, 'unchanged'):,} of {live:,} users" in shown
        assert f"{refused:,} will be refused by cidaas" in shown
        assert f"{live:,} users take {live // 50 // 60} min" in shown
        assert "email_verified" in shown
        assert "geheim" not in shown.lower()
        assert "4915112345678" not in shown
    assert "geheim" not in json.dumps(body).lower()
    assert said.err == ""


async def test_users_of_a_domain_that_takes_no_mail(database: Database, body: dict[str, Any]) -> None:
    async with name_server({"example.org": (0, 0, 0)}) as (server, resolver):
        census = (await take(capture.settings_of(database.stack.layout), 1.0, 20_000, resolver)).census
    assert server.asked == {("example.org", "MX"): 1, ("example.org", "A"): 1}, "each domain once"
    lost = database.number("SELECT count(*) FROM fates JOIN users USING (id) WHERE fate !~ '^refused' AND email <> ''")
    assert census.why(Fate.REFUSED) == {**refusals(body), "unresolvable_domain": lost}
    assert census.fates.total() == body["status"]["live"]


async def test_rows_come_as_the_worker_would_read_them(database: Database) -> None:
    settings = capture.settings_of(database.stack.layout)
    async with everyone(settings) as found:
        read = {one.id: one async for one in found.rows if isinstance(one, User)}
    assert len(read) == found.users
    legacy = Legacy(settings)
    try:
        odd = "SELECT id::text, 1 FROM users WHERE created_at < '0001-01-01' OR birthdate = 'infinity'"
        some = database.figures("SELECT id::text, 1 FROM users LIMIT 200") | database.figures(odd)
        again = await legacy.rows(list(some))
    finally:
        await legacy.close()
    for user, (row, credentials) in again.items():
        assert read[user].row == row
        assert {str(one["id"]): one for one in read[user].credentials["public.credentials"]} == credentials


def test_phone_numbers_on_a_sample(database: Database, body: dict[str, Any]) -> None:
    sampled = database.json("--sample", "500", code=1)
    assert 300 < sampled["phones"]["read"] < 700
    assert 0.15 < sampled["phones"]["invalid"] / sampled["phones"]["read"] < 0.35
    for name in ("fates", "hashes", "notes", "users", "status"):
        assert sampled[name] == body[name], "a sample is of numbers, not of users"


def test_the_rate_is_that_of_a_running_worker(database: Database, body: dict[str, Any]) -> None:
    assert body["load"] == {
        "users": body["status"]["live"], "rate": None, "rate_from": "no worker runs whose rate could be taken",
        "seconds": None,
    }  # fmt: skip

    class Worker(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = json.dumps({"rate": {"10s": 0.0, "60s": 25.0}, "workers": []}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Worker) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        load_ = database.json(code=1, WORKER_URL=f"http://127.0.0.1:{server.server_port}")["load"]
        server.shutdown()
    assert (load_["rate"], load_["seconds"]) == (25.0, body["status"]["live"] / 25)


def test_a_bar_on_a_terminal_only(database: Database) -> None:
    ours, theirs = pty.openpty()
    shown = b""
    with subprocess.Popen(
        [*FAUST, "census", "--rate", "1"],
        cwd=ROOT,
        env=database.env | {"TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        assert process.wait(60) == 1
    os.close(ours)
    assert b"6000" in shown
    assert b"users" in shown


SHOP_KEYS = {
    "uuid": ("uuid", "uuid", "md5(i::text)::uuid", "md5('x' || i)::uuid"),
    "text beside bigint": ("bigint", "text", "(i * 7919) % 100003 - 40000", "'Käufer ' || i"),
    "char beside text": ("char(12)", "text", "CASE WHEN i % 2 = 0 THEN 'ä' ELSE 'Z-' END || i", "'zz' || i"),
}


@pytest.mark.parametrize("kind", SHOP_KEYS)
@pytest.mark.parametrize("apart", [True, False], ids=["passwords apart", "passwords in the row"])
def test_other_tables_with_other_keys(database: Database, kind: str, apart: bool) -> None:
    type_, other, key, orphan = SHOP_KEYS[kind]
    whole, _, rest = (ROOT / "pipeline.toml").read_text().partition("\n[tables.users]")
    tables = '\n[tables.users]\nname = "public.accounts"\nid = "uid"\n'
    if apart:
        tables += '[tables.credentials]\nname = "public.seeds"\nid = "no"\nuser_id = "account"\nsecret = "pw"\n'
    else:
        tables += '[tables.users.password]\nsecret = "pw"\n'
    tables += 'algorithm_constant = "bcrypt"\n[mapping.fields]\nemail = "mail"\nmobile_number = "tel"\n'
    file = database.folder / "shop.toml"
    file.write_text(whole + tables + "\n[cidaas]" + rest.partition("\n[cidaas]")[2])
    settings = load(file, {})
    database.run("DROP TABLE IF EXISTS seeds, accounts")
    database.run(SHOP.format(type=type_, other=other, key=key, orphan=orphan))
    for table in settings.source.tables:
        database.run(f"GRANT SELECT ({', '.join(table.columns)}) ON {table.name} TO cidaas_sync_read")

    body = database.json(PIPELINE_CONFIG=str(file))
    with_password = database.number("SELECT count(*) FROM accounts WHERE mail < 'geheim3'") if apart else 500
    assert body["status"]["live"] == 500
    assert of(body, "unchanged") == with_password
    resets = {one["reason"]: one["users"] for one in body["fates"] if one["fate"] == "reset"}
    assert resets == ({"password_none": 500 - with_password} if apart else {})
    assert body["orphans"]["rows"] == (3 if apart else 0)
    assert body["tables"][0]["not_mapped"] == (["pw", "note"] if apart else ["note"])


def _away(database: Database) -> dict[str, str]:
    return {"LEGACY_DATABASE_URL": f"postgresql://cidaas_sync_read:geheim@127.0.0.1:{next(free_ports)}/legacy"}


def _typing_mistake(database: Database) -> dict[str, str]:
    file = database.folder / "mistake.toml"
    file.write_text(
        (ROOT / "pipeline.toml").read_text().replace('given_name = "given_name"', 'given_name = "givenname"')
    )
    return {"PIPELINE_CONFIG": str(file)}


@pytest.mark.parametrize(
    ("options", "env", "words"),
    [
        ([], _away, "the legacy database does not answer"),
        ([], _typing_mistake, "no column givenname. Did you mean given_name"),
        ([], lambda _: {"LEGACY_DATABASE_URL": ""}, "LEGACY_DATABASE_URL: is not set"),
        (["--html", "/nowhere/census.html"], lambda _: {}, "cannot be written.*Name another file"),
    ],
)
def test_what_it_refuses(
    database: Database, options: list[str], env: Callable[[Database], dict[str, str]], words: str
) -> None:
    database.census(*options, **env(database)).refused(2, words, lines=2)


def test_a_role_without_the_right_to_read_is_told_so(database: Database) -> None:
    database.run("REVOKE SELECT (phone) ON users FROM cidaas_sync_read")
    try:
        database.census().refused(2, "may not read column phone .*Run `cdc enable`")
    finally:
        database.run("GRANT SELECT (phone) ON users TO cidaas_sync_read")


def test_an_empty_table_is_wrong(database: Database) -> None:
    database.run("BEGIN; TRUNCATE users, credentials; ANALYZE users, credentials; COMMIT")
    said = database.census()
    assert said.code == 1, said
    assert "There is nobody to send" in said.out
