"""What makes a freeze a NO-GO, and what it still waits for (pure).

Each reason is a check with its remedy; no reason is a GO. What comes to an end by itself is waited for; what does not,
and what a person has to look at, ends the freeze at once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.cutover import pipeline
from streams.cutover.held import unsigned
from streams.cutover.record import OURS, moment
from streams.cutover.twice import Twice
from streams.doctor.checks import State, fault, some
from streams.ledger import Situation
from streams.quantities import duration
from streams.reconcile.cases import DIFFERENCES, Case
from streams.rows import RowChange

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streams.cutover.freeze import Transaction
    from streams.cutover.held import Held, SignOff
    from streams.doctor.checks import Check
    from streams.reconcile.run import Result
    from streams.rows import Control
    from streams.settings import Settings

#: Checks of the evening before that a freeze waits for, finds out anew, or says in words of its own. Of its own pause,
#: too, all workers have heard only after a moment: `not_held`.
_WAITED = frozenset(("records_behind", "differences", "foreign_subs", "late_write", "pause_unheard"))
_AGAIN = "Then freeze again."


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look has shown: `status --json`, who is held back, and who has signed that off."""

    status: Mapping[str, Any]
    held: Sequence[Held] = ()
    signed: Mapping[str, SignOff] = field(default_factory=dict)


class Late(NamedTuple):
    """Row changes that were committed behind a marker: how many, and of whom, in their order."""

    changes: int = 0
    users: tuple[str, ...] = ()


def is_late(change: RowChange | Control, marker: int) -> bool:
    """Whether a record is a row change of a transaction that the stream has behind the marker (its LSN).

    LSNs of rows do not tell: a row may be written before the marker, and committed after it. The last commit before a
    transaction does (C7). What an initial snapshot has read is no change.
    """
    return isinstance(change, RowChange) and change.op != "r" and (change.after_commit or 0) >= marker


# -- at once ----------------------------------------------------------------------------------------------------------


def judge(settings: Settings, sight: Sight) -> list[Check]:
    """What makes it a NO-GO at once; that a freeze itself holds delivery is none of it."""
    now = sight.status
    found = pipeline.judge(settings, Twice(now, now, 0.0), alone=True)
    bad = [one for one in found if one.state in (State.FAULT, State.UNKNOWN) and one.slug not in _WAITED]
    if _held(now):
        bad = [one for one in bad if one.slug != "delivery_paused"]
    return [*bad, *judge_held(sight)]


def _held(status: Mapping[str, Any]) -> bool:
    return bool((status["paused"] or {}).get(OURS))


#: situation -> its check, what is said of one and of several users, and what to do.
_OF_SITUATION = {
    Situation.QUARANTINED: (
        "quarantine",
        "refused by cidaas, and not signed off",
        "`quarantine retry`, correct their rows, `quarantine drop`, or `cutover sign-off USER --why ...`.",
    ),
    Situation.PARKED: (
        "deletes_parked",
        "to be deleted, parked by the brake, and not signed off",
        "`deletes allow`, `deletes reject`, or `cutover sign-off USER --why ...`.",
    ),
    Situation.SET_ASIDE: (
        "set_aside",
        "set aside, because what is known there cannot be trusted, and not signed off",
        "They are read again by themselves, which takes seconds; if one stays, `cutover sign-off USER --why ...`.",
    ),
}


def judge_held(sight: Sight) -> list[Check]:
    """Judge who is held back: each of them needs somebody's word for just this version."""
    left = unsigned(sight.held, sight.signed)
    found = []
    for situation, (slug, what, remedy) in _OF_SITUATION.items():
        mine = [one for one in left if one.situation is situation]
        if mine:
            named = some([_named(one, sight.signed) for one in mine], 5)
            found.append(fault(slug, f"{_are(len(mine))} {what}: {named}", f"{remedy} {_AGAIN}"))
    return found


def _named(one: Held, signed: Mapping[str, SignOff]) -> str:
    older = ", an older version is signed off" if one.user in signed else ""
    return f"{one.user} ({one.reason or 'no reason given'}{older})"


def _are(number: int) -> str:
    return f"{number:,} user{' is' if number == 1 else 's are'}"


def judge_open(opened: Sequence[Transaction]) -> list[Check]:
    """Judge open transactions: one that is open across the marker is not covered by it."""
    found = []
    if running := [one for one in opened if not one.prepared]:
        said = some([f"pid {one.name} ({one.who}){_for(one)}" for one in running])
        remedy = f"Have it ended, or end it: SELECT pg_terminate_backend(PID). {_AGAIN}"
        what = f"transactions are open, which the marker does not cover: {said}"
        found.append(fault("open_transactions", what, remedy))
    if prepared := [one for one in opened if one.prepared]:
        said = some([f"{one.name} ({one.who}){_for(one)}" for one in prepared])
        remedy = f"In that database: ROLLBACK PREPARED 'NAME' or COMMIT PREPARED 'NAME', as its owner decides. {_AGAIN}"
        what = f"transactions are prepared, and may be committed any time: {said}"
        found.append(fault("open_prepared", what, remedy))
    return found


def _for(one: Transaction) -> str:
    return "" if one.seconds is None else f" for {duration(one.seconds)}"


def judge_cidaas(away: str) -> list[Check]:
    """Judge whether cidaas answers; `away` says why not."""
    if not away:
        return []
    return [fault("cidaas", f"cidaas does not answer: {away}", f"Look at the network, or ask cidaas. {_AGAIN}")]


