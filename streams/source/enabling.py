"""The statements that enable change data capture on the legacy database, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.source.statements import (
    NO_LIMIT,
    PATIENCE,
    Password,
    Statement,
    Step,
    columns_of,
    do,
    identity_index,
    literal,
    quoted,
    relation,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import CredentialsTable, Source, UsersTable

COLUMN_LISTS = 150000  # server_version_num from which a publication can name columns
#: The remedy for whatever these statements have not done yet.
ENABLE = "Run `cdc enable` (or let a DBA run the output of `cdc sql enable`)."
READERS, CAPTURERS = 20, 10  # connection limits: workers and commands; the connector holds about four


def enabling(source: Source) -> Sequence[Step]:
    """Return the steps that enable change data capture, in order."""
    tables = source.tables
    steps: list[Step] = [
        PATIENCE,
        Statement("Look before touching: version, wal_level, primary server. Changes nothing.", _preflight()),
    ]
    steps += [
        Statement(f"Look at {table.name}: columns, keys, replica identity. Changes nothing.", _check(source, table))
        for table in tables
    ]
    steps += _roles(source)
    for table in tables:
        for role in (source.role, source.read_role):
            steps.append(
                Statement(
                    f"{role} may read the mapped columns of {table.name}, and no other.",
                    _grant(table, role),
                )
            )
    for credentials in source.credentials:
        steps += _identity(credentials)
    steps.append(
        Statement(
            "Publish the mapped columns of these tables (whole rows before PostgreSQL 15), and nothing else. "
            "While it exists, ALTER TYPE and DROP COLUMN on a listed column are refused.",
            _publication(source),
        )
    )
    return steps


def _grant(table: UsersTable | CredentialsTable, role: str) -> str:
    """Take what an earlier mapping may have given, and give what this one needs, in one transaction."""
    return do(f"""BEGIN
  REVOKE SELECT ON {relation(table.name)} FROM {quoted(role)};
  GRANT SELECT ({columns_of(table)}) ON {relation(table.name)} TO {quoted(role)};
