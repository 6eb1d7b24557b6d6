"""Workers, and what they have read: judged by two looks of `status`, whose own findings are taken over (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.doctor.checks import fault, ok, unknown, warning
from streams.screen import sweep_words
from streams.source.guard import LOST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.cutover.twice import Twice
    from streams.doctor.checks import Check
    from streams.settings import Settings

    #: Two looks, as `status --json` shows one.
    Looks = Twice[Mapping[str, Any]]

#: So many records are two batches of a partition, and joined in a moment.
FEW = 1_000
#: Findings of `status` -> the check here that says them.
_HERE = {
    "no_worker": "workers",
    "worker_away": "workers",
    "starting": "workers",
    "paused": "delivery_paused",
    "refusals": "delivery_paused",
    "deletes_paused": "deletes_paused",
    **dict.fromkeys(LOST, "source_faults"),
}
#: Findings that a check of doctor's says more exactly, which is a fault, too.
_DOCTORS = frozenset((
    "database_away", "database_standby", "table_missing", "connect_away", "connector_failed", "connector_stopped",
    "slot_inactive", "column_unpublished", "replica_identity_missing",
))  # fmt: skip
#: Those, and the ones of which a check of `users` or of this module does.
_SAID = frozenset((*_HERE, *_DOCTORS, "delete_brake", "sweep_failed"))


def judge(settings: Settings, looks: Looks, *, alone: bool = False) -> list[Check]:
    """Judge workers, partitions, what was read, and whether anything is held back; `alone`: doctor is not asked."""
    now, said = looks.second, _SAID - (_DOCTORS if alone else frozenset())
    return [
        _said(now, "workers", f"all that are known answer: {_names(now)}"),
        _partitions(settings, now),
        _snapshot(now),
        _records(looks),
        _sweep(now),
        _said(now, "source_faults", "no change is known to be lost"),
        _said(now, "delivery_paused", "the GO holds delivery" if _over(now) else "delivery is not paused"),
        _said(now, "deletes_paused", "deletes are not paused"),
        _only(settings, now),
        *_others(now, said),
    ]


def _names(now: Mapping[str, Any]) -> str:
    return ", ".join(str(one["worker"]) for one in now["workers"])


def _said(now: Mapping[str, Any], slug: str, fine: str) -> Check:
    """What `status` says about it; each of its findings has its words and its remedy already."""
    found = [one for one in now["problems"] if _HERE.get(one["slug"]) == slug]
    if found:
        return fault(slug, "; ".join(one["what"] for one in found), found[0]["remedy"])
    return _unread(slug) if now["control_away"] else ok(slug, fine)


def _unread(slug: str) -> Check:
    """What stands in the control topic: `status` finds that nobody says it, which is the fault."""
    return unknown(slug, "neither a worker nor Kafka says")


def _over(now: Mapping[str, Any]) -> bool:
    return bool((now.get("cutover") or {}).get("over"))


def _others(now: Mapping[str, Any], said: frozenset[str]) -> Iterator[Check]:
    """Whatever else `status` finds wrong is in the way, too."""
    slugs = dict.fromkeys(one["slug"] for one in now["problems"] if one["slug"] not in said)
    for slug in slugs:
        found = [one for one in now["problems"] if one["slug"] == slug]
        yield fault(slug, "; ".join(one["what"] for one in found), found[0]["remedy"])


def _partitions(settings: Settings, now: Mapping[str, Any]) -> Check:
    owned = sum(one["owned"] or 0 for one in now["workers"])
    if owned == settings.partitions:
        return ok("partitions", f"all {owned} partitions have an owner")
    what = f"{owned} of {settings.partitions} partitions have an owner that answers"
    return fault("partitions", what, "Start a worker, or wait a moment: taking over takes seconds.")


def _snapshot(now: Mapping[str, Any]) -> Check:
    state = now["snapshot"]
    if now["control_away"]:
        return _unread("initial_snapshot")
    if state != "complete":
        return fault("initial_snapshot", f"the initial snapshot is {state}", "Wait until `status` calls it complete.")
    return ok("initial_snapshot", "the initial snapshot is complete")


def _records(looks: Looks) -> Check:
    before, behind = looks.first["records_behind"], looks.second["records_behind"]
    if behind is None:
        return unknown("records_behind", "how many records wait to be joined, neither a worker nor Kafka says")
    if behind <= FEW:
        return ok("records_behind", f"{behind:,} records wait to be joined")
    if before is not None and behind < before:
        what = f"{behind:,} records wait to be joined, {before - behind:,} fewer than {looks.apart:.0f} s ago"
        return warning("records_behind", what, "Wait: they are joined before anything of them is sent.")
    what = f"{behind:,} records wait to be joined, and do not get fewer"
    return fault("records_behind", what, "Look at the log of the workers; where they have much to do, start one more.")


def _sweep(now: Mapping[str, Any]) -> Check:
    sweep = now["sweep"]
    if now["control_away"]:
        return _unread("sweep")
    if sweep is None:
        return ok("sweep", "no sweep runs")
    if sweep["state"] == "failed":
        remedy = "It is tried again by itself: cure what is named there."
        return fault("sweep", f"a sweep has {sweep_words(sweep)}", remedy)
    if sweep["state"] == "done":
        return ok("sweep", f"no sweep runs; the last one: {sweep_words(sweep)}")
    return warning("sweep", f"a sweep is {sweep_words(sweep)}", "Wait for its end: it may find users to be sent.")


def _only(settings: Settings, now: Mapping[str, Any]) -> Check:
    only = now["only"] or settings.delivery.only
    if only is None:
        return ok("delivery_only", "everybody is sent")
    whom = f"the first {only:,}" if isinstance(only, int) else f"{len(only):,} named users"
    remedy = "Take `only` out of [delivery], and DELIVERY_ONLY out of the environment; start the workers again."
    return fault("delivery_only", f"only {whom} are sent", remedy)
