"""One plain sentence about one user: in sync, waiting because …, refused by cidaas … (pure).

The worker knows its two tables. `trace` looks further: `body["legacy"]` says which rows the database has now,
`body["topic"]` which records of the user wait to be joined, and `body["source"]` whether changes are known to be lost.
Where they are there, the sentence takes them in.
"""

from __future__ import annotations

import time
from typing import Any

from streams.ledger import PURGE_NOT_ANSWERED, PURGE_NOT_PROVED
from streams.pauses import by

_NEVER_SEEN = "never seen: no row of this user has come through the source, or its id is another one"
_SETTLED = frozenset(("in_sync", "deleted", "nothing_to_do"))


def sentence(body: dict[str, Any]) -> str:
    """Say where the user stands and why; `body` is what `views.describe` made, and whatever `trace` added."""
    newer, known = _newer(body), _known(body)
    if not newer:
        return known
    before = f" What was read before: {known}" if body["snapshot"] is not None else ""
    return f"waiting because {newer}.{before}"


def has_latest(body: dict[str, Any]) -> bool:
    """Whether cidaas has the latest state of the user, as far as `body` knows."""
    left_out = body["ledger"] is not None and body["ledger"]["process_state"] == "NOT_SELECTED"
    return body["situation"] in _SETTLED and not left_out and not _newer(body)


def _newer(body: dict[str, Any]) -> str:
    """What there is of the user that is not in the snapshot yet; "" for nothing, or where nobody looked."""
    topic = body.get("topic") or {}
    if topic.get("waiting") is not None:
        where = f"{topic['name']}, partition {topic['partition']}, offset {topic['waiting']}"
        idle = "; no worker runs" if body.get("worker_runs") is False else ""
        return f"a record of it ({where}) is not joined yet: {records(topic['end'] - topic['joined'])} there{idle}"
    if body["snapshot"] is None or body["situation"] == "set_aside":
        return ""
    if differs := _differs(body["snapshot"], body.get("legacy") or {}):
        missing = f"{differs}, and no record of that has come through the source"
        again = "ask again in some seconds; if it stays, a change was lost (`source check`)"
        return f"{missing}: {_lost(body) or again}"
    return ""


def _differs(snap: dict[str, Any], legacy: dict[str, Any]) -> str:
    """How the rows in the database are others than those of the snapshot; "" when the database was not asked."""
    if legacy.get("row") is None:
        return ""
    if (legacy["row"] == "there") != (snap["row"] == "there"):
        there = legacy["row"] == "there"
        return "its row is in the legacy database" if there else "its row is gone from the legacy database"
    if legacy["row"] != "there":
        return ""
    alike = legacy["mapping_id"] == snap["mapping_id"]  # else the worker runs with another configuration
    if alike and legacy["mapping"] != snap["mapping"]:
        return f"its row in the legacy database is {mapped(legacy['mapping'])} now"
    if alike and legacy["entity"] != snap["entity"]:
        return "its rows in the legacy database have other values now"
    if legacy["credentials"] != [credential["id"] for credential in snap["credentials"] if credential["there"]]:
        return "the legacy database has other credential rows of it"
    return ""


#: What the mapping makes of a row, in words.
_MAPPED = {"live": "live", "deleted": "marked as deleted", "not_selected": "left out by the mapping"}


def records(number: int) -> str:
    """So many records wait, in words."""
    return f"{number:,} records wait" if number != 1 else "1 record waits"


def mapped(status: str | None) -> str:
    """The mapping's word for a row, for people; "" for a row that is not there."""
    return _MAPPED[status] if status is not None else ""


def _never(body: dict[str, Any]) -> str:
    legacy = body.get("legacy") or {}
    if legacy.get("row") is None:
        if body.get("waiting"):
            return f"not read yet: {body['waiting'].rstrip('.')}."
        unasked = f"; the legacy database could not be asked ({legacy['why'].rstrip('.')})" if legacy.get("why") else ""
        return f"{_NEVER_SEEN}{unasked}."
    if legacy["row"] != "there":
        return "never seen: the legacy database has no row with this id, and none has come through the source."
    seen = "never seen in the source: the legacy database has its row, but no record of it has come"
    topic, initial = body["topic"], body["source"]["initial"]
    if topic["looked"] < topic["end"]:
        why = f"{records(topic['end'] - topic['joined'])} in its partition, perhaps its own among them"
    elif initial != "complete":
        why = f"the initial snapshot is {initial}"
    else:
        why = _lost(body) or "if it was not made a moment ago, a change was lost (`source check`, `source sweep`)"
    return f"{seen}: {why}."


def _lost(body: dict[str, Any]) -> str:
    """What is known of lost changes."""
    faults = (body.get("source") or {}).get("faults", ())
    return f"changes were lost ({', '.join(faults)}), `source repair` reads them again" if faults else ""


def _known(body: dict[str, Any]) -> str:
    """What follows from snapshot and ledger."""
    snap, entry = body["snapshot"], body["ledger"]
    if snap is None:
        return _never(body)
    match body["situation"]:
        case "in_sync":
            if entry["process_state"] == "NOT_SELECTED":
                return "not selected: the mapping leaves this user out."
            return f"in sync: cidaas confirmed the latest version{_when(entry)}."
        case "deleted":
            return f"in sync: deleted in the legacy database and at cidaas{_when(entry)}."
        case "quarantined":
            again = "A newer version or `quarantine retry` tries again."
            return f"refused by cidaas ({entry['reason']}): {_text(entry)} {again}"
        case "dropped":
            return (
                f"not sent because {entry['by'] or 'a person'} signed this version off (refused by cidaas: "
                f"{entry['reason']}){_when(entry)}; a newer version or `quarantine retry` sends it."
            )
        case "parked":
            return "waiting because the delete brake holds all deletes: `deletes allow` or `deletes reject` answers it."
        case "rejected":
            return "kept at cidaas because a person rejected the delete; a newer version is sent again."
        case "set_aside":
            return f"set aside because {snap['set_aside']['reason']}; it is being read again from the source."
        case "credentials_only":
            return "not a user yet: only credential rows have been seen, its row in the users table has not."
        case "nothing_to_do":
            return "nothing to do: it was never seen live, and cidaas never heard of it."
    if entry is None and snap.get("mapping") == "not_selected":
        return "not selected: the mapping leaves this user out."
    return "waiting because " + _waiting(body, entry)


def _when(entry: dict[str, Any]) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry["at"]))
    took = f", {entry['latency'] * 1000:.0f} ms after the commit" if entry["latency"] else ""
    return f" at {moment} UTC{took}"


def _text(entry: dict[str, Any]) -> str:
    message = entry["message"].strip()
    return f"{message.rstrip('.')}." if message else ""


def _waiting(body: dict[str, Any], entry: dict[str, Any] | None) -> str:
    if body.get("paused"):
        idle = " No worker runs, either." if body.get("worker_runs") is False else ""
        held = body["paused"]
        return f"delivery is paused ({held.get('why', '')}){by(held)}; `resume` lets it go on.{idle}"
    if body.get("waiting"):
        return f"{body['waiting'].rstrip('.')}."
    if entry is not None and entry["reason"] in (PURGE_NOT_PROVED, PURGE_NOT_ANSWERED):
        return f"{entry['reason']} (C8)."
    if entry is not None and entry["state"] == "retrying":
        left = max(0.0, (entry["next_try"] or 0.0) - time.time())
        return f"cidaas refused it ({entry['reason']}, try {entry['attempts']}); it goes again in {left:.0f} s."
    if body.get("worker_runs") is False:
        return "no worker runs."
    return "its latest version is queued or on its way."
