"""The embedded stack and the source side on real components: rows, topics, SQL, crashes."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from demo.stack import postgres
from streams.kafka import connection
from streams.settings import Topics
from streams.source import births, sql, topics
from streams.source.births import BIRTH_KEY, birth_value, read_births
from streams.source.connector import MARKER_PREFIX
from streams.source.enabling import COLUMN_LISTS
from tests.integration.conftest import SERVICES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aiokafka.structs import ConsumerRecord

    from demo.stack import Stack
    from streams.settings import Settings

DEADLINE = 60  # seconds for a row to come through, also after a crash


class Tail:
    """What comes into topics from now on."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self.consumer = consumer

    async def until(self, wanted: Callable[[ConsumerRecord[Any, Any]], bool], what: str) -> ConsumerRecord[Any, Any]:
        """Return the first record that is wanted."""
        try:
            async with asyncio.timeout(DEADLINE):
                async for record in self.consumer:
                    if wanted(record):
                        return record
        except TimeoutError:
            pass
        raise AssertionError(f"{what} did not arrive within {DEADLINE} s")


@pytest.fixture
async def tail(settings: Settings) -> AsyncIterator[Tail]:
    consumer = AIOKafkaConsumer(**connection(settings.kafka), enable_auto_commit=False)
    await consumer.start()
    partitions = [TopicPartition(settings.topics.identity, number) for number in range(settings.partitions)]
    partitions.append(TopicPartition(settings.topics.message, 0))
    consumer.assign(partitions)
    await consumer.seek_to_end(*partitions)
    for partition in partitions:
        await consumer.position(partition)  # the end is looked up lazily
    yield Tail(consumer)
    await consumer.stop()


def insert(stack: Stack, user: int) -> None:
    with postgres.connect(stack.layout) as legacy, legacy.transaction():
        legacy.execute("INSERT INTO users (id, email) VALUES (%s, %s)", (user, f"müller{user}@example.org"))
        legacy.execute(
            "INSERT INTO credentials (user_id, kind, algorithm, secret) VALUES (%s, 'password', 'bcrypt', 'hash')",
            (user,),
        )


def of(user: int, table: str) -> Callable[[ConsumerRecord[Any, Any]], bool]:
    def wanted(record: ConsumerRecord[Any, Any]) -> bool:
        return record.key == str(user).encode() and orjson.loads(record.value)["__source_table"] == table

    return wanted


@pytest.mark.oldest
async def test_rows_arrive_flat_in_one_topic_keyed_by_the_user(stack: Stack, tail: Tail) -> None:
    insert(stack, 1001)
    user = await tail.until(of(1001, "users"), "the user")
    credential = await tail.until(of(1001, "credentials"), "the credential")
    assert user.partition == credential.partition
    assert user.headers == ()
    row = orjson.loads(user.value)
    assert (row["id"], row["email"], row["__op"], row["__deleted"]) == (1001, "müller1001@example.org", "c", "false")
    assert "email_verified" not in row, "a column outside the mapping never reaches Kafka"

    with postgres.connect(stack.layout) as legacy:
        legacy.execute("DELETE FROM users WHERE id = 1001")
    deleted = await tail.until(of(1001, "credentials"), "the credential's delete")
    assert orjson.loads(deleted.value)["__before_user_id"] == 1001, "the replica identity names the user"


@pytest.mark.oldest
async def test_the_reader_can_read_mapped_columns_and_set_markers_and_no_more(stack: Stack, tail: Tail) -> None:
    with psycopg.connect(stack.env["LEGACY_DATABASE_URL"], autocommit=True) as reader:
        reader.execute("SELECT id, email FROM users")
        for refused in ("DELETE FROM users", "SELECT email_verified FROM users"):
            with pytest.raises(psycopg.Error):
                reader.execute(refused.encode())
        found = reader.execute("SELECT pg_logical_emit_message(true, %s, 'here')", (MARKER_PREFIX,)).fetchone()
    assert found is not None
    marker = await tail.until(lambda r: r.key == f"Struct{{prefix={MARKER_PREFIX}}}".encode(), "the marker")
    high, low = (int(half, 16) for half in found[0].split("/"))
    assert orjson.loads(marker.value)["source"]["lsn"] == (high << 32) + low


@pytest.fixture
def elsewhere(settings: Settings) -> Settings:
    """Settings of another pipeline on the same broker, whose topics a test may spoil."""
    return dataclasses.replace(settings, app_id="spoilt", topics=Topics.of("spoilt", "spoilt"))


