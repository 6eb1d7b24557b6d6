"""`doctor` against the real stack: each broken set-up is named, alone, and its own remedy makes it right again.

The tests stand in the order of a set-up's life: before anything is done, then with a pipeline that runs. What is broken
together is broken in different places, and doctor has to name exactly these, no more and no less. Nobody else uses the
stack, so whole servers may be spoilt.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from demo.stack import postgres
from demo.standin.switches import SCOPES
from streams.control import SOURCE
from streams.offline import control_state
from streams.source.enabling import COLUMN_LISTS
from tests.integration.ailments import (
    Ailment,
    Wrong,
    assert_named,
    by_hand,
    command,
    in_turn,
    nothing,
    run_kafka_configs,
    run_sql,
    run_sql_and_restart,
    run_sql_in,
    sql,
    system,
    treat,
)
from tests.integration.old_connect import OLD, RIGHT
from tests.integration.pooler import pooler
from tests.integration.waiting import until
from tests.integration.ward import NAME, PREPARED, Ward

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.integration.ailments import Wreck

READER, CAPTURE = "cidaas_sync_read", "cdc_debezium"
#: A week, where nothing may ever be thrown away.
WEEK = ("retention.ms", "604800000")
FOREIGN_KEY = "ALTER TABLE credentials ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE"
TOPICS, ENABLE = command("topics"), command("cdc", "enable")
APPLY, REPAIR = command("connector", "apply"), command("source", "repair")


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Ward]:
    """A set-up on which nobody has worked yet, with PostgreSQL's own `wal_level` and an old Debezium."""
    ward = Ward(tmp_path_factory.mktemp("ward"), pytestconfig.getoption("--postgres"))
    try:
        ward.open()
        yield ward
    finally:
        ward.close()


@pytest.fixture(scope="module")
def bare(new: Ward) -> Ward:
    """The servers are as they have to be; nothing is enabled."""
    new.put_right()
    return new


@pytest.fixture(scope="module")
def ward(bare: Ward) -> Ward:
    """A pipeline that runs; two transactions are open, and grow old."""
    bare.capture()
    bare.open_transactions()
    return bare


# -- before anything is set up ----------------------------------------------------------------------------------------


def test_a_new_set_up_with_much_that_is_wrong(new: Ward) -> None:
    """Server, tables, topics and connector, as a DBA may find them on the first day."""
    unlogged = sql("ALTER TABLE credentials SET UNLOGGED")
    no_key = sql("ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE")
    may_be_null = sql("ALTER TABLE credentials ALTER COLUMN user_id DROP NOT NULL")
    renamed = sql("ALTER TABLE users RENAME COLUMN given_name TO first_name")
    back = by_hand("bring the column back", sql("ALTER TABLE users RENAME COLUMN first_name TO given_name"))
    anew = in_turn(by_hand("delete the topic", lambda ward: ward.delete_topic("snapshots")), TOPICS)
    treat(
        new,
        Ailment("wal_level", "wal_level is replica", nothing, run_sql_and_restart),
        Ailment("table_logged", "public.credentials", unlogged, run_sql),
        Ailment("primary_key", "public.users has no primary key", no_key, run_sql),
        Ailment("owner_not_null", "public.credentials.user_id may be NULL", may_be_null, run_sql),
        Ailment("table_columns", "public.users has no column given_name", renamed, back),
        Ailment("topic_partitions", "has 6, not 12", lambda ward: ward.remake_topic("snapshots", 6), anew),
        Ailment("topics_there", "notifications", lambda ward: ward.delete_topic("notifications"), TOPICS),
        Ailment("connector_plugin", OLD, nothing, by_hand(f"Put {RIGHT} in its place", Ward.replace_plugin)),
    )
    new.run(FOREIGN_KEY)  # it went with the primary key


