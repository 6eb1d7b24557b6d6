"""Asks Kafka for its brokers and topics; asks for all topics, because asking for one by name may make it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from streams import kafka
from streams.causes import why
from streams.doctor.asking import AwayError
from streams.doctor.asking.log_dirs import ask_disks
from streams.doctor.kafka import Kafka, Seen
from streams.source.topics import topic_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiokafka.admin import AIOKafkaAdminClient

    from streams.settings import Settings

#: Milliseconds for one request.
REQUEST = 3_000
_REMEDY = "Start it, or correct KAFKA_BOOTSTRAP_SERVERS, KAFKA_SECURITY_PROTOCOL, KAFKA_SASL_… and KAFKA_CA_FILE."


@asynccontextmanager
async def administering(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client of the brokers.

    Raises:
        AwayError: nobody answers, or the client is refused.
    """
    try:
        kafka.tls(settings.kafka)
    except (OSError, ValueError) as error:  # KAFKA_CA_FILE is not there, or is none
        raise AwayError(
            f"KAFKA_CA_FILE cannot be used: {error}", "Name a PEM file with the authority's certificates."
        ) from None
    try:
        async with kafka.administering(settings.kafka, request_timeout_ms=REQUEST) as admin:
            yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        what = f"Kafka does not answer at {settings.kafka.bootstrap_servers}: {why(error)}"
        raise AwayError(what, _REMEDY) from None


async def ask(settings: Settings) -> Kafka:
    """Ask for all that can be judged.

    Raises:
        AwayError: nobody answers, or the client is refused.
    """
    async with administering(settings) as admin:
        cluster = await admin.describe_cluster()
        topics = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
        names = [topic.name for topic in topic_table(settings) if topic.name in topics]
        configs = await _configs(admin, ConfigResourceType.TOPIC, names)
        brokers = [int(broker["node_id"]) for broker in cluster["brokers"]]
        one = [str(broker) for broker in brokers[:1]]
        broker = next(iter((await _configs(admin, ConfigResourceType.BROKER, one)).values()), None)
    disks = await ask_disks(settings.kafka, brokers, REQUEST)
    return Kafka(
        brokers=len(brokers),
        cluster_id=cluster.get("cluster_id"),
        topics={name: _seen(topics[name], configs.get(name)) for name in names},
        disks=disks,
        auto_create=None if broker is None else broker.get("auto.create.topics.enable") == "true",
    )


async def topic_names(settings: Settings) -> frozenset[str]:
    """Name all topics.

    Raises:
        AwayError: nobody answers, or the client is refused.
    """
    async with administering(settings) as admin:
        return frozenset(topic["topic"] for topic in await admin.describe_topics())


async def _configs(admin: AIOKafkaAdminClient, kind: ConfigResourceType, names: list[str]) -> dict[str, dict[str, str]]:
    """Read settings; a resource whose settings may not be read is left out."""
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(kind, name) for name in names])
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for code, _words, _kind, name, entries in answer.resources:
            if not code:
                found[name] = {entry[0]: entry[1] for entry in entries}
    return found


def _seen(partitions: list[dict[str, Any]], settings: dict[str, str] | None) -> Seen:
    return Seen(
        partitions=len(partitions),
        replicas=min((len(partition["replicas"]) for partition in partitions), default=0),
        leaderless=sum(partition["leader"] < 0 for partition in partitions),
        settings=settings,
    )