async def test_every_partition_is_born_with_the_same_name(settings: Settings) -> None:
    found = await read_births(settings)
    assert set(found) == set(range(settings.partitions))
    assert len(set(found.values())) == 1
    assert None not in found.values()
    assert await topics.ensure(settings) == [], "a second run makes nothing"


async def test_a_topic_with_other_settings_is_refused_with_the_cure(elsewhere: Settings) -> None:
    await topics.ensure(elsewhere)
    with pytest.raises(topics.TopicError, match=r"spoilt\.identity: partitions is 12, expected 6"):
        await topics.ensure(dataclasses.replace(elsewhere, partitions=6))
    admin = AIOKafkaAdminClient(**connection(elsewhere.kafka))
    await admin.start()
    try:
        bad = ConfigResource(ConfigResourceType.TOPIC, elsewhere.topics.ledger, {"cleanup.policy": "delete"})
        await admin.alter_configs([bad])
    finally:
        await admin.close()
    with pytest.raises(topics.TopicError, match=r"cleanup\.policy is delete, expected compact.*add-config"):
        await topics.ensure(elsewhere)


async def test_a_crash_between_creation_and_birth_is_made_good(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(births, "PATIENCE", 0.1)
    half = dataclasses.replace(settings, topics=Topics.of("half", "half"))
    table = {topic.name: topic for topic in topics.topic_table(half)}
    topic = table[half.topics.identity]
    admin = AIOKafkaAdminClient(**connection(half.kafka))
    await admin.start()
    producer = AIOKafkaProducer(**connection(half.kafka))
    await producer.start()
    try:
        await admin.create_topics([NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.settings))])
        await producer.send_and_wait(topic.name, birth_value("first"), key=BIRTH_KEY, partition=3)
        await topics.ensure(half)
        assert set((await read_births(half)).values()) == {"first"}

        stranger = dataclasses.replace(settings, topics=Topics.of("stranger", "stranger"))
        name = stranger.topics.identity
        await admin.create_topics([NewTopic(name, topic.partitions, 1, topic_configs=dict(topic.settings))])
        await producer.send_and_wait(name, b"{}", key=b"42", partition=5)
        with pytest.raises(topics.TopicError, match="partition 5, does not begin with the birth record"):
            await topics.ensure(stranger)
    finally:
        await producer.stop()
        await admin.close()


@pytest.mark.oldest
def test_sql_for_the_dba_runs_twice_and_back_with_odd_names(stack: Stack, settings: Settings, tmp_path: Path) -> None:
    """Through psql, as a DBA does, in a database of its own."""
    (credentials,) = settings.source.credentials
    source = dataclasses.replace(
        settings.source,
        name="odd_sync",
        role="odd cdc",
        read_role="odd-read",
        users=dataclasses.replace(settings.source.users, name="My Shop.Kunde's"),
        credentials=(dataclasses.replace(credentials, name="My Shop.log%in"),),
    )
    odd = dataclasses.replace(settings, source=source)
    files = {"enable": sql.enable_sql(odd), "disable": sql.disable_sql(odd)}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with postgres.connect(stack.layout, "postgres") as admin:
        admin.execute("CREATE DATABASE odd")

    def psql(name: str) -> subprocess.CompletedProcess[str]:
        command = [str(postgres.binaries() / "psql"), "-X", "-f", str(tmp_path / name)]
        url = stack.env["LEGACY_ADMIN_URL"].rpartition("/")[0] + "/odd"
        env = os.environ | {"CDC_DEBEZIUM_PASSWORD": "it's $ecret"}
        return subprocess.run([*command, url], env=env, capture_output=True, text=True, check=False)

    refused = psql("enable")
    assert refused.returncode == 3
    assert "does not exist: correct its name in pipeline.toml" in refused.stderr

    with postgres.connect(stack.layout, "odd") as legacy:
        legacy.execute(postgres.SCHEMA.read_bytes())
        legacy.execute('CREATE SCHEMA "My Shop"')
        legacy.execute('ALTER TABLE users SET SCHEMA "My Shop"')
        legacy.execute('ALTER TABLE credentials SET SCHEMA "My Shop"')
        legacy.execute('ALTER TABLE "My Shop".users RENAME TO "Kunde\'s"')
        legacy.execute('ALTER TABLE "My Shop".credentials RENAME TO "log%in"')
        for _ in range(2):
            done = psql("enable")
            assert done.returncode == 0, done.stderr
            assert "no password set: do it by \\password odd-read" in done.stdout
        published = legacy.execute(
            "SELECT tablename, to_jsonb(t) ->> 'attnames' FROM pg_publication_tables t ORDER BY 1"
        ).fetchall()
        assert [name for name, _ in published] == ["Kunde's", "log%in"]
        if legacy.info.server_version >= COLUMN_LISTS:
            assert "email_verified" not in published[0][1]
        else:
            assert published[0][1] is None, "whole rows: there are no column lists"
        legacy.execute("SELECT pg_create_logical_replication_slot('odd_sync', 'pgoutput')")
        legacy.execute('CREATE PUBLICATION beside FOR TABLE "My Shop"."log%in"')
        kept = psql("disable")
        assert kept.returncode == 0, kept.stderr
        assert "My Shop.log%in keeps its replica identity and the index log%in_cidaas_sync_ri: beside" in kept.stderr
        identity = "SELECT relreplident::text FROM pg_class WHERE relname = 'log%in'"
        assert legacy.execute(identity).fetchone() == ("i",)
        legacy.execute("DROP PUBLICATION beside")
        for _ in range(2):
            done = psql("disable")
            assert done.returncode == 0, done.stderr
            assert done.stdout.splitlines()[-3].strip() == "0"
        assert legacy.execute(identity).fetchone() == ("d",)
        left = legacy.execute("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'odd%'").fetchone()
        assert left == (0,)


