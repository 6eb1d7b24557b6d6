"""What a worker can say of itself: readiness, figures, one user. Values of users are never shown."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from streams import ledger, snapshots
from streams.ages import pending_since
from streams.cidaas.answers import normal_sub
from streams.control import DELETES, RECONCILE
from streams.credentials import Names, shown
from streams.cutover import after, record
from streams.explain import sentence
from streams.jobs import Do
from streams.ledger import Situation
from streams.likeness import likeness
from streams.orders import BY
from streams.reconcile import plan
from streams.source import faults
from streams.spread import percentile, spread
from streams.standing import Standing
from streams.sweep import summary
from streams.tally import WINDOWS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.pipeline import Pipeline
    from streams.settings import Settings
    from streams.state import Partition
    from streams.state.store import Stored

#: Users looked at before the event loop gets its turn, and pending ones of a partition that are asked for their age.
_SLICE, _FIRST = 500, 20


def readiness(pipeline: Pipeline) -> dict[str, Any]:
    """Ready: recovered, assigned, and cidaas reachable or known to be away."""
    started = getattr(pipeline, "delivery", None) is not None
    owned = len(pipeline.partitions())
    assigned = len(pipeline.runners)
    return {
        "ready": bool(started and assigned and owned == assigned),
        "assigned": assigned,
        "owned": owned,
        "cidaas": (pipeline.delivery.calls.trouble or "reachable") if started else "not asked yet",
    }


def _rates(pipeline: Pipeline) -> dict[str, float]:
    """Users a second that were confirmed, by windows, also by former owners of this worker's partitions."""
    finished, now = pipeline.delivery.figures.finished, time.monotonic()
    return {f"{seconds}s": finished.rate(now, seconds) for seconds in WINDOWS}


def _oldest(partition: Partition) -> float | None:
    """Since when the longest pending user of this partition is pending (Unix seconds); None for nobody.

    The first ones in the order in which they became so: a newer change makes a user look younger.
    """
    keys = partition.standing(Situation.PENDING, _FIRST)
    taken = (partition.take_over_facts.time_ms if partition.take_over_facts is not None else 0) / 1000
    return min(
        (
            pending_since(
                snapshots.decode(snap.value),
                snap.time_ms / 1000,
                ledger.decode(entry.value) if entry is not None else None,
                entry.time_ms / 1000 if entry is not None else 0.0,
                partition.mapping_id,
                taken,
            )
            for snap, entry in (partition.read(keys) if keys else ())
            if snap is not None
        ),
        default=None,
    )


def status(pipeline: Pipeline) -> dict[str, Any]:
    """The figures of this worker's partitions, for `status`, which adds the workers up."""
    delivery = getattr(pipeline, "delivery", None)
    if delivery is None:
        return {"worker": pipeline.name, "starting": True, "partitions": {}, "workers": []}
    counts: Counter[str] = Counter()
    partitions: dict[str, Any] = {}
    for partition in pipeline.partitions():
        special = {situation.value: n for situation, n in partition.counts.items() if n}
        counts.update(special)
        counts["users"] += partition.known
        counts["gone"] += partition.gone
        counts["unreadable"] += partition.unreadable
        counts["in_sync"] += partition.known - len(partition.situations)
        partitions[str(partition.number)] = {
            "joined": partition.joined_offset,
            "lag": pipeline.lag(partition) or 0,
            **special,
        }
    oldest = min((at for one in pipeline.partitions() if (at := _oldest(one)) is not None), default=None)
    control = pipeline.control
    deletions, limit = delivery.brake.total()
    return {
        "worker": pipeline.name,
        "url": url(pipeline),
        "workers": sorted(workers(pipeline)),
        "assigned": len(pipeline.runners),
        "owned": len(partitions),
        "partitions": partitions,
        "counts": dict(counts),
        "rows": dict(pipeline.join.rows),
        "lag": sum(p["lag"] for p in partitions.values()),
        "queued": len(delivery.queues[Do.UPSERT]) + len(delivery.queues[Do.DELETE]),
        "waiting": delivery.queues[Do.UPSERT].waiting + delivery.queues[Do.DELETE].waiting,
        "in_flight": sum(queue.in_flight for queue in delivery.queues.values()),
        "confirmed": delivery.figures.confirmed,
        "calls": delivery.calls.pace.limits.calls,
        "call_limit": rate if (rate := delivery.calls.pace.limits.rate) < math.inf else None,
        "away": delivery.calls.pace.away,
        "outcomes": dict(delivery.figures.outcomes + delivery.calls.outcomes),
        "notes": dict(delivery.figures.notes),
        "rate": _rates(pipeline),
        "oldest_pending": oldest,
        "users_per_call": percentile(delivery.calls.users_per_call, 0.5),
        "latency": spread(delivery.figures.latencies),
        "stages": delivery.figures.stages.body(time.monotonic()),
        "heartbeat_age": time.time() - control.heartbeat_at if control.heartbeat_at else None,
        "source_lsn": control.source_lsn,
        "last_commit_us": pipeline.join.last_commit_us,
        "paused": delivery.paused,
        "deletes_paused": _paused_deletes(pipeline),
        "only": pipeline.settings.delivery.only,
        "trouble": delivery.calls.trouble,
        "brake": {"decisions": deletions, "limit": limit, "tripped": delivery.brake.tripped},
        "deletes_wait": delivery.brake.waits,
        "rereads": {"done": pipeline.rereads.done, "trouble": pipeline.rereads.trouble},
        "sweep": summary(control.state, range(pipeline.settings.partitions)),
        "reconcile": control.state.get(RECONCILE),
        "reconcile_plan": plan.shown(control.state),
        "cutover": record.shown(control.state),
        "late": after.late(control.state, pipeline.partitions()),
        "foreign_subs": delivery.foreign.waiting(),
        "faults": [asdict(fault) for fault in faults.standing(control.state)],
        "wal_rate": pipeline.watch.wal.per_second(),
        "watch": None if pipeline.watch.findings is None else [asdict(one) for one in pipeline.watch.findings],
        "notifications": control.notifications[-30:],
        "uptime": time.time() - pipeline.started_at,
    }


