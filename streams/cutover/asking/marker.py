"""Writes a marker into the WAL of the legacy database: a message in a transaction of its own, and no row."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from psycopg import errors, sql

from streams.cutover.record import Marker
from streams.doctor.asking import AwayError
from streams.doctor.asking.database import connected, words
from streams.source.connector import MARKER_PREFIX

if TYPE_CHECKING:
    from streams.settings import Settings

_EMIT = sql.SQL(
    "SELECT pg_wal_lsn_diff(pg_logical_emit_message(true, {prefix}::text, {id}::text), '0/0')::bigint AS lsn"
)


async def emit(settings: Settings) -> Marker:
    """Write one, as the reading role, which may: a message changes nothing. Else as the administrator.

    Raises:
        AwayError: neither of them could.
    """
    marker = str(uuid4())
    statement = _EMIT.format(prefix=sql.Literal(MARKER_PREFIX), id=sql.Literal(marker))
    why = AwayError("LEGACY_DATABASE_URL is not set", "Set it.")
    for secret in (settings.source.url, settings.source.admin_url):
        if secret is None:
            continue
        try:
            async with connected(secret.reveal()) as connection:
                row = await (await connection.execute(statement)).fetchone()
        except errors.InsufficientPrivilege as error:
            remedy = "GRANT EXECUTE ON FUNCTION pg_logical_emit_message(boolean, text, text), or set LEGACY_ADMIN_URL."
            why = AwayError(words(error, secret.reveal()), remedy)
        except (psycopg.Error, OSError) as error:
            raise AwayError(words(error, secret.reveal()), "Look at the server's log.") from None
        else:
            assert row is not None
            return Marker(marker, int(row["lsn"]))
    raise why
