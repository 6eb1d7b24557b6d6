"""How much is measured: sizes and numbers of runs, so that `make bench` takes half an hour on two quick cores."""

from __future__ import annotations

from dataclasses import dataclass

#: In the order in which they are measured. Those of FULL take hours.
USUAL = ("join", "deliver", "restart", "live", "backlog")
FULL = ("reconcile", "census", "memory", "growth", "whole")

#: Latency of the target in seconds, users, and who takes part (None: everybody). With a slow target the fast ones all
#: wait for it alike; who is slower than that shows it without latency.
Delivery = tuple[float, int, tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Plan:
    """One `make bench`; `contenders` names those of a trial, None is everybody."""

    users: int = 50_000  # join, live, backlog
    deliver: tuple[Delivery, ...] = ((0.0, 100_000, None), (0.05, 50_000, ("ours", "pair", "plain", "kafka_streams")))
    restart_users: int = 200_000
    runs: int = 3
    rates: tuple[int, ...] = (50, 500, 2_000)  # changes a second
    live_seconds: float = 15.0
    away_seconds: float = 60.0
    away_rate: int = 500
    memory_users: tuple[int, ...] = (200_000, 1_000_000)
    growth_users: tuple[int, ...] = (50_000, 200_000, 1_000_000)
    whole_users: int = 500_000
    whole_latency: float = 0.05
    reconcile_users: int = 200_000
    reconcile_rate: int = 100  # changes a second meanwhile
    reconcile_runs: int = 10
    census_users: int = 1_000_000
    contenders: tuple[str, ...] | None = None

    @staticmethod
    def small(users: int, runs: int) -> Plan:
        """A plan whose figures mean nothing, to see whether everything works."""
        return Plan(
            users=users,
            deliver=((0.0, users, None), (0.05, users, None)),
            restart_users=users,
            runs=runs,
            rates=(50, users // 10),
            live_seconds=4.0,
            away_seconds=6.0,
            away_rate=users // 10,
            memory_users=(users,),
            growth_users=(users // 2, users),
            whole_users=users,
            reconcile_users=users,
            census_users=users,
            reconcile_runs=runs,
        )