def test_a_view_and_an_id_of_another_type(bare: Ward) -> None:
    bare.run(
        "ALTER TABLE credentials DROP CONSTRAINT credentials_user_id_fkey",
        "ALTER TABLE credentials ALTER COLUMN user_id TYPE numeric",
        "ALTER TABLE users RENAME TO people",
        "CREATE VIEW users AS SELECT * FROM people",
    )
    bigint = sql("ALTER TABLE credentials ALTER COLUMN user_id TYPE bigint")

    def name_people(ward: Ward) -> None:
        ward.pipeline.configure(tables__users__name='"public.people"')

    try:
        treat(
            bare,
            Ailment("owner_type", "is numeric", nothing, by_hand("the type bigint", bigint)),
            Ailment("table_kind", "public.users is a view", nothing, by_hand("Name an ordinary table", name_people)),
        )
    finally:
        bare.pipeline.configure()
        bare.run("DROP VIEW users", "ALTER TABLE people RENAME TO users", FOREIGN_KEY)


def at(url: str, port: str | int, database: str) -> str:
    """The address of another database, at another port."""
    return re.sub(r":\d+/\w+$", f":{port}/{database}?sslmode=disable&gssencmode=disable", url)


def test_a_pooler_another_encoding_and_nobody_at_the_address_of_cidaas(bare: Ward) -> None:
    env, provider = bare.pipeline.env, " LOCALE_PROVIDER libc"
    if bare.value("SELECT current_setting('server_version_num')::int") < COLUMN_LISTS:
        provider = ""  # both came with PostgreSQL 15
    bare.run(
        f"CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'{provider}",
        "CREATE DATABASE moved TEMPLATE template0 ENCODING 'UTF8'",
        database="postgres",
    )
    bare.run(postgres.SCHEMA.read_text(), database="latin")
    urls = {name: env[name] for name in ("LEGACY_ADMIN_URL", "LEGACY_DATABASE_URL")}
    with pooler(int(env["POSTGRES_PORT"])) as port:
        wrong = {name: at(url, port, "latin") for name, url in urls.items()}
        found = bare.named(**wrong, CIDAAS_BASE_URL="http://127.0.0.1:1")
    assert {slug: one.state for slug, one in found.items()} == dict.fromkeys(
        ("pooler", "encoding", "cidaas_address"), "fault"
    )
    assert "PostgreSQL's own port" in found["pooler"].remedy
    assert "LATIN1" in found["encoding"].what
    assert "Dump the database and load it into one with ENCODING 'UTF8'" in found["encoding"].remedy
    assert "CIDAAS_BASE_URL" in found["cidaas_address"].remedy

    right = {name: at(url, env["POSTGRES_PORT"], "moved") for name, url in urls.items()}
    latin = at(env["LEGACY_ADMIN_URL"], env["POSTGRES_PORT"], "latin")
    dump = subprocess.run([postgres.binaries() / "pg_dump", latin], capture_output=True, check=True)
    load = [postgres.binaries() / "psql", "-X", "-q", right["LEGACY_ADMIN_URL"]]
    subprocess.run(load, input=dump.stdout, capture_output=True, check=True)
    bare.assert_green(**right)


# -- with a pipeline that runs ----------------------------------------------------------------------------------------


def has_scopes(*without: str) -> Wreck:
    """The app has all scopes but these."""
    return lambda ward: ward.pipeline.cidaas.switch(scopes=[scope for scope in SCOPES if scope not in without])


def migration_mode(value: str) -> Wreck:
    return lambda ward: ward.pipeline.cidaas.switch(migration_mode=value)


def topic(name: str, key: str, value: str) -> Wreck:
    return lambda ward: ward.set_topic(name, key, value)


@pytest.mark.oldest
def test_a_right_a_retention_a_stopped_connector_and_a_scope(ward: Ward) -> None:
    create = "cidaas:bulk_user_create"
    no_right, week = sql(f"REVOKE SELECT (secret) ON credentials FROM {READER}"), topic("identity", *WEEK)
    treat(
        ward,
        Ailment("column_rights", f"{READER} may not read secret", no_right, ENABLE),
        Ailment("topic_retention", "604800000, not -1", week, run_kafka_configs),
        Ailment("connector_state", "STOPPED", Ward.stop_connector, APPLY),
        Ailment("cidaas_scopes", create, has_scopes(create), by_hand("enabled for the app", has_scopes())),
    )


