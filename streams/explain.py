"""One plain sentence about one user: in sync, waiting because …, set aside because … (pure)."""

from __future__ import annotations

import time
from typing import Any

from streams.ledger import PURGE_NOT_ANSWERED, PURGE_NOT_PROVED

_NEVER_SEEN = "never seen: no row of this user has come through the source, or its id is another one"


def sentence(body: dict[str, Any]) -> str:
    """Say where the user stands and why; `body` is what `views.describe` made."""
    snap, entry = body["snapshot"], body["ledger"]
    if snap is None:
        return _NEVER_SEEN + "."
    match body["situation"]:
        case "in_sync":
            if entry["process_state"] == "NOT_SELECTED":
                return "not selected: the mapping leaves this user out."
            return f"in sync: cidaas confirmed the latest version{_when(entry)}."
        case "deleted":
            return f"in sync: deleted in the legacy database and at cidaas{_when(entry)}."
        case "quarantined":
            again = "A newer version or `quarantine retry` tries again."
            return f"set aside by cidaas ({entry['reason']}): {_text(entry)} {again}"
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
        return f"delivery is paused ({body['paused'].get('why', '')}); `resume` lets it go on."
    if body.get("waiting"):
        return f"{body['waiting']}."
    if entry is not None and entry["reason"] in (PURGE_NOT_PROVED, PURGE_NOT_ANSWERED):
        return f"{entry['reason']} (C8)."
    if entry is not None and entry["state"] == "retrying":
        left = max(0.0, (entry["next_try"] or 0.0) - time.time())
        return f"cidaas refused it ({entry['reason']}, try {entry['attempts']}); it goes again in {left:.0f} s."
    if body.get("worker_runs") is False:
        return "no worker runs."
    return "its latest version is queued or on its way."
