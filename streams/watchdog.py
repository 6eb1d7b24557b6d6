"""Ends a worker that only looks alive: what has to move stands still, and nobody else would say so.

A thread of its own looks once a second. Kafka's heartbeats come from the consumer's own thread, so a worker whose event
loop stands still stays a member of the group and keeps its partitions; nobody takes them over. A new start is safe.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from streams.pipeline import Pipeline
    from streams.runner import Runner
    from streams.state import Partition

log = logging.getLogger(__name__)

#: Seconds between two looks.
ROUND = 1.0
#: Seconds without a turn of the event loop. Nothing of ours holds it for one; a broker's pause holds it not at all.
LOOP = 60.0
#: Seconds without a record read, or a user scanned, in any take-over: longer than a send may take (D4), so that neither
#: a broker that is away for a moment nor one slow take-over record is a reason.
TAKE_OVER = 300.0
#: Seconds in which nothing is committed that is acknowledged, or nothing joined that waits. Every send within a batch
#: has its own, shorter deadline (D4), which says better what is wrong; cidaas and the database are not waited for here.
COMMIT = JOIN = 300.0
#: Seconds for a worker that has decided to end; its stop has a deadline of its own (18 s), but must be reached.
END = 60.0
#: Seconds to say why; the log may be what everything is stuck in.
SAY = 5.0


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign of life: `mark` is another one as soon as something has moved."""

    name: str
    mark: Hashable
    limit: float
    sentence: str


class Watchdog:
    """Looks at signs of life, and ends the process when one has been the same for longer than its limit.

    Time counts only as far as this thread itself runs: a machine that slept, or a process that was stopped by a
    signal, has not stood still (its partitions are another matter: C5).
    """

    def __init__(self, signs: Callable[[], Iterable[Sign]], end: Callable[[str], None] | None = None) -> None:
        self._signs = signs
        self._end = end or _end
        self._ticks = 0
        self._now = 0.0
        self._seen: dict[str, tuple[Hashable, float]] = {}
        self._loop_thread = 0

    def start(self) -> None:
        """Watch the running event loop, and everything else, until the process ends."""
        self._loop_thread = threading.get_ident()
        self._tick(asyncio.get_running_loop())
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ticks += 1
        loop.call_later(ROUND, self._tick, loop)

    def _run(self) -> None:
        before = time.monotonic()
        while True:
            time.sleep(ROUND)
            now = time.monotonic()
            why = self.look(now - before)
            before = now
            if why:
                self._end(why)
                return

    def look(self, elapsed: float) -> str:
        """Look once, `elapsed` seconds after the last time; why the worker has to end, or ""."""
        self._now += min(elapsed, 2 * ROUND)
        loop = Sign("loop", self._ticks, LOOP, f"the event loop has stood still{_where(self._loop_thread)}")
        try:
            others = {sign.name: sign for sign in self._signs()}
        except Exception:  # what is looked at belongs to another thread, and may be taken down at just this moment
            log.debug("the watchdog could not look", exc_info=True)
            return self._stands(loop)
        self._seen = {name: seen for name, seen in self._seen.items() if name in others or name == loop.name}
        return next(filter(None, map(self._stands, [loop, *others.values()])), "")

    def _stands(self, sign: Sign) -> str:
        mark, since = self._seen.get(sign.name, (None, self._now))
        since = since if mark == sign.mark else self._now
        self._seen[sign.name] = (sign.mark, since)
        return f"{sign.sentence} for {self._now - since:.0f} s" if self._now - since > sign.limit else ""


def _where(thread: int) -> str:
    """Where a thread is: positions in the code only, never what it works on."""
    frame = sys._current_frames().get(thread)
    return f" in {frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})" if frame is not None else ""


def _end(why: str) -> None:
    """Say it, and end the process, whatever the rest of it is stuck in: the log, too."""
    last = threading.Timer(SAY, os._exit, args=(1,))
    last.daemon = True
    last.start()
    log.critical("the worker ends, because it only looks alive: %s; a new start is safe", why)
    os._exit(1)


def signs(pipeline: Pipeline) -> Iterator[Sign]:
    """What has to move in a worker."""
    if pipeline.failed:
        yield Sign("end", "", END, "it has failed and does not come to its end")
        return
    runners = list(pipeline.runners.values())
    new = [runner for runner in runners if runner.partition is None or not runner.partition.owned.is_set()]
    if new:
        marks = tuple(_read(runner) for runner in new)
        numbers = ", ".join(str(runner.number) for runner in new)
        yield Sign("take-over", marks, TAKE_OVER, f"taking partitions over ({numbers}) has read no record")
    for runner in runners:
        # One agent hands on the batches of all partitions: it may wait for one that is being taken over.
        yield from _partition(pipeline, runner, joining=not new)


def _read(runner: Runner) -> Hashable:
    partition = runner.partition
    if partition is None:
        return runner.number
    return runner.number, partition.snapshots.store.next_offset, partition.ledger.store.next_offset, partition.known


def _partition(pipeline: Pipeline, runner: Runner, *, joining: bool) -> Iterator[Sign]:
    number, partition = runner.number, runner.partition
    if partition is None or partition.closing or not partition.owned.is_set():
        return
    if joining and (pipeline.lag(partition) or not runner.queue.empty()):
        mark = (_joined(pipeline, partition), partition.snapshots.store.next_offset, pipeline.sent)
        yield Sign(f"join {number}", mark, JOIN, f"partition {number} has records to join, and has joined none")
    committed = pipeline.noted_commit(number)
    if committed is not None and runner.acknowledged > committed:
        sentence = f"partition {number} is acknowledged up to {runner.acknowledged}, and {committed} is committed"
        yield Sign(f"commit {number}", committed, COMMIT, sentence)


def _joined(pipeline: Pipeline, partition: Partition) -> tuple[int, ...]:
    """How far a partition is joined; those that are read from their beginning take turns, so they count together."""
    if not partition.replaying:
        return (partition.joined_offset,)
    return tuple(one.joined_offset for one in pipeline.partitions() if one.replaying)
