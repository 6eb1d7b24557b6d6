"""`doctor`: every precondition, place by place, each with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.commands import base, checklist, recording
from streams.doctor.checks import State
from streams.doctor.cidaas import WRITTEN
from streams.doctor.examination import examine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.doctor.checks import Report
    from streams.settings import Settings


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
        if write_test:
            recording.effect("; ".join(_written(reports)), changed=True)
        return checklist.show(reports, as_json=as_json)

    return [doctor]


def _written(reports: Sequence[Report]) -> list[str]:
    """What became of the test user; the name of one who is left is in the remedy."""
    found = [check for report in reports for check in report.checks if check.slug in WRITTEN]
    return [f"{one.what}. {one.remedy}" if one.state is State.FAULT else one.what for one in found]


def _writes(*, write_test: bool, **_: Any) -> bool:
    return write_test
