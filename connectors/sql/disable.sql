-- Takes back what enable.sql did. Generated from pipeline.toml. Stop and delete the connector first:
--
--     curl -X PUT "$CONNECT_URL/connectors/cidaas_sync/stop"; curl -X DELETE "$CONNECT_URL/connectors/cidaas_sync/offsets"
--     curl -X DELETE "$CONNECT_URL/connectors/cidaas_sync"
--     psql -f disable.sql "$LEGACY_ADMIN_URL"
--
-- Safe to run twice. A forgotten slot fills the disk of the database: the end proves that none is left.

\set ON_ERROR_STOP on

-- Wait at most three seconds for a lock, then give up instead of holding up others.
SET lock_timeout = '3s';

-- Drop the slot, so that PostgreSQL no longer keeps WAL for it.
DO $do$
DECLARE
  pid int;
BEGIN
  FOR attempt IN 1..100 LOOP
    SELECT active_pid INTO pid FROM pg_replication_slots WHERE slot_name = 'cidaas_sync';
    EXIT WHEN pid IS NULL;
    PERFORM pg_sleep(0.1);
  END LOOP;
  IF pid IS NOT NULL THEN
    RAISE EXCEPTION 'slot cidaas_sync is in use by process %: stop the connector first (PUT /connectors/cidaas_sync/stop); '
      'if it is gone already, SELECT pg_terminate_backend(%)', pid, pid;
  END IF;
  PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'cidaas_sync';
END
$do$;

-- Drop the publication.
DROP PUBLICATION IF EXISTS "cidaas_sync";

-- Give public.credentials its old replica identity, then drop the index: a short exclusive lock. Not while another
-- publication has the table: its deletes need them, too.
DO $do$
DECLARE
  others text;
BEGIN
  IF to_regclass('"public"."credentials_cidaas_sync_ri"') IS NULL THEN
    RETURN;
  END IF;
  SELECT string_agg(pubname::text, ', ') INTO others FROM pg_publication_tables WHERE schemaname = 'public' AND tablename = 'credentials';
  IF others IS NOT NULL THEN
    RAISE NOTICE 'public.credentials keeps its replica identity and the index credentials_cidaas_sync_ri: % publishes it, too',
      others USING ERRCODE = 'CDC01';
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('"public"."credentials_cidaas_sync_ri"') AND indisreplident) THEN
    ALTER TABLE "public"."credentials" REPLICA IDENTITY DEFAULT;
  END IF;
  DROP INDEX "public"."credentials_cidaas_sync_ri";
END
$do$;

-- Take the rights of cdc_debezium away, then the role itself.
DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cdc_debezium') THEN
    REVOKE ALL ON "public"."credentials" FROM "cdc_debezium";
    REVOKE ALL ON "public"."users" FROM "cdc_debezium";
    REVOKE ALL ON SCHEMA "public" FROM "cdc_debezium";
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), 'cdc_debezium');
    DROP ROLE "cdc_debezium";
  END IF;
END
$do$;

-- Take the rights of cidaas_sync_read away, then the role itself.
DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cidaas_sync_read') THEN
    REVOKE ALL ON "public"."credentials" FROM "cidaas_sync_read";
    REVOKE ALL ON "public"."users" FROM "cidaas_sync_read";
    REVOKE ALL ON SCHEMA "public" FROM "cidaas_sync_read";
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM %I', current_database(), 'cidaas_sync_read');
    DROP ROLE "cidaas_sync_read";
  END IF;
END
$do$;

-- Proof: an error if the slot is still there, else a row that says 0.
DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'cidaas_sync') THEN
    RAISE EXCEPTION 'replication slot cidaas_sync is still there and keeps WAL: run this again';
  END IF;
END
$do$;

-- The row.
SELECT count(*) AS slots_left FROM pg_replication_slots WHERE slot_name = 'cidaas_sync';
