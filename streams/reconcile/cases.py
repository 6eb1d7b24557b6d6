"""Where a user stands, in one vocabulary for source, pipeline and cidaas: what it means, what puts it right (pure)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from streams import ledger
from streams.ledger import Situation, State
from streams.snapshots import NEVER

if TYPE_CHECKING:
    from streams.reconcile.tables import Desired, Noted


class Case(enum.Enum):
    """The result for one user; each user has exactly one."""

    # as it should be
    CONFIRMED = "confirmed"
    DELETED = "deleted"
    NOT_SELECTED = "not_selected"
    NEVER_LIVE = "never_live"
    CREDENTIALS_ONLY = "credentials_only"
    # not at cidaas as it should be, and the pipeline knows it
    PENDING = "pending"
    SET_ASIDE = "set_aside"
    QUARANTINED = "quarantined"
    SIGNED_OFF = "signed_off"
    PARKED = "parked"
    REJECTED = "rejected"
    # not to be judged: changed at each look
    CHANGING = "changing"
    # differences: somebody has to act
    LOST = "lost"
    STALE = "stale"
    GHOST = "ghost"
    MISSING = "missing"
    CHANGED_AT_TARGET = "changed_at_target"
    NOT_DELETED = "not_deleted"
    FOREIGN = "foreign"


class Cure(enum.Enum):
    """What a repair does for a user; the ways are those of the sweep and of `resync`."""

    READ_AGAIN = "read again from the legacy database"
    REMOVE = "removed, behind the delete brake and a second look"
    SEND_AGAIN = "sent to cidaas again"


MEANING = {
    Case.CONFIRMED: "everywhere the same",
    Case.DELETED: "deleted in the legacy database and at cidaas",
    Case.NOT_SELECTED: "left out by [mapping.select]",
    Case.NEVER_LIVE: "deleted already when first seen: cidaas never heard of them",
    Case.CREDENTIALS_ONLY: "credential rows without a user row",
    Case.PENDING: "on the way to cidaas, or waiting for it",
    Case.SET_ASIDE: "set aside until they have been read again",
    Case.QUARANTINED: "refused by cidaas",
    Case.SIGNED_OFF: "refused by cidaas, and signed off by a person",
    Case.PARKED: "their deletes wait behind the brake",
    Case.REJECTED: "a person rejected their deletes, so they stay",
    Case.CHANGING: "changed each time they were looked at: not judged",
    Case.LOST: "in the legacy database, and no record has shown them",
    Case.STALE: "other rows in the legacy database than the pipeline knows",
    Case.GHOST: "gone from the legacy database, and no record has deleted them",
    Case.MISSING: "live in the legacy database, confirmed, and not at cidaas",
    Case.CHANGED_AT_TARGET: "confirmed, and not at cidaas as they were sent",
    Case.NOT_DELETED: "deleted in the legacy database, confirmed, and at cidaas still or again",
    Case.FOREIGN: "at cidaas only: nobody here knows them",
}

#: Differences, and what cures them. A user that only cidaas knows is not ours, and is left alone.
CURES: dict[Case, Cure | None] = {
    Case.LOST: Cure.READ_AGAIN,
    Case.STALE: Cure.READ_AGAIN,
    Case.GHOST: Cure.REMOVE,
    Case.MISSING: Cure.SEND_AGAIN,
    Case.CHANGED_AT_TARGET: Cure.SEND_AGAIN,
    Case.NOT_DELETED: Cure.SEND_AGAIN,
    Case.FOREIGN: None,
}
DIFFERENCES = frozenset(CURES)
#: What can be repaired, by the words of the command line.
REPAIRABLE = {case.value: case for case, cure in CURES.items() if cure is not None}
#: Known, with a date since when.
WAITING = frozenset({
    Case.PENDING, Case.SET_ASIDE, Case.QUARANTINED, Case.SIGNED_OFF, Case.PARKED, Case.REJECTED,
})  # fmt: skip

_SITUATIONS = {
    Situation.IN_SYNC: Case.CONFIRMED,
    Situation.PENDING: Case.PENDING,
    Situation.QUARANTINED: Case.QUARANTINED,
    Situation.DROPPED: Case.SIGNED_OFF,
    Situation.PARKED: Case.PARKED,
    Situation.REJECTED: Case.REJECTED,
    Situation.SET_ASIDE: Case.SET_ASIDE,
    Situation.CREDENTIALS_ONLY: Case.CREDENTIALS_ONLY,
    Situation.NOT_SELECTED: Case.NOT_SELECTED,
    Situation.NOTHING_TO_DO: Case.NEVER_LIVE,
}


def standing(desired: Desired | None, noted: Noted | None, mapping_id: bytes, *, leaves: bool) -> Case | None:
    """What snapshot and ledger entry alone say of a user; None for one of whom neither knows anything.

    `leaves`: who is not selected any more is deleted, so that one who was sent waits for that.
    """
    if desired is None:
        if noted is None or noted.state == State.FORGOTTEN or noted.version == NEVER:
            return None
        return Case.STALE  # O4: its snapshot is lost
    entry = noted.head() if noted is not None else None
    case = _SITUATIONS[ledger.situation(desired.head(), entry, mapping_id)]
    if case is Case.SET_ASIDE:
        return case
    if entry is not None and entry.state != State.FORGOTTEN and ledger.ahead(desired.head(), entry):
        return Case.STALE  # O4: its snapshot is an old one
    if case is Case.PENDING:
        return _pending(desired, noted, leaves=leaves)
    return _confirmed(desired, noted) if case is Case.CONFIRMED and noted is not None else case


def _confirmed(desired: Desired, noted: Noted) -> Case:
    """What was confirmed; an entry that does not fit its own version would never be looked at again."""
    if noted.not_selected or (desired.status == "not_selected" and not noted.deleted):
        return Case.NOT_SELECTED
    if desired.status == "live":
        return Case.MISSING if noted.deleted else Case.CONFIRMED
    return Case.DELETED if noted.deleted else Case.NOT_DELETED


def _pending(desired: Desired, noted: Noted | None, *, leaves: bool) -> Case:
    """Tell who only looks pending by the headers: the mapping leaves it out, or it never lived (C1)."""
    known = noted is not None and noted.state != State.FORGOTTEN
    if desired.status == "not_selected" and not (leaves and (known or desired.seen_live)):
        return Case.NOT_SELECTED
    if desired.status == "deleted" and not known and not desired.seen_live:
        return Case.NEVER_LIVE
    return Case.PENDING
