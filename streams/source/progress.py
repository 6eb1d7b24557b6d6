"""How far an initial snapshot has read each table, by the connector's notifications and Kafka's counts (pure)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WAITING, READING, READ = "waiting", "reading", "read"


@dataclass(frozen=True, slots=True)
class TableRead:
    """One table; None is *not known*. `rows_estimated` is PostgreSQL's own estimate."""

    table: str
    state: str
    rows_read: int | None
    rows_estimated: int | None
    eta_seconds: float | None = None

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


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


def last_run(notifications: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The notifications of the newest snapshot, from its beginning on; a start without one changes nothing."""
    begins = [at for at, one in enumerate(notifications) if one.get("type") == "STARTED"]
    return list(notifications[begins[-1] :]) if begins else []


def began(run: Sequence[dict[str, Any]]) -> float | None:
    """When a snapshot began that still runs, Unix seconds; None while none does."""
    over = {"COMPLETED", "ABORTED", "SKIPPED"}
    return _at(run[0]) if run and not any(one.get("type") in over for one in run) else None


def tables(
    order: Sequence[str],
    run: Sequence[dict[str, Any]],
    estimates: Mapping[str, int | None],
    written: int | None,
    now: float,
) -> list[TableRead]:
    """Tell how far each table is; `order` is that of the reading, `written` counts Kafka's records since it began."""
    done = {name: _scanned(run, name) for name in order}
    current = next((name for name in order if _under_way(run, name) and done[name] is None), None)
    start = began(run)
    pace = written / (now - start) if start is not None and written is not None and now > start else 0.0
    found = []
    for name in order:
        estimate = estimates.get(name)
        if (rows := done[name]) is not None:
            found.append(TableRead(name, READ, rows, estimate))
        elif name == current and start is not None:
            before = sum(rows for rows in done.values() if rows is not None)
            read = max(0, written - before) if written is not None else None
            found.append(TableRead(name, READING, read, estimate, _eta(estimate, read, pace)))
        else:
            found.append(TableRead(name, WAITING, 0, estimate, _eta(estimate, 0, pace)))
    return found


def _eta(estimate: int | None, read: int | None, pace: float) -> float | None:
    return max(0, estimate - read) / pace if estimate is not None and read is not None and pace > 0 else None


def _at(one: Mapping[str, Any]) -> float | None:
    at = one.get("timestamp")
    return float(at) / 1000 if at is not None else None


def _about(one: Mapping[str, Any], field: str, table: str) -> bool:
    """Whether a notification is about this table; Debezium may name the database before it."""
    named = str((one.get("additional_data") or {}).get(field, ""))
    return named == table or named.endswith(f".{table}")


def _under_way(run: Sequence[dict[str, Any]], table: str) -> bool:
    return any(one.get("type") == "IN_PROGRESS" and _about(one, "current_collection_in_progress", table) for one in run)


def _scanned(run: Sequence[dict[str, Any]], table: str) -> int | None:
    for one in run:
        if one.get("type") == "TABLE_SCAN_COMPLETED" and _about(one, "scanned_collection", table):
            return int((one.get("additional_data") or {}).get("total_rows_scanned") or 0)
    return None
