"""Named checks on a screen and as JSON, place by place: the same look for every command that checks something."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base
from streams.doctor.checks import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.doctor.checks import Report

_COLOURS = {
    State.OK: "green",
    State.WARNING: "yellow",
    State.FAULT: "red",
    State.TODO: "cyan",
    State.UNKNOWN: "bright_black",
}
#: state -> what one and several of them are called, the most urgent first.
_WORDS = {
    State.FAULT: ("fault", "faults"),
    State.TODO: ("not set up yet", "not set up yet"),
    State.WARNING: ("warning", "warnings"),
    State.UNKNOWN: ("not checked", "not checked"),
}


def show(reports: Sequence[Report], *, as_json: bool, verdict: tuple[str, str] = ("", "")) -> int:
    """Show them; the exit code is 1 for a fault. It is one that waits for no thread where a place has hung.

    `verdict` is what begins the last line: without a fault, and with one.
    """
    if as_json:
        base.show_json(_body(reports))
    else:
        click.echo(f"{_render(reports)}{verdict[_code(reports)] + _sum(reports)}")
    code = _code(reports)
    return base.AtOnce(code) if any(report.hung for report in reports) else code


def _code(reports: Sequence[Report]) -> int:
    """1 for a fault; warnings, what is not set up yet and what was not checked are none."""
    faulty = any(check.state is State.FAULT for report in reports for check in report.checks)
    return base.WRONG if faulty else base.OK


def _body(reports: Sequence[Report]) -> dict[str, Any]:
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


def _render(reports: Sequence[Report]) -> str:
    """The screen: a line for each check, then what to do. The most urgent stands last, where a long screen ends.

    click takes the colours out where there is no terminal.
    """
    width = max(len(check.slug) for report in reports for check in report.checks)
    lines = []
    for report in reports:
        lines.append(click.style(report.place, bold=True))
        lines += [f"  {_state(check.state)}  {check.slug:<{width}}  {check.what}" for check in report.checks]
        lines.append("")
    for state, (one, several) in reversed(_WORDS.items()):
        found = [check for report in reports for check in report.checks if check.state is state and check.remedy]
        if found:
            lines.append(click.style(f"{several if len(found) > 1 else one}:", fg=_COLOURS[state], bold=True))
        for remedy in dict.fromkeys(check.remedy for check in found):
            lines += [f"! {check.slug}: {check.what}" for check in found if check.remedy == remedy]
            lines.append(f"  {remedy}")
        lines += [""] if found else []
    return "\n".join([*lines, ""])


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
