"""Passwords, old passwords, second factors and social logins in tables of their own that come while a pipeline runs.

The keys are the same in all tables, so a row that was taken for another table's would show at every step; that of the
social logins has the user in it.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from demo.stack import postgres
from streams.control import TABLES
from streams.offline import control_state
from streams.settings import load
from tests.integration.legacy import hashed
from tests.integration.pipeline import take_back
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.stack import Stack
    from tests.integration.pipeline import Pipeline
    from tests.integration.workers import Said

ADA, GRACE, KARL = 1, 2, 3

HEAD = """
[pipeline]
app_id = "NAME"
[source]
prefix = "NAME"
name = "NAME"
[tables.users]
name = "public.members"
id = "id"
[mapping]
mfa_enabled = true
[mapping.fields]
email = "email"
[cidaas]
sub_namespace = "7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc"
"""
PASSWORDS = """
[[tables.credentials]]
name = "public.passwords"
id = "id"
user_id = "member"
secret = "hash"
algorithm_constant = "bcrypt"
created = "made"
"""
#: Its key is the user's id: one row for each.
OLD = """
[[tables.credentials]]
name = "public.old_passwords"
id = "member_id"
user_id = "member_id"
secret = "pw"
algorithm_constant = "bcrypt"
"""
SEEDS = """
[[tables.credentials]]
name = "public.totp_seeds"
id = "id"
user_id = "member"
holds = "totp"
"""
#: Its key is that of Keycloak's federated_identity.
LOGINS = """
[[tables.credentials]]
name = "public.social_logins"
id = "network"
user_id = "member"
holds = "identities"
provider = { column = "network", values = { google = "google", fb = "facebook" } }
provider_user_id = "network_id"
"""
SCHEMA = """
CREATE TABLE members (id bigint PRIMARY KEY, email text);
CREATE TABLE passwords (id bigint PRIMARY KEY, member bigint NOT NULL, hash text, made timestamptz);
CREATE TABLE old_passwords (member_id bigint PRIMARY KEY, pw text);
CREATE TABLE totp_seeds (id bigint PRIMARY KEY, member bigint NOT NULL, seed text NOT NULL);
CREATE TABLE social_logins (
    network text, member bigint, network_id text NOT NULL, token text, PRIMARY KEY (network, member)
);
INSERT INTO members VALUES (1, 'ada@example.org'), (2, 'grace@example.org'), (3, 'karl@example.org');
INSERT INTO totp_seeds VALUES (1, 1, 'ThisIsASeed');
INSERT INTO social_logins VALUES ('google', 1, 'g-ada', 'ThisIsAToken');
"""


class Shop:
    """The pipeline, its file, and its tables in the shared database."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.cidaas = pipeline, pipeline.cidaas
        #: no other test's: what one pipeline has seen of its publication stays in its topics.
        self.head = HEAD.replace("NAME", pipeline.app_id)
        self.file = pipeline.folder / "several.toml"
        pipeline.env |= {"PIPELINE_CONFIG": str(self.file), "DELIVERY_START": "running"}

    def names(self, *tables: str) -> None:
        """Write the file."""
        self.file.write_text(self.head + "".join(tables))

    def begin(self, *tables: str) -> None:
        """Make it a pipeline that runs, with these tables of credentials."""
        self.names(*tables)
        for words in (("cdc", "enable", "--yes"), ("topics", "--yes"), ("connector", "apply", "--yes")):
            self.run(*words)
        self.pipeline.start()
        self.await_login("ada", "new")

    def sql(self, *statements: str) -> None:
        """Run statements in one transaction."""
        with postgres.connect(self.pipeline.stack.layout) as admin, admin.transaction():
            for statement in statements:
                admin.execute(statement.encode())

    def run(self, *words: str) -> Said:
        """Run a command that has to end well."""
        said = self.pipeline.command(*words)
        assert said.code == 0, f"{words}: {said}"
        return said

    def control(self) -> dict[str, Any]:
        """The control topic."""
        return asyncio.run(control_state(load(self.file, self.pipeline.env)))

    def await_login(self, name: str, word: str) -> None:
        until(lambda: self.cidaas.login(f"{name}@example.org", word), f"{name} logs in", 60)

    def lets_in(self, name: str, word: str) -> bool:
        return self.cidaas.login(f"{name}@example.org", word)


def logins(entity: dict[str, Any]) -> dict[str, str]:
    """The social logins of a user at cidaas."""
    others = [one for one in entity.get("identities", ()) if one["provider"] != "self"]
    return {one["provider"]: one["providerUserId"] for one in others}


def password(number: int, member: int, word: str, made: str = "now()") -> str:
    return f"INSERT INTO passwords VALUES ({number}, {member}, '{hashed(word)}', {made})"


#: A pipeline of its own for each test, by a word of the test's name.
APPS = {"test_tables_come": "tables_come", "test_a_table_is_left": "table_goes", "test_social": "logins_come"}
TABLES_OF_ALL = "members, passwords, old_passwords, totp_seeds, social_logins"