def _paused_deletes(pipeline: Pipeline) -> dict[str, Any] | None:
    """Who paused deletes alone, when and why, or None."""
    held = pipeline.control.state.get(DELETES, {})
    return held if held.get("paused") else None


def url(pipeline: Pipeline) -> str:
    """Where this worker's pages are."""
    return f"http://{pipeline.app.conf.web_host}:{pipeline.app.conf.web_port}"


def workers(pipeline: Pipeline) -> set[str]:
    """The addresses of all workers of the group, as Faust's assignor knows them."""
    return {url.rstrip("/") for url in pipeline.app.assignor.tables_metadata()}


def owner(pipeline: Pipeline, user_id: str) -> str | None:
    """The address of the worker that owns this user."""
    number = pipeline.partition_of(user_id.encode())
    for url, topics in pipeline.app.assignor.tables_metadata().items():
        if number in topics.get(pipeline.settings.topics.snapshots, ()):
            return str(url).rstrip("/")
    return None


def user(pipeline: Pipeline, user_id: str) -> dict[str, Any] | None:
    """Everything that may be shown of one user; None when another worker owns it."""
    key = user_id.encode()
    number = pipeline.partition_of(key)
    runner = pipeline.runners.get(number)
    if runner is None or runner.partition is None or not runner.partition.readable:
        return None
    partition = runner.partition
    ((snap, entry),) = partition.read([key])
    waiting = pipeline.delivery.why_waiting(partition, key)
    paused = pipeline.delivery.paused
    body = look(pipeline.settings, user_id, snap, entry, partition.mapping_id)
    if partition.situations.get(key) is Situation.NOTHING_TO_DO:
        body["situation"] = Situation.NOTHING_TO_DO.value  # only the mapping can tell that of a soft-deleted row
    body |= {"from": f"worker {pipeline.name}", "partition": number, "paused": paused, "waiting": waiting}
    body["joined"] = partition.joined_offset + 1
    body["sentence"] = sentence(body)
    return body


def applied(pipeline: Pipeline, ids: Iterable[str]) -> dict[str, list[int]]:
    """Up to which record the snapshots of this worker know these users; users of other workers are left out."""
    found: dict[str, list[int]] = {}
    for user_id in ids:
        key = user_id.encode()
        runner = pipeline.runners.get(pipeline.partition_of(key))
        partition = runner.partition if runner is not None else None
        if partition is None or not partition.readable:
            continue
        stored = partition.snapshots.store.get(key)
        found[user_id] = list(snapshots.head(stored.value).applied) if stored is not None else [0, 0]
    return found


async def whose(pipeline: Pipeline, subs: Iterable[str]) -> dict[str, Any]:
    """Which of these subs belong to users of this worker's partitions, and which partitions that are (C3)."""
    wanted = {normal_sub(sub): sub for sub in subs}
    users: dict[str, str] = {}
    partitions: list[int] = []
    for partition in pipeline.partitions():
        if partition.closing:
            continue
        for seen, (key, _) in enumerate(partition.snapshots.store.items(), 1):
            sub = wanted.get(normal_sub(pipeline.delivery.inspector.sub_of(key)))
            if sub is not None:
                users[sub] = key.decode()
            if seen % _SLICE == 0:
                await asyncio.sleep(0)
                if partition.closing:
                    break
        else:
            partitions.append(partition.number)
    return {"users": users, "partitions": partitions}


