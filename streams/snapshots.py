"""Merges row changes into the snapshot of one user (pure).

State is kept per row, guarded per row (M1): a streamed change is stale when its (epoch, LSN) is below the row's;
a snapshot read carries no order and overwrites. Everything is judged record by record, so that a replay from any
offset ends in the same snapshot with the same version.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from streams.rows import CREDENTIALS, UNAVAILABLE, USERS, ReadAgain, Removal, RowChange

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

#: (topic epoch, offset) of a record in `legacy.identity`; compares as a pair.
Position = tuple[int, int]
NEVER: Position = (0, 0)

#: owner number, applied, version, flags; the body of JSON follows. The numbers stand in front so that a scan for
#: pending users compares integers and decodes nothing.
_HEAD = Struct(">QIQIQB")


class Flag(enum.IntFlag):
    """What a scan must know of a snapshot without decoding it."""

    ROW = 1  # the user's row is there
    GONE = 2  # the user's row was deleted, or looked for in the database and not found
    ASIDE = 4  # set aside: nothing is sent until the user was read again
    SEEN_LIVE = 8  # some record showed the user live by the mapping's status (C1)


#: The same as plain numbers: operators of enums cost a hundred times as much, and a scan asks for every user.
ROW, GONE, ASIDE, SEEN_LIVE = (flag.value for flag in Flag)


class Merge(enum.Enum):
    """What a record did to a snapshot."""

    NOTHING = 0  # nothing to write
    APPLIED = 1  # lazy fields, LSNs or markers changed: written, but no new version
    VERSION = 2  # a new version


@dataclass(slots=True)
class Row:
    """The last known state of one legacy row; `values` is None for a marker of a deleted row (M2)."""

    epoch: int
    lsn: int
    values: dict[str, Any] | None


@dataclass(slots=True)
class Snapshot:
    """Everything known of one legacy user, and up to which record."""

    applied: Position = NEVER
    version: Position = NEVER
    user: Row | None = None
    #: by their names (`streams.credentials`)
    credentials: dict[str, Row] = field(default_factory=dict)
    aside: tuple[int, str] | None = None
    seen_live: bool = False
    #: of the last change: LSN, transaction, last commit before that transaction, commit time (µs), and whether it was
    #: streamed (C7, and for people).
    lsn: int | None = None
    tx: int | None = None
    after_commit: int | None = None
    committed_us: int = 0
    streamed: bool = False

    @property
    def flags(self) -> int:
        """The flags of the header."""
        flags = 0
        if self.user is not None:
            flags = ROW if self.user.values is not None else GONE
        if self.aside is not None:
            flags |= ASIDE
        if self.seen_live:
            flags |= SEEN_LIVE
        return flags

    def live_credentials(self) -> dict[str, dict[str, Any]]:
        """The values of the credential rows that are there, by their names."""
        return {name: row.values for name, row in self.credentials.items() if row.values is not None}

    def encode(self, owner: int) -> bytes:
        """Encode for the changelog; `owner` is the number of the writing owner (O3)."""
        body: dict[str, Any] = {"x": (self.lsn, self.tx, self.after_commit, self.committed_us, self.streamed)}
        if self.user is not None:
            body["u"] = (self.user.epoch, self.user.lsn, self.user.values)
        if self.credentials:
            body["c"] = {pk: (r.epoch, r.lsn, r.values) for pk, r in self.credentials.items()}
        if self.aside is not None:
            body["s"] = self.aside
        return _HEAD.pack(owner, *self.applied, *self.version, self.flags) + orjson.dumps(body)


class Head(NamedTuple):
    """The header of an encoded snapshot."""

    owner: int
    applied: Position
    version: Position
    flags: int


def head(value: bytes) -> Head:
    """Read the header of an encoded snapshot."""
    owner, ae, ao, ve, vo, flags = _HEAD.unpack_from(value)
    return Head(owner, (ae, ao), (ve, vo), flags)


def decode(value: bytes) -> Snapshot:
    """Decode a snapshot from the changelog or the store."""
    _, ae, ao, ve, vo, flags = _HEAD.unpack_from(value)
    body = orjson.loads(memoryview(value)[_HEAD.size :])
    lsn, tx, after_commit, committed_us, streamed = body["x"]
    user = body.get("u")
    aside = body.get("s")
    return Snapshot(
        applied=(ae, ao),
        version=(ve, vo),
        user=None if user is None else Row(*user),
        credentials={pk: Row(*row) for pk, row in body.get("c", {}).items()},
        aside=None if aside is None else (aside[0], aside[1]),
        seen_live=bool(flags & SEEN_LIVE),
        lsn=lsn,
        tx=tx,
        after_commit=after_commit,
        committed_us=committed_us,
        streamed=streamed,
    )


class Merger:
    """Applies records to snapshots; made once per worker."""

    def __init__(self, lazy: AbstractSet[str], live: Callable[[Mapping[str, Any]], bool]) -> None:
        """`lazy` names the columns that make no version; `live` says whether a user row is live by the mapping."""
        self._lazy = frozenset(lazy)
        self._live = live

    def change(self, snap: Snapshot, change: RowChange, at: Position, epoch: int) -> Merge:
        """Merge a row change that stands at `at`, in source epoch `epoch`; the caller checked `at > snap.applied`."""
        row = snap.user if change.table == USERS else snap.credentials.get(change.pk)
        # A repeated insert is no last change: it would make an open transaction look complete (C7).
        newer = change.op != "r" and (row is None or (epoch, change.lsn or 0) > (row.epoch, row.lsn))
        result = (
            self._users(snap, change, at, epoch) if change.table == USERS else self._credential(snap, change, at, epoch)
        )
        if result is Merge.VERSION or newer:
            snap.lsn, snap.tx, snap.committed_us = change.lsn, change.tx, change.committed_us
            snap.after_commit = change.after_commit
            snap.streamed = change.op != "r"
        elif row is not None and row.epoch < epoch:
            snap.streamed = False  # read in a new source epoch: LSNs of the old one prove nothing about C7 (M8)
        return _stamp(snap, result, at)

    def _users(self, snap: Snapshot, change: RowChange, at: Position, epoch: int) -> Merge:
        row = snap.user
        #: an insert or a snapshot read proves that the row was there: it always raises `applied`, which keeps a
        #: sweep's removal void (D1).
        floor = Merge.APPLIED if change.op in ("c", "r") else Merge.NOTHING
        if _stale(row, change, epoch):
            return floor
        if change.op == "d":
            return _delete_user(snap, epoch, change.lsn or 0)
        values, unresolved = _resolve(change, row)
        changed = row is None or _differs(row.values, values, self._lazy)
        same = row is not None and row.values == values
        left = _left_credentials(snap)
        moved = _place(snap, change, epoch, values)
        snap.seen_live = snap.seen_live or self._live(values)
        if unresolved or change.missing:
            snap.aside = (at[1], _why(unresolved, change.missing))
            return Merge.VERSION
        if left:
            snap.aside = (at[1], "its row was deleted and came back, and nobody told whether its credentials went, too")
            return Merge.VERSION
        if changed:
            return Merge.VERSION
        return floor if same and not moved else Merge.APPLIED

    def _credential(self, snap: Snapshot, change: RowChange, at: Position, epoch: int) -> Merge:
        row = snap.credentials.get(change.pk)
        if _stale(row, change, epoch):
            return Merge.NOTHING
        if change.op == "d":
            return _mark(snap, change.pk, row, epoch, change.lsn or 0)
        values, unresolved = _resolve(change, row)
        changed = row is None or row.values != values
        lsn = _order(row, change, epoch)
        moved = row is None or (row.epoch, row.lsn) != lsn
        snap.credentials[change.pk] = Row(*lsn, values)
        if unresolved or change.missing:
            snap.aside = (at[1], _why(unresolved, change.missing))
            return Merge.VERSION
        if changed:
            return Merge.VERSION
        return Merge.APPLIED if moved else Merge.NOTHING

    def removal(self, snap: Snapshot, removal: Removal, at: Position) -> Merge:
        """Apply a removal: of a credential that moved away (M5), or of a row that a sweep did not find (M9)."""
        if removal.applied is not None:
            if snap.applied > removal.applied:
                return Merge.NOTHING
            result = _sweep(snap, removal)
            if result is Merge.VERSION:
                snap.streamed = False  # nobody knows when the row went: there is no latency to measure
        else:
            row = snap.credentials.get(removal.pk)
            if row is not None and (row.epoch, row.lsn) > (removal.epoch, removal.lsn or 0):
                return Merge.NOTHING
            result = _mark(snap, removal.pk, row, removal.epoch, removal.lsn or 0)
            if result is Merge.VERSION:
                snap.lsn, snap.tx, snap.after_commit = removal.lsn, None, removal.after_commit
                # Read in a newer source epoch: no heartbeat of it need ever reach the move's LSN (C7, M8).
                snap.streamed = snap.user is None or snap.user.epoch <= removal.epoch
        return _stamp(snap, result, at)

    def read_again(self, snap: Snapshot, again: ReadAgain, at: Position, epoch: int) -> Merge:
        """Take all rows of a set-aside user from the source and clear its mark; always a new version (M7).

        Void when a newer cause set it aside, or when the user was touched since the reading was asked for: it is
        asked for once more then. LSNs stand just above those of the last changes (M1): a streamed change that is still
        on its way carries a newer state or leads to one, and one that Connect repeats is stale, the last one too.
        """
        if snap.aside is None or snap.aside[0] > again.number or snap.applied > again.applied:
            return Merge.NOTHING
        snap.aside = None
        if again.user is not None:
            snap.user = Row(*_read_at(snap.user, epoch), again.user)
            snap.seen_live = snap.seen_live or self._live(again.user)
        elif snap.user is not None and snap.user.values is not None:
            _delete_user(snap, snap.user.epoch, snap.user.lsn + 1)
        elif snap.user is None:
            snap.user = Row(epoch, 0, None)  # the ledger may know it (O4): it is gone, which is not the same as unseen
        for pk, credential in snap.credentials.items():
            if credential.values is not None and pk not in again.credentials:
                snap.credentials[pk] = Row(credential.epoch, credential.lsn + 1, None)
        for pk, values in again.credentials.items():
            snap.credentials[pk] = Row(*_read_at(snap.credentials.get(pk), epoch), values)
        snap.streamed = False
        return _stamp(snap, Merge.VERSION, at)

    def set_aside(self, snap: Snapshot, reason: str, at: Position) -> Merge:
        """Set the user aside: nothing is sent until it was read again (M7)."""
        snap.aside = (at[1], reason)
        return _stamp(snap, Merge.VERSION, at)


def _read_at(row: Row | None, epoch: int) -> tuple[int, int]:
    return (row.epoch, row.lsn + 1) if row is not None and row.epoch >= epoch else (epoch, 0)


def _stamp(snap: Snapshot, result: Merge, at: Position) -> Merge:
    if result is not Merge.NOTHING:
        snap.applied = at
    if result is Merge.VERSION:
        snap.version = at
    return result


def _stale(row: Row | None, change: RowChange, epoch: int) -> bool:
    """Say whether a streamed change is older than what the row holds (M1); a snapshot read never is."""
    if row is None or change.op == "r" or change.lsn is None:
        return False
    return (epoch, change.lsn) < (row.epoch, row.lsn)


def _order(row: Row | None, change: RowChange, epoch: int) -> tuple[int, int]:
    """The row's new (epoch, LSN): a snapshot read never lowers it within an epoch, and never raises it (M1)."""
    if change.op != "r" and change.lsn is not None:
        return epoch, change.lsn
    if row is None or row.epoch < epoch:
        return epoch, 0
    return row.epoch, row.lsn


