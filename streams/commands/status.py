"""`status`: one screen that says how far everything is and what is wrong."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base
from streams.commands.delivery import pause_words
from streams.identity import RefusedError
from streams.offline import control_state
from streams.quantities import duration
from streams.refused import REMEDY
from streams.source import faults, guard
from streams.source.look import look_once
from streams.watch import REMEMBERED

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.source.look import Look

_WORDS = {
    "in_sync": "in sync",
    "pending": "pending",
    "quarantined": "refused by cidaas",
    "dropped": "signed off",
    "set_aside": "set aside",
    "parked": "deletes parked",
    "rejected": "deletes rejected",
    "credentials_only": "credentials only",
    "nothing_to_do": "never live",
}


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command("status", help="Say how far it is and what is wrong.  Example: faust -A streams.app status --watch")
    @click.option("--watch", is_flag=True, help="Show it again every 2 seconds, until Ctrl-C.")
    @base.json_option
    @base.run
    async def status(watch: bool, as_json: bool) -> int:
        while True:
            body = await collect(settings)
            if as_json:
                base.show_json(body)
            else:
                text = render(body)
                click.echo(f"\033[H\033[2J{text}" if watch and sys.stdout.isatty() else text)
            if not watch:
                return base.WRONG if body["problems"] else base.OK
            await asyncio.sleep(2.0)  # --watch: how often a person wants a new screen

    return [status]


async def collect(settings: Settings) -> dict[str, Any]:
    """Ask every worker, the database and Connect, and add it up."""
    source = await look_once(settings)
    figures = source.figures(settings.source.users.name)
    workers = await _workers()
    counts: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    for worker in workers:
        counts.update(worker.get("counts", {}))
        outcomes.update(worker.get("outcomes", {}))
    known = counts["users"]
    rate = sum(worker.get("rate", {}).get("10s", 0.0) for worker in workers)
    expected = max(figures["rows"] or 0, 0)
    left = counts["pending"] + max(0, expected - known) if expected else counts["pending"]
    body: dict[str, Any] = {
        "workers": [
            {name: worker.get(name) for name in ("worker", "url", "assigned", "owned", "uptime", "trouble")}
            for worker in workers
        ],
        "users": dict(counts),
        "expected": expected,
        "lag_records": sum(worker.get("lag", 0) for worker in workers),
        "queued": sum(worker.get("queued", 0) for worker in workers),
        "in_flight": sum(worker.get("in_flight", 0) for worker in workers),
        "rate": rate,
        "eta_seconds": left / rate if rate > 0 and left > 0 else None,
        "latency": max((worker["latency"] for worker in workers if worker.get("latency")), default=None, key=_n),
        "users_per_call": max((worker.get("users_per_call", 0) for worker in workers), default=0),
        "outcomes": dict(outcomes),
        "paused": next((worker["paused"] for worker in workers if worker.get("paused")), None),
        "deletes_paused": next((one for worker in workers if (one := worker.get("deletes_paused"))), None),
        "only": next((worker["only"] for worker in workers if worker.get("only")), None),
        "brake": next((worker["brake"] for worker in workers if worker.get("brake")), None),
        "foreign_subs": max((worker.get("foreign_subs", 0) for worker in workers), default=0),
        "heartbeat_age": min((w["heartbeat_age"] for w in workers if w.get("heartbeat_age") is not None), default=None),
        "snapshot": initial_snapshot(next((worker.get("notifications", []) for worker in workers), [])),
        "sweep": next((worker["sweep"] for worker in workers if worker.get("sweep")), None),
        "faults": await _faults(settings, workers),
        "source": figures,
    }
    body["problems"] = _problems(settings, source, workers, body)
    return body


async def _faults(settings: Settings, workers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The faults of the source that stand; without a worker they are read from the control topic."""
    for worker in workers:
        if "faults" in worker:
            return list(worker["faults"])
    try:
        return [asdict(fault) for fault in faults.standing(await control_state(settings, 5.0))]
    except RefusedError:
        return []  # that no worker answers is said anyway; without Kafka, or before the first start, nothing stands


def _at(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))


def _n(latency: dict[str, Any]) -> int:
    return int(latency["n"])


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