def test_replication_compaction_a_broker_setting_and_migration_mode(ward: Ward) -> None:
    compact = topic("identity", "cleanup.policy", "compact")
    own_time = topic("ledger", "message.timestamp.type", "CreateTime")
    on = by_hand("migrationMode on", migration_mode("on"))
    treat(
        ward,
        Ailment("replication_right", CAPTURE, sql(f"ALTER ROLE {CAPTURE} NOREPLICATION"), ENABLE),
        Ailment("topic_cleanup", "is compact, not delete", compact, run_kafka_configs),
        Ailment("topic_settings", "is CreateTime, not LogAppendTime", own_time, run_kafka_configs),
        Ailment("cidaas_migration_mode", "refuses", migration_mode("off-fail"), on),
        words=("--write-test",),
    )


def test_a_log_in_and_a_failed_task(ward: Ward) -> None:
    treat(
        ward,
        Ailment("read_role", f"{READER} may not log in", sql(f"ALTER ROLE {READER} NOLOGIN"), run_sql),
        Ailment("connector_state", "the connector failed", Ward.fail_connector, APPLY),
    )


def test_row_security_an_old_password_and_settings_of_the_server(ward: Ward) -> None:
    """That the disk is full before a slot's limit helps is a fault; that an idle slot is dropped, a warning."""
    hidden = sql("ALTER TABLE users ENABLE ROW LEVEL SECURITY")
    old = sql(f"ALTER ROLE {CAPTURE} VALID UNTIL '2020-01-01'")
    much, soon = system(max_slot_wal_keep_size="1000000GB"), system(wal_sender_timeout="20s")
    idle = system(idle_replication_slot_timeout="2h")
    try:
        treat(
            ward,
            Ailment("row_security", f"hides users from {CAPTURE}, {READER}", hidden, run_sql),
            Ailment("capture_role", "has expired", old, run_sql),
            Ailment("wal_limit", "the disk is full before it helps", much, run_sql),
            Ailment("sender_timeout", "20 s", soon, run_sql, "warning"),
            Ailment("idle_slot_timeout", "drops the slot", idle, run_sql, "warning", since=180_000),
        )
    finally:
        roles = [f"ALTER ROLE {role} NOBYPASSRLS" for role in (CAPTURE, READER)]
        ward.run("ALTER TABLE users DISABLE ROW LEVEL SECURITY", *roles)


def leave_out(ward: Ward) -> None:
    """Publish users without a column that is mapped; the worker has looked at it before anybody cures it."""
    columns = {table: ward.published(table) for table in ("users", "credentials")}
    columns["users"].remove("given_name")
    tables = ", ".join(f"{table} ({', '.join(names)})" for table, names in columns.items())
    ward.run(f"ALTER PUBLICATION {NAME} SET TABLE {tables}")

    def seen() -> bool:
        _, published = asyncio.run(control_state(ward.settings))[SOURCE]["published"]["public.users"]
        return "given_name" not in published

    until(seen, "the worker has seen it")


def test_two_publications(ward: Ward) -> None:
    reports = sql("CREATE PUBLICATION reports FOR TABLE credentials (id, kind)")
    wider = sql("ALTER PUBLICATION reports SET TABLE credentials (id, kind, user_id)")
    treat(
        ward,
        Ailment("other_publications", "reports", reports, by_hand("Add the column", wider), since=COLUMN_LISTS),
        Ailment("publication_columns", "given_name", leave_out, ENABLE, since=COLUMN_LISTS),
    )
    ward.run("DROP PUBLICATION IF EXISTS reports")


