"""`doctor`: every precondition, place by place, each with what to do about it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base, recording
from streams.doctor.checks import State
from streams.doctor.cidaas import WRITTEN
from streams.doctor.examination import examine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.doctor.checks import Report
    from streams.settings import Settings

_COLOURS = {
    State.OK: "green",
    State.WARNING: "yellow",
    State.FAULT: "red",
    State.TODO: "cyan",
    State.UNKNOWN: "bright_black",
}
#: state -> what one and several of them are called, in the order of the end block.
_WORDS = {
    State.FAULT: ("fault", "faults"),
    State.TODO: ("not set up yet", "not set up yet"),
    State.WARNING: ("warning", "warnings"),
    State.UNKNOWN: ("not checked", "not checked"),
}


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "doctor",
        help="Check every precondition, before anything is set up and whenever in doubt. Changes nothing; 1 if "
        "something does not work.  Example: faust -A streams.app doctor",
    )
    @click.option("--write-test", is_flag=True, help="WRITES to cidaas: makes a test user, and deletes it again.")
    @base.json_option
    @base.run
    @recording.recorded(settings, _writes)
    async def doctor(write_test: bool, as_json: bool) -> int:
        reports = await examine(settings, write=write_test)
        if as_json:
            base.show_json(body_of(reports))
        else:
            click.echo(render(reports))
        if write_test:
            recording.effect("; ".join(_written(reports)), changed=True)
        code = code_of(reports)
        return base.AtOnce(code) if any(report.hung for report in reports) else code

    return [doctor]


def _written(reports: Sequence[Report]) -> list[str]:
    """What became of the test user; the name of one who is left is in the remedy."""
    found = [check for report in reports for check in report.checks if check.slug in WRITTEN]
    return [f"{one.what}. {one.remedy}" if one.state is State.FAULT else one.what for one in found]


def _writes(*, write_test: bool, **_: Any) -> bool:
    return write_test


def code_of(reports: Sequence[Report]) -> int:
    """1 for a fault; warnings, what is not set up yet and what was not checked are none."""
    faulty = any(check.state is State.FAULT for report in reports for check in report.checks)
    return base.WRONG if faulty else base.OK


def body_of(reports: Sequence[Report]) -> dict[str, Any]:
    """The answer as JSON."""
    return {
        "at": time.time(),
        "counts": {state.value: number for state, number in _counted(reports).items()},
        "places": [
            {
                "place": report.place,
                "checks": [
                    {"slug": check.slug, "state": check.state.value, "what": check.what, "remedy": check.remedy}
                    for check in report.checks
                ],
            }
            for report in reports
        ],
    }


def _counted(reports: Sequence[Report]) -> dict[State, int]:
    found = Counter(check.state for report in reports for check in report.checks)
    return {state: found[state] for state in State}


def render(reports: Sequence[Report]) -> str:
    """The screen: a line for each check, then what to do. click takes the colours out where there is no terminal."""
    width = max(len(check.slug) for report in reports for check in report.checks)
    lines = []
    for report in reports:
        lines.append(click.style(report.place, bold=True))
        lines += [f"  {_state(check.state)}  {check.slug:<{width}}  {check.what}" for check in report.checks]
        lines.append("")
    for state, (one, several) in _WORDS.items():
        found = [check for report in reports for check in report.checks if check.state is state and check.remedy]
        if found:
            lines.append(click.style(f"{several if len(found) > 1 else one}:", bold=True))
        for remedy in dict.fromkeys(check.remedy for check in found):
            lines += [f"! {check.slug}: {check.what}" for check in found if check.remedy == remedy]
            lines.append(f"  {remedy}")
        lines += [""] if found else []
    return "\n".join([*lines, _sum(reports)])


def _state(state: State) -> str:
    return click.style(f"{state.value:<7}", fg=_COLOURS[state])


def _sum(reports: Sequence[Report]) -> str:
    counts = _counted(reports)
    said = [
        f"{counts[state]} {several if counts[state] > 1 else one}"
        for state, (one, several) in _WORDS.items()
        if counts[state]
    ]
    return ", ".join([f"{counts[State.OK]} ok", *said])
