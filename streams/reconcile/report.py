"""The result in words, as page and screen of a census show them: counts, examples by id, never a value (pure)."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from streams.census.report import Line, Report, Section
from streams.quantities import duration
from streams.reconcile.cases import CURES, MEANING, WAITING, Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.reconcile.run import Result

_RIGHT = (Case.CONFIRMED, Case.DELETED, Case.NOT_SELECTED, Case.NEVER_LIVE, Case.CREDENTIALS_ONLY)
_HOW = {
    Case.PENDING: "`status` says what holds them up",
    Case.SET_ASIDE: "`status` says whether that goes on",
    Case.QUARANTINED: "`quarantine list` says why",
    Case.SIGNED_OFF: "`quarantine list --dropped` names them",
    Case.PARKED: "`deletes list` names them, `deletes allow` or `deletes reject` answers",
    Case.REJECTED: "`deletes list --rejected` names them",
    Case.CHANGING: "look again when less is changed",
}


def build(result: Result, kept: Mapping[str, Any]) -> Report:
    """Put a result into words; `kept` is what is kept of it."""
    total = result.counts.total()
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result.at))
    sections = [
        ("Differences", _differences(result, kept)),
        ("Known, and not at cidaas as they should be", _waiting(result)),
        ("As it should be", _right(result)),
        ("Not compared", _left_out(result)),
    ]
    full = tuple(Section(name, tuple(lines)) for name, lines in sections)
    when = f"{at}: {total:,} users compared in {duration(result.seconds)}"
    verdict = _verdict(result, kept)
    return Report("reconcile", when, verdict, tuple(section for section in full if section.lines))


def body(result: Result, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The same as JSON."""
    return {
        **kept,
        "clean": not kept["differences"],
        "users": result.counts.total(),
        "examples": {case.value: users for case, users in result.examples.items()},
        "since": {case.value: at for case, at in result.oldest.items()},
        "wrong": [{"user": one.user, "case": one.case.value, "fields": list(one.fields)} for one in result.wrong],
        "not_compared": {"columns": list(result.left_out), "fields": list(result.not_stored)},
        "judged_by_one_look": result.unseen,
    }


def _verdict(result: Result, kept: Mapping[str, Any]) -> str:
    differ, total = sum(kept["differences"].values()), result.counts.total()
    if differ:
        return f"{differ:,} of {total:,} users differ."
    waiting = sum(result.counts[case] for case in WAITING)
    more = f" {waiting:,} are not at cidaas as they should be, and known." if waiting else ""
    where = "legacy database, pipeline and cidaas" if result.read_back is not None else "legacy database and pipeline"
    return f"Clean: {where} say the same.{more}"


def _differences(result: Result, kept: Mapping[str, Any]) -> Iterator[Line]:
    total = result.counts.total()
    for case, cure in CURES.items():
        if number := result.counts[case]:
            remark = f"--repair: {cure.value}." if cure is not None else "They are left alone."
            if case is Case.FOREIGN and case.value not in kept["differences"]:
                remark = "Accepted, so no differences."
            if case is Case.CHANGED_AT_TARGET:
                remark = f"Fields: {_fields(result)}. {remark}"
            yield Line(number, f"{_word(case)}: {MEANING[case]}", total, remark, _examples(result, case))


def _fields(result: Result) -> str:
    counted = Counter(name for one in result.wrong for name in one.fields)
    return ", ".join(f"{name} ({number:,})" for name, number in counted.most_common())


def _waiting(result: Result) -> Iterator[Line]:
    for case, how in _HOW.items():
        if number := result.counts[case]:
            since = result.oldest.get(case)
            when = f", the first since {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(since))}" if since else ""
            what = f"{_word(case)}: {MEANING[case]}{when}"
            yield Line(number, what, result.counts.total(), f"{how}.", _examples(result, case))


def _right(result: Result) -> Iterator[Line]:
    for case in _RIGHT:
        if number := result.counts[case]:
            yield Line(number, f"{_word(case)}: {MEANING[case]}", result.counts.total())


def _left_out(result: Result) -> Iterator[Line]:
    if result.read_back is None:
        yield Line(None, "Users at cidaas: left out by --without-cidaas.")
    else:
        part = " (--sample, so nobody can be found there whom nobody knows)" if result.sampled else ""
        yield Line(result.read_back, f"users were read at cidaas{part}; password hashes are never compared there")
    if result.left_out:
        columns = ", ".join(result.left_out)
        yield Line(len(result.left_out), f"columns of types that are written in more than one way: {columns}")
    if result.not_stored:
        names = ", ".join(result.not_stored)
        remark = "cidaas skips fields silently that its field setup lacks: make and enable them there."
        yield Line(len(result.not_stored), f"fields that are sent, and that cidaas shows of nobody: {names}", 0, remark)
    if result.unseen:
        yield Line(result.unseen, "users at cidaas were judged by one look, because so many differ")


def _word(case: Case) -> str:
    return case.value.replace("_", " ")


def _examples(result: Result, case: Case) -> tuple[str, ...]:
    return tuple(result.examples.get(case, ()))
