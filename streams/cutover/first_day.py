"""The first day at cidaas: who logs in as before, with which hash, without a second factor, or needs a reset (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.census import report
from streams.census.counting import Fate
from streams.census.words import why
from streams.doctor.checks import fault, ok, unknown, warning
from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.census.forecast import Survey
    from streams.doctor.checks import Check

#: Seconds of reading for each user, as docs/operations.md has it for two cores.
_EACH = 30e-6
#: fate -> check, what is said of its users, and what to do.
_FATES = {
    Fate.SECOND_FACTOR_LOST: (
        "first_day_second_factor",
        "log in without their second factor",
        "Tell them before: they enrol again at cidaas.",
    ),
    Fate.RESET: ("first_day_resets", "need a new password", "Have the reset mail tried, and the help desk ready."),
    Fate.REFUSED: ("first_day_refused", "will be refused by cidaas", "`census` says for each reason what to do."),
}


def not_counted(users: int | None) -> list[Check]:
    """It was not asked for; `users` is how many there are, by PostgreSQL's own estimate."""
    takes = f"takes about {duration(max(1.0, users * _EACH))}" if users else "takes a while"
    what = f"who logs in as before, and who needs a reset, was not counted: to read both tables once {takes}"
    return [unknown("first_day", what, "Run `cutover check --census`.")]


def judge(survey: Survey) -> list[Check]:
    """Put a census into checks."""
    said = report.verdict(survey.census)
    if not survey.census.live:
        return [fault("first_day", said, "Look at [mapping.status] and [mapping.select].")]
    read = f"{said} (read in {duration(survey.seconds)})"
    return [ok("first_day", read), _hashes(survey), *_fates(survey)]


def _hashes(survey: Survey) -> Check:
    found = survey.census.hashes.most_common()
    each = [
        f"{kind.name}{', ' + kind.cost if kind.cost else ''}{'' if kind.sent else ' (not sent)'} {number:,}"
        for kind, number in found
    ]
    return ok("first_day_hashes", f"passwords by format: {'; '.join(each)}" if each else "nobody has a password")


def _fates(survey: Survey) -> Iterator[Check]:
    census = survey.census
    for fate, (slug, words, remedy) in _FATES.items():
        if not (number := census.of(fate)):
            yield ok(slug, f"users who {words}: 0")
            continue
        by_reason = census.why(fate).most_common()
        reasons = [f"{why(fate, reason, survey.settings).what} {several:,}" for reason, several in by_reason]
        because = f" ({'; '.join(reasons)})" if fate is not Fate.SECOND_FACTOR_LOST else ""
        yield warning(slug, f"users who {words}: {number:,}{because}", remedy)
