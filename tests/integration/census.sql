-- Odd users for tests/integration/test_census.py, and what SQL alone says of them: `fates` has one row a live user.
-- Of twenty users eight are odd in one way or another; passwords, seeds and states run through all of them.

ALTER TABLE credentials DROP CONSTRAINT credentials_user_id_fkey, ALTER COLUMN user_id DROP NOT NULL,
  DROP CONSTRAINT credentials_kind_check;
ALTER TABLE users ALTER COLUMN email DROP NOT NULL, DROP CONSTRAINT users_username_key;

INSERT INTO users (id, email, username, given_name, phone, birthdate, status, created_at)
SELECT i,
  CASE i % 20
    WHEN 1 THEN 'geheim ' || i WHEN 2 THEN 'geheim' || i || '@mail.MAILINATOR.com'
    WHEN 3 THEN upper('geheim' || i + 1 || '@example.org')  -- the next user's, in capitals
    WHEN 5 THEN NULL WHEN 6 THEN '  ' || i WHEN 7 THEN NULL
    ELSE 'geheim' || i || '@example.org' END,
  CASE WHEN i % 20 = 5 THEN 'Geheim' || i WHEN i % 20 = 8 THEN 'geheim' || i - 3
    WHEN i % 3 = 0 AND i % 20 > 8 THEN 'allein' || i END,
  'Geheim',
  CASE i % 4 WHEN 0 THEN '+4915112345678' WHEN 1 THEN 'keine' WHEN 2 THEN '' END,
  CASE WHEN i % 50 = 9 THEN date 'infinity' ELSE date '1970-05-01' END,
  (ARRAY['active', 'active', 'active', 'active', 'active', 'pending', 'locked', 'deleted'])[1 + i % 8],
  CASE WHEN i % 40 = 10 THEN timestamptz '0044-03-15 BC' ELSE now() END
FROM generate_series(1, 6000) AS i;

INSERT INTO credentials (user_id, kind, algorithm, secret, salt, params, updated_at)
SELECT i, 'password', algorithm,
  CASE WHEN algorithm = 'md5' THEN md5(i::text)
    WHEN algorithm = 'sha256' AND i % 3 = 0 THEN 'geheim'
    WHEN algorithm = 'bcrypt' AND i % 11 = 0 THEN '$2b$31$' || substr(md5(i::text) || md5('a' || i), 1, 53)
    WHEN algorithm = 'bcrypt' AND i % 13 = 0 THEN '$2b$12$' || md5(i::text)
    WHEN algorithm = 'bcrypt' THEN '$2y$' || (ARRAY['08', '10', '12'])[1 + i % 3] || '$' || substr(md5(i::text) || md5('a' || i), 1, 53)
    ELSE md5(i::text) || md5('b' || i) END,
  CASE WHEN algorithm IN ('sha256', 'pbkdf2-sha256') AND i % 7 > 0 THEN 'geheim' END,
  CASE WHEN algorithm = 'pbkdf2-sha256' THEN '{"iterations": 27500, "keylen": 64}'::jsonb END,
  now() - round * interval '1 day'
FROM generate_series(1, 6000) AS i, generate_series(0, 1) AS round,
  LATERAL (SELECT (ARRAY['bcrypt', 'bcrypt', 'sha256', 'pbkdf2-sha256', 'md5', 'geheim'])[1 + (i / 5 + round) % 6] AS algorithm) AS a
WHERE i % 17 > 0 AND (round = 0 OR i % 5 = 0);

INSERT INTO credentials (user_id, kind, algorithm, secret) SELECT i, 'totp', 'SHA1', 'GEHEIM' FROM generate_series(1, 6000, 7) AS i;
INSERT INTO credentials (user_id, kind, secret) SELECT i, 'webauthn', 'geheim' FROM generate_series(1, 6000, 70) AS i;
INSERT INTO credentials (user_id, kind, secret)
  SELECT CASE WHEN i % 2 = 0 THEN i - 20 END, 'password', 'geheim' FROM generate_series(1, 18) AS i;
INSERT INTO credentials (user_id, kind, secret) SELECT 7000 + i, 'password', 'geheim' FROM generate_series(1, 5) AS i;

CREATE VIEW newest AS
SELECT DISTINCT ON (user_id) user_id, CASE
    WHEN algorithm = 'bcrypt' AND length(secret) <> 60 THEN 'password_malformed'
    WHEN algorithm = 'bcrypt' AND secret LIKE '$2b$31$%' THEN 'password_cost_unsupported'
    WHEN algorithm = 'sha256' AND length(secret) <> 64 THEN 'password_hash_unusual'
    WHEN algorithm LIKE 'pbkdf2%' AND salt IS NULL THEN 'password_malformed'
    WHEN algorithm IN ('md5', 'geheim') THEN 'password_algorithm_unknown'
    ELSE '' END AS note, CASE
    WHEN algorithm = 'bcrypt' AND length(secret) = 60 AND secret NOT LIKE '$2b$31$%' THEN 'bcrypt, cost ' || substr(secret, 5, 2)::int
    WHEN algorithm = 'sha256' THEN CASE WHEN salt IS NULL THEN 'SHA256' ELSE 'SHA256, salted' END
    WHEN algorithm LIKE 'pbkdf2%' AND salt IS NOT NULL THEN 'PBKDF2, 27500 iterations, salted'
    WHEN algorithm = 'geheim' THEN '(another name)' ELSE algorithm END AS hash
FROM credentials WHERE kind = 'password' ORDER BY user_id, coalesce(updated_at, created_at) DESC, id DESC;

CREATE VIEW checked AS
SELECT users.*, lower(btrim(email)) AS address, CASE
    WHEN coalesce(btrim(email), '') = '' AND username IS NULL AND phone IS DISTINCT FROM '+4915112345678' THEN 'no_identifier'
    WHEN btrim(email) !~ '^[^ @]+@[^ @]+$' THEN 'invalid_email'
    WHEN email ILIKE '%.mailinator.com' THEN 'disposable_domain' ELSE '' END AS wrong
FROM users WHERE status <> 'deleted';

CREATE VIEW judged AS
SELECT *, row_number() OVER (PARTITION BY address ORDER BY id) AS nth_address,
  row_number() OVER (PARTITION BY lower(username) ORDER BY id) AS nth_name
FROM checked WHERE wrong = '';

CREATE VIEW fates AS
SELECT c.id, CASE
    WHEN c.wrong <> '' THEN 'refused ' || c.wrong
    WHEN c.address IS NOT NULL AND nth_address > 1 THEN 'refused email_taken'
    WHEN c.username IS NOT NULL AND nth_name > 1 THEN 'refused username_taken'
    WHEN c.status <> 'active' THEN 'barred ' || upper(c.status)
    WHEN n.user_id IS NULL THEN 'reset password_none'
    WHEN n.note <> '' THEN 'reset ' || n.note
    WHEN EXISTS (SELECT FROM credentials t WHERE t.user_id = c.id AND t.kind = 'totp') THEN 'second_factor_lost'
    ELSE 'unchanged' END AS fate
FROM checked c LEFT JOIN judged j USING (id) LEFT JOIN newest n ON n.user_id = c.id;
ANALYZE;