# -- the wait ---------------------------------------------------------------------------------------------------------


def waits(status: Mapping[str, Any]) -> list[str]:
    """What has to come to its end before everybody is confirmed; nothing for nothing."""
    counts = {
        "pending": status["users"].get("pending", 0),
        "in a call": status["users_in_flight"] or 0,
        "being looked for, whose data cidaas may have overwritten": status["foreign_subs"],
    }
    found = [f"{_are(number)} {what}" for what, number in counts.items() if number]
    if status["records_behind"]:
        found.append(f"{status['records_behind']:,} records wait to be joined")
    if (status["sweep"] or {}).get("state") in ("asked", "running"):
        found.append("a sweep runs, which may find users to be sent")
    return found


def judge_time(seconds: float, waited_for: str) -> Check:
    """Say that it took too long."""
    remedy = f"`status` says what is slowest, `trace` why one user waits; or give it more by --timeout. {_AGAIN}"
    return fault("timeout", f"it has not come to its end within {duration(seconds)}: {waited_for}", remedy)


# -- the end ----------------------------------------------------------------------------------------------------------


def judge_late(late: Late) -> list[Check]:
    """Judge what was written behind the marker, before the GO."""
    if not late.changes:
        return []
    remedy = (
        "Find out who still writes (pg_stat_activity), and put it into maintenance, too; these changes are sent as "
        f"always. {_AGAIN}"
    )
    return [fault("late_write", f"the legacy database was written to during the freeze: {_changes(late)}", remedy)]


def judge_after(late: Late, at: float) -> list[Check]:
    """Judge what was written after the GO of this moment (Unix seconds)."""
    if not late.changes:
        return []
    what = f"the legacy database was written to after the GO of {moment(at)}, which is not sent: {_changes(late)}"
    remedy = (
        "Users are at cidaas already? Carry these changes over there by hand. Else `cutover abort`, which sends them; "
        f"find out who wrote. {_AGAIN}"
    )
    return [fault("late_write", what, remedy)]


def _changes(late: Late) -> str:
    return f"{late.changes:,} row change{'s' * (late.changes != 1)} of {some(late.users, 5)}"


#: What cidaas alone knows is none of ours: its own administrators for instance.
_WRONG = DIFFERENCES - {Case.FOREIGN}


def judge_compared(result: Result) -> list[Check]:
    """Judge the last comparison of everything."""
    return list(_compared(result))


def _compared(result: Result) -> Iterator[Check]:
    if differ := sum(result.counts[case] for case in _WRONG):
        remedy = f"`reconcile` names all of them, and `reconcile --repair` puts them right. {_AGAIN}"
        yield fault("reconcile", f"{differ:,} users differ: {_cases(result, _WRONG)}", remedy)
    if result.counts[Case.CHANGING]:
        what = f"{_are(result.counts[Case.CHANGING])} changed at each look: {_cases(result, {Case.CHANGING})}"
        yield fault("reconcile_changing", what, f"Somebody still writes: pg_stat_activity says who. {_AGAIN}")
    if result.counts[Case.PENDING]:
        what = f"{_are(result.counts[Case.PENDING])} pending by this configuration: {_cases(result, {Case.PENDING})}"
        remedy = f"Give this command the pipeline.toml of the workers; else `trace` says why one waits. {_AGAIN}"
        yield fault("reconcile_pending", what, remedy)


def _cases(result: Result, cases: frozenset[Case] | set[Case]) -> str:
    found = [case for case in Case if case in cases and result.counts[case]]
    return "; ".join(
        f"{case.value.replace('_', ' ')} {result.counts[case]:,}, for example {some(result.examples[case])}"
        for case in found
    )


#: Where both sides have to name as many: what the workers say, and what stands in the topics.
_SAME = {
    Situation.QUARANTINED: Case.QUARANTINED,
    Situation.DROPPED: Case.SIGNED_OFF,
    Situation.PARKED: Case.PARKED,
    Situation.REJECTED: Case.REJECTED,
    Situation.SET_ASIDE: Case.SET_ASIDE,
}


def case_of(one: Held) -> Case:
    """The case of a user who is held back, as `reconcile` calls it."""
    return _SAME[one.situation]


def judge_last(status: Mapping[str, Any], result: Result, found: Sequence[Held]) -> list[Check]:
    """Judge the last look, when nothing leaves any more: everything has to be as it was compared."""
    bad = []
    if not _held(status):
        bad.append(fault("not_held", "not all workers have heard that delivery is held", f"Look at `status`. {_AGAIN}"))
    if left := waits(status):
        remedy = f"Somebody ordered something (`audit` says who), or still writes. {_AGAIN}"
        bad.append(fault("moved", f"something moved after the comparison: {', '.join(left)}", remedy))
    counts = Counter(case_of(one) for one in found)
    other = [case for case in _SAME.values() if counts[case] != result.counts[case]]
    if other:
        each = ", ".join(
            f"{case.value.replace('_', ' ')} {counts[case]:,} instead of {result.counts[case]:,}" for case in other
        )
        remedy = f"Somebody has answered for users meanwhile (`audit` says who). {_AGAIN}"
        bad.append(fault("held_moved", f"the workers name others than the topics: {each}", remedy))
    return bad
