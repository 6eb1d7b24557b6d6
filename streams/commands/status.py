"""`status`: one screen that says how far everything is and what is wrong."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click
from aiokafka.errors import KafkaError

from streams import brake
from streams.commands import base, room
from streams.commands.watching import again_and_again, coloured
from streams.control import DELETES, RECONCILE
from streams.cutover import after, record
from streams.identity import RefusedError
from streams.kafka import UnconfirmedError
from streams.offline import read_behind, read_control, read_written
from streams.quantities import duration
from streams.reconcile import last, plan
from streams.refused import REMEDY
from streams.screen import WIDTH, pause_row, render
from streams.source import faults, guard, progress
from streams.source.look import look_once
from streams.spread import merged
from streams.stages import shares, slowest
from streams.sweep import summary
from streams.watch import REMEMBERED

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from streams.settings import Settings
    from streams.source.look import Look

#: Seconds for which Kafka is asked.
_KAFKA = 5.0
#: Seconds for which deletes may wait for the join before it is said.
_UNCOUNTED = 60.0
#: Windows of the rates, as workers name them, and as they are shown.
_RATES = {"60s": "1_min", "300s": "5_min", "900s": "15_min"}


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command("status", help="Say how far it is and what is wrong.  Example: faust -A streams.app status --watch")
    @click.option("--watch", is_flag=True, help="Show it again every 2 seconds, until Ctrl-C.")
    @base.json_option
    @base.run
    async def status(watch: bool, as_json: bool) -> int:
        if watch:
            await again_and_again(lambda: collect(settings), _show, _screen, as_json=as_json)
            return base.OK
        body = await collect(settings)
        _show(body, as_json=as_json)
        return base.WRONG if body["problems"] else base.OK

    return [status]


def _show(body: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        base.show_json(body)
    else:
        click.echo(_screen(body))


def _screen(body: dict[str, Any]) -> str:
    # On a pipe somebody may search for a sentence.
    return coloured(render(body, body["at_unix_seconds"], WIDTH if sys.stdout.isatty() else 0))


@dataclass(frozen=True, slots=True)
class _Known:
    """What stands in the control topic, and the connector's reports: by a worker's word, or read without one."""

    paused: dict[str, Any] | None = None
    deletes_paused: dict[str, Any] | None = None
    brake: dict[str, Any] | None = None
    sweep: dict[str, Any] | None = None
    reconcile: dict[str, Any] | None = None
    reconcile_plan: dict[str, Any] | None = None
    cutover: dict[str, Any] | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    #: bytes of WAL a second.
    wal_rate: float | None = None
    #: why the topic cannot be read, where no worker tells what stands in it.
    away: str = ""
    #: users that were joined, to a tenth: where no worker counts them.
    about: int | None = None


async def collect(settings: Settings) -> dict[str, Any]:
    """Ask every worker, the database, Connect and Kafka, and add it up; units stand in the names.

    What cannot be asked is None, and among the problems.
    """
    source, workers = await asyncio.gather(look_once(settings), _workers())
    known, now = await _known(settings, source, workers), time.time()
    figures = source.figures(settings.source.users.name)
    counts: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for worker in workers:
        counts.update(worker.get("counts", {}))
        outcomes.update(worker.get("outcomes", {}))
    rates = {shown: sum(one.get("rate", {}).get(name, 0.0) for one in workers) for name, shown in _RATES.items()}
    expected = max(figures["rows"] or 0, 0)
    behind = sum(one.get("lag", 0) for one in workers) if workers else await _asked(read_behind(settings))
    slot = await room.of(settings, source.database.slot if source.database is not None else None, known.wal_rate)
    oldest = min((one["oldest_pending"] for one in workers if one.get("oldest_pending") is not None), default=None)
    latency = merged(one["latency"] for one in workers if one.get("latency"))
    body: dict[str, Any] = {
        "at_unix_seconds": now,
        "workers": [
            {name: worker.get(name) for name in ("worker", "url", "assigned", "owned", "trouble")}
            | {"uptime_seconds": worker.get("uptime")}
            for worker in workers
        ],
        "users": dict(counts),
        "users_about": known.about,
        "users_expected": expected or None,
        "records_behind": behind,
        "users_queued": sum(worker.get("queued", 0) for worker in workers) if workers else None,
        "users_in_flight": sum(worker.get("in_flight", 0) for worker in workers) if workers else None,
        "rate_users_per_second": rates if workers else None,
        "eta_seconds": None,
        "oldest_pending_seconds": None if oldest is None else max(0.0, now - oldest),
        "latency_seconds": None
        if latency is None
        else {"p50": latency["p50"], "p99": latency["p99"], "users": latency["n"]},
        "users_per_call": max((worker.get("users_per_call", 0) for worker in workers), default=0),
        "outcomes": dict(outcomes),
        "paused": known.paused,
        "deletes_paused": known.deletes_paused,
        "only": next((worker["only"] for worker in workers if worker.get("only")), None),
        "brake": known.brake,
        "deletes_wait": _uncounted(workers),
        "foreign_subs": max((worker.get("foreign_subs", 0) for worker in workers), default=0),
        "heartbeat_age_seconds": min(
            (w["heartbeat_age"] for w in workers if w.get("heartbeat_age") is not None), default=None
        ),
        "snapshot": "not known" if known.away else progress.initial_snapshot(known.notifications),
        "snapshot_tables": [one.body() for one in await _tables(settings, source, known, now)],
        "sweep": known.sweep,
        "reconcile": known.reconcile,
        "reconcile_plan": known.reconcile_plan,
        "cutover": known.cutover,
        "late": after.together(worker["late"] for worker in workers if worker.get("late")),
        "faults": known.faults,
        "control_away": known.away,
        "slot_room": None if slot is None else slot.body() | {"words": str(slot)},
        "source": figures,
    }
    left = counts["pending"] + max(0, expected - counts["users"])
    if rates["5_min"] > 0 and left and body["paused"] is None and body["only"] is None:
        body["eta_seconds"] = left / rates["5_min"]
    _stages(body, workers)
    body["problems"] = _problems(settings, source, workers, body)
    return body


def _uncounted(workers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What deletes wait for before the brake can judge them, all workers together; None when they do not."""
    found = [waits for worker in workers if (waits := worker.get("deletes_wait"))]
    if not found:
        return None
    partitions = sorted({number for waits in found for number in waits["partitions"]})
    return {"partitions": partitions, "since": min(waits["since"] for waits in found)}


