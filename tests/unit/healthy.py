"""What doctor sees: a set-up with nothing wrong, of which each test changes one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fakes import SETTINGS

from streams.cidaas import Outcome, OutcomeKind
from streams.doctor import cidaas, connect, consistency, kafka, roles, server, tables
from streams.source.catalog import Column
from streams.source.connect import ConnectorStatus
from streams.source.connector import connector_config
from streams.source.statements import identity_index
from streams.source.topics import topic_table

if TYPE_CHECKING:
    from streams.doctor.checks import Check
    from streams.source.look import Look

SOURCE = SETTINGS.source
(CREDENTIALS,) = SOURCE.credentials
BOTH = frozenset({SOURCE.role, SOURCE.read_role})
GIB = 1 << 30

SERVER = server.Server(
    version=180_004,
    version_text="18.4",
    standby=False,
    wal_level="logical",
    slots=10,
    slots_used=1,
    senders=10,
    senders_used=1,
    slot=True,
    slot_active=True,
    slot_kept=1_000,
    connections=97,
    connections_used=8,
    wal_limit=40 * GIB,
    idle_timeout=0.0,
    sender_timeout=60.0,
    output_plugins="pgoutput, test_decoding",
    encoding="UTF8",
    wal_rate=1_000.0,
    disk=server.Disk(100 * GIB, 80 * GIB),
)
ROLE = roles.Role(login=True, replication=True, bypass=False, limit=10, expired=False, connect=True)
ROLES: dict[str, roles.Role | None] = {SOURCE.role: ROLE, SOURCE.read_role: replace(ROLE, replication=False, limit=20)}
LOGINS = dict.fromkeys(ROLES, roles.Login(tried=True))


def columns(table: Any, **types: str) -> dict[str, Column]:
    """The mapped columns, and one that is not mapped and that nobody of ours may read."""
    bases = {"bigint": "int8", "text": "text"}
    found = {}
    for name in table.columns:
        type_ = types.get(name, "text")
        found[name] = Column(name, type_, bases[type_], not_null=True, readers=BOTH)
    return found | {"internal_note": Column("internal_note", "text", "text")}


TABLE = tables.Table("r", "p", False, "d", None, ("id",), False, columns(SOURCE.users, id="bigint"), BOTH)
CREDENTIAL_TABLE = replace(
    TABLE,
    identity="i",
    identity_index=identity_index(CREDENTIALS),
    columns=columns(CREDENTIALS, id="bigint", user_id="bigint"),
)
TABLES = tables.Tables({SOURCE.users.name: TABLE, CREDENTIALS.name: CREDENTIAL_TABLE}, {CREDENTIALS.name: 0})
TOPICS = {topic.name: kafka.Seen(topic.partitions, 1, 0, dict(topic.settings)) for topic in topic_table(SETTINGS)}
KAFKA = kafka.Kafka(1, "cluster", TOPICS, auto_create=False, disks=(server.Disk(100 * GIB, 80 * GIB),))
CONFIG = connector_config(SETTINGS)
RUNNING = ConnectorStatus("RUNNING", ("RUNNING",), None)
CONNECT = connect.Connect("4.3.1", "cluster", ("3.7.0.Final",), RUNNING, {"name": SOURCE.name, **CONFIG}, ())
SCOPES = ("cidaas:bulk_user_create", "cidaas:users_delete", "cidaas:users_read")
DONE = Outcome(OutcomeKind.DONE, "CREATED")
TRIAL = cidaas.Trial("cidaas-sync-doctor-1234", "sub", DONE, DONE, removed=True)
TENANT = cidaas.Tenant(scopes=SCOPES, trial=TRIAL)


# -- asking the judges --------------------------------------------------------------------------------------------


def of_server(**changes: Any) -> list[Check]:
    return server.judge(replace(SERVER, **changes))


def of_roles(role: str = SOURCE.role, *, enabled: bool = True, there: bool = True, **changes: Any) -> list[Check]:
    """The roles, one of them with other fields; `tried` is what became of its log-in."""
    tried, before = changes.pop("tried", LOGINS[role]), ROLES[role]
    assert before is not None
    found = {**ROLES, role: replace(before, **changes) if there else None}
    return roles.judge(SOURCE, roles.Roles(found, {**LOGINS, role: tried}), enabled=enabled)


def of_tables(
    name: str = CREDENTIALS.name, *, enabled: bool = True, known: dict[str, Any] | None = None, **changes: Any
) -> list[Check]:
    """The tables, one of them with other fields; `known` changes what is known of all of them."""
    there = {**TABLES.found, name: replace(TABLES.found[name], **changes)}
    facts = replace(TABLES, found=there, **(known or {}))
    return tables.judge(SETTINGS, facts, ROLES, enabled=enabled)


def column(name: str, **changes: Any) -> dict[str, Column]:
    """The columns of the credentials table, one of them with other fields."""
    return {**CREDENTIAL_TABLE.columns, name: replace(CREDENTIAL_TABLE.columns[name], **changes)}


def of_kafka(
    topic: str = SETTINGS.topics.identity, *, setting: dict[str, str] | None = None, **changes: Any
) -> list[Check]:
    """Kafka, one topic with other fields or settings."""
    seen_topic = TOPICS[topic]
    if setting:
        changes["settings"] = {**(seen_topic.settings or {}), **setting}
    return kafka.judge(SETTINGS, replace(KAFKA, topics={**TOPICS, topic: replace(seen_topic, **changes)}))


def of_cluster(**changes: Any) -> list[Check]:
    return kafka.judge(SETTINGS, replace(KAFKA, **changes))


def of_connect(*, cluster_id: str | None = "cluster", role: Check | None = None, **changes: Any) -> list[Check]:
    facts = replace(CONNECT, **changes)
    return connect.judge(SETTINGS, facts, wanted=CONFIG, cluster_id=cluster_id, role=role)


def of_whole(look: Look, state: dict[str, Any] | None = None) -> list[Check]:
    return consistency.judge(SETTINGS, consistency.Whole(look, state if state is not None else {}))


def of_tenant(**changes: Any) -> list[Check]:
    return cidaas.judge(SETTINGS, replace(TENANT, **changes))


def of_trial(**changes: Any) -> list[Check]:
    return of_tenant(trial=replace(TRIAL, **changes))
