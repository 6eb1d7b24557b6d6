"""Bad input through the real command line: one clear sentence with the remedy, the right exit code, no traceback."""

from __future__ import annotations

import re
import signal
import subprocess
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from demo.stack import postgres
from demo.stack.kafka import run_async
from demo.stack.layout import Layout
from tests.integration.waiting import until
from tests.integration.workers import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from demo.stack import Stack
    from tests.integration.pipeline import Pipeline
    from tests.integration.workers import Worker

CLOSED = "127.0.0.1:9"  # the discard port: nobody listens there


@pytest.fixture
def idle(fresh: Callable[..., Pipeline]) -> Pipeline:
    """A pipeline without worker and without cidaas, for what is refused before either is needed."""
    return fresh("refused", cidaas=False)


def refused(worker: Worker, *words: str) -> str:
    """Assert that the worker refuses to run: exit code 2, one sentence with these words; return it."""
    code, log = worker.wait(40), worker.log()
    assert TRACEBACK not in log, log
    assert code == 2, log
    said = [line for line in log.splitlines() if re.search(words[0], line)]
    assert len(said) == 1, log
    for word in words:
        assert re.search(word, said[0]), said[0]
    return said[0]


# -- configuration -----------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_named_with_the_nearest_known_one(idle: Pipeline) -> None:
    idle.configure(delivery__windwo="5")
    idle.command("status").refused(2, "windwo", "delivery", "window")
    refused(idle.launch(), "windwo", "window")


def test_an_unknown_column_is_named(idle: Pipeline) -> None:
    idle.start_cidaas()
    idle.configure(mapping__fields__family_name='"nachname"')
    refused(idle.launch(), "nachname", "users")


def test_a_file_that_is_not_there_and_one_that_is_no_toml(idle: Pipeline) -> None:
    idle.command("status", PIPELINE_CONFIG="/nowhere/pipeline.toml").refused(2, "no such file", "PIPELINE_CONFIG")
    idle.config_file.write_text("[pipeline\n")
    idle.command("status").refused(2, "not valid TOML")


@pytest.mark.parametrize("name", ["CIDAAS_CLIENT_SECRET", "LEGACY_DATABASE_URL"])
def test_a_missing_variable_is_named(idle: Pipeline, name: str) -> None:
    refused(idle.launch(**{name: ""}), name)


def test_a_variable_with_an_unknown_value_is_named_and_a_secret_is_not_shown(idle: Pipeline) -> None:
    said = idle.command("status", DELIVERY_START="perhaps", LEGACY_DATABASE_URL="mysql://u:geheim@h/d")
    said.refused(2, "DELIVERY_START", "LEGACY_DATABASE_URL", lines=2)
    assert "geheim" not in said.text


# -- the legacy database -----------------------------------------------------------------------------------------------


def test_an_unreachable_database(idle: Pipeline) -> None:
    url = f"postgresql://u:geheim@{CLOSED}/legacy"
    said = idle.command("cdc", "enable", "--yes", LEGACY_ADMIN_URL=url)
    said.refused(2, "LEGACY_ADMIN_URL")
    idle.command("user", "--email", "ada@example.org", LEGACY_DATABASE_URL=url).refused(2, "legacy database")
    status = idle.command("status", LEGACY_DATABASE_URL=url)
    assert status.code == 1
    assert "legacy database" in status.out
    assert "LEGACY_DATABASE_URL" in status.out
    assert "geheim" not in said.text + status.text


def test_a_wrong_password(idle: Pipeline) -> None:
    for name, words in (("LEGACY_ADMIN_URL", ("cdc", "enable", "--yes")), ("LEGACY_DATABASE_URL", ("status",))):
        url = re.sub(r":[^:@/]+@", ":falsch-4711@", idle.env[name])
        said = idle.command(*words, **{name: url})
        assert said.code == (2 if name == "LEGACY_ADMIN_URL" else 1), said
        assert "password authentication failed" in said.text
        assert name in said.text
        assert "falsch-4711" not in said.text
        assert TRACEBACK not in said.text


