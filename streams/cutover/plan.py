"""What `cutover finish` has to do: what is there, turned into steps, refusals and the proof (pure).

No step is remembered. After each one everything is looked at again, and the first step that is still needed comes next;
so a run that was killed anywhere is gone on with by the same look, and what is done already is not done again.

    note        "finishing" in the control topic, then in `finished.json`: no worker starts, and nothing can be aborted
    connector   stopped, its position deleted, removed: the slot is free
    database    slot first, so that PostgreSQL keeps no WAL for it; publication, replica identity, index, roles
    archive     ledger without secrets, audit and certificate, while they are still in Kafka
    folders     the local state on this machine
    topics      all of ours but the control topic
    control     the control topic, last: from here on `finished.json` alone says that the end has begun
    end         "finished" in `finished.json`, when a look has found nothing of all of this any more
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from streams.cutover.finished import FILE
from streams.cutover.record import FINISHED, FINISHING, GO
from streams.identity import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.cutover.finished import Worker
    from streams.settings import Settings


class FinishError(RuntimeError):
    """A step did not come to its end; the text says which and why."""


class Step(enum.Enum):
    """The steps in their order."""

    NOTE = "note"
    CONNECTOR = "connector"
    DATABASE = "database"
    ARCHIVE = "archive"
    FOLDERS = "folders"
    TOPICS = "topics"
    CONTROL = "control"
    END = "end"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is there at one moment; after the end only the folders of this machine are looked at.

    `noted` and `state` are what `finished.json` and the control topic say, "" for nothing. `elsewhere`: the two are of
    different pipelines. `workers` run now. `strange` folders have local state, and do not say that it is ours.
    `sources`: the topics of which the archive is made are there. `topics` are ours, without the control topic.
    """

    noted: str = ""
    state: str = ""
    elsewhere: bool = False
    workers: tuple[str, ...] = ()
    connector: bool = False
    database: tuple[str, ...] = ()
    archived: bool = False
    sources: bool = False
    folders: tuple[str, ...] = ()
    strange: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    control: bool = False


def own_topics(settings: Settings) -> tuple[str, ...]:
    """All topics of this pipeline but the control topic. Those of Kafka Connect belong to whatever runs in it."""
    names = settings.topics
    return (
        names.identity,
        names.snapshots,
        names.ledger,
        names.audit,
        names.notifications,
        names.signals,
        names.message,
        names.heartbeat,
    )


def steps(facts: Facts) -> list[Step]:
    """What has to be done, in order; nothing once all of it is."""
    if facts.noted == FINISHED:
        return [Step.FOLDERS] if facts.folders else []
    needed = {
        Step.NOTE: facts.noted == "" or facts.state == GO,
        Step.CONNECTOR: facts.connector,
        Step.DATABASE: bool(facts.database),
        Step.ARCHIVE: not facts.archived,
        Step.FOLDERS: bool(facts.folders),
        Step.TOPICS: bool(facts.topics),
        Step.CONTROL: facts.control,
        Step.END: True,
    }
    return [step for step in Step if needed[step]]


def refusal(facts: Facts) -> str:
    """Why nothing may be done now, and what to do about it; "" when it may."""
    return _not_begun(facts) or _in_the_way(facts)


def _not_begun(facts: Facts) -> str:
    """A GO begins it. A file that says so must be of this pipeline: one from elsewhere would delete without a GO."""
    if facts.noted == FINISHED:
        return ""
    if facts.elsewhere:
        return f"{FILE} is of another pipeline than the one in this Kafka: correct archive under [cutover]."
    if not facts.noted:
        if facts.state in (GO, FINISHING):
            return ""
        now = f"the go-live is in the state {facts.state}" if facts.state else "there was no freeze"
        return f"there is no GO to finish after: {now}. `cutover freeze` gives one."
    if facts.state in (GO, FINISHING) or not (facts.control or facts.topics):
        return ""
    return (
        f"{FILE} says that the end has begun, and the topics that are there know nothing of it. If a worker has made "
        "them anew since, delete them by hand; else the file is of another pipeline: correct archive under [cutover]."
    )


def _in_the_way(facts: Facts) -> str:
    if facts.workers:
        return (
            f"workers run still: {', '.join(facts.workers)}. Stop and disable them all; one that was killed counts for "
            "10 s more."
        )
    if facts.strange:
        return (
            f"local state that cannot be read, or does not say that it is this pipeline's: {', '.join(facts.strange)}. "
            "Run this as the account of the workers; or look, and delete it by hand."
        )
    if facts.noted != FINISHED and not (facts.archived or facts.sources):
        if facts.noted:
            return "the archive is gone or changed, and so is what it was made of: bring the file back from a copy."
        return "ledger or audit are not in Kafka, so the archive cannot be made: `topics` names what is missing."
    return ""


def left(facts: Facts) -> dict[str, list[str]]:
    """What a look still finds, by place: the proof, when all of it is empty."""
    return {
        "connector": ["connector"] if facts.connector else [],
        "database": list(facts.database),
        "topics": [*facts.topics, *(["control topic"] if facts.control else [])],
        "folders": list(facts.folders),
    }


def by_hand(workers: Iterable[Worker], here: str) -> list[str]:
    """What to do on other machines, which cannot be seen from this one."""
    lines = []
    for worker in workers:
        if worker.host != here:
            folder = worker.folder or "its APP_DATADIR"
            lines.append(f"on {worker.host}: disable the service of worker {worker.name}, and delete {folder}")
    return list(dict.fromkeys(lines))


class World(Protocol):
    """What the steps are done to."""

    async def look(self) -> Facts:
        """Look at everything."""

    async def do(self, step: Step) -> str:
        """Do one step, and say in words what was done."""


async def carry_out(world: World, say: Callable[[str], None]) -> None:
    """Go on until nothing is left to do.

    Raises:
        RefusedError: something is in the way.
        FinishError: a step cannot be done, or was done without effect.
    """
    done: set[Step] = set()
    while True:
        facts = await world.look()
        if why := refusal(facts):
            raise RefusedError(why)
        wanted = steps(facts)
        if not wanted:
            return
        step = wanted[0]
        if step in done:
            raise FinishError(f"{step.value}: was done, and is needed still: {_said(facts)}.")
        say(f"{step.value}: {await world.do(step)}")
        done.add(step)


def _said(facts: Facts) -> str:
    return ", ".join(part for parts in left(facts).values() for part in parts) or "nothing that can be seen is left"
