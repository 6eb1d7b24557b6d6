"""The running load: changes of every kind by a few writers, from a seed that is printed, until it is stopped.

Single changes are those of the demo (`demo/legacy/changes.py`) and the ones below; the large ones are asked for by name
(`copy_rows`, `large_transaction`, `held_open`), because a fault wants them at a moment of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter, deque
from random import Random
from typing import TYPE_CHECKING, Any

import psycopg

from demo.legacy import changes
from demo.legacy.kinds import Change, Effect
from demo.legacy.rows import GOOD, new_id, pick
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from demo.legacy.rows import Connection

#: Each kind as often as this among all changes. Deletes are many more than in life: they are what cannot be taken back.
MIX: dict[str, int] = {
    "sign-up": 45, "profile": 60, "e-mail": 30, "e-mail swap": 8, "password": 40, "password replaced": 25,
    "TOTP on": 12, "TOTP off": 10, "moved credential": 12, "status": 12, "soft delete": 8, "hard delete": 8,
    "revived": 6, "deleted, same id again": 8, "deleted, new id": 6, "log-in only": 15, "no-op": 10, "rollback": 8,
    "savepoint": 8, "primary key": 4,
}  # fmt: skip
_NO_PASSWORD = "NOT EXISTS (SELECT FROM credentials c WHERE c.user_id = u.id)"
#: A user that only the arena's marks change, one whose every value is a canary, and users of a test's own
#: (`arena.own`): no load touches them. Ids lie close together: a user is picked by a random id, so that the one behind
#: a large gap would be picked nearly always.
MARKER, CANARY_USER = (1_991, 1_992)
OWN = range(1_511, 1_991)
RESERVED = (MARKER, CANARY_USER, *OWN)
_AWAY = 180.0  # seconds the database may be away


class Load:
    """Writers on the legacy tables at `url`; `rate` is changes a second of all writers together.

    Use it as a context manager: leaving it stops the writers and raises what went wrong in them.
    """

    def __init__(self, url: str, seed: int, *, rate: float = 60.0, writers: int = 3, mix: Mapping[str, int] = MIX):
        self.seed = seed
        self._url, self._rate, self._writers = url, rate, writers
        self._mix = dict(mix)
        self._stop = threading.Event()
        #: users of the newest changes: the next ones are of others, so that the load spreads.
        self._avoid: deque[int] = deque(maxlen=100)
        self.made: Counter[str] = Counter()
        #: users whose commit was not answered: it may or may not have happened.
        self.unanswered = 0
        self.committed_at = 0.0
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._run, args=(number,), name=f"writer-{number}", daemon=True)
            for number in range(writers)
        ]

    def __enter__(self) -> Load:
        print(f"load: seed {self.seed}, {self._rate:.0f} changes a second by {self._writers} writers")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        if self._error is not None:
            raise AssertionError(f"the load itself failed (seed {self.seed})") from self._error

    @property
    def count(self) -> int:
        """Changes committed until now."""
        return sum(self.made.values())

    def more(self, changes: int, seconds: float = 90.0) -> None:
        """Wait until so many more changes have been committed."""
        wanted = self.count + changes
        until(lambda: self.count >= wanted or self._error, f"{changes} more changes made", seconds)
        assert self._error is None, f"seed {self.seed}: {self._error!r}"

    def _run(self, number: int) -> None:
        try:
            asyncio.run(self._write(Random(f"{self.seed}/{number}")))
        except BaseException as error:  # shown by `more` and at the end, in the test's own thread
            self._error = error

    async def _write(self, rng: Random) -> None:
        kinds, weights = list(self._mix), list(self._mix.values())
        connection = await connected(self._url)
        pause = self._writers / self._rate
        due = time.monotonic()
        while not self._stop.is_set():
            kind = rng.choices(kinds, weights)[0]
            try:
                change = await make(kind, connection, rng, [*RESERVED, *list(self._avoid)])
            except (
                psycopg.errors.DeadlockDetected,
                psycopg.errors.UniqueViolation,
                psycopg.errors.ForeignKeyViolation,
                psycopg.errors.SerializationFailure,
            ):
                continue  # two writers met; the transaction is rolled back
            except psycopg.OperationalError:
                self.unanswered += 1
                with contextlib.suppress(psycopg.Error):
                    await connection.close()
                if self._stop.is_set():
                    return
                connection = await connected(self._url)
                continue
            if change is not None:
                self.made[kind] += 1
                self.committed_at = time.time()
                self._avoid.extend(change.touched)
            due = max(due + pause, time.monotonic() - 1.0)
            await asyncio.sleep(max(0.0, due - time.monotonic()))  # the rate of the load, no wait for a condition
        await connection.close()


async def connected(url: str) -> Connection:
    """A connection; a database that is away is awaited."""
    deadline = time.monotonic() + _AWAY
    while True:
        try:
            return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)  # a poll: a database that is starting cannot call back


async def make(kind: str, connection: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Make one change of this kind; None if no user fits."""
    own = _OWN.get(kind)
    return await (own(connection, rng, avoid) if own else changes.one(kind, connection, rng, avoid))


