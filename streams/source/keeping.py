"""What it costs the database that nobody reads the slot: the WAL that PostgreSQL keeps for it, and the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from streams.legacy import Legacy, LegacyAwayError

if TYPE_CHECKING:
    from streams.settings import Settings

_KEPT = sql.SQL(
    "SELECT pg_size_bytes(current_setting('max_slot_wal_keep_size')) AS most, "
    "(SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END "
    "FROM pg_replication_slots WHERE slot_name = {name}) AS kept"
)


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of WAL kept for the slot (None: there is none), and the most that are kept (None: no limit).

    `away` says why the database could not be asked, "" when it could.
    """

    kept: int | None = None
    most: int | None = None
    away: str = ""

    def __str__(self) -> str:
        """In a sentence, for a person who stops the connector."""
        if self.away:
            return f"How much WAL PostgreSQL keeps for the slot cannot be asked: {self.away}."
        if self.kept is None:
            return "There is no replication slot, so PostgreSQL keeps no WAL for it."
        now = f"PostgreSQL keeps {size(self.kept)} of WAL for the slot now"
        if self.most is None:
            return f"{now}, more with each change, and without a limit: watch the disk of the database."
        return (
            f"{now}, more with each change. Beyond {size(self.most)} (max_slot_wal_keep_size) the slot is lost, and "
            "that takes a `source repair`."
        )


async def keeping(settings: Settings) -> Kept:
    """Ask the database; what does not answer is noted, not raised."""
    legacy = Legacy(settings)
    try:
        (row,) = await legacy.query(_KEPT.format(name=sql.Literal(settings.source.name)))
    except LegacyAwayError as error:
        return Kept(away=str(error))
    finally:
        await legacy.close()
    return Kept(row["kept"], row["most"] if row["most"] >= 0 else None)


def size(number: int) -> str:
    """Bytes, by 1024 as PostgreSQL counts them."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if number >= 1 << power:
            return f"{number / (1 << power):,.1f} {unit}"
    return f"{number / 1024:.1f} KiB"
