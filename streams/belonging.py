"""Finds out at a start whose the state is (O5): a worker never runs on what belongs to another place."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aiokafka import TopicPartition

from streams import kafka
from streams.control import IDENTITY, TABLES
from streams.cutover import finished
from streams.identity import Identity, RefusedError, compare
from streams.legacy import SYSTEM, LegacyAwayError
from streams.source import reading
from streams.state import AGAIN

if TYPE_CHECKING:
    from streams.pipeline import Pipeline

log = logging.getLogger(__name__)

#: Seconds for another worker's identity record to be read, which was written before its first changelog record.
_FIRST_START = 5.0


class Belonging:
    """Compares this configuration with what control topic and data folder say, and notes it at a first start."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.identity: Identity | None = None
        #: set when it is sure that this state is ours.
        self.identified = asyncio.Event()
        self._source_away = ""

    async def find_out(self, topic: str) -> None:
        """Compare with what is recorded; `topic` is the birth id of `legacy.identity`.

        Raises:
            RefusedError: the state belongs to another place, or the pipeline is being taken down.
        """
        if why := finished.refused_by_topic(self._pipeline.control.state):
            raise RefusedError(why)
        self.identity = Identity.of(self._pipeline.settings, await self._source(), topic)
        await self._first_or_same()
        await self._assert_not_emptied()
        control, settings = self._pipeline.control, self._pipeline.settings
        if why := reading.refusal(control.state, settings):
            raise RefusedError(why)
        if TABLES not in control.state:
            await control.put(TABLES, reading.body(settings))

    async def _source(self) -> str:
        """Name the legacy system and database; "" while it does not answer."""
        try:
            rows = await self._pipeline.legacy.query(SYSTEM)
        except LegacyAwayError as error:
            log.warning("the source's identity is not checked: %s", error)
            self._source_away = str(error)
            return ""
        return str(rows[0]["name"])

    async def _first_or_same(self) -> None:
        """Compare with the recorded identity, or find that nothing was ever there (O5)."""
        control, folder = self._pipeline.control, self._pipeline.app.folder
        recorded = control.identity
        if recorded is None:
            if folder.identity is not None or await self._state_without_identity():
                raise RefusedError(
                    f"there is state, but the topic {self._pipeline.settings.topics.control} has no record of whose it "
                    "is: restore that topic, or start over with a new app_id and an empty APP_DATADIR."
                )
            recorded = control.identity  # another worker's first start may have been a moment earlier
        if recorded is None:
            if self._source_away:
                raise RefusedError(
                    f"the first start notes which legacy database this pipeline belongs to, but {self._source_away}. "
                    "Start the database, or correct LEGACY_DATABASE_URL."
                )
            log.info("first start: the owner of partition 0 writes the identity")
            return
        self._same(recorded)

    def _same(self, recorded: dict[str, Any]) -> None:
        assert self.identity is not None
        folder = self._pipeline.app.folder
        if not self.identity.source:
            self.identity = replace(self.identity, source=recorded["source"])
        self.identity = replace(self.identity, topic_epoch=int(recorded["topic_epoch"]))
        compare(self.identity, recorded, f"the topic {self._pipeline.settings.topics.control}")
        if (kept := folder.identity) is not None:
            if kept.get("source") in recorded.get("former_sources", ()):
                kept["source"] = recorded["source"]  # `source repair --accept-database` has moved this pipeline
            compare(self.identity, kept, f"the data folder {folder.path}")
        folder.remember(self.identity)
        self._pipeline.legacy.expected = self.identity.source
        self.identified.set()

    async def follow(self) -> None:
        """Believe the database that a person has accepted as this pipeline's source since the start (M8).

        Other tables are no longer ours to read: this worker would set aside whoever has a row in a table that it does
        not know, and read it again without that row. Nor is a pipeline that is being taken down.
        """
        state = self._pipeline.control.state
        if why := finished.refused_by_topic(state) or reading.refusal(state, self._pipeline.settings):
            self._pipeline.app.refuse(why)
        recorded = self._pipeline.control.identity
        if recorded is None or not self.identified.is_set() or recorded["source"] == self._pipeline.legacy.expected:
            return
        log.warning("the source is another database now: %s", recorded["source"])
        assert self.identity is not None
        self.identity = replace(self.identity, source=recorded["source"])
        self._same(recorded)
        await self._pipeline.legacy.close()  # the one of before may still answer

    async def _state_without_identity(self) -> bool:
        """Whether somebody has written to the changelogs, who did not say before whose they are.

        Another worker's first start may be at just this point: its record was written first, but is read later.
        """
        if not await self._changelog_content():
            return False
        control, deadline = self._pipeline.control, time.monotonic() + _FIRST_START
        while control.identity is None and time.monotonic() < deadline:
            await control.wait_changed()
        return control.identity is None

    async def _changelog_content(self) -> bool:
        return any((await self._changelog_ends()).values())

    async def _changelog_ends(self) -> dict[TopicPartition, int]:
        topics = self._pipeline.settings.topics
        consumer = self._pipeline.new_consumer()
        await consumer.start()
        try:
            numbers = range(self._pipeline.settings.partitions)
            tps = [TopicPartition(topic, n) for topic in (topics.snapshots, topics.ledger) for n in numbers]
            return dict(await consumer.end_offsets(tps))
        finally:
            await consumer.stop()

    async def _assert_not_emptied(self) -> None:
        """Refuse a changelog with nothing in it of a partition that was read: it was deleted, and made anew (O5).

        Before anything is written: with our take-over record in it the next start would find nothing strange.
        """
        settings = self._pipeline.settings
        committed = await kafka.group_offsets(settings.kafka, settings.app_id)
        read = {tp.partition: at for tp, at in committed.items() if tp.topic == settings.topics.identity and at}
        for tp, end in (await self._changelog_ends()).items() if read else ():
            if end == 0 and tp.partition in read:
                raise RefusedError(
                    f"the source has been read up to {read[tp.partition]} in partition {tp.partition}, but "
                    f"{tp.topic} is empty: it was deleted. {AGAIN}"
                )

    async def wait(self, *, write: bool) -> None:
        """Wait for the identity to be recorded; at a first start, `write` says whether by us."""
        assert self.identity is not None
        control = self._pipeline.control
        try:
            if write and control.identity is None:
                await control.put(IDENTITY, self.identity.body())
            while control.identity is None:
                control.changed.clear()
                await control.changed.wait()
            self._same(control.identity)
        except RefusedError as error:
            self._pipeline.app.refuse(error)
