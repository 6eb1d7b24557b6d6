"""Kafka clients of our own, beside Faust's: one producer for the changelogs, consumers outside the group."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    for_code,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiokafka import TopicPartition
    from aiokafka.structs import ConsumerRecord

    from streams.settings import Kafka

#: Seconds after which a send that the broker has not confirmed has failed for good (D4).
SEND_DEADLINE = 120
#: Records of one fetch, and milliseconds that it waits.
_MANY, _WAIT = 5_000, 1_000


class UnconfirmedError(RuntimeError):
    """The broker did not confirm a write in time (D4)."""


@asynccontextmanager
async def confirmed(where: str) -> AsyncIterator[None]:
    """Give a write to a topic its deadline; the idempotent producer itself would try for ever.

    Raises:
        UnconfirmedError: the broker did not confirm it in time; the worker has to end (D4).
    """
    try:
        async with asyncio.timeout(SEND_DEADLINE):
            yield
    except TimeoutError:
        raise UnconfirmedError(
            f"{where}: the broker did not confirm a write within {SEND_DEADLINE} s; look at the broker, "
            "a new start is safe"
        ) from None


def tls(kafka: Kafka) -> ssl.SSLContext | None:
    """Build the TLS context, or None for plaintext."""
    if kafka.security_protocol in ("SSL", "SASL_SSL"):
        return ssl.create_default_context(cafile=kafka.ca_file)
    return None


def connection(kafka: Kafka) -> dict[str, Any]:
    """The arguments that every aiokafka client of this project takes."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
        "ssl_context": tls(kafka),
    }
    if kafka.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = kafka.sasl_mechanism
        options["sasl_plain_username"] = kafka.sasl_username
        options["sasl_plain_password"] = kafka.sasl_password.reveal() if kafka.sasl_password else None
    return options


def producer(kafka: Kafka) -> AIOKafkaProducer:
    """A producer whose confirmed records are on all in-sync replicas, once and in order."""
    return AIOKafkaProducer(
        **connection(kafka),
        acks="all",
        enable_idempotence=True,
        compression_type="zstd",
        linger_ms=0,
        max_batch_size=512 * 1024,
        max_request_size=8 * 1024 * 1024,
        request_timeout_ms=SEND_DEADLINE * 1000,
    )


def consumer(kafka: Kafka) -> AIOKafkaConsumer:
    """A consumer outside any group, for reading known partitions."""
    return AIOKafkaConsumer(
        **connection(kafka),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )


async def read_until(
    consumer: AIOKafkaConsumer, ends: Mapping[TopicPartition, int]
) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
    """What stands before these ends, batch by batch, from where the consumer is; its partitions are assigned."""
    while behind := [tp for tp, end in ends.items() if await consumer.position(tp) < end]:
        for tp, batch in (await consumer.getmany(*behind, timeout_ms=_WAIT, max_records=_MANY)).items():
            yield tp, batch


@asynccontextmanager
async def administering(kafka: Kafka, **options: Any) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks for topics and groups; `options` as aiokafka names them."""
    admin = AIOKafkaAdminClient(**connection(kafka), **options)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def members(admin: AIOKafkaAdminClient, group: str) -> list[str]:
    """The members of a consumer group, as a person knows them: each worker that has come as far as to read."""
    found: list[str] = []
    for answer in await admin.describe_consumer_groups([group]):
        for code, _group, _state, _type, _protocol, there, *_ in answer.groups:
            if code:
                raise for_code(code)()
            found += [f"{client} at {host.lstrip('/')}" for _id, client, host, *_ in there]
    return sorted(found)


async def group_offsets(kafka: Kafka, group: str) -> dict[TopicPartition, int]:
    """What a consumer group has committed, asked from outside of it.

    A new cluster makes the topic of all groups when the first one asks for its coordinator, and has none until then.

    Raises:
        UnconfirmedError: there is none after two minutes.
    """
    async with administering(kafka) as admin, confirmed(f"the coordinator of the group {group}"):
        while True:
            try:
                found = await admin.list_consumer_group_offsets(group)
            except (GroupCoordinatorNotAvailableError, GroupLoadInProgressError):
                await asyncio.sleep(0.1)  # a poll: nothing tells when it is there
            else:
                return {tp: int(committed.offset) for tp, committed in found.items()}
