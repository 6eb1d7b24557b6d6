"""Reads set-aside users again from the source, and clears their mark when that is proved (M7, design: The source side).

Only the owner of partition 0 does it, one signal at a time: a blocking snapshot with full SELECTs, because incremental
ones race with streaming. Its rows come through the topic like all others. Then what the snapshots hold is compared with
the tables; what is held but not there is looked at twice and removed through the topic, void if the user has been
touched since. Only then the *read again* record follows, in the same partition, and so behind all of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import orjson
from psycopg import sql

from streams import views
from streams.ledger import Situation
from streams.legacy import LegacyAwayError, qualified
from streams.rows import CREDENTIALS, USERS, ReadAgain, Removal, write_control
from streams.snapshots import decode

if TYPE_CHECKING:
    from streams.pipeline import Pipeline
    from streams.settings import CredentialsTable, UsersTable
    from streams.state import Partition

log = logging.getLogger(__name__)

ASIDE = "aside/"
#: Users of one signal (design), and users that one partition asks for at a time.
_MOST = 1_000
_PER_PARTITION = 100
_EVERY = 1.0
#: Seconds for one signal to complete, and before an unsuccessful one is repeated.
_SIGNAL_DEADLINE, _RETRY = 60.0, 15.0

#: What one worker holds of a user: whether the row is there, its credentials, and `applied`.
Held = dict[str, Any]


class IncompleteError(RuntimeError):
    """The users were not read again completely; it is tried once more later."""


class Rereads:
    """Asks for set-aside users of this worker's partitions, and serves the requests of all when it owns partition 0."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._published: dict[int, dict[str, int]] = {}
        self._not_before = 0.0
        #: user -> (number, when): served, but its owner has not taken it off its list yet.
        self._served: dict[str, tuple[int, float]] = {}
        self.done = 0
        self.trouble = ""

    async def run(self) -> None:
        """Go on until cancelled; trouble is reported and tried again."""
        while True:
            await asyncio.sleep(_EVERY)  # a poll: it watches four different things, none of which can call back
            for partition in self._pipeline.partitions():
                await self._publish(partition)
            if any(partition.number == 0 for partition in self._pipeline.partitions()):
                await self._serve()

    def forget(self) -> None:
        """Publish anew after a rebalance."""
        self._published.clear()

    async def _publish(self, partition: Partition) -> None:
        keys = partition.standing(Situation.SET_ASIDE, _PER_PARTITION)
        wanted: dict[str, int] = {}
        for key, stored in zip(keys, partition.snapshots.store.get_many(keys) if keys else [], strict=True):
            aside = decode(stored.value).aside if stored is not None else None
            if aside is not None:
                wanted[key.decode()] = aside[0]
        name = f"{ASIDE}{partition.number}"
        before = self._published.get(partition.number, self._pipeline.control.state.get(name, {}).get("users", {}))
        if wanted != before:
            await self._pipeline.control.put(name, {"users": wanted})
        self._published[partition.number] = wanted

    async def _serve(self) -> None:
        wanted: dict[str, int] = {}
        for name, body in self._pipeline.control.state.items():
            if name.startswith(ASIDE):
                wanted.update(body["users"])
        if not wanted:
            self.trouble = ""
            return
        if time.monotonic() < self._not_before:
            return
        recent = time.monotonic() - _RETRY
        self._served = {user: seen for user, seen in self._served.items() if seen[1] > recent}
        waiting = {user: n for user, n in wanted.items() if self._served.get(user, (-1, 0.0))[0] != n}
        users = dict(sorted(waiting.items())[:_MOST])
        if not users:
            return
        try:
            await self._read_again(users)
        except (IncompleteError, LegacyAwayError) as error:
            self._not_before = time.monotonic() + _RETRY
            self.trouble = f"{len(wanted)} users cannot be read again yet: {error}"
            log.warning("%s", self.trouble)
        else:
            self.trouble = ""
            self.done += len(users)
            self._served.update({user: (number, time.monotonic()) for user, number in users.items()})
            log.info("read again users=%d", len(users))

    async def _read_again(self, users: dict[str, int]) -> None:
        ids = list(users)
        await self._signal(ids)
        await self._heartbeats(2)  # the rows of the snapshot are in the topic
        there = await self._there(ids)
        held = await self._held(ids)
        suspects = _missing(held, there)
        if suspects:
            await self._heartbeats(1)
            again = await self._there(ids)
            for user_id, table, pk in _missing(held, again):
                if (user_id, table, pk) in suspects:
                    await self._remove(user_id, table, pk, held[user_id]["applied"])
        unseen = [user_id for user_id, rows in there.items() if not _covers(held.get(user_id), rows)]
        if unseen:
            raise IncompleteError(f"rows of {len(unseen)} users have not come through the topic")
        for user_id, number in users.items():
            await self._pipeline.send(user_id.encode(), write_control(ReadAgain(number)))

    async def _remove(self, user_id: str, table: str, pk: str, applied: list[int]) -> None:
        epoch = self._pipeline.source_epoch
        removal = Removal(table, pk, epoch, None, (int(applied[0]), int(applied[1])))
        await self._pipeline.send(user_id.encode(), write_control(removal))

    # -- the signal --------------------------------------------------------------------------------------------------

    async def _signal(self, ids: list[str]) -> None:
        """Send a blocking snapshot signal and wait until every table has succeeded."""
        pipeline, source = self._pipeline, self._pipeline.settings.source
        tables: list[tuple[UsersTable | CredentialsTable, str]] = [(source.users, source.users.id)]
        if source.credentials is not None:
            tables.insert(0, (source.credentials, source.credentials.user_id))
        body = {
            "id": str(uuid.uuid4()),
            "type": "execute-snapshot",
            "data": {
                "type": "blocking",
                "data-collections": [table.name for table, _ in tables],
                "additional-conditions": [
                    {"data-collection": table.name, "filter": _select(table, column, ids)} for table, column in tables
                ],
            },
        }
        seen = len(pipeline.control.notifications)
        await pipeline.producer.send_and_wait(
            pipeline.settings.topics.signals, orjson.dumps(body), key=source.prefix.encode(), partition=0
        )
        await self._completed(seen, {table.name for table, _ in tables})

    async def _completed(self, seen: int, tables: set[str]) -> None:
        control = self._pipeline.control
        deadline = time.monotonic() + _SIGNAL_DEADLINE
        while time.monotonic() < deadline:
            started = False
            succeeded: set[str] = set()
            for note in control.notifications[seen:]:
                kind, extra = note.get("type"), note.get("additional_data") or {}
                if kind == "STARTED":
                    started = True
                    succeeded = set()
                elif kind == "TABLE_SCAN_COMPLETED" and extra.get("status") == "SUCCEEDED":
                    succeeded.add(str(extra.get("scanned_collection")))
                elif kind == "ABORTED":
                    raise IncompleteError("the connector aborted the snapshot")
                elif kind == "COMPLETED" and started:
                    if succeeded >= tables:
                        return
                    raise IncompleteError("the connector could not read every table")
            await control.wait_changed()
        raise IncompleteError("the connector did not answer the signal in time; does it run?")

    async def _heartbeats(self, count: int) -> None:
        control = self._pipeline.control
        deadline = time.monotonic() + _SIGNAL_DEADLINE
        for _ in range(count):
            last = control.heartbeat_at
            while control.heartbeat_at == last:
                if time.monotonic() > deadline:
                    raise IncompleteError("the source's heartbeat stands still")
                await control.wait_changed()

    # -- what is there, what is held ---------------------------------------------------------------------------------

    async def _there(self, ids: list[str]) -> dict[str, set[tuple[str, str]]]:
        """The rows of these users in the legacy database now, as (table, key)."""
        source = self._pipeline.settings.source
        rows: dict[str, set[tuple[str, str]]] = {}
        users = source.users
        found = await self._pipeline.legacy.query(
            sql.SQL("SELECT {id}::text AS id FROM {table} WHERE {id} IN ({ids})").format(
                id=sql.Identifier(users.id), table=qualified(users.name), ids=_literals(ids)
            )
        )
        for row in found:
            rows.setdefault(row["id"], set()).add((USERS, row["id"]))
        table = source.credentials
        if table is not None:
            found = await self._pipeline.legacy.query(
                sql.SQL("SELECT {id}::text AS id, {user}::text AS owner FROM {table} WHERE {user} IN ({ids})").format(
                    id=sql.Identifier(table.id),
                    user=sql.Identifier(table.user_id),
                    table=qualified(table.name),
                    ids=_literals(ids),
                )
            )
            for row in found:
                rows.setdefault(row["owner"], set()).add((CREDENTIALS, row["id"]))
        return rows

    async def _held(self, ids: list[str]) -> dict[str, Held]:
        """What the workers' snapshots hold of these users."""
        pipeline = self._pipeline
        held = views.held(pipeline, ids)
        others = {views.owner(pipeline, user_id) for user_id in ids if user_id not in held} - {None}
        async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
            for url in others:
                wanted = [user_id for user_id in ids if views.owner(pipeline, user_id) == url]
                try:
                    answer = await client.get(f"{url}/sync/held", params={"ids": ",".join(wanted)})
                    held.update(answer.raise_for_status().json())
                except (httpx.HTTPError, ValueError):
                    raise IncompleteError(f"the worker at {url} does not answer") from None
        if len(held) < len(ids):
            raise IncompleteError("partitions are changing hands")
        return held


