"""The statements that take change data capture back, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.source.statements import (
    PATIENCE,
    Statement,
    Step,
    do,
    identity_index,
    literal,
    quoted,
    relation,
    said,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import CredentialsTable, Source


#: The notice about what is left because somebody else needs it; the server's other notices have another SQLSTATE.
KEPT = "CDC01"


def disabling(source: Source) -> Sequence[Step]:
    """Return the steps that take everything back, in order; the connector has to be stopped before."""
    steps: list[Step] = [
        PATIENCE,
        Statement("Drop the slot, so that PostgreSQL no longer keeps WAL for it.", _drop_slot(source)),
        Statement("Drop the publication.", f"DROP PUBLICATION IF EXISTS {quoted(source.name)}"),
    ]
    steps += [_drop_identity(credentials) for credentials in source.credentials]
    steps += [
        Statement(f"Take the rights of {role} away, then the role itself.", _drop_role(source, role))
        for role in (source.role, source.read_role)
    ]
    steps.append(
        Statement(
            "Proof: an error if the slot is still there, else a row that says 0.",
            do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = {literal(source.name)}) THEN
    RAISE EXCEPTION 'replication slot {said(source.name)} is still there and keeps WAL: run this again';
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
    slot, name = literal(source.name), said(source.name)
    return do(f"""DECLARE
  pid int;
BEGIN
  FOR attempt IN 1..100 LOOP
    SELECT active_pid INTO pid FROM pg_replication_slots WHERE slot_name = {slot};
    EXIT WHEN pid IS NULL;
    PERFORM pg_sleep(0.1);
  END LOOP;
  IF pid IS NOT NULL THEN
    RAISE EXCEPTION 'slot {name} is in use by process %: stop the connector first (PUT /connectors/{name}/stop); '
      'if it is gone already, SELECT pg_terminate_backend(%)', pid, pid;
  END IF;
  PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = {slot};
END""")


def _drop_identity(table: CredentialsTable) -> Statement:
    """Both at once, so that no other publication comes between; ours is gone by now."""
    index, schema = identity_index(table), table.name.rpartition(".")[0]
    full = f"{quoted(schema)}.{quoted(index)}"
    place = f"schemaname = {literal(schema)} AND tablename = {literal(table.name.rpartition('.')[2])}"
    return Statement(
        f"Give {table.name} its old replica identity, then drop the index: a short exclusive lock. Not while another "
        "publication has the table: its deletes need them, too.",
        do(f"""DECLARE
  others text;
BEGIN
  IF to_regclass({literal(full)}) IS NULL THEN
    RETURN;
  END IF;
  SELECT string_agg(pubname::text, ', ') INTO others FROM pg_publication_tables WHERE {place};
  IF others IS NOT NULL THEN
    RAISE NOTICE '{said(table.name)} keeps its replica identity and the index {said(index)}: % publishes it, too',
      others USING ERRCODE = {literal(KEPT)};
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass({literal(full)}) AND indisreplident) THEN
    ALTER TABLE {relation(table.name)} REPLICA IDENTITY DEFAULT;
  END IF;
  DROP INDEX {full};
END"""),
    )


def _drop_role(source: Source, role: str) -> str:
    tables = source.tables
    schemas = sorted({table.name.rpartition(".")[0] for table in tables})
    revokes = [f"REVOKE ALL ON {relation(table.name)} FROM {quoted(role)};" for table in tables]
    revokes += [f"REVOKE ALL ON SCHEMA {quoted(schema)} FROM {quoted(role)};" for schema in schemas]
    body = "\n    ".join(revokes)
    return do(f"""BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(role)}) THEN
    {body}
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), {literal(role)});
    DROP ROLE {quoted(role)};
  END IF;
END""")
