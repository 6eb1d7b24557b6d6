"""What a worker writes into the audit: under which configuration it started, and how it ended."""

from __future__ import annotations

import asyncio
import logging
import platform
from typing import TYPE_CHECKING, Any

import faust
from aiokafka.errors import KafkaError

from streams import VERSION
from streams.audit.fingerprint import digests, fingerprint
from streams.audit.records import WORKER, Act, Actor, Hiding
from streams.audit.topic import PATIENCE, append
from streams.causes import why
from streams.source.connect import Connect, ConnectError
from streams.source.connector import PLUGIN

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

    from streams.settings import Settings

log = logging.getLogger(__name__)

#: Seconds for Kafka Connect to say which version it has, and for the last record: a stop has to end.
_ASKING, _LAST = 3.0, 1.0


class Logbook:
    """The two records of one worker's life. What cannot be written is logged: a worker without them is a whole one."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, worker: str, folder: str = "") -> None:
        """`folder` is the data folder of this worker: what `cutover finish` will have to delete."""
        self._settings, self._producer = settings, producer
        found = digests(settings)
        self._act = Act(
            WORKER,
            [],
            Actor.here(),
            {"worker": worker, "folder": folder, "fingerprint": fingerprint(found), "settings": found, "versions": {}},
        )
        self._beginning: asyncio.Task[bool] | None = None

    def begin(self) -> None:
        """Write the first record, in the background: nothing waits for Kafka Connect's answer."""
        self._beginning = asyncio.create_task(self._begin(), name="audit")

    async def _begin(self) -> bool:
        self._act.more["versions"] = await versions(self._settings)
        return await self._write(self._act.began(), PATIENCE)

    async def end(self, code: int, said: str) -> bool:
        """Write the last record, which holds a start that has not been written; tell whether the broker has it."""
        if self._beginning is None:
            return False
        done, _ = await asyncio.wait([self._beginning], timeout=_LAST)
        self._beginning.cancel()
        begun = bool(done) and self._beginning.exception() is None and self._beginning.result()
        hiding = Hiding.of(self._settings)
        return await self._write(self._act.ended(code, hiding(said), changed=None, late=not begun), _LAST)

    async def _write(self, record: dict[str, Any], seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await append(self._producer, self._settings.topics.audit, record)
        except (KafkaError, OSError) as error:
            log.warning("not written to the audit phase=%s: %s", record["phase"], why(error))
            return False
        return True


async def versions(settings: Settings) -> dict[str, str]:
    """What runs here, and the oldest version of the connector's plugin; "" when Kafka Connect does not say."""
    return {
        "app": VERSION,
        "faust": faust.__version__,
        "python": platform.python_version(),
        "debezium": await _debezium(settings),
    }


async def _debezium(settings: Settings) -> str:
    try:
        async with (
            asyncio.timeout(_ASKING),
            Connect(settings.connect, timeout=_ASKING, rebalance=0) as connect,
        ):
            return min(await connect.versions(PLUGIN), default="")
    except (ConnectError, TimeoutError, KeyError, TypeError, ValueError):
        return ""
