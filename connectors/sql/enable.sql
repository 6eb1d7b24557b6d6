-- Enables change data capture for cidaas-sync. Generated from pipeline.toml; run it as the owner of the tables, with the
-- right to create roles that replicate (before PostgreSQL 16: as a superuser):
--
--     psql -f enable.sql "$LEGACY_ADMIN_URL"
--
-- Safe to run twice. It stops at the first error; run it again then. What it made, disable.sql takes back. The replication
-- slot is made later, by the connector itself.

\set ON_ERROR_STOP on

-- Wait at most three seconds for a lock, then give up instead of holding up others.
SET lock_timeout = '3s';

-- Look before touching: version, wal_level, primary server. Changes nothing.
DO $do$
BEGIN
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
END
$do$;

-- Look at public.credentials: columns, keys, replica identity. Changes nothing.
DO $do$
DECLARE
  t regclass := to_regclass('"public"."credentials"');
  missing text;
BEGIN
  IF t IS NULL THEN
    RAISE EXCEPTION 'table public.credentials does not exist: correct its name in pipeline.toml';
  END IF;
  SELECT string_agg(wanted, ', ') INTO missing
    FROM unnest(ARRAY['id', 'user_id', 'kind', 'algorithm', 'secret', 'salt', 'params', 'created_at', 'updated_at']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute
                      WHERE attrelid = t AND attname = wanted AND attnum > 0 AND NOT attisdropped);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'table public.credentials has no column %: correct the mapping in pipeline.toml', missing;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = t AND relkind = 'r' AND relpersistence = 'p') THEN
    RAISE EXCEPTION 'public.credentials is no ordinary, logged table: only such a table writes every change to the WAL';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                   JOIN pg_attribute a ON a.attrelid = t AND a.attnum = k.number
                 WHERE i.indrelid = t AND i.indisprimary AND place <= i.indnkeyatts
                 HAVING bool_or(a.attname = 'id')
                   AND bool_and(a.attname IN ('id', 'user_id'))) THEN
    RAISE EXCEPTION 'the primary key of public.credentials is neither (id) nor (user_id, id): name the key column in pipeline.toml';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE oid = t AND (relreplident = 'd'
      OR relreplident = 'i' AND NOT EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
           WHERE i.indrelid = c.oid AND i.indisreplident AND x.relname <> 'credentials_cidaas_sync_ri'))) THEN
    RAISE EXCEPTION 'the replica identity of public.credentials was changed by somebody: find out who reads this table by '
      'logical replication; if nobody does any more, ALTER TABLE public.credentials REPLICA IDENTITY DEFAULT, and run this again';
  END IF;
  IF (SELECT relrowsecurity FROM pg_class WHERE oid = t) AND 2 > (SELECT count(*) FROM pg_roles
      WHERE rolbypassrls AND rolname IN ('cdc_debezium', 'cidaas_sync_read')) THEN
    RAISE EXCEPTION 'row level security would hide users of public.credentials: create the roles cdc_debezium and cidaas_sync_read with BYPASSRLS, and run '
      'this again';
  END IF;
END
$do$;

-- Look at public.users: columns, keys, replica identity. Changes nothing.
DO $do$
DECLARE
  t regclass := to_regclass('"public"."users"');
  missing text;
