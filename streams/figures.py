"""What one worker counts and measures of its delivery, for `status` and /metrics.

It lives in memory; who takes a partition over learns what its tables tell of the time before.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import TYPE_CHECKING

from streams.control import DELIVERY
from streams.ledger import Entry, State, decode
from streams.stages import Stage, Stages
from streams.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streams.control import Control
    from streams.jobs import Job
    from streams.state import Partition


class Figures:
    """The figures of one worker."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self.confirmed = 0
        self.outcomes: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        #: commit in PostgreSQL to confirmation, seconds, of the last users.
        self.latencies: deque[float] = deque(maxlen=10_000)
        self.finished = Tally()
        self.stages = Stages()

    @property
    def resumed(self) -> float:
        """When delivery was last paused or resumed (Unix seconds; 0 for never).

        What was committed before has waited for a person, which says nothing of the pipeline.
        """
        return float((self._control.state.get(DELIVERY) or {}).get("at") or 0.0)

    def count(self, results: Iterable[tuple[Job, Entry]]) -> None:
        """Add users whose call, or look, is over."""
        done, resumed = 0, self.resumed
        for _, entry in results:
            self.outcomes[entry.state.name.lower()] += 1
            if entry.state is State.CONFIRMED:
                done += 1
                self.notes.update(entry.notes)
                self._latency(entry, resumed)
        self.confirmed += done
        if done:
            self.finished.add(time.monotonic(), done)

    def timed(self, jobs: Sequence[Job], began: float) -> None:
        """Note how long these users waited for their call, which began then (Unix seconds), and how long it took.

        One in the middle stands for all. Who is sent again, or waited for a person, says nothing of the queue.
        """
        job, now = jobs[len(jobs) // 2], time.monotonic()
        written = job.written_ms / 1000
        again = job.entry is not None and job.snap is not None and job.entry.version == job.snap.version
        self.stages.sample(Stage.CALL, now, time.time() - began, len(jobs))
        if not again and written >= self.resumed:
            self.stages.sample(Stage.QUEUE, now, began - written, len(jobs))

    def learn(self, partition: Partition) -> None:
        """Go on with the figures of a partition's former owner, as its ledger tells them.

        A revoke takes all partitions and forgets all figures, so what is learnt here was counted by nobody else.
        """
        history, resumed = partition.history, self.resumed
        self.finished.learn(time.monotonic(), history.by_age, history.oldest)
        keys = history.latest()
        for stored in partition.ledger.store.get_many(keys) if keys else ():
            if stored is not None:
                self._latency(decode(stored.value), resumed)

    def forget(self) -> None:
        """Forget rates and latencies, after a revoke; the next owners learn them."""
        self.finished = Tally()
        self.latencies.clear()

    def _latency(self, entry: Entry, resumed: float) -> None:
        if entry.latency and entry.at - entry.latency >= resumed:
            self.latencies.append(entry.latency)
