"""Asks what of a pipeline is still there: topics and group in Kafka, connector, legacy database, local state."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from streams import kafka
from streams.audit import topic as audit
from streams.audit.records import WORKER
from streams.causes import why
from streams.control import IDENTITY
from streams.cutover import archive, finished, folders, record
from streams.cutover.finished import Worker
from streams.cutover.plan import Facts, own_topics
from streams.cutover.record import FINISHED
from streams.doctor.asking import AwayError
from streams.doctor.asking.broker import administering
from streams.doctor.asking.database import connected, words
from streams.identity import RefusedError
from streams.settings import shadow
from streams.source.connect import Connect, ConnectError
from streams.source.statements import identity_index, quoted, relation

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from streams.cutover.finished import Finish
    from streams.cutover.record import Record
    from streams.settings import Settings

#: Seconds for the control topic to be read.
READING = 30.0

#: What `cdc disable` leaves, because another publication has the table, too, is not left over.
_DATABASE = """
WITH shared AS (SELECT c.oid FROM pg_publication_tables t JOIN pg_namespace n ON n.nspname = t.schemaname
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.tablename WHERE t.pubname <> %(name)s)
SELECT 'replication slot ' || slot_name AS what FROM pg_replication_slots WHERE slot_name = %(name)s
UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname = %(name)s
UNION ALL SELECT 'index ' || given FROM unnest(%(indexes)s::text[]) AS given
    JOIN pg_index ON indexrelid = to_regclass(given) WHERE indrelid NOT IN (SELECT oid FROM shared)
UNION ALL SELECT 'replica identity of ' || given FROM unnest(%(tables)s::text[]) AS given
    JOIN pg_class c ON c.oid = to_regclass(given) WHERE relreplident = 'i' AND c.oid NOT IN (SELECT oid FROM shared)
UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname = ANY(%(roles)s::text[])
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: the facts, and what the steps need beyond them. `topic` is the birth id of `legacy.identity`."""

    facts: Facts
    noted: Finish | None = None
    record: Record | None = None
    workers: tuple[Worker, ...] = ()
    topic: str = ""


async def look(settings: Settings, folder: Path) -> Seen:
    """Look at everything; after the end, at this machine alone: the other places may be gone by then.

    Raises:
        AwayError: a place does not answer.
        RefusedError: `finished.json` cannot be read, or is of a pipeline of another name.
        ConfigError: LEGACY_ADMIN_URL is not set.
    """
    noted = _noted(settings, folder)
    if noted is not None and noted.state == FINISHED:
        local = folders.look(settings.app_id, noted.topic, noted.workers)
        return Seen(Facts(noted=FINISHED, **_local(local, ())), noted, None, noted.workers, noted.topic)
    (admin,) = settings.require("LEGACY_ADMIN_URL")
    (there, members), connector, database = await asyncio.gather(
        _kafka(settings), _connector(settings), _database(settings, admin)
    )
    names, control = settings.topics, settings.topics.control in there
    state = await _control(settings) if control else {}
    workers = noted.workers if noted is not None else await _workers(settings) if names.audit in there else ()
    found, topic = record.read(state), str((state.get(IDENTITY) or {}).get("topic", ""))
    known = noted.topic if noted is not None else topic
    local = folders.look(settings.app_id, known, workers)
    facts = Facts(
        noted=noted.state if noted is not None else "",
        state=found.state if found is not None else "",
        elsewhere=bool(topic and known and topic != known),
        connector=connector,
        database=database,
        archived=noted is not None and archive.intact(folder, noted.archive),
        sources={names.identity, names.snapshots, names.ledger, names.audit} <= there,
        topics=_ours(settings, there),
        control=control,
        **_local(local, members),
    )
    return Seen(facts, noted, found, workers, known)


def _ours(settings: Settings, there: Collection[str]) -> tuple[str, ...]:
    """The pipeline's own topics that are there, and what a rehearsal has left that was killed."""
    rehearsed = sorted(name for name in there if name.startswith(shadow.prefix_of(settings.app_id)))
    return (*(name for name in own_topics(settings) if name in there), *rehearsed)


def _noted(settings: Settings, folder: Path) -> Finish | None:
    noted = finished.read(folder)
    if noted is not None and noted.pipeline != settings.app_id:
        raise RefusedError(
            f"{folder / finished.FILE} is of the pipeline {noted.pipeline}: give each one an archive folder of its own "
            "under [cutover]."
        )
    return noted


def _local(local: folders.Local, members: tuple[str, ...]) -> dict[str, Any]:
    used = (f"the one that uses {path}" for path in local.used)
    return {"workers": (*members, *used), "folders": local.ours, "strange": local.strange}


async def _kafka(settings: Settings) -> tuple[frozenset[str], tuple[str, ...]]:
    """All topics, and the members of the workers' group: each worker that has come as far as to read."""
    async with administering(settings) as admin:
        there = frozenset(await admin.list_topics())
        return there, tuple(await kafka.members(admin, settings.app_id))


async def _connector(settings: Settings) -> bool:
    try:
        async with Connect(settings.connect) as connect:
            return await connect.status(settings.source.name) is not None
    except ConnectError as error:
        raise AwayError(str(error).rstrip("."), error.remedy) from None


async def _database(settings: Settings, admin: str) -> tuple[str, ...]:
    source = settings.source
    asked = {
        "name": source.name,
        "indexes": [_qualified(table.name, identity_index(table)) for table in source.credentials],
        "tables": [relation(table.name) for table in source.credentials],
        "roles": [source.role, source.read_role],
    }
    try:
        async with connected(admin) as connection:
            rows = await (await connection.execute(_DATABASE, asked)).fetchall()
    except (psycopg.Error, OSError) as error:
        remedy = "Start it, or correct LEGACY_ADMIN_URL."
        raise AwayError(f"the legacy database cannot be asked: {words(error, admin)}", remedy) from None
    return tuple(str(row["what"]) for row in rows)


def _qualified(table: str, index: str) -> str:
    return f"{quoted(table.rpartition('.')[0])}.{quoted(index)}"


async def _control(settings: Settings) -> dict[str, dict[str, Any]]:
    """The control topic alone: `offline.control_state` needs two more, which may have been deleted already."""
    tp, state = TopicPartition(settings.topics.control, 0), dict[str, dict[str, Any]]()
    try:
        async with asyncio.timeout(READING):
            consumer = kafka.consumer(settings.kafka)
            try:
                await consumer.start()
                consumer.assign([tp])
                ends = await consumer.end_offsets([tp])
                await consumer.seek_to_beginning(tp)
                async for _, batch in kafka.read_until(consumer, ends):
                    for one in batch:
                        key = one.key.decode()
                        state.pop(key, None)
                        if one.value is not None:
                            state[key] = orjson.loads(one.value)
            finally:
                await consumer.stop()
    except (KafkaError, OSError) as error:
        raise AwayError(f"the topic {tp.topic} cannot be read: {why(error)}", "Look at Kafka.") from None
    return state


async def _workers(settings: Settings) -> tuple[Worker, ...]:
    """Every worker that wrote into the audit; the last word of each machine and folder counts."""
    found: dict[tuple[str, str], Worker] = {}
    for _, one in await audit.read(settings):
        if one["command"] == WORKER:
            worker = Worker(str(one["host"]), str(one.get("worker", "")), str(one.get("folder", "")))
            found[worker.host, worker.folder or worker.name] = worker
    return tuple(found.values())