BEGIN
  IF t IS NULL THEN
    RAISE EXCEPTION 'table public.users does not exist: correct its name in pipeline.toml';
  END IF;
  SELECT string_agg(wanted, ', ') INTO missing
    FROM unnest(ARRAY['id', 'email', 'username', 'given_name', 'family_name', 'phone', 'birthdate', 'gender', 'locale', 'created_at', 'last_login_at', 'street_address', 'postal_code', 'city', 'country', 'customer_number', 'newsletter', 'status']) AS wanted
    WHERE NOT EXISTS (SELECT FROM pg_attribute
                      WHERE attrelid = t AND attname = wanted AND attnum > 0 AND NOT attisdropped);
  IF missing IS NOT NULL THEN
    RAISE EXCEPTION 'table public.users has no column %: correct the mapping in pipeline.toml', missing;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class WHERE oid = t AND relkind = 'r' AND relpersistence = 'p') THEN
    RAISE EXCEPTION 'public.users is no ordinary, logged table: only such a table writes every change to the WAL';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (number, place)
                   JOIN pg_attribute a ON a.attrelid = t AND a.attnum = k.number
                 WHERE i.indrelid = t AND i.indisprimary AND place <= i.indnkeyatts
                 HAVING bool_or(a.attname = 'id')
                   AND bool_and(a.attname IN ('id'))) THEN
    RAISE EXCEPTION 'the primary key of public.users is not (id): name the key column in pipeline.toml';
  END IF;
  IF NOT EXISTS (SELECT FROM pg_class c WHERE oid = t AND (relreplident = 'd')) THEN
    RAISE EXCEPTION 'the replica identity of public.users was changed by somebody: find out who reads this table by '
      'logical replication; if nobody does any more, ALTER TABLE public.users REPLICA IDENTITY DEFAULT, and run this again';
  END IF;
  IF (SELECT relrowsecurity FROM pg_class WHERE oid = t) AND 2 > (SELECT count(*) FROM pg_roles
      WHERE rolbypassrls AND rolname IN ('cdc_debezium', 'cidaas_sync_read')) THEN
    RAISE EXCEPTION 'row level security would hide users of public.users: create the roles cdc_debezium and cidaas_sync_read with BYPASSRLS, and run '
      'this again';
  END IF;
END
$do$;

-- Role cdc_debezium for the connector, at most 10 connections; it owns nothing.
DO $do$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cdc_debezium') THEN
    CREATE ROLE "cdc_debezium" LOGIN CONNECTION LIMIT 10;
  ELSE
    ALTER ROLE "cdc_debezium" LOGIN CONNECTION LIMIT 10;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'cdc_debezium');
END
$do$;

-- Role cidaas_sync_read for the worker: reads single users, never writes, at most 20 connections; it owns nothing.
DO $do$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'cidaas_sync_read') THEN
    CREATE ROLE "cidaas_sync_read" LOGIN CONNECTION LIMIT 20;
  ELSE
    ALTER ROLE "cidaas_sync_read" LOGIN CONNECTION LIMIT 20;
  END IF;
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), 'cidaas_sync_read');
END
$do$;

-- cdc_debezium may read the WAL. Let pg_hba.conf admit it from the Connect worker's address only.
DO $do$
BEGIN
  IF (SELECT rolreplication FROM pg_roles WHERE rolname = 'cdc_debezium') THEN
    RETURN;
  ELSIF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
    GRANT rds_replication TO "cdc_debezium";
  ELSIF current_setting('server_version_num')::int < 160000
        AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    RAISE EXCEPTION 'before PostgreSQL 16 only a superuser may let a role replicate: run this as one';
  ELSE
    ALTER ROLE "cdc_debezium" REPLICATION;
  END IF;
END
$do$;

-- Every transaction of cidaas_sync_read is read-only.
ALTER ROLE "cidaas_sync_read" SET default_transaction_read_only = on;

-- Password of cdc_debezium, from the environment variable CDC_DEBEZIUM_PASSWORD. Without it, and where the server
-- logs statements, set one by \password cdc_debezium.
\set password `printf %s "${CDC_DEBEZIUM_PASSWORD-}"`
SELECT :'password' <> '' AS given \gset
\if :given
ALTER ROLE "cdc_debezium" PASSWORD :'password';
\else
\echo 'no password set: do it by \\password cdc_debezium'
\endif
\unset password

-- Password of cidaas_sync_read, from the environment variable CIDAAS_SYNC_READ_PASSWORD. Without it, and where the
-- server logs statements, set one by \password cidaas_sync_read.
\set password `printf %s "${CIDAAS_SYNC_READ_PASSWORD-}"`
SELECT :'password' <> '' AS given \gset
\if :given
ALTER ROLE "cidaas_sync_read" PASSWORD :'password';
\else
\echo 'no password set: do it by \\password cidaas_sync_read'
\endif
\unset password

-- Both roles may name the tables of schema public.
GRANT USAGE ON SCHEMA "public" TO "cdc_debezium", "cidaas_sync_read";

-- cdc_debezium may read the mapped columns of public.credentials, and no other.
DO $do$
BEGIN
  REVOKE SELECT ON "public"."credentials" FROM "cdc_debezium";
  GRANT SELECT ("id", "user_id", "kind", "algorithm", "secret", "salt", "params", "created_at", "updated_at") ON "public"."credentials" TO "cdc_debezium";
END
$do$;

