"""F19: transactions arrive torn apart: 40,000 rows between two of one user's, Connect killed or held in between.

Nobody is ever sent without the password that he has on both sides of the transaction (C7).
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from demo.stack.kafka import run_async
from tests.faults.kit.load import OWN
from tests.integration.legacy import add_many, add_password, email_of, insert
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import psycopg

    from tests.faults.kit.arena import Arena
    from tests.integration.workers import Worker

pytestmark = pytest.mark.fault("F19")

#: Users whose rows lie between the two rows of others: log-ins, which cost no calls.
BETWEEN = OWN[:40]
ROUNDS = 1_000  # 40,000 rows between: some seconds, of which the strike needs a part
#: For each strike so many users sign up, and so many replace their password.
SIGN_UPS, REPLACED = 6, 6
TORN = OWN[40 : 40 + 3 * (SIGN_UPS + REPLACED)]


def test_connect_killed_between(arena: Arena) -> None:
    """SIGKILL, in turn of Connect alone, and of the worker too while the halves are joined."""

    def hit(number: int) -> Callable[[], None]:
        def kill() -> None:
            arena.stack.kill("connect")
            if number % 2:
                arena.sync.worker.kill()

        return kill

    def back(number: int) -> None:
        if number % 2:
            arena.sync.start()
        arena.stack.start("connect")

    torn(arena, hit, back)


def test_connect_held_between(arena: Arena) -> None:
    """SIGSTOP for five heartbeats of the source: time passes, and is no proof."""

    def hit(_number: int) -> Callable[[], None]:
        return lambda: arena.stack.kill("connect", signal.SIGSTOP)

    def back(_number: int) -> None:
        until(lambda: (arena.sync.worker.status()["heartbeat_age"] or 0) > 5, "the heartbeat stands still")
        arena.stack.kill("connect", signal.SIGCONT)

    torn(arena, hit, back)


def torn(arena: Arena, hit: Callable[[int], Callable[[], None]], back: Callable[[int], None]) -> None:
    """Tear a transaction at each strike; then look at every state in which its users were ever sent."""
    sync, since = arena.sync, int(time.time() * 1_000_000)
    with sync.legacy.transaction() as connection:
        connection.execute("DELETE FROM users WHERE id = ANY(%s)", ([*BETWEEN, *TORN],))
        add_many(connection, BETWEEN)
    for user in TORN:
        until(lambda user=user: sync.cidaas.entity(user) is None, f"user {user} of a test before is gone")
    seen: list[int] = []
    with arena.load() as load:
        for number in arena.strikes(load):
            fresh = TORN[number * 12 : number * 12 + SIGN_UPS]
            old = TORN[number * 12 + SIGN_UPS : (number + 1) * 12]
            sync.legacy.sign_up(*old, word="vorher")
            for user in old:
                sync.cidaas.await_user(user)
            run_async(struck(arena, fresh, old, hit(number)))
            until(lambda: not sync.alive() or sync.worker.status()["lag"] == 0, "what arrived is joined")
            for worker in sync.alive():
                without = [user for user in fresh if not any(row["there"] for row in credentials(worker, user))]
                assert without == list(fresh), "the transaction was not torn: all of it had arrived"
            back(number)
            arena.recovered()
            for user in fresh:
                until(lambda user=user: sync.cidaas.login(email_of(user), "zuletzt"), f"{user} gets in")
            for user in old:
                until(lambda user=user: sync.cidaas.login(email_of(user), "nachher"), f"{user} gets in")
            seen += [*fresh, *old]
    for user in seen:
        states = [state for state in sync.cidaas.states(user) if state["at_us"] >= since]  # not of a test before
        assert states, f"user {user} never arrived"
        bare = [state for state in states if state["state"] != "DELETED" and state["password"] is None]
        assert not bare, f"user {user} was sent without its password {len(bare)} times"
    arena.figure("users in torn transactions", len(seen))
    arena.judge()


def transaction(arena: Arena, fresh: range, old: range) -> None:
    """Sign-ups, and passwords replaced by delete and insert, with a pause and 40,000 rows of others in between."""
    worker = arena.sync.worker
    with arena.sync.legacy.transaction() as connection:
        for user in fresh:
            insert(connection, user)
        connection.execute("DELETE FROM credentials WHERE user_id = ANY(%s)", (list(old),))
        before = worker.status()["source_lsn"]
        until(lambda: worker.status()["source_lsn"] > before, "a heartbeat while the transaction is open")
        log_ins(connection)
        for user in fresh:
            add_password(connection, user, "zuletzt")
        for user in old:
            add_password(connection, user, "nachher")


def log_ins(connection: psycopg.Connection) -> None:
    for _ in range(ROUNDS):
        connection.execute("UPDATE users SET last_login_at = clock_timestamp() WHERE id = ANY(%s)", (list(BETWEEN),))


def credentials(worker: Worker, user: int) -> list[dict[str, Any]]:
    """What the worker has of a user's credentials, those of a former life included, which are not there any more."""
    rows: list[dict[str, Any]] = worker.user(user)["snapshot"]["credentials"]
    return rows


async def struck(arena: Arena, fresh: range, old: range, hit: Callable[[], None]) -> None:
    """Commit the transaction, and hit as soon as its first rows are in Kafka.

    Seen at the broker, and nobody is asked whether there is work: a busy worker answers when all of it has arrived.
    """
    wanted = {str(user).encode() for user in fresh}
    async with asyncio.timeout(120), reading(arena) as consumer:
        await asyncio.to_thread(transaction, arena, fresh, old)
        while wanted:
            for records in (await consumer.getmany(timeout_ms=20)).values():
                wanted -= {record.key for record in records}
        arena.strike(hit, pending=len(BETWEEN) * ROUNDS)


@asynccontextmanager
async def reading(arena: Arena) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of the source from its present end on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=arena.sync.env["KAFKA_BOOTSTRAP_SERVERS"], fetch_max_wait_ms=20)
    await consumer.start()
    try:
        tps = [TopicPartition("legacy.identity", number) for number in range(12)]
        consumer.assign(tps)
        for tp, offset in (await consumer.end_offsets(tps)).items():
            consumer.seek(tp, offset)
        yield consumer
    finally:
        await consumer.stop()
