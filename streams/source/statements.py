"""The statements that enable change data capture on the legacy database, and those that take it back.

Each one says in a line for the DBA what it does and costs. Each is safe to run twice. They serve PostgreSQL 14 to 18:
where versions differ, the statement itself looks at the server's version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import CredentialsTable, Source, UsersTable

COLUMN_LISTS = 150000  # server_version_num from which a publication can name columns
READERS, CAPTURERS = 20, 10  # connection limits: workers and commands; the connector holds about four


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and what the DBA has to know of it."""

    why: str
    sql: str


@dataclass(frozen=True, slots=True)
class Password:
    """Give `role` its password; it never stands in a file. `variable` is psql's environment variable for it."""

    why: str
    role: str
    variable: str


Step = Statement | Password


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"


def relation(table: str) -> str:
    """Quote schema and table of `schema.table`."""
    schema, _, name = table.rpartition(".")
    return f"{quoted(schema)}.{quoted(name)}"


def identity_index(table: CredentialsTable) -> str:
    """Name the index by which deletes and moves of credentials tell the user; 63 bytes are PostgreSQL's limit."""
    return f"{table.name.rpartition('.')[2][:40]}_cidaas_sync_ri"


def tables_of(source: Source) -> list[UsersTable | CredentialsTable]:
    """Return the captured tables, credentials first."""
    return [source.users] if source.credentials is None else [source.credentials, source.users]


def _columns(table: UsersTable | CredentialsTable) -> str:
    return ", ".join(quoted(column) for column in table.columns)


def _do(body: str) -> str:
    return f"DO $do$\n{body}\n$do$"


def enabling(source: Source) -> Sequence[Step]:
    """Return the steps that enable change data capture, in order."""
    tables = tables_of(source)
    steps: list[Step] = [
        Statement(
            "Wait at most three seconds for a lock, then give up instead of queueing.", "SET lock_timeout = '3s'"
        ),
        Statement("Look before touching: version, wal_level, primary server. Changes nothing.", _preflight()),
    ]
    for table in tables:
        steps.append(
            Statement(f"Look at {table.name}: columns, kind, replica identity. Changes nothing.", _check(source, table))
        )
    steps += _roles(source)
    for table in tables:
        for role in (source.role, source.read_role):
            steps.append(
                Statement(
                    f"{role} may read the mapped columns of {table.name}, and no other.",
                    f"GRANT SELECT ({_columns(table)}) ON {relation(table.name)} TO {quoted(role)}",
                )
            )
    if source.credentials is not None:
        steps += _identity(source.credentials)
    steps.append(
        Statement(
            "Publish the mapped columns of these tables (whole rows before PostgreSQL 15), and nothing else. "
            "While it exists, ALTER TYPE and DROP COLUMN on a listed column are refused.",
            _publication(source),
        )
    )
    return steps


def _preflight() -> str:
    return _do("""BEGIN
  IF current_setting('server_version_num')::int < 140000 THEN
    RAISE EXCEPTION 'PostgreSQL 14 or newer is needed, this is %', current_setting('server_version');
  END IF;
  IF pg_is_in_recovery() THEN
    RAISE EXCEPTION 'this server is a standby: connect to the primary';
  END IF;
  IF current_setting('wal_level') <> 'logical' THEN
    RAISE EXCEPTION 'wal_level is %, logical is needed: ALTER SYSTEM SET wal_level = ''logical'', then restart '
      'PostgreSQL (Amazon RDS: rds.logical_replication = 1)', current_setting('wal_level');
  END IF;
END""")


def _check(source: Source, table: UsersTable | CredentialsTable) -> str:
    """Refuse what would lose rows, or break the legacy application's own UPDATE and DELETE."""
    credentials = table is source.credentials
    # DEFAULT, or ours. FULL and another index were set by somebody for a purpose: with a column list they fail updates.
    allowed = "relreplident = 'd'"
    if credentials and source.credentials is not None:
        index = literal(identity_index(source.credentials))
        allowed += f"""
      OR relreplident = 'i' AND EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
           WHERE i.indrelid = c.oid AND i.indisreplident AND x.relname = {index})"""
    return _do(f"""DECLARE
  t regclass := to_regclass({literal(relation(table.name))});
  missing text;
BEGIN
  IF t IS NULL THEN
    RAISE EXCEPTION 'table {table.name} does not exist: correct its name in pipeline.toml';
  END IF;
  SELECT string_agg(wanted, ', ') INTO missing
    FROM unnest(ARRAY[{", ".join(literal(column) for column in table.columns)}]) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = t AND attname = wanted AND attnum > 0
                      AND NOT attisdropped);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'table {table.name} has no column %: correct the mapping in pipeline.toml', missing;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = t AND relkind = 'r' AND relpersistence = 'p') THEN
    RAISE EXCEPTION '{table.name} is no ordinary, logged table: only such a table writes every change to the WAL';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                 WHERE i.indrelid = t AND i.indisprimary AND i.indnkeyatts = 1 AND a.attname = {literal(table.id)}) THEN
    RAISE EXCEPTION 'the primary key of {table.name} is not ({table.id}): name the key column in pipeline.toml';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE oid = t AND ({allowed})) THEN
    RAISE EXCEPTION 'the replica identity of {table.name} was changed by somebody: find out who reads this table by '
      'logical replication; if nobody does any more, ALTER TABLE {table.name} REPLICA IDENTITY DEFAULT, and run this again';
  END IF;
END""")


