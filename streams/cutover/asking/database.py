"""Asks the legacy database for its open transactions, and how fast the slot follows."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from streams.cutover.freeze import Passage, Transaction
from streams.doctor.asking import AwayError
from streams.doctor.asking.database import connected, words
from streams.source.look import slot_now

if TYPE_CHECKING:
    from streams.settings import Settings

#: Seconds between two looks at the slot, and for all of them beside the wait for a heartbeat.
_EVERY, PATIENCE = 0.25, 10.0

#: Pid and transaction number are shown to every role, since when only to some. Autovacuum writes no user's row.
_TRANSACTIONS = sql.SQL(
    "SELECT pid || '/' || backend_xid AS key, pid::text AS name, "
    "coalesce(nullif(application_name, ''), 'no application name') || ' as ' || coalesce(usename, '?') AS who, "
    "extract(epoch FROM now() - xact_start)::float8 AS seconds, false AS prepared "
    "FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database() "
    # A heartbeat, which writes no user's row either.
    "AND usename IS DISTINCT FROM {capturing} "
    "AND backend_type IS DISTINCT FROM 'autovacuum worker' "
    "UNION ALL SELECT gid, gid, 'prepared by ' || owner, extract(epoch FROM now() - prepared)::float8, true "
    "FROM pg_prepared_xacts WHERE database = current_database()"
)


async def transactions(settings: Settings) -> list[Transaction]:
    """Those that have written and are open now: as the administrator where LEGACY_ADMIN_URL is set.

    Raises:
        AwayError: the database cannot be asked.
    """
    url = settings.source.admin_url or settings.source.url
    if url is None:
        raise AwayError("LEGACY_DATABASE_URL is not set", "Set it.")
    query = _TRANSACTIONS.format(capturing=sql.Literal(settings.source.role))
    try:
        async with connected(url.reveal()) as connection:
            rows = await (await connection.execute(query)).fetchall()
    except (psycopg.Error, OSError) as error:
        raise AwayError(words(error, url.reveal()), "Look at the server's log.") from None
    return [_transaction(row) for row in rows]


def _transaction(row: dict[str, Any]) -> Transaction:
    """Names are chosen by whoever connects: they stay on one line."""
    return Transaction(**row | {name: " ".join(row[name].split()) for name in ("name", "who")})


async def passage(settings: Settings) -> Passage:
    """See how long it takes until Kafka has confirmed what is in the WAL now; heartbeats move the slot of a quiet one.

    Raises:
        LegacyAwayError: the database cannot be asked.
    """
    began, patience = time.monotonic(), PATIENCE + settings.source.heartbeat_ms / 1000
    slot, wanted = await slot_now(settings)
    while True:
        seconds = time.monotonic() - began
        if slot is None or wanted is None:
            return Passage(None, None, patience)
        if slot.confirmed is not None and slot.confirmed >= wanted:
            return Passage(seconds, slot.lag_bytes or 0, patience)
        if seconds > patience:
            return Passage(None, slot.lag_bytes or 0, patience)
        await asyncio.sleep(_EVERY)  # nothing tells when a slot moves
        slot, _ = await slot_now(settings)