def _stages(body: dict[str, Any], workers: list[dict[str, Any]]) -> None:
    """Name what holds users up, and how long each stage takes."""
    found = shares(worker["stages"] for worker in workers if worker.get("stages"))
    age = body["heartbeat_age_seconds"]
    late = f"the last heartbeat came {age:.0f} s ago" if age is not None and age > guard.PATIENCE else ""
    worst = slowest(
        found,
        pending=body["users"].get("pending", 0),
        behind=body["records_behind"] or 0,
        paused=body["paused"] is not None,
        trouble=next((one["trouble"] for one in workers if "stages" in one and one["trouble"]), ""),
        source_late=late,
    )
    body["stages"] = {name: {"seconds_per_user": one.seconds, "share": one.share} for name, one in found.items()}
    body["slowest"] = None if worst is None else worst._asdict()


async def _known(settings: Settings, source: Look, workers: list[dict[str, Any]]) -> _Known:
    told = [worker for worker in workers if "faults" in worker]
    rate = next((worker["wal_rate"] for worker in told if worker.get("wal_rate") is not None), None)
    if told:
        names = ("brake", "sweep", "faults", "notifications")
        # One that has not heard of a pause sends.
        paused: dict[str, Any] = {name: _of_all(told, name) for name in ("paused", "deletes_paused")}
        # A worker of an older version says nothing of these.
        newer: dict[str, Any] = {name: told[0].get(name) for name in ("reconcile", "reconcile_plan", "cutover")}
        return _Known(**{name: told[0][name] for name in names}, **paused, **newer, wal_rate=rate)
    try:
        control = await read_control(settings, _KAFKA)
    except RefusedError as error:
        return _Known(away=str(error))
    state, held = control.state, control.state.get(DELETES, {})
    return _Known(
        paused=control.paused(settings.delivery.start),
        deletes_paused=held if held.get("paused") else None,
        brake={"tripped": brake.tripped(state)},
        sweep=summary(state, range(settings.partitions)),
        reconcile=state.get(RECONCILE),
        reconcile_plan=plan.shown(state),
        cutover=record.shown(state),
        faults=[asdict(fault) for fault in faults.standing(state)],
        notifications=control.notifications,
        about=brake.known(state),
        wal_rate=room.remembered(state, source.database.lsn if source.database is not None else None),
    )