def _missing(held: dict[str, Held], there: dict[str, set[tuple[str, str]]]) -> set[tuple[str, str, str]]:
    """(user, table, key) of rows that are held but not there."""
    return {
        (user_id, table, pk)
        for user_id, body in held.items()
        for table, pk in map(tuple, body["rows"])
        if (table, pk) not in there.get(user_id, set())
    }


def _covers(held: Held | None, rows: set[tuple[str, str]]) -> bool:
    return held is not None and {tuple(row) for row in held["rows"]} >= rows


def _literals(ids: list[str]) -> sql.Composed:
    """The ids as literals without a type, which PostgreSQL makes into the column's: an index can be used."""
    return sql.SQL(", ").join(sql.SQL("'{}'").format(sql.SQL(user_id.replace("'", "''"))) for user_id in ids)


def _select(table: UsersTable | CredentialsTable, column: str, ids: list[str]) -> str:
    """A full SELECT that names its columns: with column grants `*` fails (facts: debezium-3.7, section 1)."""
    query = sql.SQL("SELECT {columns} FROM {table} WHERE {column} IN ({ids})").format(
        columns=sql.SQL(", ").join(sql.Identifier(name) for name in table.columns),
        table=qualified(table.name),
        column=sql.Identifier(column),
        ids=_literals(ids),
    )
    return query.as_string(None)
