-- The users of an old shop: everything in one table, passwords as md5 of salt and password.
CREATE TABLE shop_customers (
    customer_id  bigint PRIMARY KEY,
    mail         text NOT NULL UNIQUE,
    pw_md5       text,                            -- md5(pw_salt || password) in hex; NULL: never set one
    pw_salt      text,
    first_name   text,
    last_name    text,
    phone        text,                            -- as it was typed
    state        text NOT NULL DEFAULT 'active',  -- active, unconfirmed, blocked
    removed      boolean NOT NULL DEFAULT false,  -- the account was closed; the row stays for the books
    newsletter   boolean NOT NULL DEFAULT false,
    registered   timestamp NOT NULL DEFAULT now(),
    last_login   timestamp,
    notes        text                             -- the shop's own; not mapped, so it never leaves the database
);

INSERT INTO shop_customers
    (customer_id, mail, pw_md5, pw_salt, first_name, last_name, phone, state, removed, newsletter, registered)
VALUES
    (1001, 'ada@example.org', md5('k3Vq' || 'correct horse'), 'k3Vq', 'Ada', 'Lovelace', '0171 1234567', 'active', false, true, '2012-03-01 08:15:00'),
    (1002, 'grace@example.org', md5('9xTf' || 'battery staple'), '9xTf', 'Grace', 'Hopper', NULL, 'blocked', false, false, '2014-11-20 17:02:11'),
    (1003, 'karl@example.org', NULL, NULL, 'Karl', 'Weiß', '030 901820', 'unconfirmed', false, false, '2026-11-20 09:00:00'),
    (1004, 'gone@example.org', md5('p0Lm' || 'whatever'), 'p0Lm', 'Former', 'Customer', NULL, 'active', true, false, '2011-01-05 12:00:00');
