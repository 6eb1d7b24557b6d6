"""Waits between tries, with full jitter (pure): many callers that failed together do not come back together."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def full_jitter(
    attempt: int, *, base: float = 0.5, cap: float = 60.0, rng: Callable[[], float] = random.random
) -> float:
    """Seconds to wait before the next try: evenly between 0 and min(cap, base · 2^attempt).

    `attempt` counts the failures before this one, from 0; `rng` gives numbers from 0 to 1.
    """
    return min(cap, base * 2.0 ** min(max(attempt, 0), 60)) * rng()