async def standing(pipeline: Pipeline, situation: Situation, reason: str, limit: int | None) -> dict[str, Any]:
    """The users of this worker's partitions in one situation that the ledger knows, or that are set aside."""
    found, aside = Standing(reason, limit), situation is Situation.SET_ASIDE
    for partition in pipeline.partitions():
        keys = partition.standing(situation)
        for start in range(0, len(keys), _SLICE):
            if partition.closing:
                break
            some = keys[start : start + _SLICE]
            table = partition.snapshots if aside else partition.ledger
            for key, stored in zip(some, table.store.get_many(some), strict=True):
                if stored is not None and aside:
                    found.add_aside(partition.number, key, snapshots.decode(stored.value), stored.time_ms / 1000)
                elif stored is not None:
                    found.add(partition.number, key, ledger.decode(stored.value))
            await asyncio.sleep(0)
        if not partition.closing:
            found.partitions.append(partition.number)
    return found.body()


def look(
    settings: Settings, user_id: str, snap: Stored | None, entry: Stored | None, mapping_id: str
) -> dict[str, Any]:
    """One user from what the tables hold: `describe`, what the mapping makes of its row, and when both were written."""
    body = describe(user_id, snap and snap.value, entry and entry.value, mapping_id)
    if snap is not None:
        decoded = snapshots.decode(snap.value)
        values = decoded.user.values if decoded.user is not None else None
        credentials = Names(settings.source.credentials).by_table(decoded.live_credentials())
        body["snapshot"] |= likeness(settings, user_id, values, credentials)
        body["snapshot"] |= {"mapping_id": mapping_id, "written": snap.time_ms / 1000}
    if entry is not None:
        body["ledger"]["written"] = entry.time_ms / 1000
    return body


def describe(user_id: str, snap: bytes | None, entry: bytes | None, mapping_id: str) -> dict[str, Any]:
    """One user from the two encoded values; columns are named, their values are not shown."""
    body: dict[str, Any] = {"user": user_id, "situation": None, "snapshot": None, "ledger": None}
    if snap is not None:
        head = snapshots.head(snap)
        decoded = snapshots.decode(snap)
        found = ledger.situation(head, ledger.head(entry) if entry else None, bytes.fromhex(mapping_id))
        body["situation"] = found.value
        body["snapshot"] = _snapshot(decoded)
    if entry is not None:
        body["ledger"] = _entry(ledger.decode(entry), mapping_id)
    if body["situation"] == Situation.IN_SYNC.value and body["ledger"]["deleted"]:
        body["situation"] = "deleted"
    return body


def _snapshot(snap: snapshots.Snapshot) -> dict[str, Any]:
    row = snap.user.values if snap.user is not None else None
    credentials = [
        {
            "id": shown(name),
            "there": credential.values is not None,
            "lsn": lsn(credential.lsn),
            "columns": sorted(name for name, value in (credential.values or {}).items() if value is not None),
        }
        for name, credential in sorted(snap.credentials.items())
    ]
    return {
        "row": "there" if row is not None else ("deleted" if snap.user is not None else "never seen"),
        "columns": sorted(name for name, value in (row or {}).items() if value is not None),
        "null_columns": sorted(name for name, value in (row or {}).items() if value is None),
        "credentials": credentials,
        "version": list(snap.version),
        "applied": list(snap.applied),
        "lsn": lsn(snap.lsn),
        "committed": snap.committed_us / 1e6 if snap.committed_us else None,
        "streamed": snap.streamed,
        "set_aside": None if snap.aside is None else {"number": snap.aside[0], "reason": snap.aside[1]},
    }


def _entry(entry: ledger.Entry, mapping_id: str) -> dict[str, Any]:
    return {
        "state": entry.state.name.lower(),
        "deleted": entry.deleted,
        "version": list(entry.version),
        "same_mapping": entry.mapping_id == mapping_id,
        "sub": entry.sub,
        "process_state": entry.process_state,
        "reason": entry.reason,
        "message": entry.message,
        "attempts": entry.attempts,
        "first_try": entry.first_try,
        "at": entry.at,
        "next_try": entry.next_try or None,
        "notes": list(entry.notes),
        "latency": entry.latency,
        "by": entry.extra.get(BY, ""),
    }


def lsn(number: int | None) -> str | None:
    """Write an LSN as PostgreSQL does."""
    return None if number is None else f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
