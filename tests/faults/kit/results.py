"""What the fault tests found, a line of JSON for each run, and the table of docs/reliability.md made of it."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "reliability.md"
#: Where `make faults` keeps the results until the page is written; other runs keep none.
FILE = ROOT / ".run-faults" / "results.jsonl"
VARIABLE = "FAULT_RESULTS"
_BEGIN, _END = "<!-- results: made by `make faults`, not by hand -->", "<!-- end of results -->"
#: The faults in their order, as the page names them.
FAULTS = {
    "F1": "worker killed, in bursts and now and then",
    "F2": "workers stopped in turn, a rebalance every 15 s",
    "F3": "worker frozen for 60 s, then thawed",
    "F4": "Connect killed: initial snapshot, mid-transaction, COPY",
    "F5": "PostgreSQL restarted; slot or publication tampered with",
    "F6": "broker restarted, killed, full, cut off",
    "F7": "cidaas away for 2 minutes",
    "F8": "cidaas limits the rate",
    "F9": "cidaas fails, is slow, resets, answers half",
    "F10": "calls applied, their answers lost or late",
    "F11": "answers with failures, gaps, strangers",
    "F12": "users whose presence fails the whole call",
    "F13": "token expired, revoked, without scope, wrong",
    "F14": "malformed records, schema changes",
    "F15": "rows in unusual order, credentials that move",
    "F16": "state deleted, copied, foreign, truncated",
    "F17": "delete storms, TRUNCATE, a restore",
    "F18": "the worker's clock wrong and jumping",
    "F19": "torn transactions",
}


@dataclass(slots=True)
class Result:
    """One variant of one fault in one run. The counts of what must not be are all zero, or the test has failed."""

    fault: str
    variant: str
    seed: int
    strikes: int = 0
    in_flight: list[int] = field(default_factory=list)  # users on their way at each strike
    users: int = 0
    changes: int = 0
    lost: int = 0
    stale: int = 0
    resurrected: int = 0
    order: int = 0
    two_calls: int = 0
    secrets: int = 0
    duplicates: int = 0
    states: int = 0
    recoveries: list[float] = field(default_factory=list)  # seconds
    figures: dict[str, Any] = field(default_factory=dict)  # what this fault publishes besides
    passed: bool = False
    day: str = field(default_factory=lambda: time.strftime("%Y-%m-%d", time.gmtime()))
    seconds: float = 0.0

    def keep(self) -> None:
        """Append the result to the file that FAULT_RESULTS names, if any."""
        name = os.environ.get(VARIABLE)
        if name:
            with Path(name).open("ab") as out:
                out.write(orjson.dumps(asdict(self)) + b"\n")


def load(path: Path = FILE) -> list[Result]:
    """Read the results of the last `make faults`."""
    if not path.exists():
        return []
    return [Result(**orjson.loads(line)) for line in path.read_bytes().splitlines()]


def table(results: list[Result]) -> str:
    """The table for the page."""
    head = (
        "| fault | variants | runs (strikes) | lost | stale | resurrected | order | two calls at once | duplicates | "
        "recovery p50 / max | figures |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    return "\n".join([head, *(_row(name, [r for r in results if r.fault == name]) for name in FAULTS)])


def merged(old: list[Result], new: list[Result], again: Collection[str]) -> list[Result]:
    """Of each fault the results of its newest run: those of `again` replace what they said before.

    One of them that has no result now, because its stack did not start, has none: an old success must not stand.
    """
    return [result for result in old if result.fault not in again] + new


def save(results: list[Result], path: Path = FILE) -> None:
    """Keep the results, for a fault that is run again by itself."""
    path.write_bytes(b"".join(orjson.dumps(asdict(result)) + b"\n" for result in results))


def _row(fault: str, results: list[Result]) -> str:
    if not results:
        return f"| {fault} {FAULTS[fault]} | | not run | | | | | | | | |"
    sums: Counter[str] = Counter()
    for result in results:
        for name in ("strikes", "lost", "stale", "resurrected", "order", "two_calls", "duplicates", "states"):
            sums[name] += getattr(result, name)
    recoveries = [seconds for result in results for seconds in result.recoveries]
    recovery = f"{median(recoveries):.1f} s / {max(recoveries):.1f} s" if recoveries else ""
    share = f"{sums['duplicates']} of {sums['states']:,}"
    failed = sum(not result.passed for result in results)
    runs = f"{len(results)} ({sums['strikes']})" + (f", **{failed} failed**" if failed else "")
    variants = "; ".join(dict.fromkeys(result.variant for result in results))
    figures = "; ".join(_figures(results))
    return (
        f"| {fault} {FAULTS[fault]} | {variants} | {runs} | {sums['lost']} | {sums['stale']} | {sums['resurrected']} | "
        f"{sums['order']} | {sums['two_calls']} | {share} | {recovery} | {figures} |"
    )


def worse(name: str, one: Any, other: Any) -> Any:
    """Of two values of a figure the one to publish: the larger, or the smaller of "at least …"; of words the last."""
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return other
    return min(one, other) if name.startswith("at least") else max(one, other)


def _figures(results: list[Result]) -> list[str]:
    """Each published figure once: the worst of all runs."""
    worst: dict[str, Any] = {}
    for result in results:
        for name, value in result.figures.items():
            worst[name] = worse(name, worst[name], value) if name in worst else value
    return [f"{name} {round(value, 2) if isinstance(value, float) else value}" for name, value in worst.items()]


def write_page(results: list[Result], about: str) -> None:
    """Put the table into the page, between its two marks."""
    text = PAGE.read_text()
    middle = f"{_BEGIN}\n\n{about}\n\n{table(results)}\n\n{_END}"
    found = re.subn(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", lambda _: middle, text, flags=re.DOTALL)
    assert found[1] == 1, f"{PAGE} lacks the marks {_BEGIN} and {_END}"
    PAGE.write_text(found[0])
