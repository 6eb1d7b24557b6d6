"""What it costs the database that nobody reads the slot: the WAL that PostgreSQL keeps for it, and the limit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.legacy import LegacyAwayError
from streams.quantities import size
from streams.source.look import slot_now

if TYPE_CHECKING:
    from streams.settings import Settings


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
    try:
        slot, _ = await slot_now(settings)
    except LegacyAwayError as error:
        return Kept(away=str(error))
    return Kept() if slot is None else Kept(slot.kept_bytes, slot.limit_bytes)