def _roles(source: Source) -> list[Step]:
    limits = {source.role: CAPTURERS, source.read_role: READERS}
    steps: list[Step] = []
    for role, limit in limits.items():
        kind = "for the connector" if role == source.role else "for the worker: reads single users, never writes"
        steps.append(
            Statement(
                f"Role {role} {kind}, at most {limit} connections; it owns nothing.",
                _do(f"""BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN
    CREATE ROLE {quoted(role)} LOGIN CONNECTION LIMIT {limit};
  ELSE
    ALTER ROLE {quoted(role)} LOGIN CONNECTION LIMIT {limit};
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {literal(role)});
END"""),
            )
        )
    replication = _do(f"""BEGIN
  IF (SELECT rolreplication FROM pg_roles WHERE rolname = {literal(source.role)}) THEN
    RETURN;
  ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
    GRANT rds_replication TO {quoted(source.role)};
  ELSE
    ALTER ROLE {quoted(source.role)} REPLICATION;
  END IF;
END""")
    steps.append(
        Statement(
            f"{source.role} may read the WAL. Let pg_hba.conf admit it from the Connect worker's address only.",
            replication,
        )
    )
    steps.append(
        Statement(
            f"Every transaction of {source.read_role} is read-only.",
            f"ALTER ROLE {quoted(source.read_role)} SET default_transaction_read_only = on",
        )
    )
    variables = {source.role: "CDC_DEBEZIUM_PASSWORD", source.read_role: "CIDAAS_SYNC_READ_PASSWORD"}
    steps += [
        Password(
            f"Password of {role}, from the environment variable {variable}; without it, set one by \\password {role}.",
            role,
            variable,
        )
        for role, variable in variables.items()
    ]
    for schema in sorted({table.name.rpartition(".")[0] for table in tables_of(source)}):
        steps.append(
            Statement(
                f"Both roles may name the tables of schema {schema}.",
                f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(source.role)}, {quoted(source.read_role)}",
            )
        )
    return steps


def _identity(table: CredentialsTable) -> list[Step]:
    """Deletes and moves of a credential must tell its user; with the primary key alone they do not."""
    index, schema = identity_index(table), table.name.rpartition(".")[0]
    full = f"{quoted(schema)}.{quoted(index)}"
    return [
        Statement(
            f"{table.name}.{table.user_id} has to be NOT NULL, or it cannot be part of a replica identity. Changes nothing.",
            _do(f"""BEGIN
  IF NOT (SELECT attnotnull FROM pg_attribute
          WHERE attrelid = {literal(relation(table.name))}::regclass AND attname = {literal(table.user_id)}) THEN
    RAISE EXCEPTION 'column {table.name}.{table.user_id} may be NULL: give rows without a user one, or remove them, then '
      'ALTER TABLE {table.name} ALTER COLUMN {table.user_id} SET NOT NULL';
  END IF;
END"""),
        ),
        Statement(
            "Remove what an interrupted run of the next statement may have left: an index that is not valid.",
            _do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({literal(full)}) AND NOT indisvalid) THEN
    DROP INDEX {full};
  END IF;
END"""),
        ),
        Statement(
            "The next statement waits for open transactions, and blocks nobody meanwhile.", "SET lock_timeout = 0"
        ),
        Statement(
            f"Index for the replica identity: reads {table.name} twice, blocks neither reads nor writes.",
            f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {quoted(index)} "
            f"ON {relation(table.name)} ({quoted(table.user_id)}, {quoted(table.id)})",
        ),
        Statement("Back to three seconds.", "SET lock_timeout = '3s'"),
        Statement(
            "Say on the index what it is for.",
            f"COMMENT ON INDEX {full} IS 'replica identity of {table.name.replace(chr(39), '')} for cidaas-sync: without it "
            "UPDATE and DELETE on the table fail; connectors/sql/disable.sql removes it'",
        ),
        Statement(
            f"Deletes and moves of a row in {table.name} carry the user id from now on. A short exclusive lock.",
            _do(f"""BEGIN
  IF NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = {literal(full)}::regclass AND indisreplident) THEN
    ALTER TABLE {relation(table.name)} REPLICA IDENTITY USING INDEX {quoted(index)};
  END IF;