END""")


def _preflight() -> str:
    return do("""BEGIN
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
    # DEFAULT, or ours, also when its index was dropped: the table goes on saying "an index". FULL or another index was
    # set by somebody for a purpose; with a column list updates would fail.
    identity = "relreplident = 'd'"
    if table is not source.users:
        identity += f"""
      OR relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
           WHERE i.indrelid = c.oid AND i.indisreplident AND x.relname <> {literal(identity_index(table))})"""
    name, key = said(table.name), f"not ({said(table.id)})"
    # A key may have the user's id in it: of one user, each row has another id nevertheless.
    owners = [one.user_id for one in source.credentials if one is table and one.user_id != one.id]
    if owners:
        key = f"neither ({said(table.id)}) nor ({said(owners[0])}, {said(table.id)})"
    keys = [table.id, *owners]
    roles = f"{said(source.role)} and {said(source.read_role)}"
    return do(f"""DECLARE
  t regclass := to_regclass({literal(relation(table.name))});
  missing text;
BEGIN
  IF t IS NULL THEN
    RAISE EXCEPTION 'table {name} does not exist: correct its name in pipeline.toml';
  END IF;
  SELECT string_agg(wanted, ', ') INTO missing
    FROM unnest(ARRAY[{", ".join(literal(column) for column in table.columns)}]) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute
                      WHERE attrelid = t AND attname = wanted AND attnum > 0 AND NOT attisdropped);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'table {name} has no column %: correct the mapping in pipeline.toml', missing;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = t AND relkind = 'r' AND relpersistence = 'p') THEN
    RAISE EXCEPTION '{name} is no ordinary, logged table: only such a table writes every change to the WAL';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                   JOIN pg_attribute a ON a.attrelid = t AND a.attnum = k.number
                 WHERE i.indrelid = t AND i.indisprimary AND place <= i.indnkeyatts
                 HAVING bool_or(a.attname = {literal(table.id)})
                   AND bool_and(a.attname IN ({", ".join(map(literal, keys))}))) THEN
    RAISE EXCEPTION 'the primary key of {name} is {key}: name the key column in pipeline.toml';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE oid = t AND ({identity})) THEN
    RAISE EXCEPTION 'the replica identity of {name} was changed by somebody: find out who reads this table by '
      'logical replication; if nobody does any more, ALTER TABLE {name} REPLICA IDENTITY DEFAULT, and run this again';
  END IF;
  IF (SELECT relrowsecurity FROM pg_class WHERE oid = t) AND 2 > (SELECT count(*) FROM pg_roles
      WHERE rolbypassrls AND rolname IN ({literal(source.role)}, {literal(source.read_role)})) THEN
    RAISE EXCEPTION 'row level security would hide users of {name}: create the roles {roles} with BYPASSRLS, and run '
      'this again';
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
                do(f"""BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN
    CREATE ROLE {quoted(role)} LOGIN CONNECTION LIMIT {limit};
  ELSE
    ALTER ROLE {quoted(role)} LOGIN CONNECTION LIMIT {limit};
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), {literal(role)});
END"""),
            )
        )
    replication = do(f"""BEGIN
  IF (SELECT rolreplication FROM pg_roles WHERE rolname = {literal(source.role)}) THEN
    RETURN;
  ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
    GRANT rds_replication TO {quoted(source.role)};
  ELSIF current_setting('server_version_num')::int < 160000
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'before PostgreSQL 16 only a superuser may let a role replicate: run this as one';
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
            f"Password of {role}, from the environment variable {variable}. Without it, and where the server logs "
            f"statements, set one by \\password {role}.",
            role,
            variable,
        )
        for role, variable in variables.items()
    ]
    for schema in sorted({table.name.rpartition(".")[0] for table in source.tables}):
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
    name, owner = said(table.name), said(table.user_id)
    comment = (
        f"replica identity of {table.name} for cidaas-sync: without it UPDATE and DELETE on the table fail; "
        "connectors/sql/disable.sql removes it"
    )
    return [
        Statement(
            f"{table.name}.{table.user_id} has to be NOT NULL to be part of a replica identity. Changes nothing.",
            do(f"""BEGIN
  IF NOT (SELECT attnotnull FROM pg_attribute
          WHERE attrelid = {literal(relation(table.name))}::regclass AND attname = {literal(table.user_id)}) THEN
    RAISE EXCEPTION 'column {name}.{owner} may be NULL: give rows without a user one, or remove them, '
      'then ALTER TABLE {name} ALTER COLUMN {owner} SET NOT NULL';
  END IF;
END"""),
        ),
        Statement(
            "Remove what an interrupted run of the next statement may have left: an index that is not valid.",
            do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({literal(full)}) AND NOT indisvalid) THEN
    DROP INDEX {full};
  END IF;
END"""),
        ),
        NO_LIMIT,
        Statement(
            f"Index for the replica identity: reads {table.name} twice, blocks neither reads nor writes.",
            f"CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS {quoted(index)} "
            f"ON {relation(table.name)} ({quoted(table.user_id)}, {quoted(table.id)})",
        ),
        PATIENCE,
        Statement(
            "Say on the index what it is for.",
            f"COMMENT ON INDEX {full} IS {literal(comment)}",
        ),
        Statement(
            f"Deletes and moves of a row in {table.name} carry the user id from now on. A short exclusive lock.",
            do(f"""BEGIN
  IF NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = {literal(full)}::regclass AND indisreplident) THEN
    ALTER TABLE {relation(table.name)} REPLICA IDENTITY USING INDEX {quoted(index)};
  END IF;
END"""),
        ),
    ]


def _publication(source: Source) -> str:
    """Alter and never drop: changes made while a publication is missing are gone, and nobody reports it."""
    tables = source.tables
    lists = ", ".join(f"{relation(table.name)} ({columns_of(table)})" for table in tables)
    whole = ", ".join(relation(table.name) for table in tables)
    name = quoted(source.name)
    return do(f"""DECLARE
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
