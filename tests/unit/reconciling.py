"""A reconcile in memory: the legacy tables, the way of their changes, join, delivery and cidaas, all of them moving."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from clock import Clock, run
from fakes import LEDGER, SETTINGS, SNAPSHOTS, credential_row, user_row
from test_sweep_steps import Source
from world import World

from streams.mapping import sub_of
from streams.reconcile.marks import Marker
from streams.reconcile.run import Result, Run
from streams.reconcile.tables import Tables
from streams.reconcile.traits import Traits
from streams.source.catalog import Column, Table
from streams.state import TableKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from streams.settings import Settings

KEY = b"of one run"
_TYPES = {
    "id": "int8", "user_id": "int8", "newsletter": "bool", "birthdate": "date", "created_at": "timestamptz",
    "updated_at": "timestamptz", "last_login_at": "timestamptz", "params": "jsonb",
}  # fmt: skip


def catalog(settings: Settings = SETTINGS, **types: str) -> dict[str, Table]:
    """What PostgreSQL says of the reference tables; `types` for columns of other ones."""
    tables = [settings.source.users, *settings.source.credentials]
    known = _TYPES | types
    return {
        table.name: Table(
            table.name,
            "r",
            tuple(Column(name, known.get(name, "text"), known.get(name, "text")) for name in table.columns),
        )
        for table in tables
    }


@contextmanager
def silent(_: str, __: int) -> Iterator[Callable[[int], None]]:
    """No progress bar."""
    yield lambda _: None


class Moving:
    """Everything that a run asks, and what happens meanwhile."""

    def __init__(self, world: World) -> None:
        self.world, self.legacy = world, Source(world)
        world.pipeline.legacy = self  # type: ignore[assignment]  # the second look of deletes
        self.marker = Marker(world.settings, catalog(world.settings), KEY)
        #: happens at each step of a run that takes time.
        self.meanwhile: Callable[[], Awaitable[None]] = self.nothing
        #: subs that were looked at alone.
        self.reads: list[str] = []

    async def nothing(self) -> None:
        """Nobody changes anything."""

    # -- the legacy tables ---------------------------------------------------------------------------------------------

    @property
    def users(self) -> Any:
        return _Users(self.legacy.users)

    def _mark(self, number: int) -> int:
        mine = {str(name): row for name, row in self.legacy.credentials.items() if row["user_id"] == number}
        return self.marker.of_named(self.legacy.users.get(number), mine)

    async def everyone(self, _: Any) -> dict[bytes, int]:
        owners = {row["user_id"] for row in self.legacy.credentials.values()}
        found = {b"%d" % number: self._mark(number) for number in self.legacy.users.keys() | owners}
        await self.meanwhile()
        return found

    async def again(self, keys: Sequence[bytes]) -> tuple[dict[bytes, int], int]:
        found, lsn = {key: self._mark(int(key)) for key in keys}, self.legacy.lsn
        await self.meanwhile()
        return found, lsn

    async def past(self, lsn: int) -> None:
        while self.legacy.streamed < lsn or self.legacy.wire:
            await self.legacy.arrive()
        await self.legacy.arrive()
        await self.meanwhile()

    # -- cidaas --------------------------------------------------------------------------------------------------------

    async def one(self, sub: str) -> dict[str, Any] | None:
        self.reads.append(sub)
        found = self.world.tenant.users.get(sub)
        await self.meanwhile()
        return found

    # -- a run ---------------------------------------------------------------------------------------------------------

    async def sync(self) -> None:
        """Let everything arrive, and wait until nobody is pending."""
        await self.legacy.arrive()
        counts = self.world.partition.counts
        await self.world.until(lambda: not any(n for where, n in counts.items() if where.value == "pending"), "synced")

    async def reconcile(self, *, cidaas: bool = True, sample: int | None = None) -> Result:
        """One run over what there is."""
        settings = self.world.settings
        target: Any = _Target(self) if cidaas else None
        traits = Traits(settings) if cidaas else None
        source: Any = _Legacy(self)
        tables = MemoryTables(settings, self)
        made = Run(settings, source, self, tables, silent, target=target, traits=traits, sample=sample)  # type: ignore[arg-type]
        return await made.run(lambda user: sub_of(user, settings))


class _Users(dict[int, dict[str, Any]]):
    """The users' rows, and the second look before a delete, which has the same name."""

    async def __call__(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {one: self[int(one)] for one in ids if int(one) in self}


class _Legacy:
    """The legacy tables as a run sees them."""

    def __init__(self, moving: Moving) -> None:
        self.marker, self.everyone, self.again = moving.marker, moving.everyone, moving.again
        self.users = len(moving.legacy.users)


class _Target:
    """cidaas as a run sees it: three users a page."""

    def __init__(self, moving: Moving) -> None:
        self._moving = moving

    async def everyone(self) -> AsyncIterator[dict[str, dict[str, Any]]]:
        users = list(self._moving.world.tenant.users.items())
        for at in range(0, len(users), 3):
            yield dict(users[at : at + 3])
            await self._moving.meanwhile()

    async def one(self, sub: str) -> dict[str, Any] | None:
        return await self._moving.one(sub)


class MemoryTables(Tables):
    """Both changelogs of the broker in memory."""

    def __init__(self, settings: Settings, moving: Moving) -> None:
        super().__init__(settings)
        self._moving, self._at = moving, {SNAPSHOTS: 0, LEDGER: 0}

    async def waiting(self) -> int:
        return 0

    async def read_on(self, done: Any = None) -> None:
        logs = self._moving.world.broker.logs
        for topic, kind in ((SNAPSHOTS, TableKind.SNAPSHOTS), (LEDGER, TableKind.LEDGER)):
            batch = [record for record in logs[topic, 0] if record.offset >= self._at[topic]]
            if batch:
                self.take(kind, batch)  # type: ignore[arg-type]
                self._at[topic] = batch[-1].offset + 1
        await self._moving.meanwhile()


def play(scenario: Callable[[Moving], Awaitable[None]], settings: Settings = SETTINGS) -> None:
    """Run a scenario with a worker that owns the only partition and delivers."""
    clock = Clock()

    async def main() -> None:
        world = await World.start(None, clock, settings=settings)
        moving = Moving(world)
        world.go()
        await scenario(moving)
        await world.stop()

    run(main(), clock)


def wrong(result: Result) -> dict[str, str]:
    """Who differs, and how."""
    return {one.user: one.case.value for one in result.wrong}


__all__ = ["KEY", "MemoryTables", "Moving", "catalog", "credential_row", "play", "user_row", "wrong"]
