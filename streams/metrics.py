"""The figures of a worker's `status`, for Prometheus."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from streams import views
from streams.comparison import Found
from streams.reconcile.cases import DIFFERENCES
from streams.sweep import summary

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.pipeline import Pipeline


def exposition(pipeline: Pipeline) -> str:
    """All figures in the text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(pipeline))
    return generate_latest(registry).decode()


class _Collector:
    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    def collect(self) -> Iterable[Any]:
        """Yield the metric families."""
        figures = views.status(self._pipeline)
        if figures.get("starting"):
            return
        users = GaugeMetricFamily("cidaas_sync_users", "Users by situation.", labels=["situation"])
        for situation, number in figures["counts"].items():
            users.add_metric([situation], number)
        yield users
        rows = CounterMetricFamily("cidaas_sync_rows", "Row changes read, by operation.", labels=["op"])
        for op, number in figures["rows"].items():
            rows.add_metric([op], number)
        yield rows
        outcomes = CounterMetricFamily("cidaas_sync_outcomes", "What calls and users came to.", labels=["outcome"])
        for outcome, number in figures["outcomes"].items():
            outcomes.add_metric([outcome], number)
        yield outcomes
        numbers = [partition.number for partition in self._pipeline.partitions()]
        swept = GaugeMetricFamily("cidaas_sync_sweep_users", "What the last sweep has found.", labels=["found"])
        last = summary(self._pipeline.control.state, numbers) or {}
        for found in Found:
            swept.add_metric([found.value], last.get(found.value, 0))
        yield swept
        yield from _reconciled(figures["reconcile"], figures["reconcile_plan"])
        wrong = GaugeMetricFamily(
            "cidaas_sync_source_fault", "1 for each thing wrong with the source.", labels=["slug"]
        )
        for slug in sorted({one["slug"] for one in [*figures["faults"], *(figures["watch"] or ())]}):
            wrong.add_metric([slug], 1)
        yield wrong
        text = "Calls to cidaas that were started, and probes while it is away."
        yield CounterMetricFamily("cidaas_sync_calls", text, value=figures["calls"])
        gauges = {
            "lag_records": (figures["lag"], "Records of legacy.identity that wait to be joined."),
            "queued_users": (figures["queued"], "Users in the queues."),
            "in_flight_users": (figures["in_flight"], "Users in calls."),
            "heartbeat_age_seconds": (figures["heartbeat_age"] or -1, "Age of the source's last heartbeat."),
            "latency_p50_seconds": (figures["latency"]["p50"], "Commit to confirmation, median of recent users."),
            "latency_p99_seconds": (figures["latency"]["p99"], "Commit to confirmation, 99 % of recent users."),
            "slot_seconds_left": (
                -1 if (left := self._slot_left()) is None else left,
                "How long the slot lasts while nobody reads it; -1: no limit, or not known by this worker.",
            ),
            "users_per_second": (figures["rate"]["60s"], "Users confirmed a second, over the last minute."),
            "oldest_pending_seconds": (
                0.0 if figures["oldest_pending"] is None else max(0.0, time.time() - figures["oldest_pending"]),
                "For how long the longest pending user is pending; 0 while nobody is.",
            ),
            "partitions_owned": (figures["owned"], "Partitions owned completely."),
            "paused": (int(figures["paused"] is not None), "1 while delivery is paused."),
            "deletes_paused": (int(figures["deletes_paused"] is not None), "1 while deletes alone are paused."),
            "deletes_wait_seconds": (
                max(0.0, time.time() - waits["since"]) if (waits := figures["deletes_wait"]) else 0.0,
                "For how long deletes have waited until what stood in the source with them is joined.",
            ),
            "late_users": (figures["late"]["users"], "Users changed in the legacy database after the GO; not sent."),
            "delete_brake": (int(figures["brake"]["tripped"] is not None), "1 while the delete brake holds."),
        }
        for name, (value, text) in gauges.items():
            yield GaugeMetricFamily(f"cidaas_sync_{name}", text, value=value)

    def _slot_left(self) -> float | None:
        found = self._pipeline.watch.room
        return None if found is None else found.seconds_left


def _reconciled(kept: dict[str, Any] | None, planned: dict[str, Any] | None) -> Iterable[Any]:
    """The last `reconcile`: what it found, and how old that is (-1: there was none); and how late the next one is."""
    differ = GaugeMetricFamily("cidaas_sync_reconcile_users", "What the last reconcile has found.", labels=["case"])
    found = kept["differences"] if kept is not None else {}
    for case in sorted(case.value for case in DIFFERENCES):
        differ.add_metric([case], found.get(case, 0))
    yield differ
    age = -1.0 if kept is None else max(0.0, time.time() - kept["at"])
    yield GaugeMetricFamily("cidaas_sync_reconcile_age_seconds", "Age of the last reconcile; -1: none.", value=age)
    overdue = 0.0 if planned is None else max(0.0, time.time() - planned["due"])
    text = "For how long a reconcile of the plan has been due; 0: it is not, or there is no plan."
    yield GaugeMetricFamily("cidaas_sync_reconcile_overdue_seconds", text, value=overdue)