def _of_all(workers: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    """A pause, if all of these workers hold by one."""
    found: list[dict[str, Any] | None] = [worker[name] for worker in workers]
    return found[0] if all(found) else None


def _unheard(workers: list[dict[str, Any]], name: str) -> list[str]:
    """Who has not heard of a pause that others hold by."""
    told = [worker for worker in workers if name in worker]
    without = [str(worker["worker"]) for worker in told if not worker[name]]
    return without if len(without) < len(told) else []


async def _asked(question: Awaitable[int]) -> int | None:
    """What Kafka says in time, or None."""
    try:
        async with asyncio.timeout(_KAFKA):
            return await question
    except (KafkaError, OSError, TimeoutError, UnconfirmedError):
        return None


async def _tables(settings: Settings, source: Look, known: _Known, now: float) -> list[progress.TableRead]:
    """How far the initial snapshot is, table by table, while it runs; the connector reads the users' table last."""
    run = progress.last_run(known.notifications)
    start = progress.began(run)
    if start is None:
        return []
    there = source.database.tables if source.database is not None else {}
    names = [table.name for table in settings.source.tables]
    estimates = {name: there[name].rows if name in there and there[name].rows > 0 else None for name in names}
    return progress.tables(names, run, estimates, await _asked(read_written(settings, start)), now)


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


async def _workers() -> list[dict[str, Any]]:
    try:
        _, first = await base.ask("/sync/status")
    except base.Away:
        return []
    workers = [first]
    for url in first.get("workers", []):
        if url == first.get("url"):
            continue
        try:
            workers.append((await base.ask("/sync/status", url))[1])
        except base.Away:
            workers.append({"worker": url, "url": url, "trouble": "does not answer"})
    return workers


def _source_problems(
    settings: Settings, source: Look, workers: list[dict[str, Any]], standing: list[dict[str, Any]]
) -> list[dict[str, str]]:
    """What stands, what this look shows, and what takes the memory of the worker that watches; each once."""
    found = [{**fault, "what": f"{fault['what']} (seen {_at(fault['since'])})"} for fault in standing]
    found += [asdict(finding) for finding in guard.findings(settings, source)]
    found += [seen for worker in workers for seen in worker.get("watch") or () if seen["slug"] in REMEMBERED]
    return [
        {name: one[name] for name in ("slug", "what", "remedy")}
        for at, one in enumerate(found)
        if one["slug"] not in {before["slug"] for before in found[:at]}
    ]


def _problems(
    settings: Settings, source: Look, workers: list[dict[str, Any]], body: dict[str, Any]
) -> list[dict[str, str]]:
    problems = _source_problems(settings, source, workers, body["faults"])

    def add(slug: str, what: str, remedy: str) -> None:
        problems.append({"slug": slug, "what": what, "remedy": remedy})

    if not workers:
        remedy = "Start `faust -A streams.app worker`, or set WORKER_URL."
        add("no_worker", f"no worker answers at {base.worker_url()}", remedy)
    if body.get("control_away"):
        what = "whether something is paused, parked or lost is not known: neither a worker nor Kafka can be asked"
        remedy = (
            "Start Kafka, or correct KAFKA_BOOTSTRAP_SERVERS; before the first start, `topics` makes what is missing."
        )
        add("control_away", what, remedy)
    for worker in workers:
        if "owned" not in worker:
            remedy = "Look whether its process runs. When it has ended, others take its partitions over in seconds."
            add("worker_away", f"worker {worker['worker']} {worker['trouble']}", remedy)
        elif worker["trouble"]:
            add("cidaas", f"worker {worker['worker']}: {worker['trouble']}", "It goes on by itself when that is cured.")
        if worker.get("starting"):
            add("starting", f"worker {worker['worker']} is still starting", "Wait a moment.")
    if body["paused"] and not (body.get("cutover") or {}).get("over"):
        why = f"delivery is paused: {pause_row(body['paused'], body['slot_room'], time.time())}"
        if body["paused"].get("limit"):
            add("refusals", why, REMEDY)
        else:
            add("paused", why, "Run `resume` when it may go on.")
    if body["deletes_paused"]:
        what = f"deletes are paused: {pause_row(body['deletes_paused'], body['slot_room'], time.time())}"
        add("deletes_paused", what, "Run `resume --deletes` when they may go on.")
    for name, who in (("paused", "delivery is"), ("deletes_paused", "deletes are")):
        if unheard := _unheard(workers, name):
            what = f"{who} paused, and not at all workers: not at {', '.join(unheard)}"
            remedy = "Within a second all have heard of a pause, or of its end. Restart whoever stays behind."
            add("pause_unheard", what, remedy)
    if (body["brake"] or {}).get("tripped"):
        why = body["brake"]["tripped"]["why"]
        add("delete_brake", f"deletes are parked: {why}", "Run `deletes allow` or `deletes reject`.")
    if (waits := body.get("deletes_wait")) and body["at_unix_seconds"] - waits["since"] > _UNCOUNTED:
        numbers = ", ".join(map(str, waits["partitions"]))
        took = duration(round(body["at_unix_seconds"] - waits["since"]))
        what = f"deletes have waited for {took}: {brake.UNCOUNTED} (partitions {numbers})"
        add("deletes_wait", what, "Nothing, while records are joined: they leave then.")
    if (late := body.get("late")) and late["users"]:
        more = late["users"] - len(late["first"])
        whom = ", ".join(late["first"]) + (f" and {more:,} more" if more else "")
        what = f"the legacy database was written to after the GO, and nothing of it is sent: users {whom}"
        remedy = "`cutover freeze` says how much; carry it over at cidaas by hand, or `cutover abort`, which sends it."
        add("late_write", what, remedy)
    if body["foreign_subs"]:
        what = f"cidaas answered with {body['foreign_subs']} subs that were not sent; their users are being looked for"
        add("foreign_subs", what, "It ends by itself when all partitions have an owner that answers.")
    if body["users"].get("unreadable"):
        number = body["users"]["unreadable"]
        add("unreadable", f"{number} records without a readable key", "Find out who wrote them, then `source sweep`.")
    if (body["sweep"] or {}).get("state") == "failed":
        add("sweep_failed", f"a sweep does not end: {body['sweep']['why']}", "It is tried again by itself.")
    if (kept := body.get("reconcile")) and kept["differences"]:
        what = f"the last reconcile, {last.words(kept, time.time())}"
        add("differences", what, "Run `reconcile` again; with --repair it says what would put them right.")
    planned = body.get("reconcile_plan")
    if planned and not (body.get("cutover") or {}).get("over") and (why := plan.late(planned, time.time())):
        remedy = "It is tried again by itself: run `reconcile` to see it; `reconcile --every never` ends the plan."
        add("reconcile_overdue", why, remedy)
    age = body["heartbeat_age_seconds"]
    if workers and (age is None or age > 30):
        what = f"the source's last heartbeat came {age:.0f} s ago" if age else "no heartbeat of the source has come yet"
        add("no_heartbeat", what, "Look at `connector status` and the database.")
    return problems
