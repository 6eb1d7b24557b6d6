"""Where contenders meet: the embedded stack in a run folder of its own, one target, topics that are filled once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import sys
from typing import TYPE_CHECKING, Any

import psycopg

from bench import expected, people
from bench.contenders import Run, configured
from bench.kafka import Kafka
from bench.sink import Sink
from demo.stack import Stack
from demo.stack.capture import enable
from streams.settings import load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streams.settings import Settings

LIGHT = ("postgres", "kafka")  # what join, deliver and restart need
WHOLE = ("postgres", "kafka", "connect")


def say(line: str) -> None:
    """Tell a person at the terminal."""
    print(line, file=sys.stderr, flush=True)


class Arena:
    """A running stack with a target."""

    def __init__(self, folder: Path, stack: Stack, sink: Sink, kafka: Kafka) -> None:
        self.folder, self.stack, self.sink, self.kafka = folder, stack, sink, kafka
        self.record_bytes: dict[int, float] = {}
        self._expected: dict[tuple[str, int], dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._in_database = 0

    def settings(self, prefix: str) -> Settings:
        """The pipeline's settings on this stack, for what the harness does itself."""
        config = self.folder / f"{prefix}.toml"
        config.write_text(configured("bench", prefix))
        return load(env=self.stack.layout.environment({"PIPELINE_CONFIG": str(config)}))

    def run(self, name: str, prefix: str) -> Run:
        """A run with names of its own."""
        number = next(self._numbers)
        group = f"{name.replace('_', '-')}-{number}"
        return Run(group, self.folder / group, self.stack.layout, prefix, self.sink.url)

    async def topic(self, users: int) -> str:
        """The prefix of a topic with an initial snapshot of so many users, filled at the first call."""
        prefix = f"bench{users}"
        if users not in self.record_bytes:
            say(f"filling {prefix}.identity: {users:,} users")
            self.record_bytes[users] = await self.kafka.fill(self.settings(prefix), users)
        return prefix

    async def database(self, users: int) -> None:
        """Fill the legacy tables with users 1 to `users`, if they are empty."""
        if not self._in_database:
            await asyncio.to_thread(_fill_database, self.stack.env["LEGACY_ADMIN_URL"], users)
        assert self._in_database in (0, users), "one stack, one size of the database"
        self._in_database = users

    def expected(self, what: str, users: int) -> dict[str, Any]:
        """What must come out of "join" or "deliver"."""
        if (what, users) not in self._expected:
            joined = what == "join"
            self._expected[what, users] = (
                expected.joined(users) if joined else expected.delivered(users, self.settings("legacy"))
            )
        return self._expected[what, users]


@contextlib.asynccontextmanager
async def arena(folder: Path, services: tuple[str, ...]) -> AsyncIterator[Arena]:
    """Start a new stack; nothing of it is left afterwards, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    stack = Stack(folder / "stack", report=say)
    stack.clean()  # of a run that was killed
    sink: Sink | None = None
    try:
        await asyncio.to_thread(stack.up, services, capture=False)
        await asyncio.to_thread(enable, stack.layout)
        sink = await asyncio.to_thread(Sink, folder)
        async with Kafka(stack.env["KAFKA_BOOTSTRAP_SERVERS"]) as kafka:
            yield Arena(folder, stack, sink, kafka)
    finally:
        if sink is not None:
            sink.close()
        stack.clean()
        shutil.rmtree(folder, ignore_errors=True)


def _fill_database(url: str, users: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection, connection.transaction():
        for table, columns, make in (
            ("users", people.USER_COLUMNS, people.user),
            ("credentials", people.CREDENTIAL_COLUMNS, people.credential),
        ):
            statement = f"COPY {table} ({', '.join(columns)}) FROM STDIN"
            with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
                for number in range(1, users + 1):
                    copy.write_row(list(make(number).values()))
        connection.execute("ANALYZE users, credentials")
