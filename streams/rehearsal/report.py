"""What a rehearsal has shown, in words and as JSON; ids and reasons, never a value (pure)."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from streams.census.report import Line, Report, Section
from streams.cidaas.refusals import remedy
from streams.quantities import duration
from streams.screen import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.rehearsal.run import Found


def build(found: Found, at: float) -> Report:
    """Put it into words; `at` is when it ended (Unix seconds)."""
    sections = [
        ("How long it takes", _times(found)),
        ("Would be refused", _refused(found)),
        ("Where users would stand", _situations(found)),
    ]
    full = tuple(Section(name, tuple(lines)) for name, lines in sections)
    when = f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(at))}: into a stand-in, where {found.tenant}"
    return Report("rehearsal", when, verdict(found), tuple(section for section in full if section.lines))


def verdict(found: Found) -> str:
    """It in one sentence."""
    number, differ = sum(how_many for how_many, _ in found.refused.values()), sum(found.differences.values())
    refused = f"{number:,} would be refused" if number else "nobody would be refused by what is known of the rules"
    if pending := found.situations.get("pending"):
        refused += f", and {pending:,} were not judged when it ended: they are being changed"
    wrong = f" {differ:,} users differ from the legacy database: `reconcile` names them." if differ else ""
    return f"{found.users:,} users in {duration(found.seconds)}; {refused}.{wrong}"


def _times(found: Found) -> Iterator[Line]:
    yield Line(None, f"The initial load: {duration(found.seconds)} with one worker, {found.rate:,.0f} users/s")
    night = found.night
    if night.users:
        yield Line(
            None,
            f"To catch up with the last {duration(night.hours * 3_600)} ({night.users:,} users, {night.changes:,} "
            f"changes): {duration(found.night_seconds)}",
        )
    else:
        yield Line(None, "To catch up with a night: not known, because the last hours have brought no change")
    yield Line(
        None,
        f"From freeze to GO: {duration(found.freeze_seconds)}: twice {duration(found.passing)} until everything is "
        f"joined, and {duration(found.comparing)} to compare everybody; who is pending then comes on top, which "
        "`cutover check` estimates",
    )


def _refused(found: Found) -> Iterator[Line]:
    for reason, (number, users) in found.refused.items():
        yield Line(number, reason, found.users, remedy(reason), users)


def _situations(found: Found) -> Iterator[Line]:
    for name, number in found.situations.items():
        yield Line(number, WORDS.get(name, name.replace("_", " ")), found.users)


def body(found: Found) -> dict[str, Any]:
    """The same as JSON."""
    return {
        "tenant": asdict(found.tenant),
        "users": found.users,
        "initial_load_seconds": round(found.seconds, 1),
        "users_per_second": round(found.rate, 1),
        "night": {**found.night._asdict(), "seconds": round(found.night_seconds, 1)},
        "freeze_to_go": {
            "seconds": round(found.freeze_seconds, 1),
            "passing_seconds": round(found.passing, 1),
            "comparing_seconds": round(found.comparing, 1),
        },
        "refused": [
            {"reason": reason, "users": number, "examples": list(users), "remedy": remedy(reason)}
            for reason, (number, users) in found.refused.items()
        ],
        "situations": found.situations,
        "differences": found.differences,
        "said": verdict(found),
    }
