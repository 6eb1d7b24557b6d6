"""The table of topics, and the code that makes what is missing and refuses what is different.

Nothing creates a topic by itself: a topic with another number of partitions would put users into other partitions.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from streams.causes import named, why
from streams.kafka import administering
from streams.source.births import complete_births, read_births

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from streams.settings import Settings

HOUR, DAY = 3_600_000, 86_400_000  # milliseconds
MB = 1024 * 1024
SHOWN_WITHIN = 15.0  # seconds in which a broker shows a topic that was made


class TopicError(Exception):
    """A topic cannot be made, or is there with other settings. The text says which, and how to cure it."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as it has to be; `why` is its line in the documentation."""

    name: str
    partitions: int
    why: str
    settings: Mapping[str, str]


def topic_table(settings: Settings) -> tuple[Topic, ...]:
    """Return all topics of the pipeline with their exact settings."""
    names, partitions = settings.topics, settings.partitions
    durable = {"min.insync.replicas": "2" if settings.replication_factor > 2 else "1"}
    forever = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"} | durable
    compacted = {"cleanup.policy": "compact"} | durable
    # O3: what a late writer overwrote must still be readable for a day. C5: ages are by the broker's clock.
    changelog = compacted | {
        "min.compaction.lag.ms": str(DAY),
        "message.timestamp.type": "LogAppendTime",
        "max.message.bytes": str(16 * MB),
        "segment.bytes": str(128 * MB),
    }
    return (
        # Several rows share a key: compaction would keep only the last row of a user.
        Topic(names.identity, partitions, "row changes, by user id", forever | {"max.message.bytes": str(8 * MB)}),
        Topic(names.signals, 1, "for signals to the connector; nothing sends any", _kept(7 * DAY)),
        Topic(names.notifications, 1, "the connector's reports on its snapshots", forever),
        Topic(names.message, 1, "markers and heartbeats from the WAL", _kept(DAY)),
        Topic(names.heartbeat, 1, "Debezium's own heartbeat", _kept(HOUR)),
        Topic(
            names.control,
            1,
            "commands and decisions, read whole by every worker",
            compacted | {"message.timestamp.type": "LogAppendTime"},
        ),
        Topic(
            names.audit,
            1,
            "who ran which command with what effect; starts of workers",
            forever | {"message.timestamp.type": "LogAppendTime"},
        ),
        Topic(names.snapshots, partitions, "desired: changelog of the table snapshots", changelog),
        Topic(names.ledger, partitions, "confirmed: changelog of the table ledger", changelog),
        Topic(names.connect_configs, 1, "Kafka Connect: connectors", compacted),
        Topic(names.connect_offsets, 1, "Kafka Connect: positions in the WAL", compacted),
        Topic(names.connect_status, 1, "Kafka Connect: states", compacted),
    )


def _kept(milliseconds: int) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(milliseconds)}


@dataclass(frozen=True, slots=True)
class Missing:
    """What `ensure` would make: topics, and the birth records of `legacy.identity` where a maker of it has died."""

    topics: tuple[str, ...] = ()
    births: bool = False


async def missing(settings: Settings) -> Missing:
    """Look, and change nothing; refuse existing topics that are different (TopicError)."""
    table, identity = topic_table(settings), settings.topics.identity
    async with _admin(settings) as admin:
        there = await _partitions(admin)
        if problems := await _differences(admin, there, tuple(topic for topic in table if topic.name in there)):
            raise TopicError("\n".join(problems))
        try:
            births = identity in there and None in (await read_births(settings)).values()
        except ValueError as error:
            raise TopicError(str(error)) from None
    return Missing(tuple(topic.name for topic in table if topic.name not in there), births)


async def ensure(settings: Settings) -> list[str]:
    """Make the missing topics and return their names; refuse existing ones that are different (TopicError)."""
    async with _admin(settings) as admin:
        there = await _partitions(admin)
        table = topic_table(settings)
        made = [topic.name for topic in table if topic.name not in there and await _create(admin, settings, topic)]
        there = await _shown(admin, {topic.name for topic in table})
        if problems := await _differences(admin, there, tuple(topic for topic in table if topic.name not in made)):
            raise TopicError("\n".join(problems))
    if problem := await complete_births(settings, new=settings.topics.identity in made):
        raise TopicError(problem)
    return made


async def beginning(settings: Settings, words: str) -> list[str]:
    """The topics whose names begin like this."""
    async with _admin(settings) as admin:
        return sorted(name for name in await _partitions(admin) if name.startswith(words))


