"""The table of topics: what must not be compacted, what must be, and by whose clock."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from streams.settings import Settings, load
from streams.source.births import BIRTH_KEY, birth_topic, birth_value
from streams.source.topics import Topic, topic_table


@pytest.fixture
def settings() -> Settings:
    return load(Path(__file__).parents[2] / "pipeline.toml", env={})


@pytest.fixture
def table(settings: Settings) -> dict[str, Topic]:
    return {topic.name: topic for topic in topic_table(settings)}


def test_every_name_of_the_settings_has_its_line(settings: Settings, table: dict[str, Topic]) -> None:
    assert set(table) == {getattr(settings.topics, field.name) for field in dataclasses.fields(settings.topics)}


def test_a_user_is_in_the_same_partition_everywhere(settings: Settings, table: dict[str, Topic]) -> None:
    names = (settings.topics.identity, settings.topics.snapshots, settings.topics.ledger)
    assert {table[name].partitions for name in names} == {settings.partitions}


def test_row_changes_are_kept_for_ever_and_never_compacted(settings: Settings, table: dict[str, Topic]) -> None:
    identity = table[settings.topics.identity].settings
    assert identity["cleanup.policy"] == "delete"
    assert identity["retention.ms"] == identity["retention.bytes"] == "-1"


def test_changelogs_are_compacted_after_a_day_and_dated_by_the_broker(
    settings: Settings, table: dict[str, Topic]
) -> None:
    for name in (settings.topics.snapshots, settings.topics.ledger):
        changelog = table[name].settings
        assert changelog["cleanup.policy"] == "compact"
        assert changelog["min.compaction.lag.ms"] == "86400000"
        assert changelog["message.timestamp.type"] == "LogAppendTime"


def test_a_snapshot_has_room_for_the_largest_row(settings: Settings, table: dict[str, Topic]) -> None:
    row, snapshot = (table[name].settings for name in (settings.topics.identity, settings.topics.snapshots))
    assert int(snapshot["max.message.bytes"]) > int(row["max.message.bytes"])


def test_three_replicas_demand_two_confirmations(settings: Settings) -> None:
    three = topic_table(dataclasses.replace(settings, replication_factor=3))
    assert {t.settings["min.insync.replicas"] for t in three if t.name == settings.topics.ledger} == {"2"}


def test_birth_record_tells_its_topic() -> None:
    assert birth_topic(BIRTH_KEY, birth_value("6b3c")) == "6b3c"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"42", birth_value("6b3c")),
        (None, None),
        (BIRTH_KEY, None),
        (BIRTH_KEY, b"{}"),
        (BIRTH_KEY, b"[]"),
        (BIRTH_KEY, b"not json"),
        (BIRTH_KEY, b'{"__sync": "removal", "topic": "x"}'),
    ],
)
def test_anything_else_is_no_birth_record(key: bytes | None, value: bytes | None) -> None:
    assert birth_topic(key, value) is None