def test_a_missing_publication_and_a_slot_of_another_name(idle: Pipeline, stack: Stack) -> None:
    with postgres.connect(stack.layout, "postgres") as admin:
        admin.execute("CREATE DATABASE bare")
    bare = idle.env["LEGACY_DATABASE_URL"].rpartition("/")[0] + "/bare"
    said = idle.command("status", LEGACY_DATABASE_URL=bare)
    assert said.code == 1
    assert "the legacy database has no table public.users" in said.out, said.out
    # The connector has a position, so there was one.
    assert "the publication cidaas_sync is gone" in said.out
    assert "source repair" in said.out
    assert said.err == "", "what is wrong is said once, and not by libraries"

    idle.configure(source__name='"other_sync"')
    said = idle.command("status")
    assert said.code == 1
    assert "there is no replication slot yet" in said.out
    assert "connector apply" in said.out


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[Layout]:
    """A PostgreSQL of its own whose wal_level is replica, as it comes from the box."""
    layout = Layout(tmp_path / "replica")
    layout.prepare()
    postgres.prepare(layout)
    command = [part.replace("wal_level=logical", "wal_level=replica") for part in postgres.command(layout)]
    with layout.log_file("postgres").open("ab") as log:
        server = subprocess.Popen(command, env=postgres.environment(layout), stdout=log, stderr=log)
    try:
        until(lambda: postgres.healthy(layout), "PostgreSQL answers")
        postgres.create_legacy(layout)
        yield layout
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def test_wal_level_is_not_logical(idle: Pipeline, replica: Layout) -> None:
    env = {name: replica.env[name] for name in ("LEGACY_ADMIN_URL", "LEGACY_DATABASE_URL")}
    said = idle.command("cdc", "enable", "--yes", **env)
    said.refused(1, "wal_level", "logical", "restart")
    with postgres.connect(replica) as legacy:
        assert legacy.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,), "nothing was done by halves"


# -- Connect -----------------------------------------------------------------------------------------------------------


def test_a_failed_connector_is_shown_and_apply_starts_it_again(sync: Pipeline) -> None:
    connect = f"{sync.env['CONNECT_URL']}/connectors/cidaas_sync"
    sync.legacy.run("ALTER ROLE cdc_debezium NOLOGIN")
    try:
        httpx.post(f"{connect}/restart?includeTasks=true", trust_env=False).raise_for_status()
        until(lambda: "FAILED" in httpx.get(f"{connect}/status", trust_env=False).text, "the task failed", 60)
        said = sync.command("connector", "status")
        assert said.code == 1
        assert "FAILED" in said.out
        status = sync.command("status")
        assert status.code == 1
        assert "the connector failed" in status.out
        assert "connector apply" in status.out
        again = sync.command("connector", "apply", "--yes")
        assert again.code == 1, again
        assert TRACEBACK not in again.text
    finally:
        sync.legacy.run("ALTER ROLE cdc_debezium LOGIN")
    assert sync.command("connector", "apply", "--yes").code == 0
    sync.legacy.sign_up(18_001)
    sync.cidaas.await_user(18_001, seconds=60)


def test_connect_is_not_there(idle: Pipeline) -> None:
    url = f"http://{CLOSED}"
    idle.command("connector", "apply", CONNECT_URL=url).refused(1, "Kafka Connect does not answer", "CONNECT_URL")
    said = idle.command("status", CONNECT_URL=url)
    assert said.code == 1
    assert "Kafka Connect does not answer" in said.out


# -- Kafka -------------------------------------------------------------------------------------------------------------


def test_kafka_is_not_there(idle: Pipeline) -> None:
    refused(idle.launch(KAFKA_BOOTSTRAP_SERVERS=CLOSED), "KAFKA_BOOTSTRAP_SERVERS|cannot reach", CLOSED)
    said = idle.command("pause", "--why", "x", KAFKA_BOOTSTRAP_SERVERS=CLOSED)
    said.refused(2, CLOSED, lines=4)


