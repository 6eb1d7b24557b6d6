"""`doctor` against the real stack: each broken set-up is named, and its remedy makes it right again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.kafka import connection
from streams.source.enabling import COLUMN_LISTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import Settings
    from tests.integration.pipeline import Pipeline

READER, CAPTURE = "cidaas_sync_read", "cdc_debezium"


def faults(sync: Pipeline, *words: str, **env: str) -> dict[str, str]:
    """The faults that doctor names, and their remedies."""
    said = sync.command("doctor", "--json", *words, **env)
    body = httpx.Response(200, text=said.out).json()
    checks = [check for place in body["places"] for check in place["checks"]]
    found = {check["slug"]: check["remedy"] for check in checks if check["state"] == "fault"}
    assert said.code == (1 if found else 0), said
    return found


@dataclass(frozen=True)
class Broken:
    """What breaks, which check names it, a word of its remedy; then that remedy, by SQL or by a command."""

    sql: tuple[str, ...]
    slug: str
    remedy: str
    cure: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    after: tuple[str, ...] = field(default=())


VERSION = "SELECT current_setting('server_version_num')::int"
COLUMN_LIST = "somebody else's publication"
ENABLE = ("cdc", "enable", "--yes")
DATABASE = {
    "column right": Broken(
        (f"REVOKE SELECT (secret) ON credentials FROM {READER}",), "column_rights", "cdc enable", command=ENABLE
    ),
    "replication right": Broken(
        (f"ALTER ROLE {CAPTURE} NOREPLICATION",), "replication_right", "cdc enable", command=ENABLE
    ),
    "log-in": Broken((f"ALTER ROLE {READER} NOLOGIN",), "read_role", "LOGIN", (f'ALTER ROLE "{READER}" LOGIN',)),
    "row level security": Broken(
        ("ALTER TABLE users ENABLE ROW LEVEL SECURITY",),
        "row_security",
        "BYPASSRLS",
        (f'ALTER ROLE "{CAPTURE}" BYPASSRLS', f'ALTER ROLE "{READER}" BYPASSRLS'),
        after=(
            "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
            f"ALTER ROLE {CAPTURE} NOBYPASSRLS",
            f"ALTER ROLE {READER} NOBYPASSRLS",
        ),
    ),
    "replica identity": Broken(
        ("ALTER TABLE credentials REPLICA IDENTITY DEFAULT",), "replica_identity", "cdc enable", command=ENABLE
    ),
    COLUMN_LIST: Broken(
        ("CREATE PUBLICATION reports FOR TABLE credentials (id, kind)",),
        "other_publications",
        "Add the column",
        ("ALTER PUBLICATION reports SET TABLE credentials (id, kind, user_id)",),
        after=("DROP PUBLICATION reports",),
    ),
}


#: What the statements of `cdc enable` cure is tried on the oldest PostgreSQL, too.
OLDEST = ("column right", "replica identity")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.oldest] if name in OLDEST else []) for name in DATABASE]
)
def test_a_broken_database_is_named_and_cured_by_the_remedy(sync: Pipeline, name: str) -> None:
    broken = DATABASE[name]
    if name == COLUMN_LIST and sync.legacy.value(VERSION) < COLUMN_LISTS:
        pytest.skip("publications have no column lists before PostgreSQL 15")
    try:
        for statement in broken.sql:
            sync.legacy.run(statement)
        found = faults(sync)
        assert list(found) == [broken.slug]
        assert broken.remedy in found[broken.slug]
        for statement in broken.cure:
            sync.legacy.run(statement)
        if broken.command:
            assert sync.command(*broken.command).code == 0
        assert faults(sync) == {}
    finally:
        for statement in broken.after:
            sync.legacy.run(statement)


def alter(settings: Settings, values: dict[str, str]) -> None:
    """Set the settings of the topic with the row changes, all of them."""

    async def change() -> None:
        admin = AIOKafkaAdminClient(**connection(settings.kafka))
        await admin.start()
        try:
            topic = ConfigResource(ConfigResourceType.TOPIC, settings.topics.identity, values)
            await admin.alter_configs([topic])
        finally:
            await admin.close()

    asyncio.run(change())


RIGHT = {
    "cleanup.policy": "delete",
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "max.message.bytes": "8388608",
}


def test_topics_and_connector(sync: Pipeline, settings: Settings) -> None:
    for slug, key, value in [
        ("topic_retention", "retention.ms", "604800000"),
        ("topic_settings", "min.insync.replicas", "2"),
    ]:
        alter(settings, {**RIGHT, key: value})
        try:
            found = faults(sync)
        finally:
            alter(settings, RIGHT)
        assert list(found) == [slug]
        assert f"--add-config {key}={RIGHT[key]}" in found[slug]
    connector = f"{sync.env['CONNECT_URL']}/connectors/cidaas_sync"
    httpx.put(f"{connector}/stop", trust_env=False).raise_for_status()
    found = faults(sync)
    assert sync.command("connector", "apply", "--yes").code == 0
    assert found == {"connector_state": "Run `connector apply`."}
    assert faults(sync) == {}


WRONG: dict[str, tuple[Callable[[dict[str, str]], dict[str, str]], set[str]]] = {
    "secret": (lambda env: {"CIDAAS_CLIENT_SECRET": "wrong"}, {"cidaas_token"}),
    "password of the connector's role": (lambda env: {"CDC_DEBEZIUM_PASSWORD": "wrong"}, {"capture_login"}),
    "password of the reader": (
        lambda env: {"LEGACY_DATABASE_URL": f"postgresql://{READER}:wrong@127.0.0.1:{env['POSTGRES_PORT']}/legacy"},
        {"read_login"},
    ),
    "database": (
        lambda env: {"LEGACY_ADMIN_URL": env["LEGACY_ADMIN_URL"].replace("/legacy", "/postgres")},
        {"one_database"},
    ),
    "Kafka": (lambda env: {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, {"kafka_reachable"}),
    "Connect": (lambda env: {"CONNECT_URL": env["CIDAAS_BASE_URL"]}, {"connect_reachable"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_address_or_password_is_named(sync: Pipeline, name: str) -> None:
    env, slugs = WRONG[name]
    assert set(faults(sync, **env(sync.env))) == slugs


@pytest.mark.oldest
def test_without_the_administrator_and_with_a_test_user(sync: Pipeline) -> None:
    before = sync.cidaas.users()
    said = sync.command("doctor", "--write-test", LEGACY_ADMIN_URL="")
    assert said.code == 0, said
    assert "the test user was deleted again" in said.out
    assert sync.cidaas.users() == before
    assert "\033" not in said.out
    sync.cidaas.switch(migration_mode="off-fail")
    assert list(faults(sync, "--write-test")) == ["cidaas_migration_mode"]
    assert sync.cidaas.users() == before
