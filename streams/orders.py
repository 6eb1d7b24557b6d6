"""What a control record about the ledger makes of a user's entry: sent again, signed off, allowed, rejected (pure)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streams.ledger import Entry, State
from streams.rows import Answer, Resync, Word

if TYPE_CHECKING:
    from streams.snapshots import Position

Order = Resync | Answer

#: Marks of an entry: which version's delete a person allowed, or rejected, and who signed a version off.
ALLOWED, REJECTED, BY = "allowed", "rejected", "by"

#: What a person can answer: word × state that it is about × state that it leads to.
_ANSWERS: dict[Word, tuple[frozenset[State], State]] = {
    Word.DROP: (frozenset({State.QUARANTINED}), State.DROPPED),
    Word.ALLOW: (frozenset({State.PARKED, State.REJECTED}), State.IN_DOUBT),
    Word.REJECT: (frozenset({State.PARKED}), State.REJECTED),
}


def obey(entry: Entry | None, order: Order, now: float) -> Entry | None:
    """The entry that follows from an order, or None where the order is void.

    An answer is void when another version than the one that the person saw, or another state of it, has come since.
    """
    if isinstance(order, Resync):
        return replace(entry or Entry(), state=State.IN_DOUBT, reason=order.why, attempts=0)
    about, state = _ANSWERS[order.word]
    if entry is None or entry.version != order.version or entry.state not in about:
        return None
    if order.word is Word.DROP:  # with the refusal's own reason, by which it is counted
        return replace(entry, state=state, at=now, extra=entry.extra | {BY: order.who})
    return answered(entry, allow=order.word is Word.ALLOW, now=now)


def answered(entry: Entry, *, allow: bool, now: float) -> Entry:
    """The entry of a parked delete that a person allowed or rejected, with a mark for its version."""
    state, mark = (State.IN_DOUBT, ALLOWED) if allow else (State.REJECTED, REJECTED)
    reason = "the delete brake was answered" if allow else "a person rejected the delete"
    extra = {name: value for name, value in entry.extra.items() if name not in (ALLOWED, REJECTED)}
    return replace(entry, state=state, reason=reason, at=now, extra=extra | {mark: list(entry.version)})


def answer_of(entry: Entry | None, version: Position) -> str:
    """What a person said of the delete of this version: ALLOWED, REJECTED, or "" for nothing."""
    marks = entry.extra if entry is not None else {}
    return next((mark for mark in (ALLOWED, REJECTED) if marks.get(mark) == list(version)), "")
