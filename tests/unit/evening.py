"""What `cutover check` sees: an evening with nothing in the way, of which each test changes one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fakes import SETTINGS

from streams.census.counting import Count
from streams.census.forecast import Rate, Survey
from streams.cutover import first_day, freeze, pipeline, users
from streams.cutover.freeze import Passage, Transaction
from streams.cutover.twice import Twice

if TYPE_CHECKING:
    from streams.doctor.checks import Check

#: Seconds between two looks.
APART = 5.0
#: What `status` shows, as far as it is looked at.
LOOK: dict[str, Any] = {
    "workers": [{"worker": "a:6066", "owned": 7}, {"worker": "b:6066", "owned": 5}],
    "users": {"users": 612_340, "in_sync": 612_300, "pending": 3, "dropped": 14},
    "records_behind": 2,
    "users_in_flight": 1,
    "foreign_subs": 0,
    "rate_users_per_second": {"1_min": 40.0, "5_min": 50.0, "15_min": 50.0},
    "oldest_pending_seconds": 0.4,
    "latency_seconds": {"p50": 0.1, "p99": 0.3, "users": 9_000},
    "paused": None,
    "deletes_paused": None,
    "only": None,
    "brake": {"decisions": 0, "limit": 500, "tripped": None},
    "snapshot": "complete",
    "sweep": None,
    "control_away": "",
    "source": {"rows": 612_340},
    "problems": [],
}
SWEEP = {"state": "done", "done": 12, "of": 12, "why": "", "gone": 0, "missing": 1, "credentials": 0}
PASSED = Passage(1.2, 480, 11.0)
OPEN = Transaction("4711/900", "4711", "shop-admin as shop_rw", 190.0)
PREPARED = Transaction("gid-7", "gid-7", "prepared by shop_rw", 4_000.0, prepared=True)


def problem(slug: str, what: str = "it is wrong", remedy: str = "Cure it.") -> dict[str, str]:
    return {"slug": slug, "what": what, "remedy": remedy}


def looks(before: dict[str, Any] | None = None, **now: Any) -> pipeline.Looks:
    """Two looks; the first one is as the second one where `before` does not say otherwise."""
    second = LOOK | now
    return Twice(second | (before or {}), second, APART)


def standing(before: dict[str, int] | None = None, age: float = 0.4, was: float | None = None, **counts: int) -> Any:
    """Two looks with other users in a situation, of whom the oldest is pending for so long."""
    known = LOOK["users"]
    first = {"users": known | counts | (before or {}), "oldest_pending_seconds": age - APART if was is None else was}
    return looks(first, users=known | counts, oldest_pending_seconds=age)


def of_pipeline(before: dict[str, Any] | None = None, **now: Any) -> list[Check]:
    return pipeline.judge(SETTINGS, looks(before, **now))


def of_users(*args: Any, **counts: Any) -> list[Check]:
    return users.judge(standing(*args, **counts))


def of_transactions(*lasting: Transaction) -> list[Check]:
    """Those that both looks have shown, beside one that ended in between and one that has just begun."""
    ended, begun = replace(OPEN, key="4712/901"), replace(OPEN, key="4712/902", seconds=0.1)
    return freeze.judge_transactions(Twice([ended, *lasting], [*lasting, begun], APART))


def of_slot(**changes: Any) -> list[Check]:
    return [freeze.judge_slot(replace(PASSED, **changes))]


def of_wait(passage: Passage | None = PASSED, **now: Any) -> list[Check]:
    return [freeze.judge_wait(SETTINGS, looks(**now), passage)]


def survey(*rows: dict[str, Any], second_factor: bool = False) -> Survey:
    """A census of users with these columns, each with a bcrypt password unless its `password` is another one."""
    count = Count(SETTINGS)
    (table,) = SETTINGS.source.credentials
    for number, row in enumerate(rows, 1):
        known: dict[str, Any] = dict.fromkeys(SETTINGS.source.users.columns)
        known |= {"id": number, "email": f"user{number}@example.org", "status": "active"}
        password = dict.fromkeys(table.columns) | {"id": number, "user_id": number, "kind": "password"}
        password |= row.get("password", {"algorithm": "bcrypt", "secret": "$2b$10$" + "a" * 53})
        totp = dict.fromkeys(table.columns) | {"id": -number, "user_id": number, "kind": "totp"}
        count.user(str(number), known | row, {table.name: [password, *([totp] if second_factor else [])]})
    return Survey(SETTINGS, (), 0.0, 21.0, count.census, Rate(None, "nobody"), None)


def of_first_day(*rows: dict[str, Any], second_factor: bool = False) -> list[Check]:
    return first_day.judge(survey(*(rows or ({},)), second_factor=second_factor))
