"""Asks all places at the same time, each within its time; a place that cannot be asked hides no other."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, TypeVar

from streams.doctor import cidaas, connect, consistency, kafka, roles, server, tables
from streams.doctor.asking import AwayError, DeniedError, broker, database, tenant, whole, worker
from streams.doctor.checks import Report, State, fault, ok, todo, unknown
from streams.source.connector import connector_config

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from streams.doctor.checks import Check
    from streams.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for one place; and for letting go of what it has open when they are over.
PATIENCE, GRACE = 10.0, 1.0
#: For this share of its time a place waits for what another one has to say.
_SHARE = 0.8
DATABASE, KAFKA, CONNECT, WHOLE, CIDAAS = "legacy database", "Kafka", "Kafka Connect", "consistency", "cidaas"


async def examine(settings: Settings, *, write: bool = False, patience: float = PATIENCE) -> list[Report]:
    """Check everything; with `write`, a test user is made at cidaas and deleted again.

    It ends within `patience` and `GRACE` seconds, whatever a place does.
    """
    brokers = asyncio.create_task(broker.ask(settings), name="doctor: brokers")
    asked = asyncio.create_task(database.ask(settings), name="doctor: database")
    until = asyncio.get_running_loop().time() + patience * _SHARE
    places: dict[str, tuple[str, Coroutine[None, None, list[Check]]]] = {
        DATABASE: ("database_reachable", _database(settings, asked)),
        KAFKA: ("kafka_reachable", _kafka(settings, brokers)),
        CONNECT: ("connect_reachable", _connect(settings, brokers, asked, until)),
        WHOLE: ("slot", _whole(settings)),
        CIDAAS: ("cidaas_address", _cidaas(settings, write=write)),
    }
    tasks = {place: asyncio.create_task(asking, name=f"doctor: {place}") for place, (_, asking) in places.items()}
    _, late = await asyncio.wait(tasks.values(), timeout=patience)
    for task in (*late, brokers, asked):
        task.cancel()
    await asyncio.wait([*tasks.values(), brokers, asked], timeout=GRACE)
    return [_report(place, places[place][0], task, patience, late=task in late) for place, task in tasks.items()]


def _report(place: str, slug: str, task: asyncio.Task[list[Check]], patience: float, *, late: bool) -> Report:
    if late or not task.done():
        return Report(place, (_late(place, slug, patience),), hung=True)
    if (error := task.exception()) is not None:
        # Whatever it was, the other places have to be shown.
        log.error("doctor could not check %s", place, exc_info=error)
        what = "could not be checked: this is a mistake of ours, and standard error says which"
        return Report(place, (unknown(slug, what),))
    return Report(place, tuple(task.result()))


def _late(place: str, slug: str, patience: float) -> Check:
    what = f"no answer within {patience:.0f} s"
    if place == WHOLE:  # each part of it is a place of its own, whose fault says what is wrong
        return unknown(slug, what)
    remedy = "Look at what stands in between: network, firewall, proxy."
    if place == CIDAAS:
        remedy += f" After --write-test: look for a user {cidaas.TEST_USER}… at cidaas, and delete it."
    return fault(slug, what, remedy)


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
        checks.append(fault("admin_login", f"LEGACY_ADMIN_URL does not work: {why}", "Correct it."))
    if len(set(found.systems.values())) > 1:
        what = "LEGACY_ADMIN_URL and LEGACY_DATABASE_URL lead to different databases"
        checks.append(fault("one_database", what, "Correct one of them."))
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
