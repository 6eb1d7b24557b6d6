"""What the shop's software does to its tables: one function for each kind of change, one transaction each."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from random import Random

import psycopg

from demo.legacy.hashes import bcrypt_hash
from demo.legacy.rows import (
    COST,
    GOOD,
    HAS_HASH,
    HAS_TOTP,
    Connection,
    address_of,
    insert,
    insert_password,
    new_id,
    pick,
)

_MAX_TRIES = 5
Make = Callable[[Connection, Random, list[int]], Awaitable["Change | None"]]


class Effect(Enum):
    """What a change does to a user at cidaas."""

    STATE = "state"  # a new state arrives
    GONE = "gone"  # the user is removed
    NONE = "none"  # nothing arrives by itself


@dataclass(frozen=True, slots=True)
class Change:
    """A committed transaction. `committed` is the moment (Unix seconds) just before COMMIT was sent."""

    committed: float
    effects: tuple[tuple[int, Effect], ...]
    kind: str = ""
    held: bool = False  # a delete is in it, which leaves late on purpose
    email: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    @property
    def touched(self) -> tuple[int, ...]:
        """All users of the change."""
        return tuple(user for user, _ in self.effects)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of change; `deletes` is how many users one of it deletes."""

    make: Make
    deletes: int = 0


async def sign_up(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Insert a user and its password, two rows in one transaction."""
    for _ in range(_MAX_TRIES):
        try:
            async with conn.transaction():
                user = await new_id(conn, rng, avoid)
                email = f"neu.{user}.{rng.randrange(10**6)}@example.org"
                word = await insert(conn, rng, user, email)
                moment = time.time()
        except psycopg.errors.UniqueViolation:  # somebody else took the id
            continue
        return Change(moment, ((user, Effect.STATE),), email=email, password=word)
    return None


async def profile(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Change name, address and newsletter; some become NULL."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        values = (f"Änne-{rng.randrange(1000)}", rng.choice(("Lübeck", "Würzburg", None)), f"Weg {rng.randrange(99)}")
        await conn.execute(
            "UPDATE users SET given_name = %s, city = %s, street_address = %s, newsletter = NOT newsletter,"
            " updated_at = now() WHERE id = %s",
            (*values, users[0]),
        )
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),))


async def email(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Change the address."""
    return await _email(conn, rng, avoid, GOOD, "umzug.{id}.{n}@example.net", Effect.STATE)


async def email_cured(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Correct an address that cidaas refuses."""
    broken = f"NOT {GOOD} AND email !~ ' $'"
    return await _email(conn, rng, avoid, broken, "geheilt.{id}.{n}@example.org", Effect.STATE)


async def email_refused(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Change to an address that cidaas refuses: the user stays there as it was."""
    return await _email(conn, rng, avoid, GOOD, "wegwerf.{id}.{n}@mailinator.com", Effect.NONE)


async def email_swap(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Two users swap their addresses, by way of a third in between: addresses are unique."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid, GOOD, count=2)
        if len(users) < 2:
            return None
        rows = await (await conn.execute("SELECT id, email FROM users WHERE id = ANY(%s)", (users,))).fetchall()
        (one, his), (other, hers) = rows
        for user, address in ((one, f"tausch.{one}@example.org"), (other, his), (one, hers)):
            await conn.execute("UPDATE users SET email = %s, updated_at = now() WHERE id = %s", (address, user))
        moment = time.time()
    return Change(moment, ((one, Effect.STATE), (other, Effect.STATE)))


async def password(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Change the newest password in its row."""
    word = f"neu-{rng.randrange(10**9)}"
    secret = bcrypt_hash(word, COST, rng)
    async with conn.transaction():
        users = await pick(conn, rng, avoid, f"{GOOD} AND status = 'active' AND {HAS_HASH}")
        if not users:
            return None
        await conn.execute(
            "UPDATE credentials SET algorithm = 'bcrypt', secret = %s, salt = NULL, params = NULL, updated_at = now()"
            " WHERE id = (SELECT id FROM credentials WHERE user_id = %s AND kind = 'password'"
            " ORDER BY coalesce(updated_at, created_at) DESC, id DESC LIMIT 1)",
            (secret, users[0]),
        )
        address = await address_of(conn, users[0])
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),), email=address, password=word)


async def password_replaced(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Delete all passwords and insert a new one: in between the user has none (C7)."""
    word = f"ersetzt-{rng.randrange(10**9)}"
    secret = bcrypt_hash(word, COST, rng)
    async with conn.transaction():
        users = await pick(conn, rng, avoid, f"{GOOD} AND status = 'active' AND {HAS_HASH}")
        if not users:
            return None
        await conn.execute("DELETE FROM credentials WHERE user_id = %s AND kind = 'password'", (users[0],))
        await insert_password(conn, users[0], secret)
        address = await address_of(conn, users[0])
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),), email=address, password=word)


async def totp_on(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Enrol a second factor."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid, f"{GOOD} AND NOT {HAS_TOTP}")
        if not users:
            return None
        seed = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=32))
        await conn.execute(
            "INSERT INTO credentials (user_id, kind, algorithm, secret, params) VALUES (%s, 'totp', 'SHA1', %s, %s)",
            (users[0], seed, json.dumps({"digits": 6, "period": 30})),
        )
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),))