-- cidaas_sync_read may read the mapped columns of public.credentials, and no other.
DO $do$
BEGIN
  REVOKE SELECT ON "public"."credentials" FROM "cidaas_sync_read";
  GRANT SELECT ("id", "user_id", "kind", "algorithm", "secret", "salt", "params", "created_at", "updated_at") ON "public"."credentials" TO "cidaas_sync_read";
END
$do$;

-- cdc_debezium may read the mapped columns of public.users, and no other.
DO $do$
BEGIN
  REVOKE SELECT ON "public"."users" FROM "cdc_debezium";
  GRANT SELECT ("id", "email", "username", "given_name", "family_name", "phone", "birthdate", "gender", "locale", "created_at", "last_login_at", "street_address", "postal_code", "city", "country", "customer_number", "newsletter", "status") ON "public"."users" TO "cdc_debezium";
END
$do$;

-- cidaas_sync_read may read the mapped columns of public.users, and no other.
DO $do$
BEGIN
  REVOKE SELECT ON "public"."users" FROM "cidaas_sync_read";
  GRANT SELECT ("id", "email", "username", "given_name", "family_name", "phone", "birthdate", "gender", "locale", "created_at", "last_login_at", "street_address", "postal_code", "city", "country", "customer_number", "newsletter", "status") ON "public"."users" TO "cidaas_sync_read";
END
$do$;

-- public.credentials.user_id has to be NOT NULL to be part of a replica identity. Changes nothing.
DO $do$
BEGIN
  IF NOT (SELECT attnotnull FROM pg_attribute
          WHERE attrelid = '"public"."credentials"'::regclass AND attname = 'user_id') THEN
    RAISE EXCEPTION 'column public.credentials.user_id may be NULL: give rows without a user one, or remove them, '
      'then ALTER TABLE public.credentials ALTER COLUMN user_id SET NOT NULL';
  END IF;
END
$do$;

-- Remove what an interrupted run of the next statement may have left: an index that is not valid.
DO $do$
BEGIN
  IF EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass('"public"."credentials_cidaas_sync_ri"') AND NOT indisvalid) THEN
    DROP INDEX "public"."credentials_cidaas_sync_ri";
  END IF;
END
$do$;

-- The next statement waits for open transactions, and blocks nobody.
SET lock_timeout = 0;

-- Index for the replica identity: reads public.credentials twice, blocks neither reads nor writes.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "credentials_cidaas_sync_ri" ON "public"."credentials" ("user_id", "id");

-- Wait at most three seconds for a lock, then give up instead of holding up others.
SET lock_timeout = '3s';

-- Say on the index what it is for.
COMMENT ON INDEX "public"."credentials_cidaas_sync_ri" IS 'replica identity of public.credentials for cidaas-sync: without it UPDATE and DELETE on the table fail; connectors/sql/disable.sql removes it';

-- Deletes and moves of a row in public.credentials carry the user id from now on. A short exclusive lock.
DO $do$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_index WHERE indexrelid = '"public"."credentials_cidaas_sync_ri"'::regclass AND indisreplident) THEN
    ALTER TABLE "public"."credentials" REPLICA IDENTITY USING INDEX "credentials_cidaas_sync_ri";
  END IF;
END
$do$;

-- Publish the mapped columns of these tables (whole rows before PostgreSQL 15), and nothing else. While it exists,
-- ALTER TYPE and DROP COLUMN on a listed column are refused.
DO $do$
DECLARE
  tables text := CASE WHEN current_setting('server_version_num')::int >= 150000
    THEN '"public"."credentials" ("id", "user_id", "kind", "algorithm", "secret", "salt", "params", "created_at", "updated_at"), "public"."users" ("id", "email", "username", "given_name", "family_name", "phone", "birthdate", "gender", "locale", "created_at", "last_login_at", "street_address", "postal_code", "city", "country", "customer_number", "newsletter", "status")'
    ELSE '"public"."credentials", "public"."users"' END;
BEGIN
  IF EXISTS (SELECT FROM pg_publication WHERE pubname = 'cidaas_sync') THEN
    EXECUTE 'ALTER PUBLICATION "cidaas_sync" SET TABLE ' || tables;
    ALTER PUBLICATION "cidaas_sync" SET (publish = 'insert, update, delete');
  ELSE
    EXECUTE 'CREATE PUBLICATION "cidaas_sync" FOR TABLE ' || tables
      || ' WITH (publish = ''insert, update, delete'')';
  END IF;
END
$do$;