def _place(snap: Snapshot, change: RowChange, epoch: int, values: dict[str, Any]) -> bool:
    order = _order(snap.user, change, epoch)
    moved = snap.user is None or (snap.user.epoch, snap.user.lsn) != order
    snap.user = Row(*order, values)
    return moved


def _left_credentials(snap: Snapshot) -> bool:
    """Say whether a credential of a deleted user was never deleted itself: it may be there still (M2).

    Its marker is then the user's own delete; that of a cascade, or of the application, would stand in its place.
    """
    return snap.user is not None and snap.user.values is None and snap.user in snap.credentials.values()


def _resolve(change: RowChange, row: Row | None) -> tuple[dict[str, Any], list[str]]:
    """Put the known value where Debezium says *unchanged* (M4); a value that nobody knows is left out and named."""
    values = change.row if change.row is not None else {}
    if UNAVAILABLE not in values.values():
        return values, []
    old = row.values if row is not None and row.values is not None else {}
    resolved: dict[str, Any] = {}
    unresolved: list[str] = []
    for name, value in values.items():
        if value != UNAVAILABLE:
            resolved[name] = value
        elif name in old:
            resolved[name] = old[name]
        else:
            unresolved.append(name)
    return resolved, unresolved


def _why(unresolved: list[str], missing: tuple[str, ...]) -> str:
    if missing:
        return f"column {', '.join(missing)} is missing in the change: was it renamed or dropped?"
    return f"the large value of column {', '.join(unresolved)} did not travel with the change"