@pytest.mark.oldest
def test_sql_refuses_a_replica_identity_that_somebody_else_set(stack: Stack, settings: Settings) -> None:
    with postgres.connect(stack.layout, "postgres") as admin:
        admin.execute("CREATE DATABASE others")
    with postgres.connect(stack.layout, "others") as legacy:
        legacy.execute(postgres.SCHEMA.read_bytes())
        legacy.execute("ALTER TABLE credentials REPLICA IDENTITY FULL")
        with pytest.raises(psycopg.errors.RaiseException, match="changed by somebody"):
            sql.enable(legacy, settings, {})


@pytest.mark.oldest
def test_before_16_the_sql_says_that_it_takes_a_superuser(stack: Stack, settings: Settings) -> None:
    with postgres.connect(stack.layout, "postgres") as admin:
        if admin.info.server_version >= 160000:
            pytest.skip("from PostgreSQL 16 on a role that replicates may make others do so")
        admin.execute("CREATE ROLE owner CREATEROLE")
        admin.execute("CREATE DATABASE owned OWNER owner")
    source = dataclasses.replace(settings.source, role="new_cdc", read_role="new_read")
    with postgres.connect(stack.layout, "owned") as legacy:
        legacy.execute("GRANT CREATE ON SCHEMA public TO owner")
        legacy.execute("SET ROLE owner")
        legacy.execute(postgres.SCHEMA.read_bytes())
        with pytest.raises(psycopg.errors.RaiseException, match="only a superuser may let a role replicate"):
            sql.enable(legacy, dataclasses.replace(settings, source=source), {})


def test_up_twice_is_harmless(stack: Stack) -> None:
    before = {name: stack.pid(name) for name in SERVICES}
    stack.up(SERVICES)
    assert {name: stack.pid(name) for name in SERVICES} == before


@pytest.mark.parametrize("name", SERVICES)
async def test_what_was_killed_comes_back_alone_and_rows_go_on(stack: Stack, tail: Tail, name: str) -> None:
    before = {other: stack.pid(other) for other in SERVICES}
    stack.kill(name)
    assert stack.pid(name) is None
    await asyncio.to_thread(stack.up, SERVICES)
    after = {other: stack.pid(other) for other in SERVICES}
    assert {other for other in SERVICES if before[other] != after[other]} == {name}
    user = 2001 + SERVICES.index(name)
    insert(stack, user)
    await tail.until(of(user, "users"), f"the user inserted after the crash of {name}")


def test_state_survives_down_and_up(stack: Stack) -> None:
    insert(stack, 3001)
    stack.down()
    assert set(stack.status().values()) == {"down"}
    stack.up(SERVICES)
    with postgres.connect(stack.layout) as legacy:
        assert legacy.execute("SELECT count(*) FROM credentials WHERE user_id = 3001").fetchone() == (1,)
