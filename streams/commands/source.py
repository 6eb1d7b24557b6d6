"""`source`: what concerns the legacy database as a whole: check it, repair what was lost, compare all users."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streams import brake
from streams.commands import base, consent, recording
from streams.control import SWEEP
from streams.offline import Controls, control_state
from streams.screen import sweep_words
from streams.source import faults, guard, reading, repair
from streams.source.admin import Admin
from streams.source.connect import Connect, ConnectError
from streams.source.connector import connector_config
from streams.source.look import Look, look_once
from streams.source.memory import Memory, lost, recall
from streams.sweep import request, summary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.control import Control
    from streams.settings import Settings
    from streams.source.guard import Finding
    from streams.source.look import Database


#: What a sweep does with those who differ.
_FOUND = (
    "users whose rows are gone will be deleted at cidaas (behind the delete brake), those who are missing or have "
    "other credential rows will be read again"
)


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.group("source", help="The legacy database as a whole: check it, repair what was lost, compare all users.")
    def source() -> None:
        pass

    @source.command(
        "check",
        help="Say what is wrong with the source, now and still.  Example: faust -A streams.app source check --json",
    )
    @base.json_option
    @base.run
    async def check(as_json: bool) -> int:
        problems = problems_of(settings, await control_state(settings), await look_once(settings))
        if as_json:
            base.show_json({"problems": problems})
        else:
            click.echo(_listed(problems) or "nothing is wrong with the source")
        return base.WRONG if problems else base.OK

    @source.command(
        "repair",
        help="Read the tables again, after changes were lost.  Example: faust -A streams.app source repair --yes",
    )
    @click.option("--accept-database", is_flag=True, help="Believe another database than before: restored, moved.")
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def repair_(accept_database: bool, yes: bool, as_json: bool) -> int:
        try:
            await _repair(settings, yes=yes, accept=accept_database, as_json=as_json)
        except repair.RepairError as error:
            base.fail(str(error), base.WRONG)
        except ConnectError as error:
            base.fail(error.sentence, base.WRONG)
        return base.OK

    @source.command(
        "sweep",
        help="Compare the rows of all users on both sides.  Example: faust -A streams.app source sweep --wait --yes",
    )
    @click.option("--wait", is_flag=True, help="Wait until every partition has been compared, and say what was found.")
    @click.option("--why", default="by hand", show_default=True, help="A note for `status`.")
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def sweep(wait: bool, why: str, yes: bool, as_json: bool) -> int:
        async with Controls(settings) as control:
            last = summary(control.state, range(settings.partitions))
            if not yes:
                consent.preview(_sweeping(last), as_json=as_json, last=last)
                return base.OK
            body = request(why)
            await control.put(SWEEP, body)
            said = f"asked for: {_FOUND}; nothing else changes"
            recording.effect("asked for a comparison of all users", changed=True)
            if not as_json:
                click.echo(said)
            if wait:
                await _wait(settings, control, str(body["id"]), say=not as_json)
            answer = summary(control.state, range(settings.partitions))
        if as_json:
            base.show_json({**(answer or {}), "changed": True, "said": said})
        return base.OK

    return [source]


def standing(settings: Settings, state: Mapping[str, Any], look: Look) -> list[dict[str, str]]:
    """What means lost changes: the faults that stand in the control topic, and what this look shows beyond them."""
    known = [
        {"slug": one.slug, "what": f"{one.what} (seen {_when(one.since)})", "remedy": one.remedy}
        for one in faults.standing(state)
    ]
    return _with(known, lost(settings, recall(state) or Memory(), look))


def problems_of(settings: Settings, state: Mapping[str, Any], look: Look) -> list[dict[str, str]]:
    """Everything that is wrong with the source."""
    problems = _with(standing(settings, state, look), guard.findings(settings, look))
    if (note := repair.open_note(state)) is not None:
        what = f"a source repair of {_when(note.at)} has not ended"
        problems.append({"slug": "repair_unfinished", "what": what, "remedy": "`source repair --yes` goes on with it."})
    return problems


def _with(problems: list[dict[str, str]], found: list[Finding]) -> list[dict[str, str]]:
    known = {problem["slug"] for problem in problems}
    return problems + [asdict(one) for one in found if one.slug not in known]


def _when(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


def _listed(problems: list[dict[str, str]]) -> str:
    return "\n".join(f"! {problem['what']}\n  {problem['remedy']}" for problem in problems)


def _wrong(settings: Settings, database: Database) -> bool:
    """Whether something is not as `cdc enable` leaves it: publication, or a replica identity."""
    found = guard.publication(settings, database.publication, streamed=True)
    return bool(found or guard.identities(settings, database))


def _sweeping(last: dict[str, Any] | None) -> list[str]:
    steps = ["compare the rows of all users on both sides, in all workers", _FOUND]
    if last is not None and last["state"] != "done":
        steps.append(f"begin anew the one of {_when(last['asked_at'])}, which has not ended ({last['asked_for']})")
    return steps


async def _repair(settings: Settings, *, yes: bool, accept: bool, as_json: bool) -> None:
    look, admin = await look_once(settings), Admin(settings)
    async with Controls(settings) as control:
        system = await _assert_possible(look, admin)
        problems = standing(settings, control.state, look)
        if not as_json:
            none = "no change is known to be lost; a repair reads everything again all the same"
            click.echo(_listed(problems) or none)
        identity = (control.identity or {}).get("source", system)
        if identity != system and not accept:
            base.fail(
                f"the legacy database is {system}, and this pipeline belongs to {identity}. If it was restored, failed "
                "over or moved on purpose, repeat with --accept-database; else correct LEGACY_DATABASE_URL."
            )
        if why := reading.misplaced(control.state, settings):
            base.fail(why)
        assert look.database is not None
        enable = identity != system or _wrong(settings, look.database)
        if not yes:
            new = reading.unread(control.state, settings)
            steps = _steps(settings, enable=enable, moved=identity != system, new=new)
            consent.preview(steps, as_json=as_json, problems=problems)
            return
        told: list[str] = []
        say = told.append if as_json else click.echo
        async with Connect(settings.connect) as connect:
            run = repair.Repair(settings, control, connect, admin, say, connector_config(settings))
            await run.run(look, enable=enable)
        consent.done(_afterwards(control.state), as_json=as_json, problems=problems, steps=told)


async def _assert_possible(look: Look, admin: Admin) -> str:
    """Raise unless both sides answer, and both addresses lead to one primary; return its name."""
    if look.database is None:
        more = "Start it; on a new server without the pipeline's roles run `cdc enable` first."
        raise repair.RepairError(f"{look.database_away}. {more}")
    if look.connector is None:
        raise repair.RepairError(f"{look.connect_away}. {look.connect_remedy}")
    if look.database.standby:
        raise repair.RepairError("LEGACY_DATABASE_URL leads to a standby: name the primary.")
    if (other := await admin.system()) != look.database.system:
        raise repair.RepairError(
            f"LEGACY_ADMIN_URL leads to {other}, LEGACY_DATABASE_URL to {look.database.system}: correct one of them."
        )
    return look.database.system


def _steps(settings: Settings, *, enable: bool, moved: bool, new: list[str]) -> list[str]:
    name = settings.source.name
    return [
        *([f"read {', '.join(new)}, too, from now on: workers with another file end"] if new else []),
        f"stop the connector {name} and delete its position; drop its replication slot {name}",
        *(["do what `cdc enable` does"] if enable else []),
        "begin a new source epoch" + (", and believe this database from now on" if moved else ""),
        "start the connector: it makes a new slot and reads the tables; what has not changed costs no call at cidaas",
        "compare all users; those whose rows are gone are deleted at cidaas, behind the delete brake",
        "clear the faults above",
    ]


def _afterwards(state: Mapping[str, Any]) -> str:
    if state.get(brake.TRIPPED, {}).get("on"):
        return "repaired; deletes are parked: `deletes list`, then `deletes allow` or `deletes reject`"
    return "repaired; deletes that have waited leave now, and the brake parks them if they are many: `deletes list`"


async def _wait(settings: Settings, control: Control, wanted: str, *, say: bool) -> None:
    """Wait for the answers of all partitions, or until somebody else asks anew."""
    said = ""
    while True:
        answer = summary(control.state, range(settings.partitions))
        assert answer is not None
        if answer["id"] != wanted:
            base.fail("another sweep was asked for meanwhile; `status` shows it", base.WRONG)
        if say and (words := sweep_words(answer)) != said:
            said = words
            click.echo(words)
        if answer["state"] == "done":
            return
        await control.wait_changed()
