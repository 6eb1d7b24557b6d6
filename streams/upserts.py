"""One window of upserts: look at each user, call cidaas once, write down per user what is proved.

A window that fails as a whole follows the table in `cidaas/errors.py` (C4, C6); a window that is answered is believed
per user (C3).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from streams.calls import ChangedError, NotOursError
from streams.cidaas.errors import CidaasError, Halve, Kind
from streams.cidaas.refusals import Reason
from streams.conflicts import Conflicts
from streams.jobs import Do, Job
from streams.ledger import Entry, State
from streams.verdicts import email_mark, judged, quarantined, watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.cidaas.answers import Outcome
    from streams.delivery import Delivery

log = logging.getLogger(__name__)

#: Refusals that may mean that another user holds the address.
_ABOUT_EMAIL = (Reason.EMAIL_CONFLICT.value, Reason.CONFLICT.value)


@dataclass(frozen=True, slots=True)
class _Part:
    """Users of a window that go in one call."""

    jobs: list[Job]
    #: calls with these users that failed.
    failures: int
    #: successes of all calls before the first of these.
    since: int


class Upserts:
    """Sends windows of live users."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery: Delivery = delivery
        self._cidaas = delivery.cidaas
        self._max_wait = delivery.settings.delivery.max_retry_wait
        #: users that go in a call of their own (C3: unmatched ones).
        self.alone: set[bytes] = set()
        self.conflicts = Conflicts(delivery.pipeline, delivery.wake)

    async def window(self, users: Sequence[bytes]) -> None:
        """Send one window; on return every user of it has been released."""
        jobs = await self._delivery.prepare(users, Do.UPSERT)
        jobs = self._distinct(jobs)
        await self._announce(jobs)
        await self._send(jobs)

    def _distinct(self, jobs: list[Job]) -> list[Job]:
        """Keep users with the same address out of one call, and send alone who must go alone (C3)."""
        jobs = sorted(jobs, key=lambda job: job.user not in self.alone)  # first, or they would be put off for ever
        if jobs and jobs[0].user in self.alone:
            self._delivery.release(jobs[1:])
            return jobs[:1]
        seen: set[str] = set()
        kept: list[Job] = []
        later: list[Job] = []
        for job in jobs:
            mail = job.mapped.email_key if job.mapped is not None else None
            if mail is not None and mail in seen:
                later.append(job)
                continue
            kept.append(job)
            if mail is not None:
                seen.add(mail)
        self._delivery.release(later)
        return kept

    async def _announce(self, jobs: list[Job]) -> None:
        """Note before a call what else nobody could know after a crash in it and a return to the former mapping.

        A confirmed version that goes out under another mapping would look confirmed again (C2). A user whom no record
        showed live, and who is live by a new mapping alone, would look like one that never was at cidaas (C1); so would
        one who was left out before, by this mapping or another, if its entry still said NOT_SELECTED.
        """
        entries: list[tuple[Job, Entry]] = []
        for job in jobs:
            snap, entry = job.snap, job.entry
            if snap is None:
                continue
            if entry is None and not snap.seen_live:
                entries.append((job, replace(job.next_entry(State.IN_DOUBT, time.time()), attempts=0)))
            elif entry is not None and (
                entry.process_state == "NOT_SELECTED"
                or (entry.state is State.CONFIRMED and entry.version == snap.version)
            ):
                entries.append((job, replace(entry, state=State.IN_DOUBT, process_state="")))
        if entries:
            await self._delivery.write(entries)
            for job, entry in entries:
                job.entry = entry

    async def _send(self, jobs: list[Job]) -> None:
        """Call for these users, in parts when a call for all of them fails.

        What a failure means is decided when each part has been called: the success of another one may tell that cidaas
        is well.
        """
        parts = [_Part(jobs, 0, self._delivery.calls.successes)]
        while parts:
            called = [(part, await self._called(part.jobs)) for part in parts if part.jobs]
            failed = [(part, error) for part, error in called if error is not None]
            again = await asyncio.gather(*(self._failed(part, error) for part, error in failed)) if failed else []
            parts = [part for more in again for part in more]

    async def _called(self, jobs: list[Job]) -> CidaasError | None:
        """Make one call; returns how it failed as a whole. If it did not, the users have been released.

        C5: it carries what is the newest when its turn comes, which may be minutes after it was prepared. Users who
        have been changed meanwhile are left out, and looked at again.
        """
        began, current = 0.0, jobs

        async def holds() -> bool:
            nonlocal current
            current = [job for job in jobs if job.is_newest()]
            return self._delivery.paused is None and bool(current)

        async def request() -> list[Outcome]:
            nonlocal began
            began = time.time()  # its turn may have come late
            return await self._cidaas.bulk([self._entity(job) for job in current])

        try:
            outcomes = await self._delivery.call(jobs, Do.UPSERT, request, holds)
        except CidaasError as error:
            return error
        except ChangedError:
            self._delivery.release(jobs)  # paused, or all of them changed, while it waited for its turn
        else:
            if len(current) < len(jobs):
                sent = {job.user for job in current}
                self._delivery.release([job for job in jobs if job.user not in sent])
            self._delivery.calls.users_per_call.append(len(current))
            self._delivery.figures.timed(current, began)
            await self._answered(current, outcomes)
        return None

    def _entity(self, job: Job) -> dict[str, object]:
        assert job.mapped is not None and job.mapped.entity is not None
        if not job.temporary:
            return job.mapped.entity
        return {**job.mapped.entity, "email": self._temporary(job)}

    # -- whole-call failures (C4, C6) ------------------------------------------------------------------------------

    async def _failed(self, part: _Part, error: CidaasError) -> list[_Part]:
        """Do what the table says; returns who goes again, and with whom."""
        delivery, policy, jobs = self._delivery, error.policy, part.jobs
        others = delivery.calls.successes > part.since
        halve = policy.halve is Halve.AT_ONCE or (policy.halve is Halve.SECOND_TIME and part.failures >= 1 and others)
        if halve and len(jobs) == 1:
            reason = Reason.SERVER_ERROR if error.kind is Kind.SERVER else Reason.REFUSED_CALL
            await self._write([(jobs[0], quarantined(jobs[0], reason, str(error)))])
            return []
        if policy.settle:
            jobs = self._distinct(await delivery.settle(jobs, Do.UPSERT))  # addresses may have changed meanwhile (C3)
        if halve:
            half = len(jobs) // 2
            log.info("call halved users=%d kind=%s", len(jobs), error.kind.value)
            since = delivery.calls.successes
            return [_Part(some, part.failures + 1, since) for some in (jobs[:half], jobs[half:])]
        if policy.halve is Halve.SECOND_TIME:
            return [_Part(jobs, part.failures + 1, part.since)]
        delivery.release(jobs)
        return []

    # -- answers (C3) ----------------------------------------------------------------------------------------------

    async def _answered(self, jobs: list[Job], outcomes: list[Outcome]) -> None:
        others = {sub for outcome in outcomes for sub in outcome.others}
        if others:
            await self._delivery.foreign.note(others)  # before the answer counts: a crash brings it once more
        results: list[tuple[Job, Entry]] = []
        contested: list[tuple[Job, Entry]] = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            entry = judged(job, outcome, self._max_wait)
            if job.temporary and entry.state is State.CONFIRMED:
                entry.state, entry.extra = State.IN_DOUBT, {}
                entry.reason = "holds a temporary address until the swap is complete"
            entry = watched(job, entry)
            if outcome.reason in (Reason.UNMATCHED, Reason.UNREADABLE, Reason.FOREIGN_SUB):
                self.alone.add(job.user)
            else:
                self.alone.discard(job.user)
            (contested if _about_email(entry) else results).append((job, entry))
        await self._write(results)
        if contested:
            looked_up = await asyncio.gather(*(self._looked_up(job, entry) for job, entry in contested))
            await self._write(
                [(job, self._conflict(job, entry)) for (job, _), entry in zip(contested, looked_up, strict=True)]
            )

    async def _write(self, results: list[tuple[Job, Entry]]) -> None:
        await self._delivery.refused.judge(results)
        await self._delivery.write(results)
        for job, entry in results:
            if entry.state in (State.CONFIRMED, State.IN_DOUBT):
                self.freed(job)
        self._delivery.figures.count(results)
        self._delivery.release([job for job, _ in results])

    def forget(self) -> None:
        """Forget what is known of users that others own now, after a revoke."""
        self.alone.clear()
        self.conflicts.forget()

    # -- addresses that another user still holds ---------------------------------------------------------------------

    def freed(self, job: Job) -> None:
        """The user does not hold its former address any more: who waits for it goes at once."""
        old = job.entry.extra.get("mail", "") if job.entry is not None else ""
        if old and job.mapped is not None and not job.temporary and old == email_mark(job.mapped.email_key):
            old = ""  # it is still its own
        self.conflicts.over(job.user, old)

    async def _looked_up(self, job: Job, entry: Entry) -> Entry:
        """Ask cidaas which address the user holds: the ledger does not know it of a call whose answer was lost.

        Not at the first refusal, if there is something known: most conflicts are over by the second.
        """
        if entry.attempts < 2 and entry.extra.get("mail"):
            return entry
        look = partial(self._cidaas.email_of, entry.sub)
        try:
            email = await self._delivery.call([job], Do.UPSERT, look, lane="look")
        except (CidaasError, ChangedError, NotOursError):
            return entry  # what is known is good enough for most
        if email is not None:
            entry.extra["mail"] = email_mark(email.casefold())
        return entry

    def _conflict(self, job: Job, entry: Entry) -> Entry:
        """Note who waits for which address; break a swap that cidaas would accept in no order."""
        wants = email_mark(job.mapped.email_key) if job.mapped is not None else ""
        holds = str(entry.extra.get("mail", ""))
        if wants == holds:
            return entry  # its address is its own: this is about another identifier
        self.conflicts.found(job.user, wants, holds, entry.attempts)
        if not self.conflicts.in_ring(job.user):
            return entry
        if self._delivery.settings.delivery.temporary_email:
            entry.extra["swap"] = list(entry.version)  # a newer version may want another address
            entry.next_try = 0.0
            log.info("e-mail swap broken through a temporary address user=%s", job.id)
            return entry
        entry.state = State.QUARANTINED
        entry.message = (
            "two users swap their e-mail addresses, which cidaas accepts in no order: set delivery.temporary_email, "
            "then resync both"
        )
        return entry

    def _temporary(self, job: Job) -> str:
        template = self._delivery.settings.delivery.temporary_email or ""
        return template.replace("{id}", job.id)


def _about_email(entry: Entry) -> bool:
    """Whether the user was refused because another one may hold its address."""
    return entry.state is State.RETRYING and entry.reason in _ABOUT_EMAIL
