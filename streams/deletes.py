"""One delete at a time: brake, second look, call, proof (C1, C8, design: Deletes are different)."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from streams.brake import Verdict
from streams.calls import ChangedError
from streams.cidaas.client import DeleteOutcome
from streams.cidaas.errors import CidaasError, Halve
from streams.cidaas.refusals import Reason
from streams.jobs import DELETED, Do, Job
from streams.ledger import PURGE_NOT_ANSWERED, PURGE_NOT_PROVED, Entry, State
from streams.legacy import LegacyAwayError
from streams.looks import Looks
from streams.mapping import status_of
from streams.orders import ALLOWED, answer_of
from streams.rows import SetAside, write_control
from streams.snapshots import head
from streams.source.repair import doubt
from streams.verdicts import confirmed, quarantined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.delivery import Delivery

log = logging.getLogger(__name__)

#: A row that is there although it was seen deleted must bring a newer version within this time (second look).
_NEWER_WITHIN = 60.0
#: Seconds for which a second look is good enough.
_LOOK_IS_FRESH = 5.0
#: Looks a second at deletes that wait. (A look costs 60 µs and more: 10,000 of them, four times a second each, held up
#: the very join that they waited for.)
_LOOKS = 500
#: C8: sent again after, given up and shown after, in seconds.
_PURGE_AGAIN, _PURGE_LOST = 900.0, 3600.0
#: C8: so long after C4's time, a purge that was never answered may be overtaken by a new life that is looked after.
_PURGE_SHOWS = 15.0


class Deletes:
    """Deletes users at cidaas."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery: Delivery = delivery
        self._cidaas = delivery.cidaas
        self._settings = delivery.settings
        self._looks = Looks(lambda ids: delivery.pipeline.legacy.users(ids))
        #: users whose row is there again, since when.
        self._alive: dict[bytes, float] = {}

    async def window(self, users: Sequence[bytes]) -> None:
        """Delete the users of one window, one after the other."""
        for job in await self._delivery.prepare(users, Do.DELETE):
            await self._one(job)

    async def _one(self, job: Job) -> None:
        delivery, partition = self._delivery, job.partition
        assert job.snap is not None
        if delivery.pipeline.behind(partition):
            self._wait(job, 0.25)  # a mass delete in one transaction must be counted before the first one leaves
            return
        if job.entry is not None and job.entry.reason == PURGE_NOT_ANSWERED and _lives(job):
            await self._looked_after(job, job.entry)
            return
        marks = job.entry.extra if job.entry is not None else {}
        # A purge that was noted but not answered is sent again; only one that was accepted is waited for (C8). A user
        # who signed up again waits in both cases.
        if marks.get("purged_ok") or (_lives(job) and (marks.get("purged_at") or marks.get("purged_first"))):
            await self._purged(job, float(marks.get("purged_first") or marks["purged_at"]))
            return
        if doubt(delivery.pipeline.control.state):
            self._wait(job, 2.0)  # changes are lost, or the database is not what it was: what is gone may not be gone
            return
        verdict = await self._verdict(job)
        if verdict is Verdict.GO and _by_mapping_alone(job) and not answer_of(job.entry, job.snap.version):
            await delivery.brake.hold("a new mapping deletes users that the former one may have kept")
            verdict = Verdict.PARK
        if verdict is Verdict.WAIT:
            self._wait(job, 0.25)
        elif verdict is Verdict.PARK:
            await self._finish(job, self._held(job, State.PARKED, "the delete brake holds it"))
        elif verdict is Verdict.STAY:
            await self._finish(job, self._held(job, State.REJECTED, "a person rejected the delete"))
        elif await self._second_look(job):
            await self._call(job)

    @staticmethod
    def _held(job: Job, state: State, reason: str) -> Entry:
        entry = job.next_entry(state, time.time())
        entry.reason = reason
        return entry

    def _wait(self, job: Job, seconds: float) -> None:
        """Look at the user again later; at many all together not more often than some hundred times a second."""
        many = len(self._delivery.queues[Do.DELETE]) / _LOOKS
        self._delivery.wait(job, max(seconds, min(60.0, many)))

    async def _finish(self, job: Job, entry: Entry) -> None:
        await self._delivery.refused.judge([(job, entry)])
        await self._delivery.write([(job, entry)])
        self._delivery.figures.count([(job, entry)])
        self._delivery.release([job])

    async def _second_look(self, job: Job) -> bool:
        """Read the row in the legacy database: True when it is really gone or deleted there, too."""
        delivery = self._delivery
        try:
            row = await self._looks.row(job.id)
        except LegacyAwayError as error:
            delivery.figures.outcomes["delete_waits_for_legacy"] += 1
            log.warning("delete waits user=%s: %s", job.id, error)
            self._wait(job, 2.0)
            return False
        if row is None or status_of(row, self._settings) != "live":
            self._alive.pop(job.user, None)
            return True
        since = self._alive.setdefault(job.user, time.monotonic())
        delivery.figures.outcomes["delete_not_sent_row_is_there"] += 1
        if time.monotonic() - since > _NEWER_WITHIN and delivery.pipeline.source_is_live():
            del self._alive[job.user]
            log.error("deleted user is in the legacy database user=%s: it will be read again", job.id)
            reason = "it was seen deleted, but its row is there and no newer change came"
            await delivery.pipeline.send(job.key, write_control(SetAside(reason)))
            delivery.release([job])
            return False
        self._wait(job, 1.0)
        return False

    async def _call(self, job: Job) -> None:
        delivery = self._delivery
        sub = delivery.inspector.sub_of(job.key)
        purge = self._settings.cidaas.delete == "purge"
        decided, before = time.monotonic(), job.entry
        if purge:
            # C8: noted before the call, so that a new sign-up does not overtake a purge that nobody remembers.
            entry = self._held(job, State.IN_DOUBT, PURGE_NOT_PROVED)
            entry.sub, entry.extra = sub, {**entry.extra, "purged_at": time.time()}
            await delivery.write([(job, entry)])
            job.entry = entry
        job.partition.doubted.discard(job.key)  # a call that begins from here on is a proof
        try:
            outcome = await delivery.call(
                [job],
                Do.DELETE,
                lambda: self._cidaas.delete(sub, self._settings.cidaas.delete),
                lambda: self._still(job, decided),
            )
        except CidaasError as error:
            await self._failed(job, error, before)
            return
        except ChangedError:
            await self._not_sent(job, before)
            delivery.release([job])
            return
        if outcome is DeleteOutcome.GONE:
            await self._finish(job, self._gone(job, sub))
            delivery.upserts.freed(job)
        else:
            if job.entry is not None:
                job.entry = replace(job.entry, extra={**job.entry.extra, "purged_ok": True})
                await delivery.write([(job, job.entry)])
            self._wait(job, 1.0)

    async def _still(self, job: Job, decided: float) -> bool:
        """Whether the delete may leave, now that its turn has come: it cannot be taken back.

        Its version is still the newest, its row is still gone, nobody paused, no fault of the source stands, no repair
        is under way, and the brake lets it go.
        """
        delivery, stored = self._delivery, job.partition.snapshots.store.get(job.key)
        assert job.snap is not None
        if delivery.paused is not None or doubt(delivery.pipeline.control.state):
            return False
        if time.monotonic() - decided > _LOOK_IS_FRESH and not await self._gone_there(job):
            return False
        if stored is None or head(stored.value).version != job.snap.version:
            return False
        return await self._verdict(job) is Verdict.GO

    async def _verdict(self, job: Job) -> Verdict:
        """What a person said of this very delete, else what the brake says."""
        assert job.snap is not None
        said = answer_of(job.entry, job.snap.version)
        if said:
            return Verdict.GO if said == ALLOWED else Verdict.STAY
        return await self._delivery.brake.verdict(job.partition, job.snap.version[1])

    async def _gone_there(self, job: Job) -> bool:
        try:
            row = await self._looks.row(job.id)
        except LegacyAwayError:
            return False
        return row is None or status_of(row, self._settings) != "live"

    @staticmethod
    def _gone(job: Job, sub: str) -> Entry:
        entry = confirmed(job, "DELETED")
        entry.sub = sub
        return entry

    async def _not_sent(self, job: Job, before: Entry | None) -> None:
        """Take the note of a purge back that cidaas certainly has not taken; one that was unclear before stays."""
        if job.entry is not None and job.entry.extra.get("purged_at"):
            job.entry.extra = dict(before.extra) if before is not None else {}
            await self._delivery.write([(job, job.entry)])

    async def _failed(self, job: Job, error: CidaasError, before: Entry | None) -> None:
        delivery = self._delivery
        if error.policy.halve is Halve.AT_ONCE:
            await self._finish(job, _without_purge(quarantined(job, Reason.DELETE_REFUSED, str(error))))
            return
        if error.policy.settle:
            await delivery.settle([job], Do.DELETE)
        else:
            await self._not_sent(job, before)  # the next try sends it again
        delivery.release([job])

    async def _purged(self, job: Job, since: float) -> None:
        """C8: a purge is confirmed only when a read finds the user gone; `since` is when it was first sent."""
        delivery, entry = self._delivery, job.entry
        assert entry is not None
        sub = entry.sub or delivery.inspector.sub_of(job.key)
        try:
            there = await delivery.call([job], Do.DELETE, lambda: self._cidaas.exists(sub))
        except (CidaasError, ChangedError):
            self._wait(job, 2.0)
            return
        age = time.time() - since
        if not there:
            # Signed up again meanwhile: nothing is confirmed of that, but from now on it may be sent.
            again = replace(entry, state=State.IN_DOUBT, reason="signed up again", deleted=False, extra={})
            await self._finish(job, again if _lives(job) else self._gone(job, sub))
            delivery.upserts.freed(job)
        elif _lives(job) and not entry.extra.get("purged_ok") and age > delivery.calls.settle + _PURGE_SHOWS:
            # Nobody knows whether cidaas has taken it. It is not on its way any more (C4), and had time to take effect.
            extra = {**_without_purge(entry).extra, "purge_unanswered": float(entry.extra.get("purged_at") or since)}
            await self._finish(job, replace(entry, state=State.IN_DOUBT, reason="signed up again", extra=extra))
        elif age > _PURGE_LOST:
            said = "cidaas accepted the purge, but the user is still there"
            lost = quarantined(job, Reason.PURGE_WITHOUT_EFFECT, said)
            await self._finish(job, _without_purge(lost))
        elif age > _PURGE_AGAIN and not entry.extra.get("purged_first") and not _lives(job):
            await self._finish(job, replace(entry, extra={**_without_purge(entry).extra, "purged_first": since}))
        else:
            self._wait(job, min(60.0, max(1.0, age)))

    async def _looked_after(self, job: Job, entry: Entry) -> None:
        """C8: the new life is at cidaas; should an unanswered purge of the former one take it, it is sent again."""
        since = float(entry.extra["purge_unanswered"])
        try:
            there = await self._delivery.call([job], Do.DELETE, lambda: self._cidaas.exists(entry.sub))
        except (CidaasError, ChangedError):
            self._wait(job, 2.0)
            return
        age = time.time() - since
        if not there:
            log.warning("a purge that was never answered took the new life, too: sent again user=%s", job.id)
            await self._finish(job, replace(entry, reason="a late purge took it", extra={}))
        elif age > _PURGE_AGAIN:
            kept = {name: mark for name, mark in entry.extra.items() if name != "purge_unanswered"}
            await self._finish(job, replace(entry, state=State.CONFIRMED, reason="", extra=kept))
        else:
            self._wait(job, min(60.0, max(1.0, age)))


def _by_mapping_alone(job: Job) -> bool:
    """Whether the row is there, and may mean a delete only under the present mapping.

    Then no record decided that, and the brake has counted nothing: one wrong word in pipeline.toml would delete
    everybody. Changed rows are no better: they may have been joined under the former mapping.
    """
    entry = job.entry
    return (
        job.mapped is not None
        and entry is not None
        and entry.mapping_id != job.partition.mapping_id
        and entry.fingerprint != DELETED
    )


def _lives(job: Job) -> bool:
    """Whether the user has signed up again since its purge."""
    return job.mapped is not None and job.mapped.status == "live"


def _without_purge(entry: Entry) -> Entry:
    return replace(entry, extra={name: mark for name, mark in entry.extra.items() if not name.startswith("purged_")})
