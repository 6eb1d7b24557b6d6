"""Times and sizes, as a person says them (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS: Sequence[tuple[str, int, int]] = (
    # unit, its seconds, from so many seconds on
    ("days", 86_400, 2 * 86_400),
    ("h", 3_600, 3_600),
    ("min", 60, 60),
    ("s", 1, 1),
)


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    if seconds < 59.95:
        return f"{f'{seconds:.1f}' if seconds < 10 else f'{seconds:.0f}'} s".replace(".0 s", " s")
    whole = round(seconds)
    place = next(at for at, (_, _, least) in enumerate(_UNITS) if whole >= least)
    (unit, length, _), (smaller, small, _) = _UNITS[place : place + 2]
    number, rest = divmod(whole, length)
    return f"{number:,} {unit}" + (f" {rest // small} {smaller}" if rest >= small else "")


def size(number: float) -> str:
    """Bytes."""
    for unit in ("bytes", "KiB", "MiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:,.1f} GiB"