def _differs(old: dict[str, Any] | None, new: dict[str, Any], lazy: frozenset[str]) -> bool:
    if old is None or old.keys() != new.keys():
        return True
    return any(old[name] != value for name, value in new.items() if name not in lazy)


def _mark(snap: Snapshot, pk: str, row: Row | None, epoch: int, lsn: int) -> Merge:
    """Leave a marker where the credential row was, so that a repeated older update cannot bring it back (M2)."""
    snap.credentials[pk] = Row(epoch, lsn, None)
    if row is not None and row.values is not None:
        return Merge.VERSION
    return Merge.NOTHING if row is not None and (row.epoch, row.lsn) == (epoch, lsn) else Merge.APPLIED


def _delete_user(snap: Snapshot, epoch: int, lsn: int) -> Merge:
    """Delete the user's row and drop the credential rows it knows (M2)."""
    row = snap.user
    if row is not None and row.values is None and (row.epoch, row.lsn) == (epoch, lsn):
        return Merge.NOTHING  # repeated: the credentials that are there belong to a new sign-up
    snap.user = Row(epoch, lsn, None)
    for pk, credential in snap.credentials.items():
        # Of a set-aside user a marker may be that of an earlier delete of the user: it is in doubt still.
        if credential.values is not None or snap.aside is not None:
            at = max((credential.epoch, credential.lsn), (epoch, lsn))
            snap.credentials[pk] = Row(*at, None)
    if row is None or row.values is not None:
        # Whatever was unknown of the row is of no interest any more. A repeated delete clears nothing: what was
        # marked since then may be the user's new sign-up (M7).
        snap.aside = None
        return Merge.VERSION
    return Merge.APPLIED


def _sweep(snap: Snapshot, removal: Removal) -> Merge:
    if removal.table == CREDENTIALS:
        row = snap.credentials.get(removal.pk)
        if row is None or row.values is None:
            return Merge.NOTHING
        return _mark(snap, removal.pk, row, *_after(row, removal))
    row = snap.user
    if row is None or row.values is None:
        return Merge.NOTHING
    return _delete_user(snap, *_after(row, removal))


def _after(row: Row, removal: Removal) -> tuple[int, int]:
    """Just above the row's last change: repeated by Connect, that change must not bring the row back (M2)."""
    return (row.epoch, row.lsn + 1) if row.epoch >= removal.epoch else (removal.epoch, 0)