async def totp_off(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Remove the second factor."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid, f"{GOOD} AND {HAS_TOTP}")
        if not users:
            return None
        await conn.execute("DELETE FROM credentials WHERE user_id = %s AND kind = 'totp'", (users[0],))
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),))


async def moved_credential(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Give a password row to another user, as when two accounts are merged by hand."""
    async with conn.transaction():
        givers = await pick(conn, rng, avoid, f"{GOOD} AND {HAS_HASH}")
        takers = await pick(conn, rng, [*avoid, *givers]) if givers else []
        if not takers:
            return None
        await conn.execute(
            "UPDATE credentials SET user_id = %s, updated_at = now() WHERE id = (SELECT id FROM credentials"
            " WHERE user_id = %s AND kind = 'password'"
            " ORDER BY coalesce(updated_at, created_at) DESC, id DESC LIMIT 1)",
            (takers[0], givers[0]),
        )
        moment = time.time()
    return Change(moment, ((givers[0], Effect.STATE), (takers[0], Effect.STATE)))


async def status(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Lock an active user, or let one in who was locked or pending."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        await conn.execute(
            "UPDATE users SET status = CASE status WHEN 'active' THEN 'locked' ELSE 'active' END, updated_at = now()"
            " WHERE id = %s",
            (users[0],),
        )
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),))


async def soft_delete(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Mark a user as deleted."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        await conn.execute("UPDATE users SET status = 'deleted', updated_at = now() WHERE id = %s", (users[0],))
        moment = time.time()
    return Change(moment, ((users[0], Effect.GONE),), held=True)


async def revived(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Take the mark from a user who was marked as deleted."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid, GOOD, among="status = 'deleted'")
        if not users:
            return None
        await conn.execute("UPDATE users SET status = 'active', updated_at = now() WHERE id = %s", (users[0],))
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),))


async def hard_delete(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Delete a user's row; its credentials go with it."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        await conn.execute("DELETE FROM users WHERE id = %s", (users[0],))
        moment = time.time()
    return Change(moment, ((users[0], Effect.GONE),), held=True)


async def again_same_id(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Delete a user and, in the next transaction, insert one with the same id and address."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        address = await address_of(conn, users[0])
        await conn.execute("DELETE FROM users WHERE id = %s", (users[0],))
    async with conn.transaction():
        word = await insert(conn, rng, users[0], address)
        moment = time.time()
    return Change(moment, ((users[0], Effect.STATE),), held=True, email=address, password=word)


async def again_new_id(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Delete a user who, in the next transaction, signs up again with the same address and gets a new id."""
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        address = await address_of(conn, users[0])
        fresh = await new_id(conn, rng, avoid)
        await conn.execute("DELETE FROM users WHERE id = %s", (users[0],))
    async with conn.transaction():
        word = await insert(conn, rng, fresh, address)
        moment = time.time()
    return Change(moment, ((users[0], Effect.GONE), (fresh, Effect.STATE)), held=True, email=address, password=word)


async def login_only(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Write the time of a log-in: a lazy field, no call."""
    return await _without_effect(conn, rng, avoid, "UPDATE users SET last_login_at = now() WHERE id = %s")


async def no_op(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Write what is there already."""
    return await _without_effect(
        conn, rng, avoid, "UPDATE users SET city = city, newsletter = newsletter WHERE id = %s"
    )


async def rolled_back(conn: Connection, rng: Random, avoid: list[int]) -> Change | None:
    """Change and delete, and roll it all back."""
    async with conn.transaction(force_rollback=True):
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        await conn.execute("UPDATE users SET email = 'nie.' || email WHERE id = %s", (users[0],))
        await conn.execute("DELETE FROM users WHERE id = %s", (users[0],))
    return Change(time.time(), ((users[0], Effect.NONE),))


async def _without_effect(conn: Connection, rng: Random, avoid: list[int], statement: str) -> Change | None:
    async with conn.transaction():
        users = await pick(conn, rng, avoid)
        if not users:
            return None
        await conn.execute(statement.encode(), (users[0],))
        moment = time.time()
    return Change(moment, ((users[0], Effect.NONE),))


async def _email(
    conn: Connection, rng: Random, avoid: list[int], who: str, address: str, effect: Effect
) -> Change | None:
    async with conn.transaction():
        users = await pick(conn, rng, avoid, who)
        if not users:
            return None
        fresh = address.format(id=users[0], n=rng.randrange(10**6))
        await conn.execute("UPDATE users SET email = %s, updated_at = now() WHERE id = %s", (fresh, users[0]))
        moment = time.time()
    return Change(moment, ((users[0], effect),), email=fresh)