async def savepoint(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Change the name, then the address and back: what was rolled back to a savepoint must not arrive."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        await conn.execute("UPDATE users SET given_name = 'Vorher', updated_at = now() WHERE id = %s", (users[0],))
        async with conn.transaction(force_rollback=True):
            await conn.execute("UPDATE users SET email = 'nie.' || email WHERE id = %s", (users[0],))
            await conn.execute("DELETE FROM credentials WHERE user_id = %s", (users[0],))
        name = f"Nachher-{rng.randrange(1000)}"
        await conn.execute("UPDATE users SET given_name = %s, updated_at = now() WHERE id = %s", (name, users[0]))
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),))


async def primary_key(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Give a user without credentials another id: the old one's end, and a new user."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid, f"{GOOD} AND {_NO_PASSWORD}")
        if not users:
            return None
        fresh = await new_id(conn, rng, avoid)
        await conn.execute("UPDATE users SET id = %s, updated_at = now() WHERE id = %s", (fresh, users[0]))
        moment = time.time()
    return Change(moment, ((users[0], Effect.GONE), (fresh, Effect.STATE)), held=True)


_OWN: dict[str, Any] = {"savepoint": savepoint, "primary key": primary_key}


# -- large ones -------------------------------------------------------------------------------------------------------


def copy_rows(url: str, count: int = 5_000) -> range:
    """COPY so many new users in one transaction; their ids."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        row = connection.execute("SELECT max(id) + 1 FROM users").fetchone()
        assert row is not None
        users = range(int(row[0]), int(row[0]) + count)
        with connection.cursor() as cursor, cursor.copy("COPY users (id, email, given_name) FROM STDIN") as copy:
            for user in users:
                copy.write_row((user, f"kopie.{user}@example.org", "Kopie"))
    return users


def large_transaction(url: str, rows: int = 20_000) -> None:
    """Change that many rows in one transaction: the same users several times where there are fewer."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        left, number = rows, 0
        while left > 0:
            number += 1
            done = connection.execute(
                "UPDATE users SET given_name = %s, updated_at = now() WHERE id IN (SELECT id FROM users"
                " WHERE status <> 'deleted' ORDER BY id LIMIT %s)",
                (f"Groß-{number}", left),
            )
            left -= max(done.rowcount, 1)


@contextlib.contextmanager
def held_open(url: str, users: int = 20) -> Any:
    """Hold a transaction open that has changed some users at its beginning; commit at the end of the block."""
    with psycopg.connect(url, connect_timeout=10) as connection:
        connection.execute(
            "UPDATE users SET given_name = 'Lange', updated_at = now() WHERE id IN (SELECT id FROM users"
            " WHERE status <> 'deleted' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)",
            (users,),
        )
        yield
