"""A limit on refusals: a wrong setting of the tenant must not push everybody into quarantine.

Each worker looks at the users that cidaas judged last. When too many of them were refused, delivery pauses for all
workers through the control topic, and a person looks; `resume` counts afresh. What is counted is memory: a restart
forgets it, and not the pause.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Protocol

from streams.cidaas.refusals import Reason
from streams.control import DELIVERY
from streams.ledger import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.control import Control
    from streams.jobs import Job
    from streams.ledger import Entry

log = logging.getLogger(__name__)

#: Fewer refused users than this are no reason to pause, whatever their share.
LEAST = 50
#: What `status` and the log tell a person to do.
REMEDY = "Look at `quarantine list` and the tenant's settings; `resume` goes on and counts afresh."


class _Limits(Protocol):
    @property
    def refused_share(self) -> float: ...
    @property
    def refused_window(self) -> int: ...


class Refused:
    """The users that were judged last, and whether too many of them were refused."""

    def __init__(self, limits: _Limits, control: Control) -> None:
        self._share, self._control = limits.refused_share, control
        #: of each user, why it was refused; "" for one that was confirmed.
        self._judged: deque[str] = deque(maxlen=limits.refused_window)
        self._bad = 0
        self._record: dict[str, Any] | None = control.state.get(DELIVERY)
        self._tripped = _by_limit(self._record)

    async def judge(self, results: Sequence[tuple[Job, Entry]]) -> None:
        """Count what became of these users, before it is written; beyond the limit the refused ones stay pending."""
        self._afresh()
        for job, entry in results:
            if _refused(job, entry):
                if not self._tripped:
                    self._count(entry.reason)
                elif entry.state is State.QUARANTINED:  # its call was under way: sent, but not judged
                    entry.state, entry.next_try = State.RETRYING, 0.0
            elif entry.state is State.CONFIRMED:
                self._count("")
            if not self._tripped and self._too_many():
                self._tripped = True
                if not _paused(self._record):
                    await self._pause()

    def _afresh(self) -> None:
        """Whoever paused or resumed has looked: what was counted before is answered."""
        record = self._control.state.get(DELIVERY)
        if record != self._record:
            self._record, self._tripped = record, _by_limit(record)
            self._judged.clear()
            self._bad = 0

    def _count(self, reason: str) -> None:
        if len(self._judged) == self._judged.maxlen:
            self._bad -= bool(self._judged[0])
        self._judged.append(reason)
        self._bad += bool(reason)

    def _too_many(self) -> bool:
        return self._bad >= LEAST and self._bad > self._share * len(self._judged)

    async def _pause(self) -> None:
        reasons = Counter(reason for reason in self._judged if reason)
        named = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common())
        judged = f"{reasons.total()} of the last {len(self._judged)} users were refused"
        why = f"{judged}, more than {self._share:.0%} ({named})"
        log.error("delivery pauses: %s. %s", why, REMEDY)
        body = {"paused": True, "limit": True, "why": why, "who": "the limit on refusals", "at": time.time()}
        await self._control.put(DELIVERY, body)


def _paused(record: dict[str, Any] | None) -> bool:
    return record is not None and bool(record.get("paused"))


def _by_limit(record: dict[str, Any] | None) -> bool:
    return record is not None and _paused(record) and bool(record.get("limit"))


def _refused(job: Job, entry: Entry) -> bool:
    """Whether cidaas has refused this user just now, and not before already."""
    if entry.reason == Reason.FOREIGN_SUB.value:  # worse than a refusal: another user was overwritten (C3)
        return entry.state in (State.RETRYING, State.QUARANTINED)
    known = job.entry is not None and job.entry.state is State.QUARANTINED
    return entry.state is State.QUARANTINED and not known