@pytest.fixture
def shop(stack: Stack, fresh: Callable[[str], Pipeline], request: pytest.FixtureRequest) -> Iterator[Shop]:
    (app,) = [app for word, app in APPS.items() if request.node.name.startswith(word)]
    opened = Shop(fresh(app))
    try:
        opened.sql(SCHEMA, password(1, ADA, "new", "'2026-01-01'"))
        opened.sql(f"INSERT INTO old_passwords VALUES (1, '{hashed('old')}'), (2, '{hashed('grandma')}')")
        yield opened
    finally:
        opened.pipeline.stop()
        take_back(stack, opened.pipeline.app_id, TABLES_OF_ALL)


def add_tables(shop: Shop) -> None:
    """The file names two tables more; who runs on, or starts too early, is refused, and the repair reads them."""
    pipeline = shop.pipeline
    shop.names(PASSWORDS, OLD, SEEDS)
    # The role that reads may not read the new tables yet: the repair sees to that.
    checked = pipeline.command("mapping", "check", LEGACY_DATABASE_URL=pipeline.env["LEGACY_ADMIN_URL"])
    assert checked.code == 0 and "nothing is wrong" in checked.text, checked
    worker = pipeline.launch("two")
    assert worker.wait(60) == 2 and "has not read public.old_passwords, public.totp_seeds" in worker.log()
    pipeline.command("connector", "apply", "--yes").refused(1, "public.totp_seeds is new", "source repair")

    said = repaired(shop)
    assert "tables: public.passwords, public.old_passwords, public.totp_seeds, public.members" in said.text


def repaired(shop: Shop) -> Said:
    """Read the tables that the file names by now: the worker of before ends, and another one begins."""
    pipeline = shop.pipeline
    with ThreadPoolExecutor(1) as beside:
        repair = beside.submit(pipeline.command, "source", "repair", "--yes", seconds=180.0)
        until(lambda: "ends" in shop.control().get(TABLES, {}), "the tables have been read", 120)
        first = pipeline.workers["one"]
        assert first.wait(30) == 2 and "does not name it" in first.log(), "a worker with the file of before runs on"
        pipeline.start("two")
        said = repair.result()
    assert said.code == 0, said
    return said


def test_tables_come_to_a_pipeline_that_runs_and_each_row_stays_its_own(shop: Shop) -> None:
    pipeline, cidaas = shop.pipeline, shop.cidaas
    shop.begin(PASSWORDS)
    cidaas.await_user(GRACE, lambda entity: entity["password_hash_info"] is None, 60)

    # `shop.names` changes the file under the feet of the first worker: it has read it before.
    add_tables(shop)
    shop.await_login("grace", "grandma")
    # The seeds are read after the passwords, and may arrive in a call of their own.
    cidaas.await_user(ADA, lambda entity: entity["mfa_enabled"] is True)
    assert shop.lets_in("ada", "new") and not shop.lets_in("ada", "old"), "what has a moment is newer"
    histories = [entity["full"].get("password_hash_info") for entity in cidaas.states(ADA)]
    assert None not in histories, "she was without password while the new tables were read"
    shown = shop.run("user", str(ADA)).text
    assert "credential 1 " in shown and "credential public.old_passwords 1" in shown
    assert "ThisIsASeed" not in str(shop.run("trace", str(ADA)))

    # Her old password goes, and a row with the same key in the other tables stays.
    shop.sql("DELETE FROM old_passwords WHERE member_id = 1")
    shop.sql("UPDATE members SET email = 'ada.l@example.org' WHERE id = 1")
    shop.await_login("ada.l", "new")
    assert cidaas.await_user(ADA)["mfa_enabled"] is True

    # Rehashed at her log-in, as software does it: two tables in one transaction (C7).
    before = len(cidaas.states(GRACE))
    shop.sql("DELETE FROM old_passwords WHERE member_id = 2", password(2, GRACE, "rehashed"))
    shop.await_login("grace", "rehashed")
    assert not shop.lets_in("grace", "grandma")
    assert all(state["full"]["password_hash_info"] for state in cidaas.states(GRACE)[before:])

    # A second factor changes hands (M5), and a password of the same key does not.
    shop.sql("UPDATE totp_seeds SET member = 3 WHERE id = 1")
    cidaas.await_user(KARL, lambda entity: entity["mfa_enabled"] is True)
    cidaas.await_user(ADA, lambda entity: entity["mfa_enabled"] is False)
    assert shop.lets_in("ada.l", "new")

    swept = pipeline.json("source", "sweep", "--wait", "--yes")
    assert (swept["gone"], swept["missing"], swept["credentials"]) == (0, 0, 0), swept

    with_first_changed = pipeline.command("connector", "apply", "--yes", PIPELINE_CONFIG=str(swapped(shop)))
    with_first_changed.refused(2, "Put public.passwords first")


def swapped(shop: Shop) -> Any:
    """A file in which another table comes first."""
    path = shop.pipeline.folder / "swapped.toml"
    path.write_text(shop.head + OLD + PASSWORDS + SEEDS)
    return path


