"""How long cidaas heard nothing while there was work: of all users, and of the users of one partition."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import httpx
import orjson

from streams.offline import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable


def pauses(url: str, since: float, until: float, partitions: int) -> tuple[float, float]:
    """The longest time without an accepted state between two Unix times: of all partitions, and of the slowest one.

    The load changes users of every partition several times a second, so that a gap of seconds is no lack of work.
    """
    times: dict[int, list[float]] = {number: [] for number in range(partitions)}
    with (
        httpx.Client(base_url=url, timeout=120, trust_env=False) as http,
        http.stream("GET", "/_test/history") as answer,
    ):
        answer.raise_for_status()
        for line in answer.iter_lines():
            states = orjson.loads(line)["states"] if line else []
            user = next((name for state in states if (name := _legacy_id(state))), None)
            if user is not None:
                number = partition_of(user.encode(), partitions)
                times[number] += [state["at_us"] / 1e6 for state in states if since < state["at_us"] / 1e6 < until]
    slowest = max(_longest([since, *seen, until]) for seen in times.values())
    return _longest([since, until, *(at for seen in times.values() for at in seen)]), slowest


def _legacy_id(state: dict[str, dict[str, dict[str, str]]]) -> str:
    return str(((state.get("full") or {}).get("customFields") or {}).get("legacy_user_id") or "")


def _longest(times: Iterable[float]) -> float:
    return max((after - before for before, after in pairwise(sorted(times))), default=0.0)
