"""What an answer, or a failure, makes of a user's ledger entry: the one table of refusals × patience (pure)."""

from __future__ import annotations

import hashlib
import random
import time
from typing import TYPE_CHECKING

from streams.cidaas.answers import Outcome, OutcomeKind
from streams.cidaas.refusals import CURE, Cure, Reason
from streams.ledger import PURGE_NOT_ANSWERED, Entry, State

if TYPE_CHECKING:
    from streams.jobs import Job

#: Tries of a user whose refusal nobody understands, over about an hour, before quarantine (design: Refusals).
UNKNOWN_TRIES = 10
_UNKNOWN_FIRST_WAIT = 7.0
#: Tries of a user whose calls end up with another user, within about a minute: each may overwrite that one (C3).
FOREIGN_TRIES = 4


def email_mark(email_key: str | None) -> str:
    """A short fingerprint of an address: enough to see who waits for whose, nothing to read it from."""
    return hashlib.blake2b(email_key.encode(), digest_size=8).hexdigest() if email_key else ""


def confirmed(job: Job, process_state: str) -> Entry:
    """The entry of a user that cidaas has stored or deleted."""
    entry = job.next_entry(State.CONFIRMED, time.time())
    entry.process_state = process_state
    entry.deleted = process_state in ("DELETED", "GONE")
    entry.latency = 0.0 if _again(job) else job.latency
    entry.extra = {}
    if job.mapped is not None and not entry.deleted:
        entry.extra["mail"] = email_mark(job.mapped.email_key)
    return entry


def _again(job: Job) -> bool:
    """Whether this version was put in doubt and sent again: long after its commit, and nobody waited all that time."""
    before = job.entry
    if before is None or job.snap is None or before.version != job.snap.version:
        return False
    return before.state is State.IN_DOUBT and not before.extra.get("purged_at")  # C8: noted before its own call


def watched(job: Job, entry: Entry) -> Entry:
    """The entry of a user that is stored, but was purged in its former life, and nobody answered that purge (C8).

    It stays in doubt until the purge cannot take effect any more. CREATED proves that it has done so already.
    """
    since = job.entry.extra.get("purge_unanswered") if job.entry is not None else None
    if since and entry.state in (State.CONFIRMED, State.IN_DOUBT) and entry.process_state != "CREATED":
        entry.extra["purge_unanswered"] = since
        if entry.state is State.CONFIRMED:
            entry.state, entry.reason = State.IN_DOUBT, PURGE_NOT_ANSWERED
    return entry


def judged(job: Job, outcome: Outcome, max_wait: float) -> Entry:
    """The entry that follows from one user's outcome (C3)."""
    if outcome.kind is OutcomeKind.DONE:
        return confirmed(job, outcome.process_state)
    return refused(job, outcome.reason, outcome.message, max_wait)


def refused(job: Job, reason: Reason, message: str, max_wait: float) -> Entry:
    """The entry of a user that is not confirmed: quarantined at once, or tried again later."""
    entry = job.next_entry(State.RETRYING, time.time())
    entry.reason, entry.message = reason.value, message
    cure = CURE.get(reason, Cure.UNKNOWN)
    tries = FOREIGN_TRIES if reason is Reason.FOREIGN_SUB else UNKNOWN_TRIES
    if cure is Cure.PERMANENT or (cure is Cure.UNKNOWN and entry.attempts >= tries):
        entry.state = State.QUARANTINED
        return entry
    if reason in (Reason.UNMATCHED, Reason.UNREADABLE) and entry.attempts == 1:
        entry.next_try = 0.0  # goes again alone, at once (C3)
        return entry
    if cure is Cure.CONFLICT:
        wait = min(max_wait, 2.0 ** min(entry.attempts - 1, 10))
    else:
        wait = _UNKNOWN_FIRST_WAIT * 2.0 ** (entry.attempts - 1)
    entry.next_try = time.time() + wait * random.uniform(0.9, 1.1)  # noqa: S311  jitter, not a secret
    return entry


def quarantined(job: Job, reason: Reason, message: str) -> Entry:
    """The entry of the one user whose presence fails a whole call (C6)."""
    entry = job.next_entry(State.QUARANTINED, time.time())
    entry.reason, entry.message = reason.value, message
    return entry
