"""Asks all places at the same time, each within its time; a place that cannot be asked hides no other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from streams.doctor import cidaas, connect, consistency, kafka, roles, server, tables
from streams.doctor.asking import AwayError, DeniedError, broker, database, tenant, whole, worker
from streams.doctor.checks import State, fault, ok, todo, unknown
from streams.doctor.places import Place, ask_all
from streams.source.connector import connector_config

if TYPE_CHECKING:
    from streams.doctor.checks import Check, Report
    from streams.settings import Settings

T = TypeVar("T")

#: Seconds for one place.
PATIENCE = 10.0
#: For this share of its time a place waits for what another one has to say.
_SHARE = 0.8
DATABASE, KAFKA, CONNECT, WHOLE, CIDAAS = "legacy database", "Kafka", "Kafka Connect", "consistency", "cidaas"


async def examine(settings: Settings, *, write: bool = False, patience: float = PATIENCE) -> list[Report]:
    """Check everything, within about `patience`; with `write`, a test user is made at cidaas and deleted again."""
    brokers = asyncio.create_task(broker.ask(settings), name="doctor: brokers")
    asked = asyncio.create_task(database.ask(settings), name="doctor: database")
    until = asyncio.get_running_loop().time() + patience * _SHARE
    silent = f"no answer within {patience:.0f} s"
    between = "Look at what stands in between: network, firewall, proxy."
    trial = f"{between} After --write-test: look for a user {cidaas.TEST_USER}… at cidaas, and delete it."
    places = [
        Place(DATABASE, fault("database_reachable", silent, between), _database(settings, asked)),
        Place(KAFKA, fault("kafka_reachable", silent, between), _kafka(settings, brokers)),
        Place(CONNECT, fault("connect_reachable", silent, between), _connect(settings, brokers, asked, until)),
        # Each part of it is a place of its own, whose fault says what is wrong.
        Place(WHOLE, unknown("slot", silent), _whole(settings)),
        Place(CIDAAS, fault("cidaas_address", silent, trial), _cidaas(settings, write=write)),
    ]
    return await ask_all(places, patience, (brokers, asked))


async def _database(settings: Settings, asked: asyncio.Task[database.Database]) -> list[Check]:
    try:
        found = await asyncio.shield(asked)
    except AwayError as error:
        if settings.source.url is None and settings.source.admin_url is None:
            return [todo("database_reachable", str(error), error.remedy)]
        return [fault("database_reachable", str(error), error.remedy)]
    return [
        ok("database_reachable", f"asked as {found.asked_as}"),
        *_addresses(found),
        *server.judge(found.server),
        *roles.judge(settings.source, found.roles, enabled=found.enabled),
        *tables.judge(settings, found.tables, found.roles.found, enabled=found.enabled),
    ]


def _addresses(found: database.Database) -> list[Check]:
    """Whether the addresses that are set lead to one database; that of the reader is judged as its log-in."""
    checks = []
    if why := found.errors.get("LEGACY_ADMIN_URL"):
        checks.append(fault("admin_login", f"LEGACY_ADMIN_URL does not work: {why}", "Correct LEGACY_ADMIN_URL."))
    if len(set(found.systems.values())) > 1:
        what = "LEGACY_ADMIN_URL and LEGACY_DATABASE_URL lead to different databases"
        checks.append(fault("one_database", what, "Correct LEGACY_ADMIN_URL or LEGACY_DATABASE_URL."))
    return checks


async def _kafka(settings: Settings, brokers: asyncio.Task[kafka.Kafka]) -> list[Check]:
    try:
        found = await asyncio.shield(brokers)
    except AwayError as error:
        return [fault("kafka_reachable", str(error), error.remedy)]
    reached = ok("kafka_reachable", f"Kafka answers at {settings.kafka.bootstrap_servers}")
    return [reached, *kafka.judge(settings, found)]


async def _connect(
    settings: Settings, brokers: asyncio.Task[kafka.Kafka], asked: asyncio.Task[database.Database], until: float
) -> list[Check]:
    try:
        found = await worker.ask(settings)
    except DeniedError as error:
        reached = ok("connect_reachable", f"something answers at {settings.connect.url}")
        return [reached, fault("connect_login", str(error), error.remedy)]
    except AwayError as error:
        return [fault("connect_reachable", str(error), error.remedy)]
    said, known = await _known(brokers, until), await _known(asked, until)
    cluster_id = said.cluster_id if said is not None else None
    judged = [] if known is None else roles.judge(settings.source, known.roles, enabled=known.enabled)
    role = next((one for one in judged if one.slug == "capture_role" and one.state is not State.OK), None)
    wanted = connector_config(settings)
    return [
        ok("connect_reachable", f"Kafka Connect {found.version} answers at {settings.connect.url}"),
        *connect.judge(settings, found, wanted=wanted, cluster_id=cluster_id, role=role),
    ]


async def _known(task: asyncio.Task[T], until: float) -> T | None:
    """What another place has said; None when it cannot be asked or has not answered by then, which hides nothing."""
    await asyncio.wait([task], timeout=max(until - asyncio.get_running_loop().time(), 0))
    return task.result() if task.done() and not task.cancelled() and task.exception() is None else None


async def _whole(settings: Settings) -> list[Check]:
    return consistency.judge(settings, await whole.ask(settings))


async def _cidaas(settings: Settings, *, write: bool) -> list[Check]:
    return cidaas.judge(settings, await tenant.ask(settings, write=write))
