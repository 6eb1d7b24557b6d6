"""Runs in turn: one contender at a time, in an order that alternates, and a failure is a row like any other."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from bench.arena import say
from bench.errors import ContenderError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

    from bench.contenders import Contender

Row = dict[str, Any]


def rounds(contenders: Sequence[Contender], runs: int) -> Iterator[tuple[int, Contender]]:
    """Each contender once in each of `runs` rounds; every other round backwards."""
    for run in range(1, runs + 1):
        for contender in contenders if run % 2 else reversed(contenders):
            yield run, contender


async def attempt(work: Awaitable[Row], **what: Any) -> Row:
    """Do one run; its row has the figures, or the problem in one line."""
    began = time.monotonic()
    try:
        row = {**what, **await work}
    except ContenderError as error:
        row = {**what, "problem": " ".join(str(error).split())[:300]}
    row["wall_seconds"] = time.monotonic() - began
    named = " ".join(f"{name}={value}" for name, value in what.items())
    shown = row.get("problem") or ", ".join(f"{k} {row[k]:,.1f}" for k in _SHOWN if isinstance(row.get(k), int | float))
    say(f"  {named}: {shown}")
    return row


_SHOWN = (
    "seconds",
    "per_second",
    "cpu_seconds",
    "peak_mb",
    "users_per_call",
    "first_changed_seconds",
    "p50_ms",
    "p99_ms",
)
