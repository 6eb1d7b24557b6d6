-- The part of Keycloak's database that the pipeline reads, with its own names and types, and four users.
-- One thing differs: there credential.user_id may be NULL (README, "A Keycloak of your own").
CREATE TABLE user_entity (
    id                          varchar(36) PRIMARY KEY,     -- a UUID as text
    email                       varchar(255),
    email_verified              boolean NOT NULL DEFAULT false,
    enabled                     boolean NOT NULL DEFAULT false,
    first_name                  varchar(255),
    last_name                   varchar(255),
    realm_id                    varchar(255),
    username                    varchar(255),
    created_timestamp           bigint,                      -- milliseconds since 1970
    service_account_client_link varchar(255),
    not_before                  integer NOT NULL DEFAULT 0,
    UNIQUE (realm_id, username)
);

CREATE TABLE credential (
    id              varchar(36) PRIMARY KEY,
    type            varchar(255),                            -- password, otp, webauthn
    user_id         varchar(36) NOT NULL REFERENCES user_entity (id),
    created_date    bigint,                                  -- milliseconds since 1970
    user_label      varchar(255),
    secret_data     text,                                    -- JSON: {"value": "...", "salt": "..."}
    credential_data text,                                    -- JSON: {"hashIterations": 27500, "algorithm": "pbkdf2-sha256"}
    priority        integer
);

CREATE INDEX idx_user_credential ON credential (user_id);

CREATE TABLE federated_identity (
    identity_provider  varchar(255) NOT NULL,                -- the alias that the realm has given it
    realm_id           varchar(36),
    federated_user_id  varchar(255),                         -- the user's id there
    federated_username varchar(255),
    token              text,                                 -- never read: no key of pipeline.toml names it
    user_id            varchar(36) NOT NULL REFERENCES user_entity (id),
    PRIMARY KEY (identity_provider, user_id)
);

INSERT INTO user_entity
    (id, email, email_verified, enabled, first_name, last_name, realm_id, username, created_timestamp)
VALUES
    ('8f14e45f-ceea-467f-ab11-0d3c7e1f2a44', 'ada@example.org', true, true, 'Ada', 'Lovelace', 'shop', 'ada', 1551428100000),
    ('c9f0f895-fb98-4b91-9d51-3a1b7e2f5c10', 'grace@example.org', true, false, 'Grace', 'Hopper', 'shop', 'grace', 1700000000123),
    ('45c48cce-2e2d-4fbd-8a2e-6f0d9a7b3e21', 'karl@example.org', false, true, 'Karl', 'Weiß', 'shop', 'karl', 1763600000000),
    ('d3d94468-02a4-4259-b55d-38e6d163e820', 'admin@example.org', true, true, 'Another', 'Realm', 'master', 'admin', 1500000000000);

-- The passwords are "correct horse" (Ada), "battery staple" (Grace) and "a third word" (Karl, in argon2 as Keycloak 25 and
-- newer write it); Ada has an older password too, and a second factor.
INSERT INTO credential (id, type, user_id, created_date, secret_data, credential_data, priority) VALUES
    ('5b0a5c5e-0000-4000-8000-000000000001', 'password', '8f14e45f-ceea-467f-ab11-0d3c7e1f2a44', 1500000000000,
     '{"value":"P0AdAYXABWkG8YMvKnM21iSUpDJJYqk1Iw32pSnEnOCI6/hW/5z726IWCFFLI9ncZvpuAZQisI+RJr2MXkmDLw==","salt":"ICEiIyQlJicoKSorLC0uLw==","additionalParameters":{}}',
     '{"hashIterations":27500,"algorithm":"pbkdf2-sha256","additionalParameters":{}}', 30),
    ('5b0a5c5e-0000-4000-8000-000000000002', 'password', '8f14e45f-ceea-467f-ab11-0d3c7e1f2a44', 1551428100500,
     '{"value":"qnA427fe69fAjkevcHZvnm7vp3MewnxKL4g2WLfI7U6teQVH1eR2L5DfcV0psPIfjGPtlZbkpnogYX+2TaSl6w==","salt":"AAECAwQFBgcICQoLDA0ODw==","additionalParameters":{}}',
     '{"hashIterations":27500,"algorithm":"pbkdf2-sha256","additionalParameters":{}}', 10),
    ('5b0a5c5e-0000-4000-8000-000000000003', 'otp', '8f14e45f-ceea-467f-ab11-0d3c7e1f2a44', 1600000000000,
     '{"value":"ThisIsASeedOfATotpAppp"}',
     '{"subType":"totp","digits":6,"counter":0,"period":30,"algorithm":"HmacSHA1"}', 20),
    ('5b0a5c5e-0000-4000-8000-000000000004', 'password', 'c9f0f895-fb98-4b91-9d51-3a1b7e2f5c10', 1700000000200,
     '{"value":"nl9hq/OBhBURB+U2JP6OUt8bW85Yu6yD1WnhoVrFv1VnCqJp8rz8ao48HGQyj70yi99cKvZUiXVnbORThCXZbw==","salt":"EBESExQVFhcYGRobHB0eHw==","additionalParameters":{}}',
     '{"hashIterations":27500,"algorithm":"pbkdf2-sha256","additionalParameters":{}}', 10),
    ('5b0a5c5e-0000-4000-8000-000000000005', 'password', '45c48cce-2e2d-4fbd-8a2e-6f0d9a7b3e21', 1763600000100,
     '{"value":"19adjxLPwTENbPvQAFfW84qgMhs7RaIbt1BUGTXdAok=","salt":"QEFCQ0RFRkdISUpLTE1OTw==","additionalParameters":{}}',
     '{"hashIterations":5,"algorithm":"argon2","additionalParameters":{"hashLength":["32"],"memory":["7168"],"type":["id"],"version":["1.3"],"parallelism":["1"]}}', 10);

-- Ada logs in by Google and Facebook too, and Karl by an identity provider that cidaas does not have.
INSERT INTO federated_identity (identity_provider, realm_id, federated_user_id, federated_username, token, user_id) VALUES
    ('shop-facebook', 'shop', '10224', 'ada.l', NULL, '8f14e45f-ceea-467f-ab11-0d3c7e1f2a44'),
    ('google', 'shop', '108204268033311374519', 'ada@example.org', '{"access_token":"NobodyReadsThis"}',
     '8f14e45f-ceea-467f-ab11-0d3c7e1f2a44'),
    ('warehouse', 'shop', 'karl.w', 'karl', NULL, '45c48cce-2e2d-4fbd-8a2e-6f0d9a7b3e21');
