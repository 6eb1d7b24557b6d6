"""Settings -> the configuration of the Debezium connector (flat rows, one topic, keyed by the user id as plain text).

Every value was measured on Debezium 3.7.0.Final; what differs from the connector's defaults says why. Secrets and what
differs by place are placeholders that the Connect worker fills in from its own environment.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.settings import CredentialsTable, Settings, UsersTable

MARKER_PREFIX = "cidaas-sync"
"""Prefix of our own logical decoding messages ("everything up to here is in Kafka")."""
HEARTBEAT_PREFIX = "cidaas-sync-heartbeat"
MAX_REQUEST_BYTES = 8 * 1024 * 1024  # rows with large values; Kafka's default of 1 MB would fail the task

#: The key that names the tables, in the order of `Source.tables`.
TABLES = "table.include.list"
PLUGIN = "io.debezium.connector.postgresql.PostgresConnector"

_SMT = "org.apache.kafka.connect.transforms"


def connector_config(settings: Settings) -> dict[str, str]:
    """Return the configuration for `PUT /connectors/NAME/config`."""
    source = settings.source
    tables = source.tables  # the initial snapshot keeps this order (M6)
    return {
        "connector.class": PLUGIN,
        "tasks.max": "1",
        **_database(settings),
        "snapshot.mode": "initial",
        "read.only": "true",
        TABLES: ",".join(_escaped(table.name) for table in tables),
        "column.include.list": ",".join(_columns(table) for table in tables),
        # A topic where several rows share a key must never see a tombstone.
        "tombstones.on.delete": "false",
        "skipped.operations": "t",
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "binary.handling.mode": "base64",
        "extended.headers.enabled": "false",
        **_heartbeat(settings),
        **_signals(settings),
        # Never skip a row; a failed stream is repeated. Two seconds instead of ten after a restart of PostgreSQL.
        "errors.max.retries": "10",
        "retriable.restart.connector.wait.ms": "2000",
        "event.processing.failure.handling.mode": "fail",
        "offset.mismatch.strategy": "trust_offset",
        # The first two are for the initial load; 10 ms instead of 500 make p50 10 ms from commit to consumer.
        "max.batch.size": "8192",
        "max.queue.size": "32768",
        "max.queue.size.in.bytes": "134217728",
        "poll.interval.ms": "10",
        "snapshot.fetch.size": "10240",
        **_producer(),
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        **_transforms(settings),
    }


def render(settings: Settings) -> str:
    """Return connectors/cidaas_sync.json: the body of `POST /connectors`."""
    return json.dumps({"name": settings.source.name, "config": connector_config(settings)}, indent=2) + "\n"


def _database(settings: Settings) -> dict[str, str]:
    source = settings.source
    return {
        "database.hostname": "${env:LEGACY_DB_HOST}",
        "database.port": "${env:LEGACY_DB_PORT}",
        "database.dbname": "${env:LEGACY_DB_NAME}",
        "database.sslmode": "${env:LEGACY_DB_SSLMODE}",
        "database.user": source.role,
        "database.password": "${env:CDC_DEBEZIUM_PASSWORD}",
        "topic.prefix": source.prefix,
        "plugin.name": "pgoutput",
        # The slot is made by the connector: one made before gives a snapshot that is not anchored in the stream.
        "slot.name": source.name,
        "publication.name": source.name,
        # The default would publish all tables, and break UPDATE and DELETE on those without a primary key.
        "publication.autocreate.mode": "disabled",
    }


def _heartbeat(settings: Settings) -> dict[str, str]:
    """The query moves the slot on a quiet database (the interval alone does not), and C7 waits for its records."""
    return {
        "heartbeat.interval.ms": str(settings.source.heartbeat_ms),
        "heartbeat.action.query": f"SELECT pg_logical_emit_message(true, '{HEARTBEAT_PREFIX}', now()::text)",
        "message.prefix.include.list": f"{MARKER_PREFIX},{HEARTBEAT_PREFIX}",
    }


def _signals(settings: Settings) -> dict[str, str]:
    """Signals come through Kafka, so that nothing is written into the legacy database."""
    return {
        "signal.enabled.channels": "kafka",
        "signal.kafka.topic": settings.topics.signals,
        "signal.kafka.groupId": f"{settings.app_id}-signals",
        "signal.kafka.bootstrap.servers": "${env:KAFKA_BOOTSTRAP_SERVERS}",
        # The default of 5000 makes the first signal after a start wait half a minute.
        "signal.poll.interval.ms": "300",
        "notification.enabled.channels": "sink,log",
        "notification.sink.topic.name": settings.topics.notifications,
        **_signal_security(settings),
    }


def _signal_security(settings: Settings) -> dict[str, str]:
    kafka = settings.kafka
    if kafka.security_protocol == "PLAINTEXT":
        return {}
    security = {"security.protocol": kafka.security_protocol}
    if kafka.ca_file:
        security |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": "${env:KAFKA_CA_FILE}"}
    if kafka.sasl_mechanism:
        scram = kafka.sasl_mechanism.startswith("SCRAM")
        module = "scram.ScramLoginModule" if scram else "plain.PlainLoginModule"
        security["sasl.mechanism"] = kafka.sasl_mechanism
        security["sasl.jaas.config"] = (
            f"org.apache.kafka.common.security.{module} required "
            'username="${env:KAFKA_SASL_USERNAME}" password="${env:KAFKA_SASL_PASSWORD}";'
        )
    return {f"signal.consumer.{key}": value for key, value in security.items()}


def _producer() -> dict[str, str]:
    """Connect turns idempotence off by default; with it, five requests may be under way and keep their order."""
    own = {
        "acks": "all",
        "enable.idempotence": "true",
        "max.in.flight.requests.per.connection": "5",
        "compression.type": "lz4",
        "linger.ms": "0",
        "batch.size": "262144",
        "max.request.size": str(MAX_REQUEST_BYTES),
    }
    return {f"producer.override.{key}": value for key, value in own.items()}


def _transforms(settings: Settings) -> dict[str, str]:
    """Flatten, take the user id as the key, then one topic for all tables: `one` is last, predicates see its input.

    Keys are made here and not with `message.key.columns`, which lost rows in three measured ways.
    """
    source = settings.source
    fields = "op,source.table,source.lsn,source.txId,source.sequence,source.snapshot,source.ts_us"
    if source.says_schema:
        fields += ",source.schema"
    for owner in dict.fromkeys(table.user_id for table in source.credentials):
        fields += f",before.{owner}"  # the former owner of a credential that moves (M5); streams/rows.py
    keys = [("u", source.users.name, source.users.id)]
    keys += [(f"c{at or ''}", table.name, table.user_id) for at, table in enumerate(source.credentials)]
    tables = "|".join(_escaped(_topic_part(name)) for _, name, _ in keys)
    pattern = f"{_escaped(source.prefix)}\\.({tables})"
    config = {
        "transforms": ",".join(["flat", *(f"vk{x}" for x, _, _ in keys), *(f"xk{x}" for x, _, _ in keys), "one"]),
        "predicates": ",".join(["all", *(f"is{x}" for x, _, _ in keys)]),
        "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
        "transforms.flat.delete.tombstone.handling.mode": "rewrite",
        "transforms.flat.add.fields": fields,
        "transforms.flat.predicate": "all",
        "transforms.one.type": f"{_SMT}.RegexRouter",
        "transforms.one.regex": pattern,
        "transforms.one.replacement": settings.topics.identity,
        "predicates.all.type": f"{_SMT}.predicates.TopicNameMatches",
        "predicates.all.pattern": pattern,
    }
    for x, name, column in keys:
        config |= {
            f"transforms.vk{x}.type": f"{_SMT}.ValueToKey",
            f"transforms.vk{x}.fields": column,
            f"transforms.vk{x}.predicate": f"is{x}",
            f"transforms.xk{x}.type": f"{_SMT}.ExtractField$Key",
            f"transforms.xk{x}.field": column,
            f"transforms.xk{x}.predicate": f"is{x}",
            f"predicates.is{x}.type": f"{_SMT}.predicates.TopicNameMatches",
            f"predicates.is{x}.pattern": f"{_escaped(source.prefix)}\\.{_escaped(_topic_part(name))}",
        }
    return config


def _columns(table: UsersTable | CredentialsTable) -> str:
    return f"{_escaped(table.name)}\\.({'|'.join(_escaped(column) for column in table.columns)})"


def _escaped(text: str) -> str:
    """Escape for Java's regular expressions, which know Python's escapes of everything that is no letter."""
    return re.escape(text)


def _topic_part(table: str) -> str:
    """Name the table as Debezium does in a topic name."""
    return re.sub(r"[^a-zA-Z0-9._-]", "_", table)
