"""`reconcile`: compares legacy tables, pipeline and cidaas user by user, and puts right what differs."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click
from aiokafka.errors import KafkaError

from streams.audit.records import Actor
from streams.census import report as paper
from streams.census.page import page
from streams.cidaas.client import Cidaas
from streams.commands import base, consent, files, orders, recording
from streams.commands.progress import progress
from streams.control import RECONCILE, RECONCILE_PLAN
from streams.mapping import sub_of
from streams.offline import Controls
from streams.quantities import duration
from streams.reconcile import last, plan, repair, report
from streams.reconcile.cases import CURES, REPAIRABLE, Case
from streams.reconcile.passing import Passing
from streams.reconcile.run import Result, Run
from streams.reconcile.source import Source
from streams.reconcile.tables import Tables
from streams.reconcile.target import Target
from streams.reconcile.traits import Traits

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from streams.control import Control
    from streams.reconcile.run import Wrong
    from streams.settings import Settings

#: Bytes of the key of a run, which nobody ever sees.
_KEY = 32


def _changes(*, repairs: bool, every: str | None, yes: bool, **_: Any) -> bool:
    return (repairs or every is not None) and yes


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "reconcile",
        help="Compare the legacy tables, the pipeline and cidaas, user by user, while everything runs; 1 if they "
        "differ.  Example: faust -A streams.app reconcile --sample 500",
    )
    @click.option("--sample", type=click.IntRange(1), metavar="N", help="Read about N users at cidaas, not all.")
    @click.option("--without-cidaas", is_flag=True, help="Compare the legacy tables and the pipeline only.")
    @click.option(
        "--rate",
        type=click.FloatRange(0.1, 1000),
        default=10.0,
        show_default=True,
        help="Calls a second that read at cidaas; one brings up to 100 users, or a single one.",
    )
    @click.option("--accept-foreign", is_flag=True, help="Users whom only cidaas knows are no difference.")
    @click.option("--repair", "repairs", is_flag=True, help="Put right what differs, whatever it is.")
    @click.option(
        "--only", type=click.Choice(list(REPAIRABLE)), multiple=True, help="With --repair: these cases and no others."
    )
    @click.option(
        "--every",
        metavar="TIME",
        help="Have the workers do this again and again, every 30min, 6h or 1d; never ends it. Compares nothing now.",
    )
    @files.html_option
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings, _changes)
    async def reconcile(
        sample: int | None,
        without_cidaas: bool,
        rate: float,
        accept_foreign: bool,
        repairs: bool,
        only: tuple[str, ...],
        every: str | None,
        file: Path | None,
        yes: bool,
        as_json: bool,
    ) -> int:
        if without_cidaas and sample is not None:
            base.fail("--sample is about users at cidaas, and --without-cidaas leaves them out: give one of the two")
        if every is not None:
            if repairs or only or file is not None:
                base.fail("--every takes neither --repair, --only nor --html: what differs, a person puts right")
            wanted = plan.seconds(every)
            rate_ = None if without_cidaas else rate
            return await _plan(settings, wanted, sample, rate_, accepted=accept_foreign, yes=yes, as_json=as_json)
        if (yes or only) and not repairs:
            base.fail("--yes and --only belong to --repair and --every: without them nothing is changed")
        files.assert_writable(file)
        result, kept = await _compared(settings, sample, rate, cidaas=not without_cidaas, accepted=accept_foreign)
        found = report.build(result, kept)
        if file is not None:
            files.write(file, page(found))
        shown = report.body(result, kept)
        if not as_json:
            click.echo(paper.text(found, shutil.get_terminal_size((paper.WIDEST, 24)).columns))
        chosen = repair.chosen(result.wrong, {REPAIRABLE[name] for name in only}) if repairs else []
        if repairs:
            await _repair(settings, chosen, shown, yes=yes, as_json=as_json)
        elif as_json:
            base.show_json(shown)
        left = sum(kept["differences"].values()) - (len(chosen) if yes else 0)
        return base.WRONG if left > 0 else base.OK

    return [reconcile]


async def _plan(
    settings: Settings,
    every: float | None,
    sample: int | None,
    rate: float | None,
    *,
    accepted: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Write down when the workers compare by themselves, or that they do not any more."""
    wanted = None
    if every is not None:
        wanted = plan.Plan(every, sample, rate, accepted, Actor.here().name, time.time())
    said = "no reconcile by itself any more" if wanted is None else _planned(wanted)
    if not yes:
        consent.preview(f"the workers would be told: {said}.", as_json=as_json)
        return base.OK
    async with Controls(settings) as control:
        await control.put(RECONCILE_PLAN, None if wanted is None else wanted.body())
    consent.done(f"{said}. `status` shows it.", as_json=as_json, plan=None if wanted is None else wanted.body())
    return base.OK


