"""Figures out of the raw runs (pure): medians, spreads, and ratios within the same run."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.contenders import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.results import Results

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and most of some runs."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return number(self.median)
        return f"{number(self.median)} ({number(self.least)} – {number(self.most)})"


def rows(results: Results, scenario: str, **what: Any) -> list[Row]:
    """The runs of a scenario of which all this holds, failed ones too."""
    found = results["scenarios"].get(scenario, {}).get("rows", [])
    return [row for row in found if all(row.get(name) == value for name, value in what.items())]


def values(runs: Iterable[Row], key: str) -> list[float]:
    """One figure of the runs that have it."""
    return [float(row[key]) for row in runs if key in row and "problem" not in row]


def spread(numbers: Sequence[float]) -> Spread | None:
    """Their spread; None for none."""
    return Spread(median(numbers), min(numbers), max(numbers)) if numbers else None


def of(runs: Iterable[Row], key: str) -> Spread | None:
    """The spread of one figure."""
    return spread(values(runs, key))


def ratio(runs: Sequence[Row], peer: str, key: str, mine: str = OURS) -> Spread | None:
    """Ours over a peer's, round by round: only what ran one after the other is compared."""
    ours, theirs = ({row["run"]: row[key] for row in runs if row["contender"] == name and key in row}
                    for name in (mine, peer))  # fmt: skip
    return spread([ours[run] / theirs[run] for run in ours.keys() & theirs.keys() if theirs[run]])


def number(value: float) -> str:
    """A figure with as many digits as it is worth."""
    size = abs(value)
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}"
