"""The connector's stored position, read from Kafka Connect's own topic: it is there also while Connect is away.

Only the end of the topic is read: a connector with a heartbeat stores its position every second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams import kafka

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.settings import Settings

_TAIL = 500  # records
_PATIENCE = 5.0  # seconds


async def stored_offset(settings: Settings) -> int | None:
    """The stored position as an LSN; None when there is none, or when it cannot be read (another Connect's topic)."""
    tp = TopicPartition(settings.topics.connect_offsets, 0)
    consumer = kafka.consumer(settings.kafka)
    records: list[tuple[bytes | None, bytes | None]] = []
    try:
        async with asyncio.timeout(_PATIENCE):
            await consumer.start()
            consumer.assign([tp])
            first, end = (await consumer.beginning_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
            consumer.seek(tp, max(first, end - _TAIL))
            async for _, batch in kafka.read_until(consumer, {tp: end}):
                records += [(record.key, record.value) for record in batch]
    except (KafkaError, OSError, TimeoutError):
        return None
    finally:
        await consumer.stop()
    return newest(records, settings.source.name)


def newest(records: Iterable[tuple[bytes | None, bytes | None]], name: str) -> int | None:
    """The last position of this connector among these records: key `["NAME", {…}]`, value `{"lsn": …, …}`."""
    found: int | None = None
    for key, value in records:
        try:
            if key is None or orjson.loads(key)[0] != name:
                continue
            lsn = position(orjson.loads(value)) if value is not None else None
        except (ValueError, TypeError, LookupError, AttributeError):
            continue  # none of a source connector's
        found = lsn
    return found


def position(offset: Mapping[str, Any]) -> int | None:
    """The LSN of a stored position: of its last commit, or of a row behind that.

    Within a transaction that was open for a while its rows have LSNs below those of commits that were streamed before,
    and the slot stands at the last of these.
    """
    known = [int(lsn) for name in ("lsn", "lsn_commit") if (lsn := offset.get(name)) is not None]
    return max(known, default=None)
