"""Where the time goes between a commit in PostgreSQL and cidaas's answer: four stages, measured on samples (pure).

One user of each call, and one record of each batch, stand for the others: to measure everybody would cost more than it
says.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from streams.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Seconds of the samples that are shown.
WINDOW = 300


class Stage(enum.StrEnum):
    """The stages in the order of the way."""

    SOURCE = "wal_to_topic"
    JOIN = "topic_to_snapshot"
    QUEUE = "queue"
    CALL = "call"


WORDS = {
    Stage.SOURCE: "PostgreSQL to Kafka",
    Stage.JOIN: "Kafka to snapshot",
    Stage.QUEUE: "waiting for a call",
    Stage.CALL: "the call to cidaas",
}


class Stages:
    """The samples of one worker."""

    def __init__(self) -> None:
        self._seconds = {stage: Tally() for stage in Stage}
        self._users = {stage: Tally() for stage in Stage}

    def sample(self, stage: Stage, now: float, seconds: float, users: int) -> None:
        """Note how long a stage took, measured on one of so many users; clocks that differ make no negative times."""
        self._seconds[stage].add(now, max(0.0, seconds) * users)
        self._users[stage].add(now, users)

    def body(self, now: float) -> dict[str, dict[str, float]]:
        """By stage: seconds of all its users together, and the users."""
        return {
            stage.value: {
                "seconds": self._seconds[stage].total(now, WINDOW),
                "users": self._users[stage].total(now, WINDOW),
            }
            for stage in Stage
        }


class Share(NamedTuple):
    """What a user spends in one stage: seconds in the mean, and the share of all stages."""

    seconds: float
    share: float


def shares(workers: Iterable[Mapping[str, Mapping[str, float]]]) -> dict[str, Share]:
    """Add up the samples of all workers; a stage without any is left out."""
    seconds, users = defaultdict[str, float](float), defaultdict[str, float](float)
    for body in workers:
        for stage, sample in body.items():
            seconds[stage] += sample["seconds"]
            users[stage] += sample["users"]
    means = {stage.value: seconds[stage] / users[stage] for stage in Stage if users[stage]}
    whole = sum(means.values())
    return {stage: Share(mean, mean / whole if whole else 0.0) for stage, mean in means.items()}


class Slowest(NamedTuple):
    """What holds users up most: a stage, `paused` or `cidaas`; its share of a user's time where that was measured."""

    stage: str
    share: float | None
    what: str


def slowest(
    found: Mapping[str, Share], *, pending: int, behind: int, paused: bool, trouble: str, source_late: str
) -> Slowest | None:
    """Name what holds users up most; None while nothing waits and nothing was measured.

    `trouble` and `source_late` say what is wrong with cidaas and with the source, "" for nothing. What stands still
    counts before what was measured while it still went.
    """
    if paused and pending:
        return Slowest("paused", None, f"{pending:,} users wait for `resume`")
    if trouble:
        return Slowest("cidaas", None, trouble)
    if source_late:
        return Slowest(Stage.SOURCE.value, None, f"{WORDS[Stage.SOURCE]}: {source_late}")
    if found:
        stage = max(found, key=lambda one: found[one].share)
        return Slowest(stage, found[stage].share, WORDS[Stage(stage)])
    if not pending and not behind:
        return None
    stage = Stage.JOIN.value if behind > pending else Stage.QUEUE.value
    return Slowest(stage, None, WORDS[Stage(stage)])