def test_wrong_addresses_and_secrets(ward: Ward) -> None:
    env = ward.pipeline.env
    admin, reader = env["LEGACY_ADMIN_URL"], env["LEGACY_DATABASE_URL"]
    groups = (
        (
            Wrong("cidaas_token", "401", "CIDAAS_CLIENT_SECRET", "wrong"),
            Wrong("capture_login", "over the replication protocol", "CDC_DEBEZIUM_PASSWORD", "wrong"),
            Wrong("connect_reachable", "is not Kafka Connect", "CONNECT_URL", env["CIDAAS_BASE_URL"]),
        ),
        (
            Wrong("cidaas_token", "401", "CIDAAS_CLIENT_ID", "another"),
            Wrong("read_login", "for reading", "LEGACY_DATABASE_URL", re.sub(r":[^:@/]+@", ":wrong@", reader)),
            Wrong("kafka_reachable", "127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ),
        (
            Wrong("one_database", "different databases", "LEGACY_ADMIN_URL", re.sub("/legacy$", "/postgres", admin)),
            # The same tenant by another name: what is known of users at one tenant is not true of another.
            Wrong("identity", "base URL", "CIDAAS_BASE_URL", f"http://localhost:{env['CIDAAS_PORT']}"),
        ),
        (Wrong("admin_login", "does not work", "LEGACY_ADMIN_URL", re.sub(r":[^:@/]+@", ":wrong@", admin)),),
    )
    with ThreadPoolExecutor(2) as beside:
        for judged in [beside.submit(assert_named, ward, *group) for group in groups]:
            judged.result()
    ward.assert_green()


@pytest.mark.oldest
def test_without_the_administrator_and_with_a_test_user(ward: Ward) -> None:
    cidaas = ward.pipeline.cidaas
    before = cidaas.users()
    said = ward.pipeline.command("doctor", "--write-test", LEGACY_ADMIN_URL="")
    assert said.code == 0, said
    assert "the test user was deleted again" in said.out
    assert cidaas.users() == before
    assert "\033" not in said.out


def test_transactions_that_are_left_open(ward: Ward) -> None:
    if not ward.awaited:
        ward.open_transactions()
    treat(
        ward,
        Ailment("long_transactions", "in postgres for", Ward.await_age, run_sql, "warning"),
        Ailment("prepared_transactions", PREPARED, nothing, run_sql_in("postgres"), "warning"),
    )


@pytest.mark.oldest
def test_a_replica_identity_that_does_not_tell_the_user(ward: Ward) -> None:
    """What was deleted meanwhile is lost, so it takes a repair; its new slot waits for transactions that are open."""
    ward.end_transactions()
    default = sql("ALTER TABLE credentials REPLICA IDENTITY DEFAULT")
    treat(
        ward,
        Ailment("replica_identity", "do not tell the user", default, ENABLE),
        Ailment("history", "the replica identity lacks user_id of public.credentials", nothing, REPAIR),
    )


def test_a_replica_identity_of_somebody_else(ward: Ward) -> None:
    ward.end_transactions()
    full = sql("ALTER TABLE credentials REPLICA IDENTITY FULL")
    treat(ward, Ailment("replica_identity", "is FULL", full, in_turn(run_sql, REPAIR)))


def test_a_slot_that_is_gone_and_a_publication_without_a_table(ward: Ward) -> None:
    """One repair cures both, and starts the connector."""
    ward.end_transactions()
    no_table = sql(f"ALTER PUBLICATION {NAME} DROP TABLE credentials")
    treat(
        ward,
        Ailment("slot", "the replication slot is gone", Ward.stop_and_drop, REPAIR),
        Ailment("publication", "lacks public.credentials", no_table, by_hand("`source repair`", nothing)),
        Ailment("connector_state", "STOPPED", nothing, by_hand("`connector apply`", nothing)),
    )


def test_a_slot_that_has_lost_its_wal(ward: Ward) -> None:
    """Afterwards the pipeline runs, and nobody was lost or made on all of these ways."""
    ward.end_transactions()
    treat(
        ward,
        Ailment("slot", "lost its WAL", Ward.stop_and_lose, REPAIR),
        Ailment("connector_state", "STOPPED", nothing, by_hand("`connector apply`", nothing)),
    )
    ward.pipeline.legacy.sign_up(101)
    ward.pipeline.legacy.name(1, "Grace")
    ward.pipeline.cidaas.await_user(101)
    ward.pipeline.assert_equal()
