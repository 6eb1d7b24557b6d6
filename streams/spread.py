"""Percentiles of what several workers have measured (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

#: Values that stand for all of a worker: one for each percent.
_POINTS = 101


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below which `share` of the values lie; 0 for none."""
    return _at(sorted(values), share)


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def spread(values: Iterable[float]) -> dict[str, Any]:
    """What one worker tells of its values: p50, p99, how many there are, and one value for each percent."""
    ordered = sorted(values)
    points = ordered if len(ordered) <= _POINTS else [_at(ordered, n / (_POINTS - 1)) for n in range(_POINTS)]
    return {"p50": _at(ordered, 0.5), "p99": _at(ordered, 0.99), "n": len(ordered), "points": points}


def merged(spreads: Iterable[Mapping[str, Any]]) -> dict[str, Any] | None:
    """p50 and p99 of all workers together, each value with the weight of those it stands for; None for no value."""
    found = [one for one in spreads if one.get("n")]
    if len(found) == 1:
        return {"p50": found[0]["p50"], "p99": found[0]["p99"], "n": found[0]["n"]}
    weighed: list[tuple[float, float]] = sorted(
        (value, one["n"] / len(one["points"])) for one in found for value in one.get("points", ())
    )
    whole = sum(weight for _, weight in weighed)
    if not whole:
        return None

    def at(share: float) -> float:
        below = 0.0
        for value, weight in weighed:
            below += weight
            if below > share * whole:
                return value
        return weighed[-1][0]

    return {"p50": at(0.5), "p99": at(0.99), "n": sum(one["n"] for one in found)}
