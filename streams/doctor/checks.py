"""A check: its slug, its state, what was seen, and the one thing to do about it (pure)."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class State(enum.StrEnum):
    """How a check came out. Only a fault makes the command end with 1."""

    OK = "ok"
    WARNING = "warning"  # it works, and will not for ever
    FAULT = "fault"  # it does not work, or users get lost
    TODO = "todo"  # not set up yet; the remedy is the command that does it
    UNKNOWN = "unknown"  # not checked; `what` says why


@dataclass(frozen=True, slots=True)
class Check:
    """One precondition. Slugs never change their meaning; `what` and `remedy` hold no secret and no user's value."""

    slug: str
    state: State
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The checks of one place, in the order in which a person reads them; `hung`: it did not answer in time."""

    place: str
    checks: tuple[Check, ...]
    hung: bool = False


def ok(slug: str, what: str) -> Check:
    """It is as it must be."""
    return Check(slug, State.OK, what)


def warning(slug: str, what: str, remedy: str) -> Check:
    """It works, and will not for ever."""
    return Check(slug, State.WARNING, what, remedy)


def fault(slug: str, what: str, remedy: str) -> Check:
    """It does not work, or users get lost."""
    return Check(slug, State.FAULT, what, remedy)


def todo(slug: str, what: str, remedy: str) -> Check:
    """It is not set up yet."""
    return Check(slug, State.TODO, what, remedy)


def unknown(slug: str, why: str, remedy: str = "") -> Check:
    """It could not be checked."""
    return Check(slug, State.UNKNOWN, why, remedy)


def problem(slug: str, what: str, remedy: str, *, enabled: bool) -> Check:
    """What is a fault once everything was set up, and to be expected before."""
    return (fault if enabled else todo)(slug, what, remedy)


def some(names: Sequence[str], most: int = 3) -> str:
    """The first of these, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
