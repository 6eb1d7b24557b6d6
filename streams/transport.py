"""Faust's aiokafka transport with four changes: batches, turns, commits that never pass what is not acknowledged, and
nothing is dropped because something behind it was read before.

*Batches.* Faust wakes four asyncio tasks for every message; a batch pays for that once. For the chosen topic one
message carries the records of one partition as they were fetched; its offset is that of its last record.

*Turns.* A partition that is read from its beginning delivers nothing before its end (C9). Read side by side, all of
them come to it at the very end of an initial load, and cidaas hears of nobody until then; so a few at a time are read.

*Commits.* Faust's own commit skips over a single unacknowledged message (issue 606). Our messages are acknowledged in
offset order per partition, always, so the highest acknowledged one is the position to commit (D2).

*Reading again.* Faust drops what it takes for read already, by the highest offset that it has seen. After a seek back
that may be a record that was never handed on. Ours are compared with what is joined (`Runner`, M1).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, ClassVar

from aiokafka import TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

if TYPE_CHECKING:
    from faust.types.transports import ConsumerT

#: Records in one batch: one send to the changelog, one write to the store.
MAX_BATCH = 500
#: Partitions that are read from their beginning at a time: one more is joined while the buffers of the first are full.
AT_A_TIME = 2
#: Seconds until such a partition is asked for again that Faust had paused: nobody tells when it goes on.
_SOON = 0.02


class Batch(list[Any]):
    """Consecutive records of one partition; looks like its last record where Faust asks for one."""

    __slots__ = ()


class _ReadOffsets(defaultdict["TP", "int | None"]):
    """What Faust knows to be read: of the topic `unknown` nothing, so that nothing of it is dropped."""

    def __init__(self, unknown: str) -> None:
        super().__init__(lambda: None)
        self._unknown = unknown

    def __getitem__(self, tp: TP) -> int | None:
        return None if tp.topic == self._unknown else super().__getitem__(tp)


class BatchConsumer(driver.Consumer):
    """Hands on the records of `batch_topic` in batches."""

    batch_topic: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _ReadOffsets(self.batch_topic)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Any]]:
        if later := self._later():
            active_partitions, timeout = (active_partitions or set()) - later, min(timeout, _SOON)
            if not active_partitions:  # to Faust that is everything
                await asyncio.sleep(timeout)
                return {}
        fetched = await super()._getmany(active_partitions, timeout)
        return {
            tp: [Batch(recs[i : i + MAX_BATCH]) for i in range(0, len(recs), MAX_BATCH)]
            if tp.topic == self.batch_topic
            else recs
            for tp, recs in fetched.items()
        }

    def _later(self) -> set[TP]:
        """The partitions whose turn has not come: a few that are read from their beginning go before them."""
        ends = self.app.pipeline.replays()
        unread = [number for number in sorted(ends) if self._read_up_to(number) < ends[number]]
        return {TP(self.batch_topic, number) for number in unread[AT_A_TIME:]}

    def _read_up_to(self, number: int) -> int:
        """The offset behind the last record of a partition that was handed on; Faust keeps it, also when it seeks."""
        return (self._read_offset.get(TP(self.batch_topic, number)) or 0) + 1

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's look for partitions that nothing comes of; it takes one that waits for its turn for a stuck one."""
        if tp not in self._later():
            super().verify_event_path(now, tp)

    def _to_message(self, tp: TP, record: Any) -> Any:
        if not isinstance(record, Batch):
            return super()._to_message(tp, record)
        message = super()._to_message(tp, record[-1])
        message.key, message.value = None, record
        return message

    def _new_offset(self, tp: TP) -> int | None:
        acked = self._acked[tp]
        if not acked:
            return None
        last = max(acked)
        acked.clear()
        self._acked_index[tp].clear()
        self._gap[tp].clear()
        return int(last) + 1

    async def committed(self, tp: TP) -> int:
        """The offset that the group has committed for a partition, asked of the broker; 0 for none."""
        thread = self._thread
        partition = TopicPartition(tp.topic, tp.partition)
        return int(await thread.call_thread(thread._ensure_consumer().committed, partition) or 0)

    def noted_commit(self, tp: TP) -> int | None:
        """The offset that was committed last for a partition, without asking; None when that is not known."""
        offset = self._committed_offset.get(tp)
        return None if offset is None else int(offset)

    def heartbeat(self) -> tuple[float, int]:
        """Boot-clock time of the last answered heartbeat, and the generation it was answered in (C5)."""
        seen: tuple[float, int] = getattr(self, "_heartbeat_seen", (0.0, -1))
        return seen

    def watch_heartbeats(self) -> None:
        """Note every answered heartbeat; the boot clock goes on while the machine sleeps (C5)."""
        coordinator = self._thread._consumer._coordinator
        if getattr(coordinator, "_watched", False):
            return
        do_heartbeat = coordinator._do_heartbeat

        async def watched() -> Any:
            answered = await do_heartbeat()
            if answered:
                self._heartbeat_seen = (boot_clock(), coordinator.generation)
            return answered

        coordinator._do_heartbeat = watched
        coordinator._watched = True
        self._heartbeat_seen = (boot_clock(), coordinator.generation)


def boot_clock() -> float:
    """Seconds since boot, counting the time a frozen or sleeping machine did not run (C5)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Transport(driver.Transport):
    """The transport of the worker."""

    Consumer: ClassVar[type[ConsumerT]] = BatchConsumer
