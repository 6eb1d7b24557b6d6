"""A stack of its own for `doctor`: whatever is broken there, no other test sees.

It begins as a set-up on which nobody has worked yet: PostgreSQL with its own default of `wal_level`, Kafka with the
topics, the stand-in, and a Kafka Connect with a version of Debezium that loses rows. `capture` makes a pipeline of it
that runs: change data capture, the connector, a worker, users at cidaas.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import orjson
import psycopg
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from demo.stack import Stack, kafka, postgres
from demo.stack.layout import write_env
from streams.kafka import connection
from streams.settings import load
from streams.source.topics import topic_table
from tests.integration.legacy import add_many
from tests.integration.old_connect import OldConnect
from tests.integration.pipeline import Pipeline
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.settings import Settings
    from streams.source.topics import Topic

T = TypeVar("T")

#: Of connector, slot and publication.
NAME = "cidaas_sync"
USERS = range(1, 31)
#: Warnings of every stack on one machine: one broker, no limit of the WAL, a disk that is filling.
USUAL = frozenset({"brokers", "wal_limit", "wal_disk", "kafka_disk"})
#: What `open_transactions` makes doctor say after a minute.
AGEING = frozenset({"long_transactions", "prepared_transactions"})
PREPARED = "nightly-report"


@dataclass(frozen=True)
class Named:
    """What doctor says of something that is not as it must be."""

    state: str
    what: str
    remedy: str


class Ward:
    """The stack, its pipeline, and what `doctor` says of them."""

    pipeline: Pipeline

    def __init__(self, folder: Path, version: str) -> None:
        """`version` is the major one of PostgreSQL, "" for the usual one."""
        self.stack = Stack(folder / "run", postgres=version)
        self.folder = folder
        #: slugs that time brings, and that are nobody's fault until a test is about them.
        self.awaited: frozenset[str] = frozenset()
        self._old: OldConnect | None = None
        self._transaction: psycopg.Connection | None = None

    # -- up and down -----------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Start the services; the tables have users."""
        layout = self.stack.layout
        layout.prepare()
        write_env(layout.env_file, layout.env | {"POSTGRES_OVERRIDES": "wal_level= max_prepared_transactions=2"})
        self.stack.up(("postgres", "kafka", "cidaas"), capture=False)
        with postgres.connect(layout) as legacy:
            add_many(legacy, USERS)
        self._old = OldConnect(layout, self.folder / "old")
        self.pipeline = Pipeline(self.stack, self.folder / "pipeline")
        self.pipeline.cidaas.reset()

    def close(self) -> None:
        """Stop everything."""
        if hasattr(self, "pipeline"):
            self.pipeline.close()
        if self._old is not None:
            self._old.end()
        self._forget_transaction()
        self.stack.clean()

    def put_right(self) -> None:
        """The server's `wal_level`, and the plugin; nothing where a test has done it."""
        if self.value("SHOW wal_level") != "logical":
            self.run("ALTER SYSTEM SET wal_level = 'logical'")
            self.restart_postgres()
        self.replace_plugin()

    def capture(self) -> None:
        """Make it a pipeline that runs."""
        self.command("cdc", "enable")
        self.command("connector", "apply")
        worker = self.pipeline.start()
        until(lambda: worker.count("in_sync") == len(USERS), lambda: f"all in sync: {worker.status()}", 60)

    def restart_postgres(self) -> None:
        """As a DBA does after a change that takes it."""
        self.stack.stop("postgres")
        self.stack.start("postgres")

    def replace_plugin(self) -> None:
        """The right version in place of the old one, and Kafka Connect started again."""
        if self._old is not None:
            self._old.end()
            self._old = None
        self.stack.start("connect")

    # -- doctor ----------------------------------------------------------------------------------------------------

    def named(self, *words: str, **env: str) -> dict[str, Named]:
        """The faults and warnings that `doctor` names, without those that no stack on one machine can cure."""
        said = self.pipeline.command("doctor", "--json", *words, **env)
        assert said.out, said
        checks = [check for place in orjson.loads(said.out)["places"] for check in place["checks"]]
        faulty = any(check["state"] == "fault" for check in checks)
        assert said.code == (1 if faulty else 0), said
        return {
            check["slug"]: Named(check["state"], check["what"], check["remedy"])
            for check in checks
            if check["state"] == "fault" or (check["state"] == "warning" and check["slug"] not in USUAL)
            if check["slug"] not in self.awaited
        }

    def assert_green(self, *words: str, **env: str) -> None:
        """Doctor names nothing any more; a connector that was started may take a moment to read its slot."""
        last: dict[str, Named] = {}

        def green() -> bool:
            last.clear()
            last.update(self.named(*words, **env))
            return not last

        until(green, lambda: f"doctor names nothing, but it names {last}", 40)

    def command(self, *words: str) -> None:
        """Run a command that has to end well, with --yes."""
        said = self.pipeline.command(*words, "--yes", seconds=180.0)
        assert said.code == 0, f"{words}: {said}"

    # -- PostgreSQL ------------------------------------------------------------------------------------------------

    def run(self, *statements: str, database: str = postgres.DATABASE) -> None:
        """Run statements as the administrator, in one session, each by itself."""
        with postgres.connect(self.stack.layout, database) as admin:
            for statement in statements:
                admin.execute(statement.encode())

    def value(self, query: str) -> Any:
        """The first column of the first row."""
        return self.pipeline.legacy.value(query)

    def published(self, table: str) -> list[str]:
        """The columns of a table that the publication has."""
        query = f"attnames::text[] FROM pg_publication_tables WHERE pubname = '{NAME}' AND tablename = '{table}'"
        return list(self.value(f"SELECT {query}"))

    def open_transactions(self) -> None:
        """In another database: one that has written and stays open, and one that was prepared and forgotten."""
        self._transaction = psycopg.connect(self.stack.env["LEGACY_ADMIN_URL"], dbname="postgres", connect_timeout=5)
        self._transaction.execute("SELECT txid_current()")
        self.run("BEGIN", "SELECT txid_current()", f"PREPARE TRANSACTION '{PREPARED}'", database="postgres")
        self.awaited = AGEING

    def await_age(self) -> None:
        """Wait until they are long ones."""
        query = (
            "SELECT count(*) = 2 FROM (SELECT xact_start AS began FROM pg_stat_activity WHERE backend_xid IS NOT NULL "
            "UNION ALL SELECT prepared FROM pg_prepared_xacts) AS open WHERE began < now() - interval '61 seconds'"
        )
        until(lambda: self.value(query), "the transactions are a minute old", 90)
        self.awaited = frozenset()

    def end_transactions(self) -> None:
        """End them where no test has done it: a slot could not be made."""
        self._forget_transaction()
        if self.value("SELECT count(*) FROM pg_prepared_xacts"):
            self.run(f"ROLLBACK PREPARED '{PREPARED}'", database="postgres")

    def _forget_transaction(self) -> None:
        if self._transaction is not None:
            self._transaction.close()
        self._transaction = None

    def stop_and_drop(self) -> None:
        """The connector is stopped, and its slot dropped, as somebody does who clears up."""
        self.stop_connector()
        self._await_free()
        self.run(f"SELECT pg_drop_replication_slot('{NAME}')")

    def stop_and_lose(self) -> None:
        """The connector is stopped, and WAL removed that its slot needs, as `max_slot_wal_keep_size` does then."""
        self.stop_connector()
        self._await_free()
        self.run("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "SELECT pg_reload_conf()")

        def lost() -> bool:
            filler = "SELECT pg_logical_emit_message(false, 'filler', repeat('x', 100000))"
            self.run(*(filler, "SELECT pg_switch_wal()") * 3, "CHECKPOINT")
            status = self.value(f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{NAME}'")
            return bool(status == "lost")

        until(lost, "the slot's WAL is gone", 60)
        self.run("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")

    def _await_free(self) -> None:
        query = f"SELECT NOT active FROM pg_replication_slots WHERE slot_name = '{NAME}'"
        until(lambda: self.value(query), "nobody reads the slot")

    # -- Kafka -----------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Settings:
        """The pipeline's."""
        return load(self.pipeline.config_file, self.pipeline.env)

    def topic(self, name: str) -> Topic:
        """A topic as it has to be; `name` is that of its field in `Topics`."""
        settings = self.settings
        return next(one for one in topic_table(settings) if one.name == getattr(settings.topics, name))

    def _kafka(self, ask: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        async def asked() -> T:
            admin = AIOKafkaAdminClient(**connection(self.settings.kafka))
            await admin.start()
            try:
                return await ask(admin)
            finally:
                await admin.close()

        return asyncio.run(asked())

    def set_topic(self, name: str, key: str, value: str) -> None:
        """Set one setting of a topic; those that are not named here would go."""
        topic = self.topic(name)
        wanted = ConfigResource(ConfigResourceType.TOPIC, topic.name, {**topic.settings, key: value})
        self._kafka(lambda admin: admin.alter_configs([wanted]))

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and wait until it is gone."""
        topic = self.topic(name).name
        self._kafka(lambda admin: admin.delete_topics([topic]))
        until(lambda: topic not in self._kafka(lambda admin: admin.list_topics()), f"{topic} is gone")

    def remake_topic(self, name: str, partitions: int) -> None:
        """Make a topic anew, with another number of partitions."""
        topic = self.topic(name)
        self.delete_topic(name)
        new = NewTopic(topic.name, partitions, 1, topic_configs=dict(topic.settings))
        answer = self._kafka(lambda admin: admin.create_topics([new]))
        assert not any(code for _, code, *_ in answer.topic_errors), answer

    @staticmethod
    def kafka_configs(*words: str) -> None:
        """Run what kafka-configs.sh runs."""
        tool = kafka._java("kafka.admin.ConfigCommand", "64m", *words)
        done = subprocess.run(tool, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done

    # -- Kafka Connect ---------------------------------------------------------------------------------------------

    def stop_connector(self) -> None:
        """As somebody does who does not know our commands."""
        self._tell("PUT", "/stop")
        until(lambda: self._tasks() == [], "the connector has stopped")

    def fail_connector(self) -> None:
        """Its role could not log in when the task started; by now it can, and nobody has started the task again."""
        role = self.settings.source.role
        self.run(f"ALTER ROLE {role} NOLOGIN")
        self._tell("POST", "/restart?includeTasks=true&onlyFailed=false")
        until(lambda: self._tasks() == ["FAILED"], lambda: f"the task has failed: {self._tasks()}", 60)
        self.run(f"ALTER ROLE {role} LOGIN")

    def _tell(self, method: str, path: str) -> None:
        """While Connect shares out its tasks it takes no order (409)."""
        until(lambda: self._connect(method, path).is_success, f"Kafka Connect takes {path}")

    def _tasks(self) -> list[str]:
        return [task["state"] for task in self._connect("GET", "/status").json()["tasks"]]

    def _connect(self, method: str, path: str) -> httpx.Response:
        return httpx.request(method, f"{self.stack.env['CONNECT_URL']}/connectors/{NAME}{path}", trust_env=False)


#: The statements in a remedy, each to its end: a semicolon, what is to be done then, a note in brackets.
_STATEMENT = re.compile(
    r"(?:ALTER (?:SYSTEM|ROLE|TABLE) |SELECT pg_|ROLLBACK PREPARED )[^;]*?(?=;|, then| \((?:a|Amazon) |\.?$)"
)


def statements(remedy: str) -> list[str]:
    """The SQL that a remedy names."""
    found = _STATEMENT.findall(remedy)
    assert found, f"there is no SQL in: {remedy}"
    return found
