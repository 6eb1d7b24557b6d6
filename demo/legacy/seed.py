"""Fills the example legacy database by COPY: `python -m demo.legacy.seed --users 2000` (address: LEGACY_ADMIN_URL).

All in one transaction: an interrupted seeding leaves an empty database. The seed is printed and makes the same
database again; the numbers of each kind of user are returned, so that whoever checks knows what to expect.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

import psycopg
import psycopg.sql

from demo.legacy.people import CREDENTIAL_COLUMNS, USER_COLUMNS, People

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SEED = 2026
_CHUNK = 20_000


def fill(
    connection: psycopg.Connection, count: int, seed: int = SEED, progress: Callable[[int], None] = lambda _: None
) -> Counter[str]:
    """Fill the empty tables with `count` users; return how many of each kind there are.

    `progress` is told the number of users so far; what it raises ends the transaction.
    """
    kinds: Counter[str] = Counter()
    people = iter(People(seed)(count))
    with connection.transaction():
        # Two columns' order is the table's own; COPY by chunks keeps memory small.
        while chunk := list(islice(people, _CHUNK)):
            _copy(connection, "users", USER_COLUMNS, [person.row for person in chunk])
            credentials = [row for person in chunk for row in person.credentials]
            _copy(connection, "credentials", CREDENTIAL_COLUMNS, credentials)
            kinds["users"] += len(chunk)
            kinds["credential rows"] += len(credentials)
            for person in chunk:
                kinds.update(person.marks)
            progress(kinds["users"])
    connection.execute("ANALYZE users, credentials")
    return kinds


def filled(connection: psycopg.Connection) -> bool:
    """Tell whether there are users already."""
    return connection.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None


def _copy(connection: psycopg.Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    statement = psycopg.sql.SQL("COPY {} ({}) FROM STDIN").format(
        psycopg.sql.Identifier(table), psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def main() -> int:
    """Fill the database at LEGACY_ADMIN_URL; exit codes 0 done, 2 refused."""
    parser = argparse.ArgumentParser(prog="python -m demo.legacy.seed", description=__doc__)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    url = os.environ.get("LEGACY_ADMIN_URL")
    if not url:
        print("LEGACY_ADMIN_URL is not set; load the stack's variables: set -a; . .run/stack.env", file=sys.stderr)
        return 2
    with psycopg.connect(url, autocommit=True) as connection:
        if filled(connection):
            print("there are users in the database already; `make clean` forgets them", file=sys.stderr)
            return 2
        kinds = fill(connection, options.users, options.seed)
    print(f"seed {options.seed}: " + ", ".join(f"{number} {kind}" for kind, number in kinds.most_common()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
