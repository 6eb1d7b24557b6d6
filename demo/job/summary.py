"""The table at the end, and the commands to try next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.job.live import Live, percentile

if TYPE_CHECKING:
    from demo.job.load import Load
    from demo.oracle import Report


@dataclass(slots=True)
class Figures:
    """Everything that the demo found out."""

    load: Load
    live: Live
    report: Report
    calls: dict[str, Any]
    memory: int = 0  # bytes, the worker's peak
    restarts: tuple[str, ...] = ()


def rows(figures: Figures) -> list[tuple[str, str]]:
    """The table: name and value."""
    report, load, live = figures.report, figures.load, figures.live
    aside = "; ".join(f"{number:,} {reason}" for reason, number in report.reasons.most_common())
    table = [
        ("users", f"{report.users:,} live in the legacy database, {report.deleted:,} soft-deleted"),
        ("equal", f"{report.equal:,}"),
        ("missing", f"{report.missing:,}"),
        ("stale", f"{report.stale:,}"),
        ("resurrected", f"{report.resurrected:,}"),
        ("set aside", f"{report.set_aside:,}" + (f"  ({aside})" if aside else "")),
    ]
    if report.unexpected:
        table.append(("unexpected", f"{report.unexpected:,} at cidaas and nobody's in the legacy database"))
    table.append(("calls", _calls(figures.calls)))
    if load.users_per_call:
        rate = f", {load.rate:,.0f} users a second" if load.rate else ""
        table.append(("users per call", f"{load.users_per_call:.1f} in the initial load{rate}"))
    if live.latencies:
        table.append(("latency", f"{_spread(live.latencies)} from commit to cidaas's answer ({_changes(live)})"))
    if live.held:
        table.append(("  of deletes", f"{_spread(live.held)} ({len(live.held)} users; held back 2 s on purpose)"))
    if figures.memory:
        table.append(("worker", f"{figures.memory / 2**20:,.0f} MB of memory at its peak"))
    if figures.restarts:
        table.append(("restarted", ", ".join(figures.restarts)))
    return table


def _calls(counters: dict[str, Any]) -> str:
    made = counters.get("calls", {})
    upserts = sum(made.get("bulk", {}).values())
    deletes = sum(sum(made.get(name, {}).values()) for name in ("purge", "scim"))
    return f"{upserts:,} upserts with {counters.get('users_in_calls', 0):,} users, {deletes:,} deletes"


def _changes(live: Live) -> str:
    missed = f", {live.missed} not seen" if live.missed else ""
    return f"{len(live.latencies)} users{missed}"


def _spread(seconds: list[float]) -> str:
    return f"p50 {_time(percentile(seconds, 0.5))}, p99 {_time(percentile(seconds, 0.99))}"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def next_commands(run_dir: Path) -> list[str]:
    """The three commands to try next, with the line that loads the stack's variables."""
    shown = relative(run_dir)
    up = "make up" if shown == ".run" else f"make up RUN_DIR={shown}"
    return [
        f"{up:<42}# the same databases, and a second migration, left running",
        f"set -a; . {shown}/stack.env; set +a",
        f"{'.venv/bin/faust -A streams.app user 42':<42}# where does this user stand?",
        f"{'.venv/bin/faust -A streams.app status':<42}# and all of them?",
    ]


def relative(path: Path) -> str:
    """A path as somebody in the working directory would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def peak_memory(pid: int | None) -> int:
    """The largest resident size of a process in bytes; 0 where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0
