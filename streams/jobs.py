"""Looks at one pending user, as the store has it, and says what is to be done now."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streams import ledger, snapshots
from streams.credentials import Names
from streams.ledger import Entry, Situation, State
from streams.mapping import Mapped, Mapper, fingerprint
from streams.orders import BY

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.control import Control
    from streams.settings import Settings
    from streams.snapshots import Snapshot
    from streams.state import Partition, Stored


#: What stands for the fingerprint in an entry of a delete.
DELETED = "deleted"


class Do(enum.Enum):
    """What is to be done with a user that was pending when it was queued."""

    NOTHING = "nothing"  # not pending any more
    UPSERT = "upsert"
    DELETE = "delete"
    RECORD = "record"  # write `job.record` to the ledger, no call
    WAIT = "wait"  # not before `job.until`
    SET_ASIDE = "set_aside"  # O4: the ledger is ahead of the snapshot


@dataclass(slots=True)
class Job:
    """One user at the moment when its window is made."""

    user: bytes
    key: bytes
    partition: Partition
    do: Do
    situation: Situation | None = None
    snap: Snapshot | None = None
    entry: Entry | None = None
    mapped: Mapped | None = None
    fingerprint: str = ""
    record: Entry | None = None
    until: float = 0.0
    why: str = ""
    #: send the temporary address that breaks a swap of addresses instead of the user's own.
    temporary: bool = False
    #: when the snapshot was written, by the broker.
    written_ms: int = 0

    @property
    def id(self) -> str:
        """The legacy user id, for logs."""
        return self.key.decode(errors="replace")

    def next_entry(self, state: State, now: float) -> Entry:
        """A new entry for this version under this mapping; attempts go on counting for the same version."""
        assert self.snap is not None
        before = self.entry
        same = before is not None and before.version == self.snap.version and before.state is not State.CONFIRMED
        return Entry(
            version=self.snap.version,
            mapping_id=self.partition.mapping_id,
            state=state,
            sub=self.mapped.sub if self.mapped is not None else (before.sub if before is not None else ""),
            fingerprint=self.fingerprint,
            attempts=(before.attempts if before is not None and same else 0) + 1,
            at=now,
            first_try=before.first_try if before is not None and same and before.first_try else now,
            notes=self.mapped.notes if self.mapped is not None else (),
            extra={name: mark for name, mark in before.extra.items() if name != BY} if before is not None else {},
        )

    def is_newest(self) -> bool:
        """Whether its version is still the newest one that is joined."""
        stored = self.partition.snapshots.store.get(self.key)
        return (
            stored is not None and self.snap is not None and snapshots.head(stored.value).version == self.snap.version
        )

    @property
    def latency(self) -> float:
        """Seconds from the commit in PostgreSQL until now; 0 for what was not streamed."""
        if self.snap is None or not self.snap.streamed or not self.snap.committed_us:
            return 0.0
        return max(0.0, time.time() - self.snap.committed_us / 1e6)


#: When a version changed that may have been sent in another form at any moment (ms): later than any take-over.
_AT_ANY_MOMENT = 1 << 62


class Inspector:
    """Turns queued users into jobs; made once per worker."""

    def __init__(self, settings: Settings, control: Control, behind: Callable[[Partition], bool]) -> None:
        """`behind` says whether records of a partition wait to be joined."""
        self._mapper = Mapper(settings)
        self._control = control
        self._behind = behind
        #: users whose retry need not be waited for: what they waited for has happened.
        self.woken: set[bytes] = set()
        self._names = Names(settings.source.credentials)
        #: without any password column nobody has one, and C7 has nothing to wait for.
        self._passwords = settings.source.has_passwords
        select = settings.mapping.select
        self._on_leave = select.on_leave if select is not None else "keep"

    def sub_of(self, key: bytes) -> str:
        """The sub of a user id."""
        return self._mapper.sub_of(key.decode())

    def has_nothing_to_do(self, snap: Snapshot) -> bool:
        """Whether a user that the ledger does not know is deleted by its status, and nobody ever saw it live (C1)."""
        row = snap.user.values if snap.user is not None else None
        return row is not None and not snap.seen_live and self._mapper.status_of(row) == "deleted"

    def inspect(self, partition: Partition, user: bytes, key: bytes, snap: Stored | None, entry: Stored | None) -> Job:
        """Decide for one user; never raises for what a row holds."""
        job = Job(user, key, partition, Do.NOTHING, partition.situation(snap, entry))
        if entry is not None:
            if ledger.ahead(snapshots.head(snap.value) if snap is not None else None, ledger.head(entry.value)):
                job.do, job.entry = Do.SET_ASIDE, ledger.decode(entry.value)
                return job
            job.entry = ledger.decode(entry.value)
        if job.situation is not Situation.PENDING or snap is None:
            return job
        job.snap, job.written_ms = snapshots.decode(snap.value), snap.time_ms
        until = self._must_wait(job, snap.time_ms)
        if until:
            job.do, job.until = Do.WAIT, until
            return job
        return self._desired(job)

    def _must_wait(self, job: Job, changed_ms: int) -> float:
        entry, snap = job.entry, job.snap
        if snap is not None and _swaps(entry, snap):
            changed_ms = _AT_ANY_MOMENT  # one version, and two payloads: the former one may still be on its way
        until = job.partition.not_before(job.key, changed_ms)
        if until:
            job.why = "a call of the worker before may still be on its way (C5)"
        woken = job.user in self.woken
        self.woken.discard(job.user)
        if entry is not None and snap is not None and entry.state is State.RETRYING and entry.version == snap.version:
            now = time.time()
            left = entry.next_try - now
            # Written in the future: the clock has been set back since, perhaps by hours, or was another worker's.
            if left > 0 and now >= entry.at and not woken:
                until = max(until, time.monotonic() + left)
                job.why = entry.reason
        return until

    def _desired(self, job: Job) -> Job:
        snap, entry = job.snap, job.entry
        assert snap is not None
        row = snap.user.values if snap.user is not None else None
        if row is None:
            return self._delete(job)
        mapped = job.mapped = self._mapper.map(job.key.decode(), row, self._names.by_table(snap.live_credentials()))
        if mapped.status == "deleted":
            return self._delete(job)
        if mapped.status == "not_selected":
            # Without an entry it may have been sent just before a crash, if it was ever live (C1).
            sent = entry.process_state != "NOT_SELECTED" if entry is not None else snap.seen_live
            if self._on_leave == "delete" and sent:
                return self._delete(job)
            job.do, job.record = (
                Do.RECORD,
                replace(job.next_entry(State.CONFIRMED, time.time()), process_state="NOT_SELECTED"),
            )
            return job
        assert mapped.entity is not None
        if entry is not None and (entry.extra.get("purged_at") or entry.extra.get("purged_first")):
            # C8: the purge may still take effect, and would take the new sign-up with it; `Deletes` waits for it.
            job.do, job.why = Do.DELETE, ledger.PURGE_NOT_PROVED
            return job
        if (
            entry is not None
            and entry.state is State.IN_DOUBT
            and entry.reason == ledger.PURGE_NOT_ANSWERED
            and (entry.version, entry.mapping_id) == (snap.version, job.partition.mapping_id)
        ):
            job.do, job.why = Do.DELETE, ledger.PURGE_NOT_ANSWERED
            return job
        if self._passwords and not mapped.has_password and snap.streamed and not self._transaction_over(job, snap):
            # C7: between the two rows of one transaction the user has no password; it must not leave like that.
            job.do, job.until, job.why = Do.WAIT, time.monotonic() + 0.3, "its transaction may not be complete (C7)"
            return job
        job.fingerprint = fingerprint(mapped.entity)
        if _renews(job):
            return job
        job.temporary = _swaps(entry, snap)
        job.do = Do.UPSERT
        return job

    def _delete(self, job: Job) -> Job:
        snap, entry = job.snap, job.entry
        assert snap is not None
        known = entry is not None and entry.state is not State.FORGOTTEN
        if not known and not snap.seen_live:
            job.situation = Situation.NOTHING_TO_DO  # C1
            return job
        job.fingerprint = DELETED
        if not _renews(job):
            job.do = Do.DELETE
        return job

    def _transaction_over(self, job: Job, snap: Snapshot) -> bool:
        """Whether a heartbeat of a later transaction has been read, so that this user's one is complete (C7).

        What is in Kafka has to be joined, too: heartbeats are read from a topic of their own.

        LSNs alone do not tell: a heartbeat inside a long transaction has a higher LSN than its first rows and is
        streamed before them. The last commit *before* a transaction does: it grows with every transaction streamed.
        """
        before = snap.after_commit if snap.after_commit is not None else snap.lsn
        return self._control.source_after_commit > (before or 0) and not self._behind(job.partition)


def _swaps(entry: Entry | None, snap: Snapshot) -> bool:
    """Whether this very version goes out with a temporary address first."""
    return entry is not None and entry.extra.get("swap") == list(snap.version)


#: States of an entry that need no call when a new mapping makes the same entity of the same version.
_RENEWED = frozenset({State.CONFIRMED, State.DROPPED, State.REJECTED})


def _renews(job: Job) -> bool:
    """C2: the mapping id alone has changed, and not the entity: no call is needed, and a person's word holds.

    Compared in this case only; `job.fingerprint` is of what the present mapping makes.
    """
    entry, snap, mapping_id = job.entry, job.snap, job.partition.mapping_id
    if entry is None or snap is None or entry.version != snap.version or entry.mapping_id == mapping_id:
        return False
    if entry.state not in _RENEWED or entry.fingerprint != job.fingerprint:
        return False
    if entry.state is State.CONFIRMED and entry.deleted is not (job.fingerprint == DELETED):
        return False
    job.do, job.record = Do.RECORD, replace(entry, mapping_id=mapping_id)
    return True
