"""`resync`: sends users again, whatever the ledger says: named ones, those of a file, changed ones, or all."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from aiokafka.errors import KafkaError

from streams.audit.records import Actor
from streams.commands import base, consent, orders, recording
from streams.commands.progress import progress
from streams.offline import first_since, partition_of, read_known
from streams.rows import Resync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.offline import Known
    from streams.settings import Settings

#: Unknown ids that are listed on a screen; --json names all.
_LISTED = 100


@dataclass(slots=True)
class Chosen:
    """Users that will be sent again, ids that nobody knows, and how many known users are left out.

    Who was never sent waits for that anyway. An order would make an entry in the ledger, and so one of the first N of
    `delivery.only` of everybody.
    """

    users: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    not_live: int = 0
    never_sent: int = 0

    @property
    def code(self) -> int:
        """The exit code: an id that nobody knows is a mistake of somebody."""
        return base.WRONG if self.unknown else base.OK

    def body(self) -> dict[str, Any]:
        """The answer as JSON."""
        left_out = {"not_live": self.not_live, "never_sent": self.never_sent}
        return {"users": len(self.users), "unknown": self.unknown, "left_out": left_out}

    def left_out(self) -> str:
        """Who is left out, in words; "" for nobody."""
        parts = []
        if self.not_live:
            parts.append(f"{self.not_live:,} deleted, not selected or without a row")
        if self.never_sent:
            parts.append(f"{self.never_sent:,} never sent, waiting for that anyway")
        return f" Left out: {'; '.join(parts)}." if parts else ""


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "resync",
        help="Send users again as they are.  Example: faust -A streams.app resync 42 43 --yes",
    )
    @click.argument("users", nargs=-1, metavar="[USER]...")
    @click.option(
        "--from-file", "file", type=click.Path(allow_dash=True), help="Those of a file, one id a line (or -)."
    )
    @click.option("--all", "everybody", is_flag=True, help="All users who live.")
    @click.option(
        "--changed-since", "since", metavar="TIME", help="Who changed since 2026-11-27T14:00 (UTC, or +01:00)."
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings, recording.one_named)
    async def resync(
        users: tuple[str, ...], file: str | None, everybody: bool, since: str | None, yes: bool, as_json: bool
    ) -> int:
        if (bool(users), file is not None, everybody, since is not None).count(True) != 1:
            base.fail("say whom: ids of users, or --from-file FILE, or --all, or --changed-since TIME; one of the four")
        if everybody or since is not None:
            chosen = await _everybody(settings, moment(since) if since is not None else None)
        else:
            chosen = await _named(settings, list(users) if file is None else _ids(file))
        return await _give(settings, chosen, yes=recording.one_named(users=users, yes=yes), as_json=as_json)

    return [resync]


def moment(text: str) -> float:
    """A time as a person writes it, in Unix seconds; UTC unless it says otherwise.

    Raises:
        ValueError: it is none, or has not come yet.
    """
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text!r} is no time: write 2026-11-27T14:00 for UTC, or 2026-11-27T14:00+01:00") from None
    seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    if seconds < 0:
        raise ValueError(f"{text!r} lies before 1970, and Kafka knows no such time; all users are --all")
    if seconds > time.time():
        raise ValueError(
            f"{text!r} has not come yet: the time is UTC unless it says otherwise, as in {text[:16]}+01:00"
        )
    return seconds


def _ids(name: str) -> list[str]:
    """The ids in a file of this name, one a line; - is standard input."""
    try:
        with click.open_file(name, encoding="utf-8") as file:
            found = [line.strip() for line in file if line.strip()]
    except OSError as error:
        base.fail(f"{name} cannot be read: {error.strerror}. Name a file with one id of a user a line.")
    except UnicodeDecodeError:
        base.fail(f"{name} is not text in UTF-8: write one id of a user a line")
    if not found:
        base.fail(f"{name} names nobody: write one id of a user a line")
    return found


async def _named(settings: Settings, ids: Iterable[str]) -> Chosen:
    """Those of these ids whom the snapshots know, in the order in which they were named."""
    named = dict.fromkeys(ids)
    wanted: dict[int, list[str]] = {}
    for user in named:
        wanted.setdefault(partition_of(user.encode(), settings.partitions), []).append(user)
    found: dict[str, Known] = {}
    with progress("partitions read", len(wanted)) as done:
        for nth, (number, users) in enumerate(sorted(wanted.items()), 1):
            known = await read_known(settings, number)
            found.update({user: known[key] for user in users if (key := user.encode()) in known})
            done(nth)
    users = [user for user in named if user in found and found[user].sent]
    return Chosen(users, [user for user in named if user not in found], never_sent=len(found) - len(users))


async def _everybody(settings: Settings, since: float | None) -> Chosen:
    """All who live by their row, or of these who have got another version since a moment.

    The others are left out: to send a delete once more is for a person who names the user.
    """
    first = await first_since(settings, since) if since is not None else {}
    chosen = Chosen()
    with progress("partitions read", settings.partitions) as done:
        for number in range(settings.partitions):
            if since is None or number in first:
                for key, known in (await read_known(settings, number)).items():
                    if known.version[1] >= first.get(number, 0):
                        _take(chosen, key.decode(), known)
            done(number + 1)
    return chosen


def _take(chosen: Chosen, user: str, known: Known) -> None:
    if not known.live:
        chosen.not_live += 1
    elif not known.sent:
        chosen.never_sent += 1
    else:
        chosen.users.append(user)


async def _give(settings: Settings, chosen: Chosen, *, yes: bool, as_json: bool) -> int:
    """Give the orders, or say what they would be."""
    many, body = orders.many(chosen.users), chosen.body()
    if chosen.unknown:
        click.echo(_unknown(chosen.unknown), err=True)
        recording.effect(f"of {len(chosen.unknown):,} ids nobody was ever seen", changed=False)
    left = chosen.left_out()
    if not chosen.users:
        if as_json or not chosen.unknown:  # else all has been said
            consent.done(f"nobody is sent again.{left}", as_json=as_json, changed=False, **body)
        return chosen.code
    if not yes:
        would = f"{many} would be sent again, also those who were refused or signed off.{left}"
        consent.preview(would, as_json=as_json, **body)
        return chosen.code
    await _order(settings, chosen.users)
    one = f"`user {chosen.users[0]}`" if len(chosen.users) == 1 else "`status`"
    consent.done(f"asked for, of {many}; {one} shows what becomes of it.{left}", as_json=as_json, **body)
    return chosen.code


async def _order(settings: Settings, users: list[str]) -> None:
    """Ask for all of them, some at a time; what interrupts it is told how far it came."""
    control, asked = Resync(Actor.here().name), 0
    try:
        async with orders.Desk(settings) as desk:
            with progress("users asked for", len(users)) as done:
                for some in orders.batches(users):
                    await desk.order([(user, control) for user in some])
                    asked += len(some)
                    done(asked)
    except (asyncio.CancelledError, KafkaError):
        click.echo(f"at least {asked:,} of {len(users):,} users were asked for; to repeat it is harmless", err=True)
        raise


def _unknown(ids: list[str]) -> str:
    """Name the ids that nobody knows."""
    if len(ids) == 1:
        return f"user {ids[0]} was never seen, so there is nothing to send; is it the right id?"
    more = [f"... and {len(ids) - _LISTED:,} more (--json)"] if len(ids) > _LISTED else []
    head = f"{len(ids):,} users were never seen, so there is nothing to send of them; are these the right ids?"
    return "\n".join([head, *ids[:_LISTED], *more])
