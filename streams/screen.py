"""The screen of `status`: what `collect` has gathered, in at most 100 columns of a terminal (pure)."""

from __future__ import annotations

import textwrap
import time
from typing import Any

from streams.pauses import lasting
from streams.quantities import duration, size
from streams.reconcile import last, plan
from streams.source.progress import READING, WAITING
from streams.stages import WORDS as STAGES
from streams.stages import Stage

WIDTH = 100

#: How users stand, in words.
WORDS = {
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
#: Those that are shown also while nobody stands there: what a person looks for first.
_ALWAYS = ("in_sync", "pending", "quarantined", "parked")

Row = tuple[str, str]


def render(body: dict[str, Any], now: float, columns: int = WIDTH) -> str:
    """The screen; problems stand at its end, marked by `!`. With 0 columns each sentence stays on one line."""
    head = time.strftime("cidaas-sync status, %Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    parts = [_source(body), _users(body), _speed(body)]
    lines = [head]
    width = max(len(name) for rows in parts for name, _ in rows)
    for rows in parts:
        lines += ["", *(line for row in rows for line in _row(row, width, columns))] if rows else []
    lines.append("")
    for problem in body["problems"]:
        lines += [*_wrapped(f"! {problem['what']}", 2, columns), *_wrapped(f"  {problem['remedy']}", 2, columns)]
    return "\n".join(lines if body["problems"] else [*lines, "nothing is wrong"])


def _row(row: Row, width: int, columns: int) -> list[str]:
    name, value = row
    return _wrapped(f"{name:<{width}}  {value}", width + 2, columns)


def _wrapped(text: str, indent: int, columns: int) -> list[str]:
    if not columns:
        return [text.rstrip()]
    return textwrap.wrap(text, columns, subsequent_indent=" " * indent, break_on_hyphens=False)


# -- the source -------------------------------------------------------------------------------------------------------


def _source(body: dict[str, Any]) -> list[Row]:
    source = body["source"]
    tasks = ", ".join(source["tasks"])
    connector = source["connector"] or ("does not answer" if source["connect_away"] else "not registered")
    rows = [("connector", f"{connector}{f' (task {tasks})' if tasks else ''}, initial snapshot {body['snapshot']}")]
    rows += [("initial load" if at == 0 else "", _table(one)) for at, one in enumerate(body["snapshot_tables"])]
    rows.append(("slot", _slot(source)))
    if body["slot_room"] is not None:
        rows.append(("slot limit", body["slot_room"]["words"]))
    if body["heartbeat_age_seconds"] is not None:
        rows.append(("heartbeat", f"{duration(body['heartbeat_age_seconds'])} ago"))
    return rows


def _slot(source: dict[str, Any]) -> str:
    slot = source["slot"]
    if slot is None:
        return "cannot be asked" if source["database_away"] else "none"
    if slot["lost"]:
        return "lost"
    reader = "read" if slot["active"] else "nobody reads it"
    lag, kept = (size(slot[name]) if slot[name] is not None else "?" for name in ("lag_bytes", "kept_bytes"))
    return f"{reader}, lag {lag}, {kept} of WAL kept"


def _table(one: dict[str, Any]) -> str:
    rows, estimate = one["rows_read"], one["rows_estimated"]
    about = f"about {estimate:,} rows" if estimate is not None else "an unknown number of rows"
    if one["state"] == WAITING:
        text = f"{one['table']}: not begun, {about}"
    elif one["state"] == READING:
        percent = f" ({min(99, 100 * rows // estimate)}%)" if estimate and rows is not None else ""
        text = f"{one['table']}: {rows:,} of {about} read{percent}" if rows is not None else f"{one['table']}: is read"
    else:
        return f"{one['table']}: {rows:,} rows, all read"
    eta = one["eta_seconds"]
    return text + (f", {duration(eta)} to go" if eta is not None else "")


# -- users ------------------------------------------------------------------------------------------------------------


def _users(body: dict[str, Any]) -> list[Row]:
    behind = body["records_behind"]
    waiting = f"{behind:,} records behind" if behind is not None else "how many records wait cannot be asked"
    if not body["workers"]:
        about = f"about {body['users_about']:,}, {waiting}" if body["users_about"] else waiting
        counted = "only a worker counts that, and how fast it goes"
        return [("users joined", about), ("how they stand", counted), *_go_live(body)]
    users = body["users"]
    expected, known = body["users_expected"], users.get("users", 0)
    about = f" of about {expected:,}" if expected and expected > known else ""
    rows = [
        ("workers", ", ".join(f"{one['worker']} ({one['owned'] or 0} partitions)" for one in body["workers"])),
        ("users joined", f"{known:,}{about}, {waiting}"),
    ]
    for name, words in WORDS.items():
        number = users.get(name, 0)
        if number or name in _ALWAYS:
            age = body["oldest_pending_seconds"] if name == "pending" and number else None
            oldest = f", the oldest for {duration(age)}" if age is not None else ""
            rows.append((words, f"{number:,}{oldest}"))
    if body["sweep"]:
        rows.append(("sweep", _sweep_row(body["sweep"])))
    if body["reconcile"]:
        rows.append(("last reconcile", last.words(body["reconcile"], body["at_unix_seconds"])))
    if planned := body.get("reconcile_plan"):
        rows.append(("reconcile", plan.words(planned, body["at_unix_seconds"])))
    rows += _go_live(body)
    if (only := body["only"]) is not None:
        rows.append(("delivery.only", f"the first {only}" if isinstance(only, int) else f"{len(only)} named users"))
    return rows


def _go_live(body: dict[str, Any]) -> list[Row]:
    cutover = body.get("cutover")
    if cutover is None or cutover["state"] == "aborted":
        return []
    why = f": {cutover['why']}" if cutover["why"] else ""
    return [("go-live", f"{cutover['words']}{why}")]


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


# -- how fast ---------------------------------------------------------------------------------------------------------


def _speed(body: dict[str, Any]) -> list[Row]:
    if not body["workers"]:
        return []
    rates = body["rate_users_per_second"]
    eta = f", about {duration(body['eta_seconds'])} to go" if body["eta_seconds"] is not None else ""
    named = ", ".join(f"{_rate(rates[name])} over {name.replace('_', ' ')}" for name in ("1_min", "5_min", "15_min"))
    rows = [("users/s", named + eta)]
    latency = body["latency_seconds"]
    if latency is not None:
        p50, p99 = (_short(latency[name]) for name in ("p50", "p99"))
        rows.append(("latency", f"p50 {p50}, p99 {p99} from commit to confirmation ({latency['users']:,} users)"))
    rows.append(("slowest stage", _slowest(body)))
    if body["stages"]:
        each = [f"{STAGES[Stage(name)]} {_short(one['seconds_per_user'])}" for name, one in body["stages"].items()]
        rows.append(("a user takes", ", ".join(each)))
    return rows


def _short(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else duration(seconds)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 or rate == 0 else f"{rate:.2g}"


def _slowest(body: dict[str, Any]) -> str:
    found = body["slowest"]
    if found is None:
        return "nothing waits"
    share = f", {found['share']:.0%} of the time" if found["share"] is not None else ""
    name = f"{found['stage']}: " if found["stage"] in ("paused", "cidaas") else ""
    return f"{name}{found['what']}{share}"


def pause_row(record: dict[str, Any], room: dict[str, Any] | None, now: float) -> str:
    """Why, by whom, since when and for how long something is paused, and what that means for the slot."""
    return lasting(record, now) + (f"; {room['words']}" if room is not None else "")
