"""`cutover`: the evening when all applications switch to cidaas. Its `check` says at any time what is in the way.

What changes something then stands in `golive.py`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from streams.census import domains
from streams.commands import base, checklist, finish, golive
from streams.commands.census import take
from streams.commands.status import collect
from streams.cutover import domain, first_day, freeze, pipeline, users
from streams.cutover.asking import certificate, database, names
from streams.cutover.twice import twice
from streams.doctor.asking import AwayError
from streams.doctor.checks import Report, unknown
from streams.doctor.examination import examine
from streams.doctor.places import Place, ask_all
from streams.legacy import LegacyAwayError
from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.cutover.freeze import Passage
    from streams.cutover.twice import Twice
    from streams.doctor.checks import Check
    from streams.settings import Settings

    Looking = asyncio.Task[Twice[Mapping[str, Any]]]

#: Seconds for one place, beside the wait for a heartbeat.
PATIENCE = 30.0
WORKERS, USERS, FREEZE, DOMAIN, FIRST_DAY = "workers", "users", "the freeze", "the domain", "the first day"
#: Checks of doctor's that stand here more exactly: by two looks, and in the legacy database alone.
_SHARPER = frozenset(("long_transactions", "prepared_transactions"))
#: What the last line begins with.
_VERDICT = ("Nothing stands in the way of a freeze now: ", "NOT YET: ")
#: Users whose phone numbers a census reads: none of the checks is about them.
_PHONES = 1


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("cutover", help="The evening of the go-live, when all applications switch to cidaas.")
    def cutover() -> None:
        pass

    @cutover.command(
        "check",
        help="Say everything that would stand in the way of the go-live tonight: what `doctor` checks, how users "
        "stand, what a freeze would wait for, and where the domain leads. Takes about 15 seconds and changes "
        "nothing; 1 if something is in the way.  Example: faust -A streams.app cutover check",
    )
    @click.option("--census", is_flag=True, help="Count who logs in as before; reads both tables once.")
    @base.json_option
    @base.run
    async def check(census: bool, as_json: bool) -> int:
        return checklist.show(await reports(settings, census=census), as_json=as_json, verdict=_VERDICT)

    for command in (*golive.commands(settings), *finish.commands(settings)):
        cutover.add_command(command)
    return [cutover]


async def reports(settings: Settings, *, census: bool) -> list[Report]:
    """Everything, place by place; doctor's come first."""
    looking: Looking = asyncio.create_task(twice(lambda: collect(settings)), name="cutover: looks")
    patience = PATIENCE + settings.source.heartbeat_ms / 1000
    silent = f"no answer within {patience:.0f} s"
    places = [
        Place(WORKERS, unknown("workers", silent), _workers(settings, looking)),
        Place(USERS, unknown("pending", silent), _users(looking)),
        Place(FREEZE, unknown("freeze_to_go", silent), _freeze(settings, looking)),
        Place(DOMAIN, unknown("domain_name", silent), _domain(settings)),
    ]
    found, ours = await asyncio.gather(examine(settings), ask_all(places, patience, (looking,)))
    # Last, and alone: it keeps this process busy, and whatever is timed beside it would look slow.
    last = Report(FIRST_DAY, tuple(await _first_day(settings, looking, census=census)))
    return [*map(_without_sharper, found), *ours, last]


def _without_sharper(report: Report) -> Report:
    return replace(report, checks=tuple(one for one in report.checks if one.slug not in _SHARPER))


async def _workers(settings: Settings, looking: Looking) -> list[Check]:
    return pipeline.judge(settings, await asyncio.shield(looking))


async def _users(looking: Looking) -> list[Check]:
    return users.judge(await asyncio.shield(looking))


async def _freeze(settings: Settings, looking: Looking) -> list[Check]:
    opened, passage = await asyncio.gather(_opened(settings), _passage(settings))
    wait = freeze.judge_wait(settings, await asyncio.shield(looking), passage)
    return [*freeze.judge_tools(settings), *opened, freeze.judge_slot(passage), wait]


async def _opened(settings: Settings) -> list[Check]:
    try:
        return freeze.judge_transactions(await twice(lambda: database.transactions(settings)))
    except AwayError as error:
        why = f"which transactions are open is not known: {error}"
        return [unknown("open_transactions", why, error.remedy)]


async def _passage(settings: Settings) -> Passage | None:
    """How fast the slot follows; None where the database cannot be asked, which doctor's own checks explain."""
    try:
        return await database.passage(settings)
    except (LegacyAwayError, ConfigError):
        return None


async def _domain(settings: Settings) -> list[Check]:
    wanted = settings.cutover
    if wanted is None:
        return domain.not_set(settings.path.name)
    try:
        resolver = domains.resolver()
    except ConfigError:
        return [unknown("domain_name", "this machine knows no name server", "Run it on one that does.")]
    name, target = await names.ask(wanted.domain, wanted.target, resolver)
    shown = await certificate.ask(wanted, target.addresses)
    return domain.judge(wanted, domain.Facts(name, target, shown), time.time())


async def _first_day(settings: Settings, looking: Looking, *, census: bool) -> list[Check]:
    if not census:
        done = looking.done() and not looking.cancelled() and looking.exception() is None
        return first_day.not_counted(looking.result().second["source"]["rows"] if done else None)
    try:
        return first_day.judge(await take(settings, None, _PHONES, None))
    except (LegacyAwayError, ConfigError) as error:
        return [unknown("first_day", f"nobody was counted: {error}")]
