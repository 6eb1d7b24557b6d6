"""F14: records that nobody can read, and columns that change while all runs: set aside with position and reason.

All other users flow meanwhile. Each test has a stack of its own, because both spoil what others rely on.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from aiokafka import AIOKafkaProducer
from psycopg import sql

from demo.stack.kafka import run_async
from streams.settings import load
from tests.integration.legacy import email_of, hashed
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F14")

EXAMPLES, PLAIN = 200, range(2_001, 2_401)
ROW: dict[str, Any] = {"__op": "u", "__source_table": "users"}


def record(user: int, **fields: Any) -> bytes:
    return json.dumps({**ROW, **fields, "id": user}).encode()


#: What is wrong with a record, as `user` says it, and the record of a user.
MALFORMED: dict[str, Callable[[int], bytes | None]] = {
    "is not JSON": lambda _: b"not json",
    "is not a JSON object": lambda _: b"[1, 2]",
    "has no value": lambda _: None,
    "of a table that pipeline.toml does not name": lambda user: record(user, __source_table="orders"),
    "has no operation among": lambda user: record(user, __op="x"),
    "has no id": lambda _: json.dumps(ROW).encode(),
    "is not the user of its key": lambda user: record(user + 1),
    "column .*email.* is missing": lambda user: record(user, given_name="Halb"),
    "is not what Debezium writes": lambda user: record(user, __source_lsn="far", **dict.fromkeys(columns())),
    "control record 'removal' lacks a field": lambda _: b'{"__sync": "removal", "table": "users"}',
    "control record is of an unknown kind": lambda _: b'{"__sync": "hocus"}',
}
#: Keys that no user has.
KEYLESS = (None, b"\xff\xfe", b"12\x0034")


def columns() -> tuple[str, ...]:
    """The mapped columns, of which each record has all."""
    return tuple(load(env={}).source.users.columns)


def test_records_that_nobody_can_read(ruins: Callable[..., Arena]) -> None:
    arena = ruins(examples=EXAMPLES, plain=PLAIN)
    sync = arena.sync
    users = arena.own(len(MALFORMED))
    told = 0
    with arena.load() as running:
        for _ in arena.strikes(running):
            with unread(arena):  # or they would be cured within a second or two
                placed: dict[int, tuple[int, int]] = {}
                arena.strike(lambda users=users, placed=placed: placed.update(malformed(arena, users)))
                for user, reason in zip(users, MALFORMED, strict=True):
                    body = set_aside(arena, user)
                    partition, offset = placed[user]
                    aside = body["snapshot"]["set_aside"]
                    assert body["partition"] == partition
                    assert aside["number"] == offset
                    assert re.search(reason, aside["reason"]), aside
                said = sync.command("user", str(users[0]))
                assert "set aside" in said.out and str(placed[users[0]][1]) in said.out, said
                arena.recovered()  # all others flow
            arena.in_sync(users)
            for key in KEYLESS:
                partition, offset = produce(arena, key, b"{}", partition=arena.rng.randrange(12))
                told += 1
                where = f"partition={partition} offset={offset}:"
                until(lambda where=where: where in sync.worker.log(), f"{where} is in the log")
            said = sync.command("status")
            assert said.code == 1
            assert f"{told} records without a readable key" in said.out, said.out
    assert sync.command("source", "sweep", "--wait", "--yes").code == 0
    said = sync.command("status")
    assert "without a readable key" not in said.out, said.out
    arena.figure("malformed records", told + 3 * len(users))
    arena.judge()


def malformed(arena: Arena, users: list[int]) -> dict[int, tuple[int, int]]:
    """Write one malformed record for each user; where they stand."""
    return {
        user: produce(arena, str(user).encode(), make(user))
        for user, make in zip(users, MALFORMED.values(), strict=True)
    }


def produce(arena: Arena, key: bytes | None, value: bytes | None, partition: int | None = None) -> tuple[int, int]:
    async def send() -> tuple[int, int]:
        producer = AIOKafkaProducer(bootstrap_servers=arena.sync.env["KAFKA_BOOTSTRAP_SERVERS"])
        await producer.start()
        try:
            meta = await producer.send_and_wait("legacy.identity", value, key=key, partition=partition)
        finally:
            await producer.stop()
        return meta.partition, meta.offset

    return run_async(send())


def set_aside(arena: Arena, user: int) -> dict[str, Any]:
    """Wait until `user` says that this one is set aside; what it says."""

    def said() -> dict[str, Any]:
        body = arena.sync.worker.user(user)
        return body if body.get("situation") == "set_aside" else {}

    return until(said, lambda: f"user {user} is set aside; but {arena.sync.worker.user(user).get('situation')}")


@contextmanager
def unread(arena: Arena) -> Iterator[None]:
    """Let nobody be read again for a while: the reading role cannot log in."""
    run = arena.sync.legacy.run
    run("ALTER ROLE cidaas_sync_read NOLOGIN")
    run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'cidaas_sync_read'")
    try:
        yield
    finally:
        run("ALTER ROLE cidaas_sync_read LOGIN")


# -- columns that change ---------------------------------------------------------------------------------------------


def test_columns_that_change_while_it_runs(ruins: Callable[..., Arena]) -> None:
    arena = ruins(examples=EXAMPLES, plain=PLAIN)
    legacy = arena.sync.legacy
    users = arena.own(30)
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        legacy.run("ALTER TABLE users DROP COLUMN country")  # the publication names it: PostgreSQL itself refuses
    with arena.load() as running:
        for change in (added_and_dropped, renamed, retyped, too_large_to_travel):
            running.more(arena.rng.randint(60, 180))
            change(arena, users)
            arena.recovered()
            arena.in_sync(users)
    arena.judge()


def added_and_dropped(arena: Arena, users: list[int]) -> None:
    """A column that nobody maps comes and goes: nobody is set aside for it."""
    run = arena.sync.legacy.run
    arena.strike(lambda: run("ALTER TABLE users ADD COLUMN shoe_size integer DEFAULT 42"))
    arena.rename(users, "Mit")
    arena.arrived(users, "Mit")
    arena.strike(lambda: run("ALTER TABLE users DROP COLUMN shoe_size"))
    arena.rename(users, "Ohne")
    arena.arrived(users, "Ohne")
    assert arena.sync.worker.count("set_aside") == 0


def renamed(arena: Arena, users: list[int]) -> None:
    """A mapped column has another name for a while: whoever changes is set aside, and credentials go on."""
    run = arena.sync.legacy.run
    odd = next(user for user in users if user % 2)  # his credentials do not touch his row
    arena.strike(lambda: run("ALTER TABLE users RENAME COLUMN country TO land"))
    try:
        run("UPDATE users SET land = 'AT' WHERE id = ANY(%s)", [user for user in users if user != odd])
        for user in users:
            if user != odd:
                reason = set_aside(arena, user)["snapshot"]["set_aside"]["reason"]
                assert "column country is missing" in reason, reason
        run("UPDATE credentials SET secret = %s, updated_at = now() WHERE user_id = %s", hashed("umbenannt"), odd)
        until(lambda: arena.sync.cidaas.login(email_of(odd), "umbenannt"), "all others flow")
    finally:
        run("ALTER TABLE users RENAME COLUMN land TO country")
    for user in users:
        if user != odd:
            arena.sync.cidaas.await_user(user, lambda entity: (entity.get("address") or {}).get("country") == "AT", 90)


def retyped(arena: Arena, users: list[int]) -> None:
    """Columns get other types that hold the same. PostgreSQL lets nobody do it while the publication names them."""
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="used by a publication"):
        arena.sync.legacy.run("ALTER TABLE users ALTER COLUMN birthdate TYPE text")
    for column, kind in (("postal_code", "varchar(20)"), ("gender", "varchar(10)"), ("birthdate", "text")):
        arena.strike(lambda column=column, kind=kind: retype(arena, column, kind))
    born(arena, users, "1990-02-03")
    arena.strike(lambda: retype(arena, "birthdate", "date"))
    born(arena, users, "1991-02-03")
    # Nobody can know that nothing was written meanwhile: it is named, and deletes wait for a repair.
    arena.named("publication_remade", time.monotonic(), 60)
    said = arena.sync.command("source", "repair", "--yes", seconds=180)
    assert said.code == 0, said
    assert "nothing is wrong" in arena.sync.command("source", "check").text


def born(arena: Arena, users: list[int], day: str) -> None:
    run = arena.sync.legacy.run
    run("UPDATE users SET postal_code = '50667', birthdate = %s WHERE id = ANY(%s)", day, users)
    for user in users:
        arena.sync.cidaas.await_user(user, lambda entity: entity.get("birthdate") == day, 60)


def retype(arena: Arena, column: str, kind: str) -> None:
    """As a DBA does it: out of the publication, another type, back into it, all in one transaction."""
    with arena.sync.legacy.transaction() as connection:
        query = "SELECT tablename, attnames FROM pg_publication_tables WHERE pubname = 'cidaas_sync'"
        published = {str(table): list(names) for table, names in connection.execute(query).fetchall()}
        for without in (column, ""):
            tables = sql.SQL(", ").join(
                sql.SQL("{} ({})").format(
                    sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(name) for name in names if name != without)
                )
                for table, names in published.items()
            )
            connection.execute(sql.SQL("ALTER PUBLICATION cidaas_sync SET TABLE {}").format(tables))
            if without:
                change = f"ALTER TABLE users ALTER COLUMN {column} TYPE {kind} USING {column}::{kind}"
                connection.execute(change.encode())


def too_large_to_travel(arena: Arena, users: list[int]) -> None:
    """M4: a moved credential arrives with the placeholder where its large value was."""
    sync = arena.sync
    sync.legacy.run("ALTER TABLE credentials ALTER COLUMN params SET STORAGE EXTERNAL")
    givers, takers = users[:10], users[10:20]
    large = [sync.legacy.add_large_password(user, "gross") for user in givers]
    for user in givers:
        until(lambda user=user: sync.cidaas.login(email_of(user), "gross"), f"{user} has the large one")
    with unread(arena):
        arena.strike(lambda: move(arena, large, takers))
        for user in takers:
            reason = set_aside(arena, user)["snapshot"]["set_aside"]["reason"]
            assert "large value of column params" in reason, reason
        arena.mark()
    for user in takers:
        until(lambda user=user: sync.cidaas.login(email_of(user), "gross"), f"{user} has the moved one", 60)


def move(arena: Arena, credentials: list[int], takers: list[int]) -> None:
    with arena.sync.legacy.transaction() as connection:
        for credential, taker in zip(credentials, takers, strict=True):
            connection.execute(
                "UPDATE credentials SET user_id = %s, updated_at = clock_timestamp() WHERE id = %s", (taker, credential)
            )
