"""The legacy database as a test changes it: plain SQL, as the shop's software would send it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import bcrypt
import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


LARGE = 8_000  # characters; PostgreSQL stores such a value apart from its row


@lru_cache
def hashed(word: str) -> str:
    """A bcrypt hash of a password, the cheapest there is."""
    return bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()


def email_of(user: int) -> str:
    """The address that `sign_up` gives."""
    return f"test.{user}@example.org"


class Legacy:
    """The legacy tables at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Connection]:
        """One transaction."""
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            yield connection

    def run(self, statement: str, *values: Any) -> None:
        """Run one statement in a transaction of its own."""
        with self.transaction() as connection:
            connection.execute(statement.encode(), values)

    def sign_up(self, *users: int, word: str = "start", **columns: Any) -> None:
        """Insert users with a password each, all in one transaction."""
        with self.transaction() as connection:
            for user in users:
                insert(connection, user, **columns)
                add_password(connection, user, word)

    def delete(self, *users: int) -> None:
        """Delete the rows, in one transaction; credentials go with them."""
        self.run("DELETE FROM users WHERE id = ANY(%s)", list(users))

    def name(self, user: int, given_name: str) -> None:
        """Change a user's name: the plainest of all changes."""
        self.run("UPDATE users SET given_name = %s, updated_at = now() WHERE id = %s", given_name, user)

    def add_large_password(self, user: int, word: str) -> int:
        """Insert a password row with 8,000 characters beside the hash; return its id."""
        params = json.dumps({"note": "x" * LARGE})
        with self.transaction() as connection:
            return add_password(connection, user, word, params=params)

    def value(self, query: str, *values: Any) -> Any:
        """The first column of the first row."""
        with self.transaction() as connection:
            row = connection.execute(query.encode(), values).fetchone()
        return None if row is None else row[0]

    def ids(self, where: str) -> list[int]:
        """The ids of the users for which `where` holds."""
        with self.transaction() as connection:
            rows = connection.execute(f"SELECT id FROM users WHERE {where} ORDER BY id".encode()).fetchall()
        return [row[0] for row in rows]


def insert(connection: psycopg.Connection, user: int, **columns: Any) -> None:
    """Insert a user row."""
    row = {"id": user, "email": email_of(user), "given_name": "Jörg", "family_name": "Weiß"} | columns
    statement = sql.SQL("INSERT INTO users ({}) VALUES ({})").format(
        sql.SQL(", ").join(map(sql.Identifier, row)), sql.SQL(", ").join(map(sql.Placeholder, row))
    )
    connection.execute(statement, row)


def add_password(connection: psycopg.Connection, user: int, word: str, params: str | None = None) -> int:
    """Insert a password row; return its id."""
    row = connection.execute(
        "INSERT INTO credentials (user_id, kind, algorithm, secret, params) VALUES (%s, 'password', 'bcrypt', %s, %s)"
        " RETURNING id",
        (user, hashed(word), params),
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_many(connection: psycopg.Connection, users: Iterable[int], word: str = "start") -> None:
    """Insert many users with passwords, two rows each."""
    ids = list(users)
    connection.execute(
        "INSERT INTO users (id, email, given_name, family_name)"
        " SELECT id, 'test.' || id || '@example.org', 'Jörg', 'Weiß' FROM unnest(%s::bigint[]) AS id",
        (ids,),
    )
    connection.execute(
        "INSERT INTO credentials (user_id, kind, algorithm, secret)"
        " SELECT id, 'password', 'bcrypt', %s FROM unnest(%s::bigint[]) AS id",
        (hashed(word), ids),
    )
