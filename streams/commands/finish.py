"""`cutover finish`: the end, after which nothing of the pipeline is left but one file."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base, consent, recording
from streams.cutover import archive, plan
from streams.cutover.finished import FILE
from streams.cutover.plan import FinishError, Step
from streams.cutover.record import FINISHED, moment
from streams.cutover.takedown import Takedown
from streams.doctor.asking import AwayError
from streams.screen import WORDS

if TYPE_CHECKING:
    from pathlib import Path

    from streams.cutover.asking.remains import Seen
    from streams.settings import Settings

_AGAIN = "What is done stays done: `cutover finish --yes` goes on."


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file, which belong into the group `cutover`."""

    @click.command(
        "finish",
        help="After the GO, take everything away: connector, replication slot, publication, roles, topics and local "
        "state; prove that nothing is left, and keep ledger, audit and certificate in one file. Stop all workers "
        "before. May be interrupted and run again.  Example: faust -A streams.app cutover finish --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def finish(yes: bool, as_json: bool) -> int:
        folder = settings.archive_folder
        if folder is None:
            base.fail(
                f"archive under [cutover] in {settings.path.name} is not set: name the folder in which ledger, audit "
                "and certificate are kept."
            )
        world = Takedown(settings, folder, recording.leave)
        try:
            return await _finish(settings, world, folder, yes=yes, as_json=as_json)
        except AwayError as error:
            base.fail(f"{str(error).rstrip('.')}. {error.remedy}")

    return [finish]


async def _finish(settings: Settings, world: Takedown, folder: Path, *, yes: bool, as_json: bool) -> int:
    facts = await world.look()
    if why := plan.refusal(facts):
        base.fail(why)
    body = _body(world.seen, folder)
    if not plan.steps(facts):
        assert world.seen.noted is not None
        who = f"{world.seen.noted.who}@{world.seen.noted.host}"
        said = f"finished already, at {moment(world.seen.noted.at)} by {who}: there is nothing left to do here"
        consent.done("\n".join([said, *_stays(settings, world.seen, folder)]), as_json=as_json, changed=False, **body)
        return base.OK
    if not yes:
        users: dict[str, int] | None = None
        unread: int | None = None
        if Step.ARCHIVE in plan.steps(facts):
            users, unread = await archive.count(settings)
        would = _would(settings, world.seen, folder, _users(users, unread))
        if not as_json:
            _echo(_stays(settings, world.seen, folder))
        consent.preview(would, as_json=as_json, users=users, records_unread=unread, **body)
        return base.OK
    _assert_writable(folder)
    told: list[str] = []
    try:
        await plan.carry_out(world, told.append if as_json else click.echo)
    except FinishError as error:
        base.fail(f"{error} {_AGAIN}", base.WRONG)
    said = (
        "finished: looked again, and found no connector, slot, publication, role, index, topic or local state of ours"
    )
    stays = _stays(settings, world.seen, folder)
    consent.done("\n".join([said, *stays]), as_json=as_json, steps=told, **_body(world.seen, folder))
    return base.OK


def _body(seen: Seen, folder: Path) -> dict[str, Any]:
    """What `--json` says beside it."""
    kept = seen.noted.archive if seen.noted is not None else None
    return {
        "state": seen.facts.noted or seen.facts.state,
        "left": plan.left(seen.facts),
        "archive": None if kept is None else {**asdict(kept), "file": str(folder / kept.file)},
        "by_hand": plan.by_hand(seen.workers, socket.gethostname()),
    }


def _stays(settings: Settings, seen: Seen, folder: Path) -> list[str]:
    """What is kept, and what only a person can do."""
    kept = seen.noted.archive if seen.noted is not None else None
    topics = settings.topics
    connect = f"{topics.connect_configs}, {topics.connect_offsets}, {topics.connect_status}"
    return [
        *([f"kept: {folder / kept.file}, and {folder / FILE}, by which no worker starts again"] if kept else []),
        *(f"not to be seen from here: {line}" for line in plan.by_hand(seen.workers, socket.gethostname())),
        f"not ours to delete: Kafka Connect's own topics ({connect}), unless nothing else runs in it",
    ]


def _would(settings: Settings, seen: Seen, folder: Path, users: str) -> list[str]:
    source, facts = settings.source, seen.facts
    gone = f"{settings.topics.control} and {folder / FILE}"
    words = {
        Step.NOTE: f"write into {gone} that the end has begun: from then on no worker starts, and there is no way back",
        Step.CONNECTOR: f"stop the connector {source.name}, delete its position and remove it",
        Step.DATABASE: f"take back in the legacy database: {', '.join(facts.database)} (statements: `cdc sql disable`)",
        Step.ARCHIVE: f"keep ledger without secrets, audit and certificate in {folder}{users}",
        Step.FOLDERS: f"delete the local state in {', '.join(facts.folders)}",
        Step.TOPICS: f"delete the topics {', '.join(facts.topics)}",
        Step.CONTROL: f"delete the topic {settings.topics.control}, as the last one",
        Step.END: f"look again whether nothing is left, and write that into {folder / FILE}",
    }
    wanted = plan.steps(facts)
    lines = [words[step] for step in wanted]
    no_certificate = seen.record is not None and seen.record.certificate is None and facts.noted != FINISHED
    return [*lines, *(["do so without a certificate: the GO has none"] if no_certificate else [])]


def _users(users: dict[str, int] | None, unread: int | None) -> str:
    """Who and what is not sent any more."""
    if users is None:
        return ""
    parts = [f"{number:,} {WORDS.get(where, where.replace('_', ' '))}" for where, number in sorted(users.items())]
    behind = f"; {unread:,} records that nobody has joined are deleted unread" if unread else ""
    return f": {sum(users.values()):,} users ({', '.join(parts)}), of whom nothing is sent any more{behind}"


def _echo(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


def _assert_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written into, before anything is changed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        base.fail(f"{folder} cannot be made: {error.strerror}. Correct archive under [cutover].")
    if not writable:
        base.fail(f"{folder} cannot be written into. Correct archive under [cutover], or its owner.")