def initial_snapshot(notifications: list[dict[str, Any]]) -> str:
    """Where the connector's last snapshot is, in words."""
    for notification in reversed(notifications):
        kind = notification.get("type")
        if kind in ("COMPLETED", "SKIPPED"):
            return "complete"
        if kind == "ABORTED":
            return "aborted"
        if kind in ("STARTED", "IN_PROGRESS", "TABLE_SCAN_COMPLETED", "DATA_COLLECTIONS_RESOLVED"):
            table = notification.get("additional_data", {}).get("current_collection_in_progress", "")
            return f"running {table}".strip()
    return "not begun"


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
    for worker in workers:
        if worker.get("trouble"):
            add("cidaas", f"worker {worker['worker']}: {worker['trouble']}", "It goes on by itself when that is cured.")
        if worker.get("starting"):
            add("starting", f"worker {worker['worker']} is still starting", "Wait a moment.")
    if body["paused"]:
        why = f"delivery is paused: {pause_words(body['paused'])}"
        if body["paused"].get("limit"):
            add("refusals", why, REMEDY)
        else:
            add("paused", why, "Run `resume` when it may go on.")
    if body["deletes_paused"]:
        what = f"deletes are paused: {pause_words(body['deletes_paused'])}"
        add("deletes_paused", what, "Run `resume --deletes` when they may go on.")
    if (body["brake"] or {}).get("tripped"):
        why = body["brake"]["tripped"]["why"]
        add("delete_brake", f"deletes are parked: {why}", "Run `deletes allow` or `deletes reject`.")
    if body["foreign_subs"]:
        what = f"cidaas answered with {body['foreign_subs']} subs that were not sent; their users are being looked for"
        add("foreign_subs", what, "It ends by itself when all partitions have an owner that answers.")
    if body["users"].get("unreadable"):
        number = body["users"]["unreadable"]
        add("unreadable", f"{number} records without a readable key", "Find out who wrote them, then `source sweep`.")
    if (body["sweep"] or {}).get("state") == "failed":
        add("sweep_failed", f"a sweep does not end: {body['sweep']['why']}", "It is tried again by itself.")
    age = body["heartbeat_age"]
    if workers and (age is None or age > 30):
        what = f"the source's last heartbeat came {age:.0f} s ago" if age else "no heartbeat of the source has come yet"
        add("no_heartbeat", what, "Look at `connector status` and the database.")
    return problems


def sweep_words(sweep: dict[str, Any]) -> str:
    """Where a sweep stands and what it has found."""
    states = {
        "asked": "asked for, not begun",
        "running": f"running, {sweep['done']} of {sweep['of']} partitions done, {sweep['why'] or 'compares'}",
        "failed": f"failed, it is tried again: {sweep['why']}",
        "done": "done",
    }
    found = f"{sweep['gone']:,} gone, {sweep['missing']:,} missing, {sweep['credentials']:,} with other credentials"
    return f"{states[sweep['state']]}; {found}"


def _sweep_row(sweep: dict[str, Any]) -> str:
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(sweep["at"] or sweep["asked_at"]))
    why = f", {sweep['asked_for']}" if sweep["asked_for"] else ""
    return f"{sweep_words(sweep)} ({at}{why})"


def render(body: dict[str, Any]) -> str:
    """The screen."""
    users, slot = body["users"], body["source"]["slot"] or {}
    lines = [time.strftime("cidaas-sync status, %Y-%m-%d %H:%M:%S UTC", time.gmtime()), ""]
    connector = body["source"]["connector"] or "not registered"
    tasks = ", ".join(body["source"]["tasks"])
    rows = [
        ("connector", f"{connector}{f' (task {tasks})' if tasks else ''}, initial snapshot {body['snapshot']}"),
        ("slot", f"lag {slot['lag_bytes']:,} bytes, {slot['kept_bytes']:,} kept" if slot else "none"),
    ]
    age = body["heartbeat_age"]
    if age is not None:
        rows.append(("heartbeat", f"{age:.1f} s ago"))
    if body["workers"]:
        rows.append(("workers", ", ".join(f"{w['worker']} ({w['owned']} partitions)" for w in body["workers"])))
        expected = f" of about {body['expected']:,}" if body["expected"] > users.get("users", 0) else ""
        rows.append(("users joined", f"{users.get('users', 0):,}{expected}, {body['lag_records']:,} records behind"))
        rows += [(words, f"{users[name]:,}") for name, words in _WORDS.items() if users.get(name)]
        if body["sweep"]:
            rows.append(("sweep", _sweep_row(body["sweep"])))
        if body["only"] is not None:
            only = body["only"]
            rows.append(("delivery.only", f"the first {only}" if isinstance(only, int) else f"{len(only)} named users"))
        rate = f"{body['rate']:,.0f} users/s"
        eta = f", about {duration(body['eta_seconds'])} to go" if body["eta_seconds"] else ""
        rows.append(("rate", rate + eta))
        latency = body["latency"]
        if latency and latency["n"]:
            p50, p99 = latency["p50"] * 1000, latency["p99"] * 1000
            rows.append(("latency", f"p50 {p50:,.0f} ms, p99 {p99:,.0f} ms from commit to answer"))
    lines.append(base.table(rows))
    lines.append("")
    if body["problems"]:
        for problem in body["problems"]:
            lines.append(f"! {problem['what']}")
            lines.append(f"  {problem['remedy']}")
    else:
        lines.append("nothing is wrong")
    return "\n".join(lines)
