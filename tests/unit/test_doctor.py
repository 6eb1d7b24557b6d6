"""Each broken set-up yields exactly its fault, with its remedy; a right one yields none."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from broken import Broken
from fakes import SETTINGS
from healthy import (
    CONFIG,
    CREDENTIAL_TABLE,
    CREDENTIALS,
    GIB,
    ROLES,
    SCOPES,
    SOURCE,
    TABLES,
    TOPICS,
    TRIAL,
    column,
    of_cluster,
    of_connect,
    of_kafka,
    of_roles,
    of_server,
    of_tables,
    of_tenant,
    of_trial,
    of_whole,
)
from sights import DATABASE, PUBLICATION, RIGHT, SLOT, USERS, published, seen, stopped

from streams.cidaas import Kind, Outcome, OutcomeKind, Reason
from streams.cidaas.errors import failure
from streams.control import FAULTS
from streams.control import TABLES as TABLES_READ
from streams.doctor import roles, server, tables
from streams.doctor.checks import State, todo
from streams.doctor.cidaas import Trial
from streams.identity import Identity
from streams.source.connect import ConnectorStatus
from streams.source.look import Look, Published

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.doctor.checks import Check

OK, WARNING, FAULT, TODO, UNKNOWN = State


def bad(checks: Sequence[Check], *usual: str) -> list[Check]:
    """What is not ok, without what is not ok in any set-up that is tried here."""
    return [check for check in checks if check.state is not OK and check.slug not in usual]


#: One broker is a warning, and that a second password counts nobody can tell from here.
USUAL = ("brokers", "cidaas_migration_mode")

ALL: list[Callable[[], list[Check]]] = [
    of_server,
    of_roles,
    of_tables,
    of_kafka,
    of_connect,
    lambda: of_whole(RIGHT),
    of_tenant,
]


@pytest.mark.parametrize("judged", ALL)
def test_a_right_set_up_has_no_fault(judged: Callable[[], list[Check]]) -> None:
    """A doctor who finds something in everybody is not asked again."""
    assert bad(judged(), *USUAL) == []


def test_each_slug_stands_once() -> None:
    slugs = Counter(check.slug for judged in ALL for check in judged())
    assert [slug for slug, number in slugs.items() if number > 1] == []


# -- the table of broken set-ups ----------------------------------------------------------------------------------


OTHER = server.Transaction("4711", "billing", 300.0)
PREPARED = server.Transaction("gid-7", "billing", 300.0, prepared=True)
FRESH = {"slot": False, "slot_active": False, "slot_kept": None}
FAILED = ConnectorStatus("RUNNING", ("FAILED",), "org.Error: it ended\nCaused by: no such column")
WITHOUT_USERS = published(tables={CREDENTIALS.name: PUBLICATION.tables[CREDENTIALS.name]})
NARROW = published(tables={**PUBLICATION.tables, USERS: Published(71, ("id",))})
WIDE = published(tables={**PUBLICATION.tables, USERS: Published(71, (*SOURCE.users.columns, "internal_note"))})
CREDENTIALS_ERROR = failure(Kind.CREDENTIALS, "The token endpoint answered 401 (invalid_client)", status=401)
FORBIDDEN = failure(Kind.FORBIDDEN, "cidaas answered 403 to the look-up of a user", status=403)
AWAY = failure(Kind.UNAVAILABLE, "cidaas cannot be reached for the probe (ConnectError)")
REFUSED = Outcome(OutcomeKind.FAILED, "FAILED", "", "password can not be overwritten", Reason.MIGRATION_MODE)
STANDING = {
    "slug": "slot_dropped",
    "what": "the replication slot is gone",
    "remedy": "Run `source repair`.",
    "since": 1.0,
}
PG_HBA = roles.Login(tried=True, error='no pg_hba.conf entry for replication connection from host "10.0.0.1"')
WRONG_PASSWORD = roles.Login(tried=True, error="password authentication failed")
IDENTITY, LEDGER = SETTINGS.topics.identity, SETTINGS.topics.ledger
IDENTITY_RECORD = Identity.of(SETTINGS, DATABASE.system, "topic").body()

BROKEN = {
    # the server
    "version too old": Broken(of_server(version=130_011), "server_version", FAULT, "older than 14", "Upgrade"),
    "version not tried": Broken(of_server(version=190_000), "server_version", WARNING, "newer than 18", "Try it"),
    "standby": Broken(of_server(standby=True), "primary", FAULT, "standby", "primary"),
    "pooler in between": Broken(of_server(pooler=True), "pooler", FAULT, "pooler", "PostgreSQL's own port"),
    "wrong wal_level": Broken(of_server(wal_level="replica"), "wal_level", FAULT, "is replica", "restart PostgreSQL"),
    "no slots left": Broken(
        of_server(**FRESH, slots_used=10), "slots_left", FAULT, "10 of 10", "max_replication_slots = 12"
    ),
    "no senders left": Broken(
        of_server(**FRESH, senders_used=10), "senders_left", FAULT, "10 of 10", "max_wal_senders = 12"
    ),
    "no connections left": Broken(
        of_server(connections_used=95), "connections_left", WARNING, "2 conn", "max_connections"
    ),
    "plugin not allowed": Broken(
        of_server(output_plugins="test_decoding"), "output_plugin", FAULT, "pgoutput", "output_plugin_libraries"
    ),
    "wrong encoding": Broken(of_server(encoding="LATIN1"), "encoding", FAULT, "LATIN1", "ENCODING 'UTF8'"),
    "disk nearly full": Broken(
        of_server(wal_limit=GIB, wal_rate=0.0, disk=server.Disk(100 * GIB, 4 * GIB)),
        "wal_disk",
        FAULT,
        "4.0 GiB",
        "room",
    ),
    "disk filling": Broken(
        of_server(wal_limit=GIB, wal_rate=0.0, disk=server.Disk(100 * GIB, 10 * GIB)),
        "wal_disk",
        WARNING,
        "10.0 GiB",
        "room",
    ),
    "disk not to be seen": Broken(of_server(disk=None), "wal_disk", UNKNOWN, "database's machine", "df -h"),
    "no WAL limit": Broken(
        of_server(wal_limit=-1), "wal_limit", WARNING, "not set", "max_slot_wal_keep_size = '40960MB'"
    ),
    "WAL limit larger than the disk": Broken(
        of_server(wal_limit=90 * GIB),
        "wal_limit",
        FAULT,
        "only 80.0 GiB are free",
        "max_slot_wal_keep_size = '40960MB'",
    ),
    "WAL limit too small for a night": Broken(
        of_server(wal_rate=40 * GIB / 10_800), "wal_limit", WARNING, "lasts 3 h", "12 hours"
    ),
    "idle slots are dropped": Broken(
        of_server(idle_timeout=7_200.0), "idle_slot_timeout", WARNING, "2 h", "idle_replication_slot_timeout = 0"
    ),
    "sender time-out too short": Broken(of_server(sender_timeout=5.0), "sender_timeout", WARNING, "5 s", "'60s'"),
    "long transaction, no slot yet": Broken(
        of_server(**FRESH, transactions=(OTHER,)),
        "long_transactions",
        FAULT,
        "pid 4711 in billing",
        "pg_terminate_backend",
    ),
    "several long transactions": Broken(
        of_server(**FRESH, transactions=(OTHER, replace(OTHER, name="4712"))),
        "long_transactions",
        FAULT,
        "transactions: pid 4711 in billing",
        "end them: SELECT pg_terminate_backend(4711); SELECT pg_terminate_backend(4712)",
    ),
    "long transaction beside the slot": Broken(
        of_server(transactions=(OTHER,)), "long_transactions", WARNING, "keeps WAL", "pg_terminate_backend"
    ),
    "transactions not to be seen": Broken(
        of_server(transactions=(replace(OTHER, seconds=None),)),
        "long_transactions",
        UNKNOWN,
        "may not",
        "pg_read_all_stats",
    ),
    "prepared transaction": Broken(
        of_server(**FRESH, transactions=(PREPARED,)),
        "prepared_transactions",
        FAULT,
        "gid-7",
        "ROLLBACK PREPARED 'gid-7'",
    ),
    # the roles
    "missing role": Broken(of_roles(there=False), "capture_role", FAULT, "no role cdc_debezium", "`cdc enable`"),
    "role not made yet": Broken(of_roles(there=False, enabled=False), "capture_role", TODO, "yet", "`cdc enable`"),
    "missing reading role": Broken(
        of_roles(SOURCE.read_role, there=False), "read_role", FAULT, "no role", "`cdc enable`"
    ),
    "role may not replicate": Broken(
        of_roles(replication=False), "replication_right", FAULT, "may not replicate", "`cdc en"
    ),
    "role expired": Broken(of_roles(expired=True), "capture_role", FAULT, "expired", "VALID UNTIL"),
    "too few connections for the role": Broken(of_roles(limit=2), "capture_role", FAULT, "2 connections", "LIMIT 10"),
    "pg_hba.conf": Broken(of_roles(tried=PG_HBA), "capture_login", FAULT, "pg_hba.conf", "scram-sha-256"),
    "wrong password": Broken(
        of_roles(tried=WRONG_PASSWORD), "capture_login", FAULT, "replication protocol", "CDC_DEBEZIUM_PASSWORD"
    ),
    "wrong password of the reader": Broken(
        of_roles(SOURCE.read_role, tried=WRONG_PASSWORD), "read_login", FAULT, "reading", "LEGACY_DATABASE_URL"
    ),
    "role may not log in": Broken(of_roles(login=False), "capture_role", FAULT, "may not log in", "LOGIN"),
    "role may not connect": Broken(of_roles(connect=False), "capture_role", FAULT, "may not connect", "`cdc enable`"),
    "password of the connector's role not set": Broken(
        of_roles(tried=roles.Login(tried=False, why_not="CDC_DEBEZIUM_PASSWORD is not set here")),
        "capture_login",
        TODO,
        "not set",
        "Set CDC_DEBEZIUM_PASSWORD",
    ),
    # the tables
    "table missing": Broken(
        tables.judge(SETTINGS, replace(TABLES, found={}), ROLES, enabled=True),
        "tables_there",
        FAULT,
        "no table public.users, public.credentials",
        "[tables]",
    ),
    "column missing": Broken(
        of_tables(columns={name: one for name, one in CREDENTIAL_TABLE.columns.items() if name != "secret"}),
        "table_columns",
        FAULT,
        "no column secret",
        "mapping",
    ),
    "a view": Broken(
        of_tables(USERS, kind="v", primary_key=(), identity="n"), "table_kind", FAULT, "is a view", "ordinary table"
    ),
    "a view of credentials": Broken(
        of_tables(kind="v", primary_key=(), identity="n", columns=column("user_id", not_null=False)),
        "table_kind",
        FAULT,
        "is a view",
        "ordinary table",
    ),
    "partitioned": Broken(of_tables(USERS, kind="p"), "table_kind", FAULT, "partitioned", "ordinary table"),
    "a partition": Broken(of_tables(USERS, partition=True), "table_kind", FAULT, "a partition", "ordinary table"),
    "unlogged": Broken(of_tables(USERS, persistence="u"), "table_logged", FAULT, "not logged", "SET LOGGED"),
    "no primary key": Broken(
        of_tables(USERS, primary_key=()), "primary_key", FAULT, "no primary key", "ADD PRIMARY KEY"
    ),
    "another primary key": Broken(
        of_tables(USERS, primary_key=("tenant", "id")), "primary_key", FAULT, "(tenant, id), not (id)", "key column"
    ),
    "generated": Broken(
        of_tables(columns=column("secret", published=False)),
        "generated_columns",
        FAULT,
        "secret is generated",
        "Map the columns",
    ),
    "composite type": Broken(
        of_tables(columns=column("secret", composite=True)), "column_types", FAULT, "composite", "plain"
    ),
    "row level security": Broken(
        of_tables(USERS, row_security=True), "row_security", FAULT, "hides users", "BYPASSRLS"
    ),
    "another publication leaves the owner out": Broken(
        of_tables(narrow={"reports": ("user_id",)}), "other_publications", FAULT, "reports", "Add the column"
    ),
    "no replica identity": Broken(
        of_tables(identity="d"), "replica_identity", FAULT, "do not tell the user", "`cdc enable`"
    ),
    "no replica identity yet": Broken(
        of_tables(identity="d", enabled=False), "replica_identity", TODO, "yet", "`cdc enable`"
    ),
    "replica identity without its index": Broken(
        of_tables(identity_index=None), "replica_identity", FAULT, "do not tell the user", "`cdc enable`"
    ),
    "replica identity NOTHING": Broken(
        of_tables(USERS, identity="n"),
        "replica_identity",
        FAULT,
        "NOTHING",
        f"ALTER TABLE {USERS} REPLICA IDENTITY DEFAULT",
    ),
    "replica identity by another index": Broken(
        of_tables(identity_index="somebody"), "replica_identity", FAULT, "USING INDEX", "then `source repair`"
    ),
    "replica identity by another index, before": Broken(
        of_tables(identity_index="somebody", enabled=False), "replica_identity", FAULT, "USING", "then `cdc enable`"
    ),
    "missing column right": Broken(
        of_tables(columns=column("secret", readers=frozenset({SOURCE.role}))),
        "column_rights",
        FAULT,
        "cidaas_sync_read may not read secret",
        "`cdc enable`",
    ),
    "missing schema right": Broken(
        of_tables(schema_readers=frozenset({SOURCE.role})), "schema_right", FAULT, "cidaas_sync_read", "`cdc enable`"
    ),
    "user_id nullable": Broken(
        of_tables(columns=column("user_id", not_null=False)), "owner_not_null", FAULT, "may be NULL", "SET NOT NULL"
    ),
    "user_id of another type": Broken(
        of_tables(columns=column("user_id", type="numeric", base="numeric")),
        "owner_type",
        FAULT,
        "is numeric",
        "the type bigint",
    ),
    "orphans": Broken(of_tables(known={"orphans": {CREDENTIALS.name: 3}}), "orphans", WARNING, "3 values", "Remove"),
    "many orphans": Broken(
        of_tables(known={"orphans": {CREDENTIALS.name: 1_000}}), "orphans", WARNING, "at least 1,000 values", "Remove"
    ),
    # Kafka
    "topics not made yet": Broken(of_cluster(topics={}), "topics_there", TODO, "not made yet", "`topics`"),
    "a topic missing": Broken(
        of_cluster(topics={name: one for name, one in TOPICS.items() if name != LEDGER}),
        "topics_there",
        FAULT,
        LEDGER,
        "`topics`",
    ),
    "topic compacted": Broken(
        of_kafka(setting={"cleanup.policy": "compact"}),
        "topic_cleanup",
        FAULT,
        f"{IDENTITY} is compact, not delete",
        f"--entity-name {IDENTITY} --add-config cleanup.policy=delete",
    ),
    "wrong retention": Broken(
        of_kafka(setting={"retention.ms": "604800000"}),
        "topic_retention",
        FAULT,
        "604800000, not -1",
        "retention.ms=-1",
    ),
    "another setting": Broken(
        of_kafka(LEDGER, setting={"message.timestamp.type": "CreateTime"}),
        "topic_settings",
        FAULT,
        "CreateTime",
        "message.timestamp.type=LogAppendTime",
    ),
    "wrong partition count": Broken(of_kafka(partitions=6), "topic_partitions", FAULT, "has 6, not 12", "`partitions`"),
    "a broker away": Broken(of_kafka(leaderless=3), "topic_leaders", FAULT, IDENTITY, "Start the brokers"),
    "a broker's disk nearly full": Broken(
        of_cluster(disks=(server.Disk(100 * GIB, 80 * GIB), server.Disk(100 * GIB, 4 * GIB))),
        "kafka_disk",
        FAULT,
        "4.0 GiB",
        "Make room",
    ),
    "brokers' disks not to be seen": Broken(of_cluster(disks=None), "kafka_disk", UNKNOWN, "do not tell", "df -h"),
    "topics made by themselves": Broken(of_cluster(auto_create=True), "auto_create", WARNING, "is on", "`topics`"),
    # Kafka Connect
    "old connector version": Broken(
        of_connect(plugins=("3.6.3.Final",)), "connector_plugin", FAULT, "3.6.3.Final", "Put 3.7.0.Final in its place"
    ),
    "connector version before its release": Broken(
        of_connect(plugins=("3.7.0.Alpha2",)), "connector_plugin", FAULT, "3.7.0.Alpha2", "Put 3.7.0.Final in its place"
    ),
    "an old version beside the right one": Broken(
        of_connect(plugins=("3.7.0.Final", "3.6.3.Final")), "connector_plugin", FAULT, "3.6.3.Final", "Put 3.7.0.Final"
    ),
    "no plugin": Broken(of_connect(plugins=(), validation=None), "connector_plugin", FAULT, "no plugin", "plugin.path"),
    "Connect cannot log in": Broken(
        of_connect(validation=("database.hostname: FATAL: password",)),
        "connect_database",
        FAULT,
        "FATAL",
        "environment",
    ),
    "Connect's role not made yet": Broken(
        of_connect(
            validation=("database.hostname: FATAL: password",), role=todo("capture_role", "no role yet", "enable")
        ),
        "connect_database",
        TODO,
        "cannot log in: no role yet",
        "enable",
    ),
    "Connect did not try in time": Broken(of_connect(validation=None), "connect_database", UNKNOWN, "in time", ""),
    "another Kafka": Broken(
        of_connect(cluster_id="other"), "connect_kafka", FAULT, "another Kafka", "bootstrap.servers"
    ),
    "no connector": Broken(
        of_connect(status=None, config=None), "connector_state", TODO, "not registered", "`connector apply`"
    ),
    "failed task": Broken(of_connect(status=FAILED), "connector_state", FAULT, "no such column", "`connector apply`"),
    "connector stopped": Broken(
        of_connect(status=ConnectorStatus("STOPPED", (), None)),
        "connector_state",
        FAULT,
        "STOPPED",
        "`connector apply`",
    ),
    "connector without a task": Broken(
        of_connect(status=ConnectorStatus("RUNNING", (), None)), "connector_state", FAULT, "there is none", "log"
    ),
    "another configuration": Broken(
        of_connect(config={**CONFIG, "poll.interval.ms": "500"}),
        "connector_config",
        WARNING,
        "poll.interval.ms",
        "`connector apply`",
    ),
    # slot, position, publication
    "slot not made yet": Broken(
        of_whole(seen(stopped(None), None)), "slot", TODO, "no replication slot yet", "`connector apply`"
    ),
    "slot gone": Broken(of_whole(seen(stopped(), None)), "slot", FAULT, "slot is gone", "`source repair`"),
    "slot lost": Broken(
        of_whole(seen(slot=replace(SLOT, active=False, lost=True, restart=None))),
        "slot",
        FAULT,
        "lost its WAL",
        "`source repair`",
    ),
    "slot made anew": Broken(
        of_whole(seen(stopped(), replace(SLOT, active=False, restart=990, confirmed=995))),
        "slot_position",
        FAULT,
        "made anew or moved",
        "`source repair`",
    ),
    "slot advanced": Broken(
        of_whole(seen(stopped(), replace(SLOT, active=False, confirmed=995))),
        "slot_position",
        FAULT,
        "beyond",
        "`source repair`",
    ),
    "nobody reads the slot": Broken(
        of_whole(seen(slot=replace(SLOT, active=False, pid=None))),
        "slot_read",
        FAULT,
        "nobody reads",
        "`connector status`",
    ),
    "much WAL kept": Broken(
        of_whole(seen(slot=replace(SLOT, kept_bytes=2 * GIB))), "slot_wal", WARNING, "keeps", "watch the disk"
    ),
    "publication gone": Broken(of_whole(seen(publication=None)), "publication", FAULT, "is gone", "`source repair`"),
    "publication without a table": Broken(
        of_whole(seen(publication=WITHOUT_USERS)), "publication", FAULT, f"lacks {USERS}", "`source repair`"
    ),
    "publication without a column": Broken(
        of_whole(seen(publication=NARROW)), "publication_columns", FAULT, "lacks the column", "`cdc enable`"
    ),
    "publication with other columns": Broken(
        of_whole(seen(publication=WIDE)), "publication_extra", WARNING, f"internal_note of {USERS}", "`cdc enable`"
    ),
    "a fault that stands from before": Broken(
        of_whole(RIGHT, {f"{FAULTS}slot_dropped": STANDING}),
        "history",
        FAULT,
        "the replication slot is gone",
        "`source repair`",
    ),
    "another database than before": Broken(
        of_whole(seen(system="7002/shop"), {"source": {"system": DATABASE.system}}),
        "history",
        FAULT,
        "7002/shop instead of 7001/shop",
        "--accept-database",
    ),
    "state of another tenant": Broken(
        of_whole(RIGHT, {"identity": {**IDENTITY_RECORD, "base_url": "https://test.example.com"}}),
        "identity",
        FAULT,
        "cidaas base URL",
        "app_id of its own",
    ),
    "a table that nobody has read": Broken(
        of_whole(RIGHT, {"identity": IDENTITY_RECORD, TABLES_READ: {"credentials": []}}),
        "tables_read",
        FAULT,
        "has not read public.credentials",
        "`source repair --yes`",
    ),
    # cidaas
    "tenant not configured": Broken(
        of_tenant(missing=("CIDAAS_BASE_URL",)), "cidaas_address", TODO, "CIDAAS_BASE_URL", "Set it"
    ),
    "cidaas not reachable": Broken(
        of_tenant(probe=AWAY), "cidaas_address", FAULT, "cannot be reached", "CIDAAS_BASE_URL"
    ),
    "wrong secret": Broken(
        of_tenant(token=CREDENTIALS_ERROR), "cidaas_token", FAULT, "invalid_client", "CIDAAS_CLIENT_SECRET"
    ),
    "wrong scope": Broken(
        of_tenant(scopes=SCOPES[1:], trial=replace(TRIAL, first=FORBIDDEN, second=None, removed=None)),
        "cidaas_scopes",
        FAULT,
        "lacks the scopes cidaas:bulk_user_create",
        "enabled for the app",
    ),
    "wrong scope, and a read that it forbids": Broken(
        of_tenant(scopes=SCOPES[:2], read=FORBIDDEN), "cidaas_scopes", FAULT, "cidaas:users_read", "enabled for the app"
    ),
    "a token that tells no scopes": Broken(
        of_tenant(scopes=None), "cidaas_scopes", UNKNOWN, "does not say", "--write-test"
    ),
    "reading forbidden": Broken(of_tenant(read=FORBIDDEN), "cidaas_read", FAULT, "403", "scopes"),
    "limits reached": Broken(of_tenant(limited=30.0), "cidaas_limits", WARNING, "wait 30 s", "limits"),
    "not tried to write": Broken(of_tenant(trial=None), "cidaas_write", UNKNOWN, "not tried", "`doctor --write-test`"),
    "migration mode off": Broken(
        of_trial(second=REFUSED), "cidaas_migration_mode", FAULT, "overwritten", "migrationMode"
    ),
    "test user refused": Broken(
        of_trial(first=REFUSED._replace(reason=Reason.BAD_FIELD), second=None, removed=None),
        "cidaas_write",
        FAULT,
        "refuses",
        "field",
    ),
    "test user left behind": Broken(
        of_trial(removed=False), "cidaas_delete", FAULT, "still there", "cidaas-sync-doctor-1234"
    ),
    "test user not deleted": Broken(
        of_trial(removed=FORBIDDEN), "cidaas_delete", FAULT, "403", "cidaas-sync-doctor-1234"
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_set_up_yields_exactly_its_fault(name: str) -> None:
    broken = BROKEN[name]
    broken.assert_named(bad(broken.checks, *(slug for slug in USUAL if slug != broken.slug)))


def test_what_is_not_there_is_judged_as_todo_until_it_was_set_up() -> None:
    """The same lack is to be expected before `cdc enable`, and a fault afterwards."""
    before = {check.slug for check in of_tables(schema_readers=frozenset(), enabled=False) if check.state is TODO}
    after = {check.slug for check in of_tables(schema_readers=frozenset()) if check.state is FAULT}
    assert before == after == {"schema_right"}


def test_the_state_of_this_configuration_is_recognized() -> None:
    checks = {check.slug: check.state for check in of_whole(RIGHT, {"identity": IDENTITY_RECORD})}
    assert checks["identity"] is OK


def test_a_key_may_be_written_in_another_integer_type() -> None:
    checks = of_tables(columns=column("user_id", type="integer", base="int4"))
    assert bad(checks) == []


def test_a_standby_hides_only_what_it_cannot_know() -> None:
    (check,) = of_whole(seen(standby=True, lsn=None, timeline=None))
    assert (check.state, check.remedy) == (UNKNOWN, "")


def test_one_fault_is_not_said_twice() -> None:
    """What this look shows is left out of what stands from before."""
    gone = seen(stopped(), None)
    checks = of_whole(gone, {f"{FAULTS}slot_dropped": STANDING})
    assert [check.slug for check in bad(checks)] == ["slot"]


def test_an_unclear_trial_is_cleaned_up_and_a_refused_one_needs_none() -> None:
    unclear = failure(Kind.UNCLEAR, "cidaas did not answer the bulk call in time")
    slugs = {check.slug: check.state for check in of_trial(first=unclear, second=None)}
    assert (slugs["cidaas_write"], slugs["cidaas_delete"]) == (FAULT, OK)
    assert "cidaas_delete" not in {check.slug for check in of_trial(first=FORBIDDEN, second=None, removed=None)}


def test_without_connect_nobody_knows_whether_a_slot_should_be_there() -> None:
    look = Look(replace(DATABASE, slot=None), None, connect_away="no answer")
    states = {check.slug: check.state for check in of_whole(look)}
    assert states["slot"] is UNKNOWN


def test_no_test_user_is_made_who_could_not_be_deleted() -> None:
    checks = {check.slug: check for check in of_tenant(trial=Trial(removed=FORBIDDEN))}
    assert (checks["cidaas_write"].state, checks["cidaas_delete"].state) == (UNKNOWN, FAULT)
    assert "403" in checks["cidaas_delete"].what
