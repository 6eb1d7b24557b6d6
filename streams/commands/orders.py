"""What commands share that look at users in one situation and answer them: whom they see, and how they say it."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlencode

import click

from streams import kafka
from streams.commands import base
from streams.commands.user import look_up
from streams.offline import partition_of, read_standing
from streams.rows import Control, write_control
from streams.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.ledger import Situation
    from streams.settings import Settings

T = TypeVar("T")

#: Records on their way to the broker at a time.
_MANY = 1_000


async def standing(settings: Settings, situation: Situation, reason: str = "", limit: int | None = None) -> Standing:
    """Ask all workers who is in this situation; the topics when none runs.

    `source` of the answer says who was asked.
    """
    try:
        found = await of_workers(situation, reason, limit)
    except base.Away:
        click.echo("no worker answers: the topics are read, which takes a while", err=True)
        return await read_standing(settings, situation, reason, limit)
    without = settings.partitions - len(set(found.partitions))
    if without:
        base.fail(
            f"{without} of {settings.partitions} partitions have no owner that answers at the moment, so not all "
            "users can be seen. Wait until `status` shows all of them owned, then try again.",
            base.WRONG,
        )
    return found


async def of_workers(situation: Situation, reason: str = "", limit: int | None = None) -> Standing:
    """Ask all workers who is in this situation; `partitions` of the answer are those that could be seen.

    Raises:
        Away: not one answers.
    """
    query = urlencode({"reason": reason} | ({} if limit is None else {"limit": limit}))
    found = Standing(reason, limit)
    for body in await base.ask_all(f"/sync/standing/{situation.value}?{query}"):
        found.merge(body)
    return found


async def chosen(
    settings: Settings, users: Sequence[str], situations: Sequence[Situation], reason: str, everybody: bool
) -> list[dict[str, Any]]:
    """The users that a person means: named ones, or all in the first of `situations`, of one reason or of any."""
    if (bool(users), bool(reason), everybody).count(True) != 1:
        base.fail("say whom: ids of users, or --reason REASON, or --all; one of the three")
    if not users:
        return (await standing(settings, situations[0], reason)).users
    found = []
    for user in dict.fromkeys(users):
        body = await look_up(settings, user)
        if body["situation"] not in {situation.value for situation in situations}:
            base.fail(f"user {user} is not among them: {body['sentence']} Nobody was changed.", base.WRONG)
        found.append({"user": user, **body["ledger"]})
    return found


def by_reason(users: Sequence[dict[str, Any]]) -> str:
    """Count them by reason, in words."""
    counted = Counter(user["reason"] for user in users)
    return ", ".join(f"{reason} {number:,}" for reason, number in counted.most_common())


def many(users: Sequence[Any]) -> str:
    """Their number, in words."""
    return f"{len(users):,} user{'s' * (len(users) != 1)}"


async def order(settings: Settings, orders: Sequence[tuple[str, Control]]) -> list[dict[str, Any]]:
    """Append a control record for each user to its own partition, in order with the user's changes."""
    placed = []
    async with Desk(settings) as desk:
        for some in batches(orders):
            placed += await desk.order(some)
    return placed


def batches(some: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut into what is on its way to the broker at a time."""
    for start in range(0, len(some), _MANY):
        yield some[start : start + _MANY]


class Desk:
    """Where orders are placed; open while it is used as an asynchronous context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __aenter__(self) -> Self:
        self._producer = kafka.producer(self._settings.kafka)
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._producer.stop()

    async def order(self, some: Sequence[tuple[str, Control]]) -> list[dict[str, Any]]:
        """Place these orders, and return where they stand when the broker has confirmed all of them."""
        settings, sent = self._settings, []
        for user, control in some:
            key = user.encode()
            number = partition_of(key, settings.partitions)
            value = write_control(control)
            sent.append((user, await self._producer.send(settings.topics.identity, value, key=key, partition=number)))
        placed = []
        for user, confirmed in sent:
            meta = await confirmed
            placed.append({"user": user, "partition": meta.partition, "offset": meta.offset})
        return placed


def lines(found: Standing) -> str:
    """The users as a table, and how many are not shown."""
    head = ("user", "reason", "since (UTC)", "tries", "message")
    rows = [head] + [
        (user["user"], user["reason"], when(user["since"]), str(user["attempts"]), user["message"])
        for user in found.users
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    text = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)), row[4]]).rstrip()
        for row in rows
    ]
    more = found.reasons.total() - len(found.users)
    return "\n".join(text + ([f"... and {more:,} more (--limit)"] if more > 0 else []))


def when(seconds: float) -> str:
    """A moment, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
