"""One user's way as a list of moments: committed, in Kafka, joined, tried, answered, and what is the case now (pure).

Only what was written down is said. What a single call answered is not: the ledger keeps what came of all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.explain import mapped, records
from streams.pauses import by

if TYPE_CHECKING:
    from collections.abc import Iterator

    #: when, which stage, and what.
    Moments = Iterator[tuple[float | None, str, str]]

#: What the ledger says of its version.
_STATES = {
    "confirmed": "confirmed",
    "in_doubt": "in doubt",
    "quarantined": "refused",
    "retrying": "refused",
    "parked": "parked",
    "rejected": "kept",
    "forgotten": "forgotten",
    "dropped": "signed off",
}


def timeline(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The moments of a user in the order of the pipeline; `body` is what `trace` has gathered.

    Each has `at` (Unix seconds by the clock of whoever wrote it down; None for what is the case now), `stage` and
    `what`.
    """
    return [
        {"at": at, "stage": stage, "what": what}
        for part in (_source, _snapshot, _ledger, _now)
        for at, stage, what in part(body)
    ]


def _source(body: dict[str, Any]) -> Moments:
    snap, topic = body["snapshot"], body["topic"]
    if snap is None:
        return
    made = topic["records"].get(snap["version"][1])
    if made is None or made["kind"] != "change":
        kind = "streamed" if snap["streamed"] else "read"
        if snap["lsn"]:
            yield snap["committed"], "committed", f"the last row change that is known, {kind}, LSN {snap['lsn']}"
    for record in topic["records"].values():
        yield from _record(record, f"{topic['name']}, partition {topic['partition']}", record is made)


def _record(record: dict[str, Any], where: str, made: bool) -> Moments:
    what = f"{where}, offset {record['offset']}"
    if record["kind"] == "change":
        stage = "read" if record["op"] == "r" else "committed"
        where = f", LSN {record['lsn']}" if record["lsn"] else ""
        transaction = f", transaction {record['tx']}" if record["tx"] else ""
        yield record["committed"], stage, f"{record['what']}{where}{transaction}"
    else:
        what += f": {record['what']}"
    yield record["at"], "in Kafka", what if made else f"{what}; it changed nothing that is worth a call"


def _snapshot(body: dict[str, Any]) -> Moments:
    snap = body["snapshot"]
    if snap is None:
        return
    there = sum(credential["there"] for credential in snap["credentials"])
    row = f"its row is {snap['row']}"
    if snap["row"] == "there":
        columns = f"{len(snap['columns'])} columns set, {len(snap['null_columns'])} NULL"
        row = f"its row is {mapped(snap['mapping'])}, {columns}"
    (_, version), (_, applied) = snap["version"], snap["applied"]
    where = f"offset {applied}" if version == applied else f"offset {applied}, version of offset {version}"
    yield snap["written"], "joined", f"{where}: {row}, {_rows(there)}"
    if snap["set_aside"] is not None:
        yield None, "set aside", snap["set_aside"]["reason"]


def _rows(number: int) -> str:
    return f"{number} credential row{'s' * (number != 1)}"


def _ledger(body: dict[str, Any]) -> Moments:
    snap, entry = body["snapshot"], body["ledger"]
    if entry is None:
        return
    if entry["first_try"] and entry["attempts"] > 1:
        yield entry["first_try"], "first try", f"1 of {entry['attempts']}"
    yield entry["at"], _STATES[entry["state"]], _answer(entry, snap)
    if entry["state"] == "retrying" and entry["next_try"]:
        yield entry["next_try"], "next try", "at the latest"


def _answer(entry: dict[str, Any], snap: dict[str, Any] | None) -> str:
    parts = ["left out by the mapping, without a call"] if entry["process_state"] == "NOT_SELECTED" else []
    if not parts and entry["process_state"]:
        parts.append(f"{entry['process_state']}, try {entry['attempts']}")
    elif entry["state"] in ("retrying", "quarantined", "dropped"):
        parts.append(f"try {entry['attempts']}")
    if entry["reason"]:
        parts.append(f"{entry['reason']}: {entry['message']}".strip(": "))
    if entry["by"]:
        parts.append(f"by {entry['by']}")
    if entry["latency"]:
        parts.append(f"{entry['latency'] * 1000:.0f} ms after the commit")
    if entry["notes"]:
        parts.append(f"without {', '.join(entry['notes'])}")
    if snap is not None and entry["version"] != snap["version"]:
        parts.append(f"of offset {entry['version'][1]}, not the latest version")
    elif not entry["same_mapping"]:
        parts.append("under another mapping than today's")
    return ", ".join(parts)


def _now(body: dict[str, Any]) -> Moments:
    legacy, topic, entry = body["legacy"], body["topic"], body["ledger"]
    yield None, "legacy row", _legacy(legacy)
    waits = topic["end"] - topic["joined"]
    more = ", none of them of this user" if topic["waiting"] is None and topic["looked"] >= topic["end"] else ""
    behind = f"{records(waits)}{more}" if waits > 0 else "nothing waits"
    yield None, "topic", f"{topic['name']}, partition {topic['partition']}, joined up to {topic['joined']}: {behind}"
    for fault in body["source"]["faults"]:
        yield None, "source", f"changes were lost: {fault}"
    if body["paused"]:
        yield None, "delivery", f"paused: {body['paused'].get('why', '')}{by(body['paused'])}"
        if body.get("slot"):
            yield None, "slot", body["slot"]
    if entry is None and body["snapshot"] is not None:
        yield None, "ledger", "nothing yet"


def _legacy(legacy: dict[str, Any]) -> str:
    if legacy["row"] is None:
        return f"not looked at: {legacy['why']}"
    if legacy["row"] != "there":
        return f"not there, {_rows(len(legacy['credentials']))}"
    return f"there, {mapped(legacy['mapping'])}, {_rows(len(legacy['credentials']))}"
