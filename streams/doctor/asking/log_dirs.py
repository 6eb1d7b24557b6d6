"""Asks brokers how full their disks are; aiokafka has no such request, so its two structures stand here (KIP-827)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

from streams.doctor.server import Disk
from streams.kafka import connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.settings import Kafka


class _Response(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = 35
    API_VERSION = 4
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        (
            "results",
            CompactArray(
                ("error_code", Int16),
                ("log_dir", CompactString("utf-8")),
                (
                    "topics",
                    CompactArray(
                        ("name", CompactString("utf-8")),
                        (
                            "partitions",
                            CompactArray(
                                ("partition_index", Int32),
                                ("partition_size", Int64),
                                ("offset_lag", Int64),
                                ("is_future_key", Boolean),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("total_bytes", Int64),
                ("usable_bytes", Int64),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _RequestV4(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 35
    API_VERSION = 4
    RESPONSE_TYPE = _Response
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("topic", CompactString("utf-8")), ("partitions", CompactArray(Int32)), ("tags", TaggedFields)
            ),
        ),
        ("tags", TaggedFields),
    )


class _DescribeLogDirs(Request[_RequestV4]):  # type: ignore[misc]
    """Of no topic: only the disks are asked for."""

    API_KEY = 35

    def build(self, request_struct_class: type[_RequestV4]) -> _RequestV4:
        return request_struct_class([], {})


async def ask_disks(kafka: Kafka, brokers: Sequence[int], milliseconds: int) -> tuple[Disk, ...] | None:
    """The disks of these brokers; None where they do not tell: before Kafka 3.3, or without DESCRIBE on the cluster."""
    client = AIOKafkaClient(**connection(kafka), request_timeout_ms=milliseconds)
    try:
        async with asyncio.timeout(milliseconds / 1000):
            await client.bootstrap()
            answers = await asyncio.gather(*(client.send(broker, _DescribeLogDirs()) for broker in brokers))
    except (KafkaError, NotImplementedError, OSError):  # a time-out is an OSError
        return None
    finally:
        await client.close()
    found = [
        Disk(total, usable)
        for answer in answers
        for _error, _directory, _topics, total, usable, _tags in answer.results
        if total > 0
    ]
    return tuple(found) or None