async def remove(settings: Settings, names: Collection[str]) -> None:
    """Delete those of these topics that are there, and return when Kafka shows none of them (TopicError).

    Their files go a moment later (`file.delete.delay.ms`).
    """
    async with _admin(settings) as admin:
        there = await _partitions(admin)
        if wanted := [name for name in names if name in there]:
            answer = await admin.delete_topics(wanted)
            for name, code, *_ in answer.topic_error_codes:
                kind = for_code(code)
                if code and kind is not UnknownTopicOrPartitionError:  # somebody else was quicker
                    raise TopicError(
                        f"topic {name} cannot be deleted ({named(kind)}): check this client's right to delete topics, "
                        "and that the brokers have no delete.topic.enable=false"
                    )
        deadline = time.monotonic() + SHOWN_WITHIN
        while left := set(names) & (await _partitions(admin)).keys():
            if time.monotonic() > deadline:
                raise TopicError(
                    f"topic {min(left)} was deleted, and is still there after {SHOWN_WITHIN:.0f} s: look whether all "
                    "brokers run, and whether somebody makes it again"
                )
            await asyncio.sleep(0.05)  # a broker does not say when it has heard of it


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client that asks Kafka; what Kafka does not do becomes a TopicError."""
    try:
        async with administering(settings.kafka) as admin:
            yield admin
    except KafkaError as error:
        raise TopicError(
            f"Kafka at {settings.kafka.bootstrap_servers} did not do what was asked ({why(error)}): is it running, and "
            "are KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL right?"
        ) from error


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


async def _shown(admin: AIOKafkaAdminClient, names: set[str]) -> dict[str, int]:
    """Return the topics' partitions once the broker shows all of them: one just made takes a moment."""
    deadline = time.monotonic() + SHOWN_WITHIN
    while missing := names - (there := await _partitions(admin)).keys():
        if time.monotonic() > deadline:
            raise TopicError(
                f"topic {min(missing)} was made, but Kafka does not show it after {SHOWN_WITHIN:.0f} s: check this "
                "client's right to describe topics, and that all brokers run"
            )
        await asyncio.sleep(0.05)  # another client may have made it, so there is nothing to wait on
    return there


async def _create(admin: AIOKafkaAdminClient, settings: Settings, topic: Topic) -> bool:
    """Make a topic; return False if somebody else was quicker."""
    new = NewTopic(topic.name, topic.partitions, settings.replication_factor, topic_configs=dict(topic.settings))
    answer = await admin.create_topics([new])
    for name, code, *words in answer.topic_errors:
        kind = for_code(code)
        if kind is TopicAlreadyExistsError:
            return False
        if code:
            detail = next(iter(words), None) or f"{named(kind)}."
            raise TopicError(
                f"topic {name} cannot be made: {detail} Check replication_factor in {settings.path} against the number "
                "of brokers, and this client's right to create topics."
            )
    return True


async def _differences(admin: AIOKafkaAdminClient, there: dict[str, int], table: tuple[Topic, ...]) -> list[str]:
    """Return one line for each setting of an existing topic that is not as it has to be."""
    found = await _settings(admin, table)
    problems = []
    for topic in table:
        if there[topic.name] != topic.partitions:
            problems.append(
                f"topic {topic.name}: partitions is {there[topic.name]}, expected {topic.partitions}. Partitions "
                "cannot be changed without moving users: set `partitions` in pipeline.toml to what is there, or delete "
                "the topic while nothing runs and start again from an initial snapshot."
            )
        problems += [
            f"topic {topic.name}: {key} is {found[topic.name].get(key, 'not set')}, expected {expected}. Cure: "
            f"kafka-configs.sh --bootstrap-server ... --alter --entity-type topics --entity-name {topic.name} "
            f"--add-config {key}={expected}"
            for key, expected in topic.settings.items()
            if found[topic.name].get(key) != expected
        ]
    return problems


async def _settings(admin: AIOKafkaAdminClient, table: tuple[Topic, ...]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, topic.name) for topic in table]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(resources) if resources else []:
        for code, words, _kind, name, entries in answer.resources:
            if code:
                raise TopicError(
                    f"the settings of topic {name} cannot be read ({words or named(for_code(code))}): give this "
                    "client the right DESCRIBE_CONFIGS on it"
                )
            found[name] = {entry[0]: entry[1] for entry in entries}
    return found
