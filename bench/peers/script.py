"""The one-time script: psycopg and httpx, no streaming (`python -m bench.peers.script`).

A server-side cursor reads both tables in one query, windows are sent on threads, confirmed ids are appended to a file,
and it ends. What changes meanwhile or later is nobody's business: that makes it quick, and of no use for weeks.
"""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from bench.peers.blocking import BlockingCalls
from bench.peers.entity import entity_of
from bench.peers.options import options
from bench.people import json_row

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 2_000  # rows of one FETCH
USERS = """
SELECT u.*, c.id AS credential_id, c.kind, c.algorithm, c.secret,
       c.created_at AS credential_created_at, c.updated_at AS credential_updated_at
  FROM users u LEFT JOIN credentials c ON c.user_id = u.id
 ORDER BY u.id
"""
_CREDENTIAL = {
    "credential_id": "id",
    "kind": "kind",
    "algorithm": "algorithm",
    "secret": "secret",
    "credential_created_at": "created_at",
    "credential_updated_at": "updated_at",
}


def snapshots(database: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read all users with their credentials, in the order of the id."""
    with (
        psycopg.connect(database, options="-c timezone=UTC") as connection,
        connection.cursor("users", row_factory=dict_row) as cursor,
    ):
        cursor.itersize = CHUNK
        cursor.execute(USERS)
        user_id = ""
        snapshot: dict[str, Any] = {}
        for row in cursor:
            values = json_row(row)  # dates and times as Debezium writes them
            if str(row["id"]) != user_id:
                if snapshot:
                    yield user_id, snapshot
                user_id, snapshot = str(row["id"]), {"user": values, "credentials": {}}
            if row["credential_id"] is not None:
                credential = {name: values[column] for column, name in _CREDENTIAL.items()}
                snapshot["credentials"][str(credential["id"])] = credential
        if snapshot:
            yield user_id, snapshot


def windows(chosen: argparse.Namespace, confirmed: set[str]) -> Iterator[dict[str, dict[str, Any]]]:
    """Gather entities by id, a window at a time; who is confirmed already is left out."""
    window: dict[str, dict[str, Any]] = {}
    for user_id, snapshot in snapshots(chosen.database):
        entity = entity_of(user_id, snapshot) if user_id not in confirmed else None
        if entity is not None:
            window[user_id] = entity
            if len(window) == chosen.window:
                yield window
                window = {}
    if window:
        yield window


def send(chosen: argparse.Namespace, path: Path) -> None:
    """Send everybody; not more windows are read ahead than are under way."""
    calls = BlockingCalls(chosen.target, chosen.concurrency)
    confirmed = set(path.read_text().split()) if path.exists() else set()
    under_way: dict[Future[None], list[str]] = {}
    with path.open("a") as file, ThreadPoolExecutor(chosen.concurrency) as threads:

        def settle(most: int) -> None:
            while len(under_way) > most:
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    future.result()
                    file.writelines(f"{user_id}\n" for user_id in under_way.pop(future))
                file.flush()

        for window in windows(chosen, confirmed):
            under_way[threads.submit(calls.until_stored, list(window.values()))] = list(window)
            settle(chosen.concurrency)
        settle(0)


def main() -> int:
    """Send everybody, and end."""
    chosen = options("script", database=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # what is not in the file goes again: at least once
    try:
        send(chosen, chosen.state / "confirmed")
    except psycopg.Error as error:
        print(f"the database cannot be read: {error}".strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
