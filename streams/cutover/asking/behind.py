"""Reads the topic behind a place, for row changes that came after a marker: by itself, whatever the workers say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import TopicPartition

from streams import kafka
from streams.cutover.gate import Late, is_late
from streams.rows import RowChange, RowReader, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka.structs import ConsumerRecord

    from streams.settings import Settings


class Behind:
    """The records of `legacy.identity` from some offsets on; closed by `close`."""

    def __init__(self, settings: Settings, begins: Mapping[int, int]) -> None:
        self._topic, self._begins = settings.topics.identity, begins
        self._consumer, self._reader = kafka.consumer(settings.kafka), RowReader(settings.source)
        self._started = False
        #: up to here it was read.
        self.offsets: dict[int, int] = dict(begins)
        self._changes: list[RowChange] = []

    async def late(self, marker: int) -> Late:
        """Read on to the present end; all row changes so far that were committed behind the marker (its LSN)."""
        if not self._started:
            self._started = True
            await self._consumer.start()
            self._consumer.assign([TopicPartition(self._topic, number) for number in self._begins])
            for number, offset in self._begins.items():
                self._consumer.seek(TopicPartition(self._topic, number), offset)
        await self._read()
        late = [one for one in self._changes if is_late(one, marker)]
        return Late(len(late), tuple(dict.fromkeys(one.user_id for one in late)))

    async def _read(self) -> None:
        ends = await self._consumer.end_offsets([TopicPartition(self._topic, number) for number in self._begins])
        async for tp, batch in kafka.read_until(self._consumer, ends):
            for record in batch:
                self._take(record)
            self.offsets[tp.partition] = await self._consumer.position(tp)

    def _take(self, record: ConsumerRecord) -> None:
        try:
            change = self._reader.read(record.key, record.value)
        except UnreadableError:
            return  # its user is set aside, or `status` says that there is one
        if isinstance(change, RowChange):
            self._changes.append(change._replace(row=None))  # no value stays in memory

    async def close(self) -> None:
        """Close the connection."""
        if self._started:
            await self._consumer.stop()
