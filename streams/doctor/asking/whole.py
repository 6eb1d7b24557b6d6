"""Asks for what has to fit together: database, Connect's stored position, and what was written down before."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from streams.doctor.asking import AwayError
from streams.doctor.asking.broker import topic_names
from streams.doctor.asking.worker import away
from streams.doctor.consistency import Whole
from streams.identity import RefusedError
from streams.legacy import Legacy, LegacyAwayError
from streams.offline import control_state
from streams.source.look import Eye, Look

if TYPE_CHECKING:
    from typing import Any

    from streams.settings import Settings
    from streams.source.connect import ConnectError

#: Seconds for each question.
PATIENCE = 2.0


class _Careful(Eye):
    """Looks as the guard does, but reads no topic that is not there: a broker may make it, with other settings."""

    def __init__(self, settings: Settings, topics: frozenset[str]) -> None:
        super().__init__(settings, PATIENCE)
        self._readable = settings.topics.connect_offsets in topics

    def _why(self, error: ConnectError) -> str:
        return away(error, self._connect.url)

    async def _stored(self) -> int | None:
        return await super()._stored() if self._readable else None


async def ask(settings: Settings) -> Whole:
    """Look at slot, position and publication, and read the control topic; what does not answer is noted."""
    if settings.source.url is None and settings.source.admin_url is None:
        return Whole(Look(database_away="no address of it is set"), None)
    try:
        topics = await topic_names(settings)
    except AwayError:
        topics = frozenset()
    eye = _Careful(await _answering(settings), topics)
    try:
        look, state = await asyncio.gather(eye.look(), _state(settings, topics))
    finally:
        await eye.close()
    return Whole(look, state)


async def _answering(settings: Settings) -> Settings:
    """The settings, with an address of the database that works: before `cdc enable` only the administrator's does."""
    source = settings.source
    if source.url is None or source.admin_url is None:
        return replace(settings, source=replace(source, url=source.url or source.admin_url))
    legacy = Legacy(settings, PATIENCE)
    try:
        async with legacy.moment():
            return settings
    except LegacyAwayError:
        return replace(settings, source=replace(source, url=source.admin_url))
    finally:
        await legacy.close()


async def _state(settings: Settings, topics: frozenset[str]) -> dict[str, dict[str, Any]] | None:
    """The control topic; it is read together with two others."""
    names = settings.topics
    if not {names.control, names.notifications, names.message} <= topics:
        return None
    try:
        return await control_state(settings, PATIENCE)
    except RefusedError:
        return None
