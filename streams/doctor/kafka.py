"""Kafka: brokers, and each topic against the table of topics (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.doctor.checks import fault, ok, some, todo, unknown, warning
from streams.doctor.server import FILLING, NEARLY_FULL
from streams.quantities import size
from streams.source.topics import topic_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streams.doctor.checks import Check
    from streams.doctor.server import Disk
    from streams.settings import Settings
    from streams.source.topics import Topic

MAKE = "Run `topics`."
#: settings of a topic -> the check that they belong to; all others are `topic_settings`.
_SLUGS = {"cleanup.policy": "topic_cleanup", "retention.ms": "topic_retention", "retention.bytes": "topic_retention"}
_FINE = {
    "topic_cleanup": "what must be compacted is, and nothing else",
    "topic_retention": "nothing is thrown away too early",
    "topic_settings": "all other settings are as they must be",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """One topic as Kafka has it; `replicas` is the least of its partitions. `settings` None: not to be read."""

    partitions: int
    replicas: int
    leaderless: int
    settings: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class Kafka:
    """What Kafka says. `auto_create` and `disks` None: not to be read."""

    brokers: int
    cluster_id: str | None
    topics: Mapping[str, Seen] = field(default_factory=dict)
    auto_create: bool | None = None
    disks: tuple[Disk, ...] | None = None


def judge(settings: Settings, kafka: Kafka) -> list[Check]:
    """Judge brokers and topics."""
    return [*_brokers(settings, kafka), _disks(kafka), *_topics(settings, kafka)]


def _brokers(settings: Settings, kafka: Kafka) -> Iterator[Check]:
    copies = settings.replication_factor
    said = f"{kafka.brokers} broker{'s' * (kafka.brokers != 1)}, replication_factor is {copies}"
    if kafka.brokers < copies:
        remedy = f"Start the other brokers, or lower replication_factor in {settings.path.name}."
        yield fault("brokers", said, remedy)
    elif copies < 3:
        remedy = f"On a real cluster: replication_factor = 3 in {settings.path.name}, before `topics` is run."
        yield warning("brokers", f"{said}: a lost disk loses the state", remedy)
    else:
        yield ok("brokers", said)
    if kafka.auto_create is None:
        yield unknown("auto_create", "the broker's settings may not be read", "Check auto.create.topics.enable=false.")
    elif kafka.auto_create:
        what = "auto.create.topics.enable is on: a topic that is used too early gets other settings"
        yield warning("auto_create", what, "Run `topics` before anything else; better turn it off.")
    else:
        yield ok("auto_create", "no topic is made by itself")


def _disks(kafka: Kafka) -> Check:
    """Judge the fullest disk: a broker whose disk is full stops."""
    if not kafka.disks:
        why = "how full the brokers' disks are, they do not tell this client"
        return unknown("kafka_disk", why, "Look there: df -h on log.dirs.")
    fullest = min(kafka.disks, key=lambda disk: disk.free / disk.total)
    said = f"{size(fullest.free)} of {size(fullest.total)} are free on the fullest disk of a broker"
    remedy = "Make room there: a broker whose disk is full stops."
    if fullest.free < fullest.total * NEARLY_FULL:
        return fault("kafka_disk", said, remedy)
    return warning("kafka_disk", said, remedy) if fullest.free < fullest.total * FILLING else ok("kafka_disk", said)


def _topics(settings: Settings, kafka: Kafka) -> Iterator[Check]:
    table = topic_table(settings)
    names = settings.topics
    connects = {names.connect_configs, names.connect_offsets, names.connect_status}  # a Connect worker makes them
    missing = [topic.name for topic in table if topic.name not in kafka.topics]
    there = [topic for topic in table if topic.name in kafka.topics]
    ours = [topic for topic in there if topic.name not in connects]
    if not ours:
        yield todo("topics_there", "the topics are not made yet", MAKE)
    elif missing:
        yield fault("topics_there", f"missing: {', '.join(missing)}", MAKE)
    else:
        yield ok("topics_there", f"all {len(table)} topics are there")
    if not there:
        return
    yield _partitions(settings, kafka, there)
    yield _leaders(kafka, there)
    yield _replicas(settings, kafka, there)
    hidden = [topic.name for topic in there if kafka.topics[topic.name].settings is None]
    if hidden:
        what = f"the settings of {', '.join(hidden)} may not be read"
        yield unknown("topic_settings", what, "Give this client the right DESCRIBE_CONFIGS on the topics.")
    read = [topic for topic in there if topic.name not in hidden]
    yield from _settings(settings, kafka, read, silent=bool(hidden))


def _partitions(settings: Settings, kafka: Kafka, there: Sequence[Topic]) -> Check:
    wrong = [topic for topic in there if kafka.topics[topic.name].partitions != topic.partitions]
    if not wrong:
        return ok("topic_partitions", f"users are shared among {settings.partitions} partitions")
    said = [f"{topic.name} has {kafka.topics[topic.name].partitions}, not {topic.partitions}" for topic in wrong]
    remedy = (
        f"Set `partitions` in {settings.path.name} to what is there, or delete the topic while nothing runs and run "
        "`topics`: users cannot be moved."
    )
    return fault("topic_partitions", some(said), remedy)


def _leaders(kafka: Kafka, there: Sequence[Topic]) -> Check:
    wrong = [topic.name for topic in there if kafka.topics[topic.name].leaderless]
    if wrong:
        what = f"no broker leads partitions of {some(wrong)}"
        return fault("topic_leaders", what, "Start the brokers that are away.")
    return ok("topic_leaders", "each partition has a leader")


def _replicas(settings: Settings, kafka: Kafka, there: Sequence[Topic]) -> Check:
    copies = settings.replication_factor
    wrong = [topic.name for topic in there if kafka.topics[topic.name].replicas < copies]
    if wrong:
        what = f"fewer than {copies} copies of {some(wrong)}"
        return warning("topic_replicas", what, "kafka-reassign-partitions.sh adds replicas to a topic.")
    return ok("topic_replicas", f"{copies} {'copies' if copies > 1 else 'copy'} of each topic")


def _settings(settings: Settings, kafka: Kafka, there: Sequence[Topic], *, silent: bool) -> Iterator[Check]:
    """Judge each setting under its slug; `silent` leaves `topic_settings` out, which has been said already."""
    wrong: dict[str, list[tuple[str, str, str, str]]] = {slug: [] for slug in _FINE}
    for topic in there:
        found = kafka.topics[topic.name].settings or {}
        for key, expected in topic.settings.items():
            if found.get(key) != expected:
                slug = _SLUGS.get(key, "topic_settings")
                wrong[slug].append((topic.name, key, found.get(key, "not set"), expected))
    for slug, problems in wrong.items():
        if problems:
            said = some([f"{key} of {topic} is {is_}, not {expected}" for topic, key, is_, expected in problems])
            name, key, _, expected = problems[0]
            change = f"--entity-name {name} --add-config {key}={expected}"
            broker = f"--bootstrap-server {settings.kafka.bootstrap_servers}"
            remedy = f"kafka-configs.sh {broker} --alter --entity-type topics {change}"
            yield fault(slug, said, remedy if len(problems) == 1 else f"{remedy} (and likewise for the others)")
        elif not (silent and slug == "topic_settings"):
            yield ok(slug, _FINE[slug])
