"""Rows of the example legacy database: whom a change is made to, and how a user is inserted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection, sql

from demo.legacy.hashes import bcrypt_hash

if TYPE_CHECKING:
    from random import Random

Connection = AsyncConnection[tuple[Any, ...]]

COST = 6  # quick to make and to verify; the seeded users have 4 to 12
# Users whom cidaas takes: a change of theirs can arrive.
GOOD = r"u.email ~* '^[a-z0-9.]+@([a-z]+\.)?example\.(org|net)$'"
HAS_HASH = "EXISTS (SELECT FROM credentials c WHERE c.user_id = u.id AND c.kind = 'password')"
HAS_TOTP = "EXISTS (SELECT FROM credentials c WHERE c.user_id = u.id AND c.kind = 'totp')"


async def pick(
    conn: Connection,
    rng: Random,
    avoid: list[int],
    who: str = GOOD,
    *,
    count: int = 1,
    among: str = "status <> 'deleted'",
) -> list[int]:
    """Lock `count` users at a random place of the table whom nobody else is changing; fewer if there are none."""
    bounds = await (await conn.execute("SELECT min(id), max(id) FROM users")).fetchone()
    if bounds is None or bounds[0] is None:
        return []
    query = sql.SQL(
        "SELECT id FROM users u WHERE id {} %s AND {} AND {} AND NOT id = ANY(%s::bigint[])"
        " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED"
    )
    start = rng.randint(bounds[0], bounds[1])
    users: list[int] = []
    for side in (">=", "<"):
        statement = query.format(sql.SQL(side), sql.SQL(among), sql.SQL(who))
        rows = await (await conn.execute(statement, (start, avoid, count - len(users)))).fetchall()
        users += [row[0] for row in rows]
        if len(users) >= count:
            break
    return users


async def new_id(conn: Connection, rng: Random, avoid: list[int]) -> int:
    """An id that was never used, as a sequence would give it; gaps are usual."""
    row = await (await conn.execute("SELECT coalesce(max(id), 0) FROM users")).fetchone()
    assert row is not None
    return max(int(row[0]), *avoid, 0) + rng.randint(1, 3)


async def address_of(conn: Connection, user: int) -> str:
    """Read the user's e-mail."""
    row = await (await conn.execute("SELECT email FROM users WHERE id = %s", (user,))).fetchone()
    assert row is not None
    return str(row[0])


async def insert(conn: Connection, rng: Random, user: int, address: str) -> str:
    """Insert a user and its password; return the password."""
    word = f"start-{rng.randrange(10**9)}"
    await conn.execute(
        "INSERT INTO users (id, email, username, given_name, family_name, locale, customer_number)"
        " VALUES (%s, %s, %s, %s, %s, 'de-DE', %s)",
        (user, address, f"kunde{user}" if user % 2 else None, "Jörg", f"Weiß-{rng.randrange(1000)}", f"K-{user:07d}"),
    )
    await insert_password(conn, user, bcrypt_hash(word, COST, rng))
    return word


async def insert_password(conn: Connection, user: int, secret: str) -> None:
    """Insert a bcrypt password."""
    await conn.execute(
        "INSERT INTO credentials (user_id, kind, algorithm, secret) VALUES (%s, 'password', 'bcrypt', %s)",
        (user, secret),
    )
