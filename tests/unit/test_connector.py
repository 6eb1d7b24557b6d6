"""The connector's configuration follows from pipeline.toml, and holds no secret."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import orjson
import pytest

from streams.rows import RowChange, RowReader
from streams.settings import Settings, load
from streams.source.__main__ import generated
from streams.source.connector import HEARTBEAT_PREFIX, MARKER_PREFIX, connector_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings() -> Settings:
    return load(ROOT / "pipeline.toml", env={"CDC_DEBEZIUM_PASSWORD": "hunter2"})


@pytest.mark.parametrize("name", ["cidaas_sync.json", "sql/enable.sql", "sql/disable.sql"])
def test_committed_file_is_what_pipeline_toml_gives(settings: Settings, name: str) -> None:
    """Run `make generate` when this fails."""
    assert (ROOT / "connectors" / name).read_text() == generated(settings)[name]


def test_secrets_are_placeholders(settings: Settings) -> None:
    config = connector_config(settings)
    assert config["database.password"] == "${env:CDC_DEBEZIUM_PASSWORD}"
    assert "hunter2" not in str(config)


def test_signal_consumer_gets_the_brokers_security_as_placeholders(settings: Settings) -> None:
    kafka = dataclasses.replace(
        settings.kafka, security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512", ca_file="ca.pem"
    )
    config = connector_config(dataclasses.replace(settings, kafka=kafka))
    assert config["signal.consumer.security.protocol"] == "SASL_SSL"
    assert "${env:KAFKA_SASL_PASSWORD}" in config["signal.consumer.sasl.jaas.config"]
    assert config["signal.consumer.ssl.truststore.location"] == "${env:KAFKA_CA_FILE}"


def test_credentials_come_first_in_the_initial_snapshot(settings: Settings) -> None:
    assert connector_config(settings)["table.include.list"] == r"public\.credentials,public\.users"


def test_every_mapped_column_and_no_other_passes(settings: Settings) -> None:
    lists = connector_config(settings)["column.include.list"].split(",")
    for table, pattern in zip(settings.source.tables, lists, strict=True):
        for column in table.columns:
            assert re.fullmatch(pattern, f"{table.name}.{column}")
        assert not re.fullmatch(pattern, f"{table.name}.email_verified")


def test_both_tables_end_in_the_one_topic_and_other_topics_pass_untouched(settings: Settings) -> None:
    config = connector_config(settings)
    pattern = config["transforms.one.regex"]
    assert config["transforms.one.replacement"] == settings.topics.identity
    assert config["transforms"].endswith(",one"), "predicates see the topic of their place in the chain"
    assert re.fullmatch(pattern, "legacy.public.users")
    assert re.fullmatch(pattern, "legacy.public.credentials")
    assert not re.fullmatch(pattern, settings.topics.message)
    assert not re.fullmatch(pattern, settings.topics.heartbeat)


def test_users_are_keyed_by_their_id_and_credentials_by_their_users(settings: Settings) -> None:
    config = connector_config(settings)
    for table, column in (("users", "id"), ("credentials", "user_id")):
        letter = next(
            key.split(".")[1][2:]
            for key, value in config.items()
            if key.startswith("predicates.is") and re.fullmatch(value, f"legacy.public.{table}")
        )
        assert config[f"transforms.vk{letter}.fields"] == column
        assert config[f"transforms.xk{letter}.field"] == column


@pytest.mark.parametrize("owner", ["user_id", "owner"])
def test_a_former_owner_arrives_under_the_name_that_is_looked_for(settings: Settings, owner: str) -> None:
    """M5. Debezium calls `before.COLUMN` of the envelope `__before_COLUMN`; with another name the move is not seen."""
    (table,) = settings.source.credentials
    source = dataclasses.replace(settings.source, credentials=(dataclasses.replace(table, user_id=owner),))
    fields = connector_config(dataclasses.replace(settings, source=source))["transforms.flat.add.fields"].split(",")
    assert [field for field in fields if field.startswith("before")] == [f"before.{owner}"]
    row = dict.fromkeys(table.columns) | {"id": 7, owner: 2, f"__before_{owner}": 1}
    change = RowReader(source).read(b"2", orjson.dumps(row | {"__op": "u", "__source_table": "credentials"}))
    assert isinstance(change, RowChange) and change.moved_from == "1"


def test_without_a_credentials_table_only_users_are_read(settings: Settings) -> None:
    source = dataclasses.replace(settings.source, credentials=())
    config = connector_config(dataclasses.replace(settings, source=source))
    assert config["table.include.list"] == r"public\.users"
    assert "before" not in config["transforms.flat.add.fields"]
    for name in config["transforms"].split(","):
        assert f"transforms.{name}.type" in config
    for name in config["predicates"].split(","):
        assert f"predicates.{name}.type" in config


def test_only_our_own_messages_reach_kafka(settings: Settings) -> None:
    config = connector_config(settings)
    assert config["message.prefix.include.list"].split(",") == [MARKER_PREFIX, HEARTBEAT_PREFIX]
    assert f"'{HEARTBEAT_PREFIX}'" in config["heartbeat.action.query"]


def test_connect_properties_name_the_topics_of_the_settings(settings: Settings) -> None:
    lines = (ROOT / "connectors" / "connect.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    assert properties["config.storage.topic"] == settings.topics.connect_configs
    assert properties["offset.storage.topic"] == settings.topics.connect_offsets
    assert properties["status.storage.topic"] == settings.topics.connect_status