def test_a_table_is_left_out_and_its_rows_are_forgotten(shop: Shop) -> None:
    shop.names(PASSWORDS, OLD, SEEDS)
    pipeline = shop.pipeline
    for words in (("cdc", "enable", "--yes"), ("topics", "--yes"), ("connector", "apply", "--yes")):
        shop.run(*words)
    pipeline.start()
    shop.await_login("grace", "grandma")

    shop.names(PASSWORDS, SEEDS)
    shop.run("connector", "apply", "--yes")
    assert pipeline.workers["one"].wait(30) == 2, "its file names a table that is not read any more"
    pipeline.start("two")
    shop.cidaas.await_user(GRACE, lambda entity: entity["password_hash_info"] is None, 60)

    def forgotten() -> bool:
        rows = pipeline.worker.user(GRACE)["snapshot"]["credentials"]
        return [row["there"] for row in rows] == [False]

    until(forgotten, lambda: f"the sweep takes its row out: {pipeline.worker.user(GRACE)}", 90)
    assert shop.lets_in("ada", "new")
    assert "in sync" in shop.run("user", str(ADA)).text


def test_social_logins_of_a_table_of_their_own_follow_each_row(shop: Shop) -> None:
    pipeline, cidaas = shop.pipeline, shop.cidaas
    shop.begin(PASSWORDS)
    assert "identities" not in cidaas.await_user(ADA)

    shop.names(PASSWORDS, LOGINS)
    said = repaired(shop)
    assert "tables: public.passwords, public.social_logins, public.members" in said.text
    cidaas.await_user(ADA, lambda entity: logins(entity) == {"google": "g-ada"}, 60)
    cidaas.await_user(GRACE, lambda entity: "identities" in entity and not logins(entity), 60)
    assert shop.lets_in("ada", "new")
    assert "nothing is wrong" in shop.run("mapping", "check").text

    # They come, also several of one user, and one of a provider that cidaas does not have.
    shop.sql(
        "INSERT INTO social_logins (network, member, network_id)"
        " VALUES ('fb', 1, 'f-ada'), ('fb', 2, 'f-grace'), ('myspace', 2, 'm-grace')"
    )
    cidaas.await_user(ADA, lambda entity: logins(entity) == {"facebook": "f-ada", "google": "g-ada"})
    cidaas.await_user(GRACE, lambda entity: logins(entity) == {"facebook": "f-grace"})
    preview = shop.run("mapping", "preview", str(GRACE)).text
    assert '"providerUserId": "f-grace"' in preview and "login_provider_unknown" in preview
    counted = pipeline.json("census")["social_logins"]
    assert (counted["rows"], counted["users"], counted["without_password"]) == (4, 2, 1)
    assert counted["providers"] == [{"provider": "facebook", "users": 2}, {"provider": "google", "users": 1}]

    # One changes hands: its key has the user in it, so Debezium says that one is gone, and another one is there (M5).
    shop.sql("UPDATE social_logins SET member = 3 WHERE network = 'google'")
    cidaas.await_user(ADA, lambda entity: logins(entity) == {"facebook": "f-ada"})
    cidaas.await_user(KARL, lambda entity: logins(entity) == {"google": "g-ada"})
    assert "credential public.social_logins google" in shop.run("user", str(KARL)).text

    # One changes, and one goes; a token changes nothing.
    shop.sql("UPDATE social_logins SET token = 'ThisIsAnotherToken' WHERE member = 3")
    shop.sql("UPDATE social_logins SET network_id = 'f-ada-2' WHERE member = 1")
    shop.sql("DELETE FROM social_logins WHERE member = 2")
    cidaas.await_user(ADA, lambda entity: logins(entity) == {"facebook": "f-ada-2"})
    cidaas.await_user(GRACE, lambda entity: not logins(entity))
    assert "in sync" in shop.run("user", str(KARL)).text
    assert [state["full"]["identities"][1:] == [] for state in cidaas.states(KARL)[-2:]] == [True, False]
    for user in (ADA, GRACE, KARL):
        assert "ThisIsA" not in str(shop.run("trace", str(user)))

    found_by_sweep_and_reconcile(shop)


def found_by_sweep_and_reconcile(shop: Shop) -> None:
    """Of lost changes a sweep finds the rows that came or went, and `reconcile` those that are others now."""
    pipeline, cidaas = shop.pipeline, shop.cidaas
    publication = f"ALTER PUBLICATION {pipeline.app_id} SET (publish = "
    shop.sql(
        f"{publication}'truncate')",
        "INSERT INTO social_logins VALUES ('google', 2, 'g-grace')",
        "UPDATE social_logins SET network_id = 'g-karl' WHERE member = 3",
        f"{publication}'insert, update, delete')",
    )
    swept = pipeline.json("source", "sweep", "--wait", "--yes")
    assert (swept["gone"], swept["missing"], swept["credentials"]) == (0, 0, 1), swept
    cidaas.await_user(GRACE, lambda entity: logins(entity) == {"google": "g-grace"}, 60)
    said = pipeline.command("reconcile", "--rate", "1000", "--repair", "--yes", seconds=180.0)
    assert said.code == 0, said
    cidaas.await_user(KARL, lambda entity: logins(entity) == {"google": "g-karl"}, 60)
    assert logins(cidaas.await_user(ADA)) == {"facebook": "f-ada-2"}
