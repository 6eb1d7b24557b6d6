"""What cidaas is known to have of a user, and whether the user is pending (pure).

Pending is never remembered: it is computed from the two tables, so that nothing that lives only in memory matters.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

import orjson

from streams.snapshots import ASIDE, GONE, NEVER, ROW, SEEN_LIVE, Position
from streams.snapshots import Head as SnapshotHead

#: owner number, count, version, mapping id, state; the body of JSON follows.
_HEAD = Struct(">QQIQ8sB")

#: Reasons of entries in doubt (C8). The second is of a user that signed up again and is at cidaas, too.
PURGE_NOT_PROVED = "its purge is not proved yet"
PURGE_NOT_ANSWERED = "a purge of its former life was never answered, and would take the new one: it is looked after"


class State(enum.IntEnum):
    """What a ledger entry says of its version."""

    CONFIRMED = 1  # cidaas has it (stored, or deleted)
    IN_DOUBT = 2  # must be sent (again): asked for by a person, or its fate is unknown
    QUARANTINED = 3  # refused for a reason that repeating does not cure
    RETRYING = 4  # refused, but worth another try at `next_try`
    PARKED = 5  # a delete that the brake holds
    REJECTED = 6  # a delete that a person rejected: the user stays until a newer version
    FORGOTTEN = 7  # as if there were no entry (an entry, never a tombstone: O3)
    DROPPED = 8  # refused, and signed off by a person: not sent until a newer version or a retry


@dataclass(slots=True)
class Entry:
    """A ledger entry; times are Unix seconds."""

    version: Position = NEVER
    mapping_id: str = ""
    state: State = State.FORGOTTEN
    sub: str = ""
    deleted: bool = False
    fingerprint: str = ""
    process_state: str = ""
    reason: str = ""
    message: str = ""
    attempts: int = 0
    at: float = 0.0
    first_try: float = 0.0
    next_try: float = 0.0
    notes: tuple[str, ...] = ()
    #: commit in PostgreSQL to confirmation, seconds; 0 for what was not streamed.
    latency: float = 0.0
    owner: int = 0
    count: int = 0
    extra: dict[str, Any] = field(default_factory=dict)

    def encode(self, owner: int, count: int) -> bytes:
        """Encode for the changelog; (`owner`, `count`) orders the entries of one user (O3)."""
        body = {
            "sub": self.sub,
            "d": self.deleted,
            "f": self.fingerprint,
            "p": self.process_state,
            "r": self.reason,
            "m": self.message,
            "n": self.attempts,
            "t": (self.at, self.first_try, self.next_try),
            "o": self.notes,
            "l": self.latency,
        }
        if self.extra:
            body["e"] = self.extra
        identity = bytes.fromhex(self.mapping_id) if self.mapping_id else bytes(8)
        return _HEAD.pack(owner, count, *self.version, identity, self.state) + orjson.dumps(body)


class Head(NamedTuple):
    """The header of an encoded entry; `nth` is its count, which a tuple has another meaning for."""

    owner: int
    nth: int
    version: Position
    mapping_id: bytes
    state: int


def head(value: bytes) -> Head:
    """Read the header of an encoded entry."""
    owner, count, epoch, offset, mapping_id, state = _HEAD.unpack_from(value)
    return Head(owner, count, (epoch, offset), mapping_id, state)


def asked(value: bytes) -> bool:
    """Say whether cidaas was ever asked for this user: what a person orders makes an entry without a version."""
    return head(value).version != NEVER


def decode(value: bytes) -> Entry:
    """Decode an entry from the changelog or the store."""
    owner, count, epoch, offset, identity, state = _HEAD.unpack_from(value)
    body = orjson.loads(memoryview(value)[_HEAD.size :])
    at, first_try, next_try = body["t"]
    return Entry(
        version=(epoch, offset),
        mapping_id=identity.hex(),
        state=State(state),
        sub=body["sub"],
        deleted=body["d"],
        fingerprint=body["f"],
        process_state=body["p"],
        reason=body["r"],
        message=body["m"],
        attempts=body["n"],
        at=at,
        first_try=first_try,
        next_try=next_try,
        notes=tuple(body["o"]),
        latency=body["l"],
        owner=owner,
        count=count,
        extra=body.get("e", {}),
    )


class Situation(enum.Enum):
    """Where one user stands; every user of the pipeline is in exactly one of these."""

    IN_SYNC = "in_sync"
    PENDING = "pending"
    QUARANTINED = "quarantined"
    DROPPED = "dropped"
    PARKED = "parked"
    REJECTED = "rejected"
    SET_ASIDE = "set_aside"
    CREDENTIALS_ONLY = "credentials_only"
    NOT_SELECTED = "not_selected"
    NOTHING_TO_DO = "nothing_to_do"


_FORGOTTEN = State.FORGOTTEN.value
_SETTLED = {
    State.CONFIRMED.value: Situation.IN_SYNC,
    State.QUARANTINED.value: Situation.QUARANTINED,
    State.DROPPED.value: Situation.DROPPED,
    State.PARKED.value: Situation.PARKED,
    State.REJECTED.value: Situation.REJECTED,
}


def situation(snap: SnapshotHead, entry: Head | None, mapping_id: bytes) -> Situation:
    """Compare desired and confirmed by their headers alone.

    A user whose row is there counts as PENDING here even if the mapping does not select it: only the delivery, which
    decodes the snapshot, can see that, and it writes NOT_SELECTED as a confirmed entry of the same version.
    """
    if snap.flags & ASIDE:
        return Situation.SET_ASIDE
    if not snap.flags & (ROW | GONE):
        return Situation.CREDENTIALS_ONLY  # a user whose row has never been seen is not a user yet (M6)
    if entry is not None and entry.state == _FORGOTTEN:
        entry = None
    if entry is not None and entry.version == snap.version and entry.mapping_id == mapping_id:
        return _SETTLED.get(entry.state, Situation.PENDING)
    if entry is None and snap.flags & GONE and not snap.flags & SEEN_LIVE:
        return Situation.NOTHING_TO_DO  # C1: nobody ever saw it live and cidaas never heard of it
    return Situation.PENDING


def ahead(snap: SnapshotHead | None, entry: Head) -> bool:
    """Say whether an entry is ahead of its snapshot, which proves that the snapshot is stale (O4)."""
    return entry.version > (snap.applied if snap is not None else NEVER)
