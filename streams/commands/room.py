"""Asks how long the slot may go unread: for `status`, and for whoever pauses or looks at somebody who is paused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg

from streams.commands import base
from streams.doctor.asking.catalog import ask_disk
from streams.doctor.asking.database import connected
from streams.legacy import LegacyAwayError
from streams.settings import ConfigError
from streams.source.look import slot_now
from streams.source.memory import recall
from streams.source.room import room
from streams.source.wal import between

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings import Settings
    from streams.source.look import Slot
    from streams.source.room import Room


async def ask(settings: Settings, state: Mapping[str, Any]) -> tuple[Room | None, str]:
    """Ask the database, and a worker for the rate; `state` is the control topic. Else why it cannot be asked."""
    try:
        slot, lsn = await slot_now(settings)
    except (LegacyAwayError, ConfigError) as error:
        return None, str(error)
    try:
        _, worker = await base.ask("/sync/status")
    except base.Away:
        worker = {}
    return await of(settings, slot, worker.get("wal_rate") or remembered(state, lsn)), "there is no slot"


async def words(settings: Settings, state: Mapping[str, Any]) -> str:
    """The same in words, for whom a pause is about."""
    found, why = await ask(settings, state)
    return str(found) if found is not None else f"how long the slot lasts is not known: {why}"


def remembered(state: Mapping[str, Any], lsn: int | None) -> float | None:
    """Bytes of WAL a second since the position that the workers noted last."""
    memory = recall(state)
    if memory is None or memory.at is None or memory.lsn is None or lsn is None:
        return None
    return between((memory.at, memory.lsn), (time.time(), lsn))


async def of(settings: Settings, slot: Slot | None, rate: float | None) -> Room | None:
    """Put together what is known; the disk matters, and is looked at, only where the slot has no limit."""
    free = await _free(settings) if slot is not None and slot.limit_bytes is None else None
    return room(slot, rate, free)


async def _free(settings: Settings) -> int | None:
    """Bytes free on the disk of the WAL: to be seen on the database's own machine, by an administrator."""
    url = settings.source.admin_url
    if url is None:
        return None
    try:
        async with connected(url.reveal()) as connection:
            disk = await ask_disk(connection)
    except (psycopg.Error, OSError):
        return None
    return None if disk is None else disk.free