def _planned(wanted: plan.Plan) -> str:
    where = f"`reconcile {' '.join(wanted.words())}`"
    return f"{where} every {duration(wanted.every)}, the first time at once, on the worker that owns partition 0"


async def _compared(
    settings: Settings, sample: int | None, rate: float, *, cidaas: bool, accepted: bool
) -> tuple[Result, dict[str, Any]]:
    """Compare, and keep what was found."""
    async with Controls(settings) as control:
        result = await compare(settings, control, sample=sample, rate=rate if cidaas else None)
        kept = last.record(result, Actor.here().name, accepted=accepted)
        await control.put(RECONCILE, kept)
    return result, kept


async def compare(settings: Settings, control: Control, *, sample: int | None, rate: float | None) -> Result:
    """One run; `rate` None leaves cidaas out."""
    key, expected = secrets.token_bytes(_KEY), str((control.identity or {}).get("source", ""))
    async with AsyncExitStack() as open_:
        source, passing = Source(settings, expected, key), Passing(settings, control)
        open_.push_async_callback(source.close)
        open_.push_async_callback(passing.close)
        target = traits = None
        if rate is not None:
            settings.require("CIDAAS_BASE_URL", "CIDAAS_CLIENT_ID", "CIDAAS_CLIENT_SECRET")
            target = Target(await open_.enter_async_context(Cidaas(settings.cidaas, concurrency=1)), rate)
            traits = Traits(settings)
        tables = await open_.enter_async_context(Tables(settings))
        run = Run(settings, source, passing, tables, progress, target=target, traits=traits, sample=sample)
        return await run.run(lambda user_id: sub_of(user_id, settings))


async def _repair(settings: Settings, chosen: list[Wrong], shown: dict[str, Any], *, yes: bool, as_json: bool) -> None:
    """Give the orders, or say what they would be."""
    if not chosen:
        consent.done("nothing is to be repaired.", as_json=as_json, changed=False, **shown)
        return
    steps = _steps(chosen)
    if not yes:
        consent.preview(steps, as_json=as_json, **shown)
        return
    await _order(settings, chosen)
    said = f"asked for: {'; '.join(steps)}. `status` shows what becomes of it, the next `reconcile` that it is right."
    consent.done(said, as_json=as_json, **shown)


def _steps(chosen: Collection[Wrong]) -> list[str]:
    """What is done for how many, by case."""
    counted = {case: sum(1 for one in chosen if one.case is case) for case in Case}
    return [
        f"{number:,} {case.value.replace('_', ' ')}: {cure.value}"
        for case, cure in CURES.items()
        if cure is not None and (number := counted[case])
    ]


async def _order(settings: Settings, chosen: list[Wrong]) -> None:
    """Ask for all of them, some at a time; what interrupts it is told how far it came."""
    who, asked = Actor.here().name, 0
    try:
        async with orders.Desk(settings) as desk:
            with progress("users asked for", len(chosen)) as done:
                for some in orders.batches(chosen):
                    await desk.order([repair.order(one, who) for one in some])
                    asked += len(some)
                    done(asked)
    except (asyncio.CancelledError, KafkaError):
        click.echo(f"at least {asked:,} of {len(chosen):,} users were asked for; to repeat it is harmless", err=True)
        raise
