"""One module for each scenario: `measure(arena, plan)` returns its runs, a dictionary of figures for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.arena import LIGHT, WHOLE
from bench.scenarios import backlog, census, deliver, growth, join, live, reconcile, restart, whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bench.arena import Arena
    from bench.plan import Plan


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario: what it needs to run, and whether it needs a stack that nobody has used."""

    name: str
    services: tuple[str, ...]
    measure: Callable[[Arena, Plan], Awaitable[list[dict[str, Any]]]]
    alone: bool = False


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("join", LIGHT, join.measure),
        Scenario("deliver", LIGHT, deliver.measure),
        Scenario("restart", LIGHT, restart.measure),
        Scenario("live", WHOLE, live.measure),
        Scenario("backlog", WHOLE, backlog.measure, alone=True),
        Scenario("reconcile", WHOLE, reconcile.measure, alone=True),
        Scenario("census", LIGHT, census.measure, alone=True),
        Scenario("memory", LIGHT, growth.memory),
        Scenario("growth", LIGHT, growth.growth),
        Scenario("whole", WHOLE, whole.measure, alone=True),
    )
}
