"""Kafka Connect: the plugin and its version, the connector and its task, the way from there to the database (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.doctor.checks import State, fault, ok, some, todo, unknown, warning
from streams.source.connect import cause

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.doctor.checks import Check
    from streams.settings import Settings
    from streams.source.connect import ConnectorStatus

#: The first version that loses no rows on a restart (facts: debezium-postgres, 1.1 and 5.3).
NEEDED = (3, 7, 0)
APPLY = "Run `connector apply`."


@dataclass(frozen=True, slots=True)
class Connect:
    """What Kafka Connect says; `status` and `config` are None for a connector that is not registered.

    `validation` are its own words on our configuration, tried against the database from where it runs; None: not tried.
    """

    version: str
    cluster_id: str | None
    plugins: tuple[str, ...]  # versions of our plugin
    status: ConnectorStatus | None = None
    config: Mapping[str, str] | None = None
    validation: tuple[str, ...] | None = field(default=None)


def judge(
    settings: Settings,
    connect: Connect,
    *,
    wanted: Mapping[str, str],
    cluster_id: str | None,
    role: Check | None = None,
) -> list[Check]:
    """Judge Connect.

    `wanted` is the configuration that `connector apply` sets, `cluster_id` that of our Kafka; `role` is what is known
    to keep the connector's role from logging in.
    """
    return [
        *_cluster(settings, connect, cluster_id),
        _plugin(connect),
        *_database(connect, role),
        *_connector(settings, connect, wanted),
    ]


def _cluster(settings: Settings, connect: Connect, cluster_id: str | None) -> Iterator[Check]:
    if connect.cluster_id is None or cluster_id is None:
        yield unknown("connect_kafka", "whether Connect uses the same Kafka is not known: one of both did not say")
    elif connect.cluster_id != cluster_id:
        what = f"Kafka Connect uses another Kafka than {settings.kafka.bootstrap_servers}"
        remedy = "Correct bootstrap.servers of the Connect worker, or KAFKA_BOOTSTRAP_SERVERS."
        yield fault("connect_kafka", what, remedy)
    else:
        yield ok("connect_kafka", "Kafka Connect uses this Kafka")


def _plugin(connect: Connect) -> Check:
    needed = ".".join(map(str, NEEDED))
    if not connect.plugins:
        what = "Kafka Connect has no plugin debezium-connector-postgres"
        return fault("connector_plugin", what, f"Unpack version {needed}.Final below its plugin.path, and restart it.")
    oldest = min(connect.plugins, key=_order)
    if _order(oldest) < _order(needed + ".Final"):
        what = f"debezium-connector-postgres {oldest} is there; versions before {needed}.Final lose rows on a restart"
        return fault("connector_plugin", what, f"Put {needed}.Final in its place (plugin.path), and restart Connect.")
    return ok("connector_plugin", f"debezium-connector-postgres {oldest}")


def _order(version: str) -> tuple[tuple[int, ...], bool]:
    """Compare versions; `3.7.0.Alpha2` comes before `3.7.0.Final`."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    return numbers, version.endswith("Final")


def _database(connect: Connect, role: Check | None) -> Iterator[Check]:
    if connect.validation is None:
        if connect.plugins:
            yield unknown("connect_database", "Kafka Connect did not try our configuration in time")
    elif connect.validation and role is not None:
        said = todo if role.state is State.TODO else unknown
        yield said("connect_database", f"Kafka Connect cannot log in: {role.what}", role.remedy)
    elif connect.validation:
        remedy = "Set LEGACY_DB_… and CDC_DEBEZIUM_PASSWORD in the Connect worker's own environment, and restart it."
        yield fault("connect_database", f"Kafka Connect refuses our configuration: {connect.validation[0]}", remedy)
    else:
        yield ok("connect_database", "Kafka Connect reaches the database with our configuration")


def _connector(settings: Settings, connect: Connect, wanted: Mapping[str, str]) -> Iterator[Check]:
    name, status = settings.source.name, connect.status
    if status is None:
        yield todo("connector_state", f"the connector {name} is not registered", APPLY)
        return
    if status.failed:
        remedy = "Cure the cause named there, then run `connector apply`: it starts it again."
        yield fault("connector_state", f"the connector failed: {cause(status.trace)}", remedy)
    elif status.state != "RUNNING":
        yield fault("connector_state", f"the connector is {status.state}", APPLY)
    elif not status.running:
        what = f"the connector runs, its task does not ({', '.join(status.tasks) or 'there is none'})"
        yield fault("connector_state", what, "Wait a moment; then look at the log of the Connect worker.")
    else:
        yield ok("connector_state", "connector and task say that they run")
    found = connect.config or {}
    keys = (wanted.keys() | found.keys()) - {"name"}
    differing = sorted(key for key in keys if wanted.get(key) != found.get(key))
    if differing:
        what = f"the connector's configuration is not that of {settings.path.name}: {some(differing)}"
        yield warning("connector_config", what, APPLY)
    else:
        yield ok("connector_config", f"the connector is configured as {settings.path.name} says")