END"""),
        ),
    ]


def _publication(source: Source) -> str:
    """Alter and never drop: changes made while a publication is missing are gone, and nobody reports it."""
    tables = tables_of(source)
    lists = ", ".join(f"{relation(table.name)} ({_columns(table)})" for table in tables)
    whole = ", ".join(relation(table.name) for table in tables)
    name = quoted(source.name)
    return _do(f"""DECLARE
  tables text := CASE WHEN current_setting('server_version_num')::int >= {COLUMN_LISTS}
    THEN {literal(lists)}
    ELSE {literal(whole)} END;
BEGIN
  IF EXISTS (SELECT FROM pg_publication WHERE pubname = {literal(source.name)}) THEN
    EXECUTE {literal(f"ALTER PUBLICATION {name} SET TABLE ")} || tables;
    ALTER PUBLICATION {name} SET (publish = 'insert, update, delete');
  ELSE
    EXECUTE {literal(f"CREATE PUBLICATION {name} FOR TABLE ")} || tables
      || ' WITH (publish = ''insert, update, delete'')';
  END IF;
END""")


def disabling(source: Source) -> Sequence[Step]:
    """Return the steps that take everything back, in order; the connector has to be stopped before."""
    steps: list[Step] = [
        Statement(
            "Wait at most three seconds for a lock, then give up instead of queueing.", "SET lock_timeout = '3s'"
        ),
        Statement("Drop the slot, so that PostgreSQL no longer keeps WAL for it.", _drop_slot(source)),
        Statement("Drop the publication.", f"DROP PUBLICATION IF EXISTS {quoted(source.name)}"),
    ]
    if source.credentials is not None:
        steps += _drop_identity(source.credentials)
    for role in (source.role, source.read_role):
        steps.append(Statement(f"Take the rights of {role} away, then the role itself.", _drop_role(source, role)))
    steps.append(
        Statement(
            "Proof: an error if the slot is still there, else a row that says 0.",
            _do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {literal(source.name)}) THEN
    RAISE EXCEPTION 'replication slot {source.name} is still there and keeps WAL: run this again';
  END IF;
END"""),
        )
    )
    steps.append(
        Statement(
            "The row.",
            f"SELECT count(*) AS slots_left FROM pg_replication_slots WHERE slot_name = {literal(source.name)}",
        )
    )
    return steps


def _drop_slot(source: Source) -> str:
    """A connector that has just been stopped lets go of the slot a moment later: wait ten seconds for it."""
    slot = literal(source.name)
    return _do(f"""DECLARE
  pid int;
BEGIN
  FOR attempt IN 1..100 LOOP
    SELECT active_pid INTO pid FROM pg_replication_slots WHERE slot_name = {slot};
    EXIT WHEN pid IS NULL;
    PERFORM pg_sleep(0.1);
  END LOOP;
  IF pid IS NOT NULL THEN
    RAISE EXCEPTION 'slot {source.name} is in use by process %: stop the connector first (PUT /connectors/{source.name}/stop); '
      'if it is gone already, SELECT pg_terminate_backend(%)', pid, pid;
  END IF;
  PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {slot};
END""")


def _drop_identity(table: CredentialsTable) -> list[Step]:
    index, schema = identity_index(table), table.name.rpartition(".")[0]
    full = f"{quoted(schema)}.{quoted(index)}"
    return [
        Statement(
            f"Give {table.name} its old replica identity, before the index goes: without either, UPDATE fails.",
            _do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({literal(full)}) AND indisreplident) THEN
    ALTER TABLE {relation(table.name)} REPLICA IDENTITY DEFAULT;
  END IF;
END"""),
        ),
        Statement(
            "The next statement waits for open transactions, and blocks nobody meanwhile.", "SET lock_timeout = 0"
        ),
        Statement("Drop the index.", f"DROP INDEX CONCURRENTLY IF EXISTS {full}"),
        Statement("Back to three seconds.", "SET lock_timeout = '3s'"),
    ]


def _drop_role(source: Source, role: str) -> str:
    tables = tables_of(source)
    schemas = sorted({table.name.rpartition(".")[0] for table in tables})
    revokes = [f"REVOKE ALL ON {relation(table.name)} FROM {quoted(role)};" for table in tables]
    revokes += [f"REVOKE ALL ON SCHEMA {quoted(schema)} FROM {quoted(role)};" for schema in schemas]
    body = "\n    ".join(revokes)
    return _do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN
    {body}
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), {literal(role)});
    DROP ROLE {quoted(role)};
  END IF;
END""")
