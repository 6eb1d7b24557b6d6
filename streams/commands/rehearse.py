"""`rehearse`: the whole run into a stand-in of cidaas, beside the live pipeline, which it does not disturb."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import click

from streams.census import report as paper
from streams.census.page import page
from streams.commands import base, consent, files, recording
from streams.commands.progress import Line
from streams.commands.reconcile import compare
from streams.offline import read_ends
from streams.rehearsal import report
from streams.rehearsal.run import Rehearsal
from streams.rehearsal.standin import assert_there
from streams.rehearsal.tenant import Tenant, measured
from streams.settings import shadow

if TYPE_CHECKING:
    from pathlib import Path

    from streams.control import Control
    from streams.reconcile.run import Result
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "rehearse",
        help="Let a second worker do the whole run into a stand-in of cidaas: how long will load, a night's backlog "
        "and the freeze take, and who would be refused? 1 if somebody would be. Nothing goes to cidaas, nothing of it "
        "stays.  Example: faust -A streams.app rehearse --yes",
    )
    @click.option("--latency", type=click.FloatRange(0, 60), metavar="SECONDS", help="Of a call; default: as measured.")
    @click.option("--limit", type=click.FloatRange(0.1, 10_000), metavar="N", help="Calls a second that are allowed.")
    @click.option("--errors", type=click.FloatRange(0, 0.9), metavar="SHARE", help="Calls that fail, as 0.01.")
    @click.option(
        "--night",
        type=click.FloatRange(0.1, 168),
        default=10.0,
        show_default=True,
        metavar="HOURS",
        help="Of a backlog.",
    )
    @files.html_option
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def rehearse(
        latency: float | None,
        limit: float | None,
        errors: float | None,
        night: float,
        file: Path | None,
        yes: bool,
        as_json: bool,
    ) -> int:
        files.assert_writable(file)
        assert_there()
        settings.require("LEGACY_DATABASE_URL")
        tenant = (await _seen()).with_words(latency, limit, errors)
        records = sum((await read_ends(settings)).values())
        if not yes:
            consent.preview(_steps(settings, tenant, records), as_json=as_json)
            return base.OK
        line = Line()
        found = await Rehearsal(settings, tenant, night, line.say, _compare).run()
        shown = report.build(found, time.time())
        if file is not None:
            files.write(file, page(shown))
        said = paper.text(shown, shutil.get_terminal_size((paper.WIDEST, 24)).columns)
        body: dict[str, Any] = report.body(found)
        short = body.pop("said")
        consent.done(said, as_json=as_json, short=short, **body)
        return base.WRONG if found.refused or found.differences else base.OK

    return [rehearse]


async def _seen() -> Tenant:
    try:
        return measured(await base.ask_all("/sync/status"))
    except base.Away:
        return measured(())


async def _compare(settings: Settings, control: Control) -> Result:
    return await compare(settings, control, sample=None, rate=None)


def _steps(settings: Settings, tenant: Tenant, records: int) -> list[str]:
    names = f"{shadow.prefix_of(settings.app_id)}..."
    return [
        f"start a stand-in of cidaas on this machine: {tenant}",
        f"start a second worker beside it, which reads {settings.topics.identity} from its beginning ({records:,} "
        f"records), into four topics {names} and a folder of its own; both run behind the live worker (nice)",
        "send everybody to the stand-in, compare both sides, and say what it has shown; nothing goes to cidaas",
        "delete the topics and the folder, in which there are password hashes meanwhile",
    ]
