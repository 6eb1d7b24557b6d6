"""`census`: what is in the legacy tables, and what will become of it at cidaas."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING

import click

from streams.census import domains, forecast, report
from streams.census.counting import Count
from streams.census.forecast import Rate, Survey
from streams.census.page import page
from streams.commands import base, files
from streams.commands.progress import progress
from streams.source.everyone import everyone
from streams.source.merging import User

if TYPE_CHECKING:
    from pathlib import Path

    from dns.asyncresolver import Resolver

    from streams.settings import Settings

#: Users between two looks at the progress bar.
_STEP = 5000


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "census",
        help="Count what is in the legacy tables, and say what will become of it at cidaas. Reads all tables once, "
        "changes nothing; 1 if users will be refused.  Example: faust -A streams.app census --rate 120",
    )
    @click.option(
        "--rate",
        type=click.FloatRange(0, min_open=True),
        help="Users/s of the initial load; default: what a worker says.",
    )
    @click.option("--dns", is_flag=True, help="Look up the domain of each e-mail address, once each.")
    @click.option(
        "--sample",
        type=click.IntRange(1),
        default=20_000,
        show_default=True,
        metavar="N",
        help="Read the phone numbers of about N users, if there are more.",
    )
    @files.html_option
    @base.json_option
    @base.run
    async def census(rate: float | None, dns: bool, sample: int, file: Path | None, as_json: bool) -> int:
        files.assert_writable(file)
        survey = await take(settings, rate, sample, domains.resolver() if dns else None)
        found = report.build(survey)
        if file is not None:
            files.write(file, page(found))
        if as_json:
            base.show_json(forecast.body(survey))
        else:
            click.echo(report.text(found, shutil.get_terminal_size((report.WIDEST, 24)).columns))
        return base.WRONG if survey.wrong else base.OK

    return [census]


async def take(settings: Settings, rate: float | None, sample: int, resolver: Resolver | None) -> Survey:
    """Read all tables once; look up the domains if there is a resolver for it.

    Raises:
        ConfigError: a table or a column is not there.
        LegacyAwayError: the database does not answer, or refuses.
    """
    begun, at = time.monotonic(), time.time()
    async with everyone(settings) as found:
        count = Count(settings, phones_every=max(1, round(found.users / sample)), by_domain=resolver is not None)
        with progress("users", found.users) as done:
            read = 0
            async for one in found.rows:
                if isinstance(one, User):
                    count.user(one.id, one.row, one.credentials)
                    read += 1
                    if read % _STEP == 0:
                        done(read)
                else:
                    count.orphan(one.table, one.row)
    seconds = time.monotonic() - begun
    resolved = None
    if resolver is not None:
        with progress("domains", len(count.domains)) as done:
            resolved = await domains.resolve(list(count.domains), resolver, done)
        count.unresolvable(resolved.dead)
    return Survey(
        settings=settings,
        tables=tuple(found.tables.values()),
        at=at,
        seconds=seconds,
        census=count.census,
        rate=Rate(rate, "--rate") if rate is not None else await _measured(),
        resolved=resolved,
    )


async def _measured() -> Rate:
    """The rate of the last minute, of all workers together."""
    try:
        workers = await base.ask_all("/sync/status", 5.0)
    except base.Away:
        return Rate(None, "no worker runs whose rate could be taken")
    rate = sum(worker.get("rate", {}).get("60s", 0.0) for worker in workers)
    return (
        Rate(rate, "the last minute's rate") if rate > 0 else Rate(None, "no worker has sent users in the last minute")
    )