def test_a_topic_with_other_settings(fresh: Callable[..., Pipeline]) -> None:
    idle = fresh("spoilt-topic", cidaas=False)

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=idle.env["KAFKA_BOOTSTRAP_SERVERS"])
        await admin.start()
        try:
            await admin.create_topics([NewTopic(f"{idle.app_id}-control", 2, 1)])
        finally:
            await admin.close()

    run_async(make())
    log = refused(idle.launch(), "partitions is 2, expected 1", "spoilt-topic-control")
    assert "delete the topic" in log, "the remedy is named"


# -- cidaas ------------------------------------------------------------------------------------------------------------


def test_cidaas_is_not_there_at_the_start(fresh: Callable[..., Pipeline]) -> None:
    idle = fresh("away-at-start", cidaas=False)
    worker = idle.start()
    until(lambda: worker.status()["trouble"], "the worker says what is wrong", 20)
    said = idle.command("status")
    assert said.code == 1
    assert "cidaas cannot be reached" in said.out
    assert worker.get("/ready").status_code == 200, "known to be away is ready"
    idle.start_cidaas()
    idle.assert_equal(90)
    until(lambda: not worker.status()["trouble"], "nothing is wrong any more")


def test_a_wrong_client_secret(sync: Pipeline) -> None:
    sync.stop()
    sync.cidaas.reset()
    worker = sync.start(CIDAAS_CLIENT_SECRET="falsch-4711")
    sync.legacy.sign_up(*range(18_101, 18_141))
    trouble = until(lambda: str(worker.status()["trouble"]), "the worker says what is wrong", 20)
    assert re.search("CIDAAS_CLIENT_(ID|SECRET)|client", trouble), trouble
    said = sync.command("status")
    assert said.code == 1
    assert trouble in said.out
    sync.sentence(18_101, "waiting because")
    assert sync.cidaas.calls("token") <= 2, "it does not spin: once a minute"
    assert worker.alive
    assert "falsch-4711" not in worker.log() + said.text
    sync.ensure()
    sync.cidaas.await_user(18_101)


# -- state -------------------------------------------------------------------------------------------------------------


def test_another_cidaas_than_the_one_that_the_state_is_of(sync: Pipeline) -> None:
    other = sync.launch("astray", CIDAAS_BASE_URL=f"http://{CLOSED}")
    sentence = refused(other, "cidaas base URL")
    assert "another place" in sentence
    assert "app_id" in sentence, "the remedy is named"
    assert sync.worker.is_ready()


def test_two_workers_on_one_data_folder(sync: Pipeline) -> None:
    second = sync.launch("twin", APP_DATADIR=sync.worker.env["APP_DATADIR"])
    refused(second, "in use by another worker", "APP_DATADIR")
    assert sync.worker.is_ready()


def test_another_legacy_database_than_the_one_that_the_state_is_of(sync: Pipeline, stack: Stack) -> None:
    with postgres.connect(stack.layout, "postgres") as admin:
        admin.execute("CREATE DATABASE elsewhere")
    url = sync.env["LEGACY_DATABASE_URL"].rpartition("/")[0] + "/elsewhere"
    with psycopg.connect(stack.env["LEGACY_ADMIN_URL"].rpartition("/")[0] + "/elsewhere", autocommit=True) as legacy:
        legacy.execute(postgres.SCHEMA.read_bytes())
        legacy.execute("GRANT SELECT ON users, credentials TO cidaas_sync_read")
    refused(sync.launch("astray", LEGACY_DATABASE_URL=url), "source system and database")


def test_a_misspelt_failpoint_is_refused(idle: Pipeline) -> None:
    refused(idle.launch(SYNC_FAILPOINTS="after-cal=kill"), "after-cal", "SYNC_FAILPOINTS", "for tests only")
