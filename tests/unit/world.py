"""One worker with one partition in memory: records go in, calls come out, the clock is virtual."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from fakes import (
    SETTINGS,
    Broker,
    Pipeline,
    Tenant,
    credential_row,
    envelope,
    new_partition,
    owned_partition,
    user_row,
)

from streams.delivery import Delivery, pack
from streams.jobs import Do
from streams.join import Join
from streams.ledger import Entry, Situation, decode
from streams.rows import Control, write_control

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clock import Clock

    from streams.settings import Settings
    from streams.state import Partition

IDENTITY = SETTINGS.topics.identity


class World:
    """The worker and what surrounds it; made by `World.start`."""

    def __init__(self, path: Path | None, clock: Clock, settings: Settings, former: World | None) -> None:
        self.path, self.clock, self.settings = path, clock, settings
        self.broker = former.broker if former else Broker(clock)
        self.tenant = former.tenant if former else Tenant()
        self.pipeline = Pipeline(settings)
        if former is not None:
            self.pipeline.control.state = former.pipeline.control.state
            self.pipeline.legacy = former.pipeline.legacy
        with patch("streams.delivery.Cidaas", lambda *_, **__: self.tenant):
            self.delivery = Delivery(self.pipeline)  # type: ignore[arg-type]
        self.delivery.calls.pace._clock = clock.monotonic
        self.join = Join(settings, self._send, self.delivery.joined, self.delivery.figures.stages)
        self.pipeline.send = self._send  # type: ignore[method-assign]
        self.partition: Partition
        self._joined = 0
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def start(
        cls,
        path: Path | None,
        clock: Clock,
        *,
        settings: Settings = SETTINGS,
        former: World | None = None,
        mapping: str | None = None,
    ) -> World:
        """A worker that owns the partition, after `former` if there was one; its agents do not run yet."""
        self = cls(path, clock, settings, former)
        mapping = mapping or settings.mapping.id
        if former is None:
            self.partition = await owned_partition(self.broker, path, mapping=mapping)
        else:
            self.partition = partition = new_partition(self.broker, path, mapping=mapping)
            await partition.take_over("worker")
            async for found in partition.scan():
                self.delivery.found(partition, found)
            await self.delivery.taken_over(partition)
            partition.owned.set()
            self._joined = self.broker.end(IDENTITY, 0)
        self.pipeline.own(self.partition)
        return self

    def go(self) -> None:
        """Let the agents run."""
        self._tasks = [asyncio.create_task(self.delivery.run(do)) for do in (Do.UPSERT, Do.DELETE)]
        self._tasks.append(asyncio.create_task(self.delivery.brake.watermark.run()))

    async def stop(self) -> None:
        """Stop as a crash does: nothing is drained, nothing is settled; only the disk is given back."""
        if self.partition.closed:
            return
        for task in [*self._tasks, *self.delivery._tasks]:
            task.cancel()
        if self._tasks:
            await asyncio.wait([*self._tasks, *self.delivery._tasks])
        await self.partition.close()

    # -- the source ------------------------------------------------------------------------------------------------

    async def _send(self, key: bytes, value: bytes) -> None:
        self.pipeline.sent.append((key, value))
        self.broker.append(IDENTITY, 0, key, value)

    async def joined(self) -> None:
        """Join what is in the topic, as one batch."""
        while batch := [record for record in self.broker.logs[IDENTITY, 0] if record.offset >= self._joined]:
            self._joined = batch[-1].offset + 1
            await self.join.process(self.partition, batch)  # type: ignore[arg-type]

    def lsn(self) -> int:
        """The next LSN."""
        self.broker.lsn += 10
        return self.broker.lsn

    def put_user(self, number: int, op: str = "u", **fields: Any) -> None:
        """Append a change of a user's row."""
        self._put(number, op, "users", user_row(number, **fields))

    def put_credential(self, pk: int, number: int, op: str = "u", **fields: Any) -> None:
        """Append a change of a credential row."""
        self._put(number, op, "credentials", credential_row(pk, number, **fields))

    def _put(self, number: int, op: str, table: str, row: dict[str, Any]) -> None:
        value = envelope(op, table, self.lsn(), row)
        self.broker.append(IDENTITY, 0, b"%d" % number, value)

    def put_control(self, number: int, control: Control) -> None:
        """Append a control record of our own."""
        self.broker.append(IDENTITY, 0, b"%d" % number, write_control(control))

    async def sign_up(self, *numbers: int, **fields: Any) -> None:
        """New users with a password, joined."""
        for number in numbers:
            self.put_user(number, "c", **fields)
            self.put_credential(number * 10, number, "c")
        await self.joined()

    async def change(self, number: int, **fields: Any) -> None:
        """A changed user row, joined."""
        self.put_user(number, "u", **fields)
        await self.joined()

    async def remove(self, *numbers: int) -> None:
        """Deleted users, joined; the password of `sign_up` goes by ON DELETE CASCADE."""
        for number in numbers:
            self.put_user(number, "d")
            self.put_credential(number * 10, number, "d")
        await self.joined()

    # -- what came of it -----------------------------------------------------------------------------------------------

    def sub(self, number: int) -> str:
        return self.delivery.inspector.sub_of(b"%d" % number)

    def user(self, number: int) -> bytes:
        """The user's name in the queues."""
        return pack(self.partition, b"%d" % number)

    def at_cidaas(self, number: int) -> dict[str, Any] | None:
        return self.tenant.users.get(self.sub(number))

    def entry(self, number: int) -> Entry:
        stored = self.partition.ledger.store.get(b"%d" % number)
        assert stored is not None, f"user {number} has no ledger entry"
        return decode(stored.value)

    def where(self, number: int) -> Situation | None:
        ((snap, entry),) = self.partition.read([b"%d" % number])
        return self.partition.situation(snap, entry)

    def calls(self, number: int) -> list[str]:
        """What was called for this user, in order."""
        return [what for what, subs in self.tenant.calls if self.sub(number) in subs]

    async def until(self, condition: Callable[[], bool], what: str, seconds: float = 7_200.0) -> None:
        """Wait for a condition, in virtual time."""
        began = self.clock.now
        while not condition():
            assert self.pipeline.crashed is None, f"the worker crashed: {self.pipeline.crashed!r}"
            assert self.clock.now < began + seconds, f"not within {seconds} s: {what}"
            await asyncio.sleep(0.05 if self.clock.now < began + 20 else 2.0)

    async def in_sync(self, *numbers: int, seconds: float = 7_200.0) -> None:
        """Wait until cidaas has these users, or has deleted them."""
        await self.until(
            lambda: all(self.where(number) is Situation.IN_SYNC for number in numbers),
            f"users {numbers} in sync",
            seconds,
        )
