"""Plain aiokafka + rocksdict: no framework (`python -m bench.peers.plain`).

Choices, all as the libraries' documentation has them: rows in batches of at most 2,000 from `getmany`; for each batch
one multi-get, one decode and encode per user and one write batch, which holds the offsets too; uvloop. It assigns
itself all partitions, so it has no rebalancing, and no changelog: who loses the folder reads the topic again and sends
everything again. Both are in its favour. RocksDB has its own settings, without compression to spare CPU.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from struct import Struct
from typing import TYPE_CHECKING, Any

import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition
from rocksdict import DBCompressionType, Options, Rdict, WriteBatch

from bench.peers.calls import PAUSE, Calls
from bench.peers.entity import digest, entity_of, merge
from bench.peers.options import PARTITIONS, options, write_joined

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from aiokafka import ConsumerRecord

BATCH = 2_000

_NUMBER = Struct(">Q")
#: What a key begins with: a snapshot (its value: version, JSON), a confirmed version, the next offset of a partition.
_SNAPSHOT, _CONFIRMED, _OFFSET = b"s", b"c", b"o"


class Store:
    """Snapshots, confirmed versions and offsets in one RocksDB.

    A version is the offset of the last record that changed the user.
    """

    def __init__(self, path: Path) -> None:
        how = Options(raw_mode=True)
        how.create_if_missing(True)
        how.set_compression_type(DBCompressionType.none())
        self._db = Rdict(str(path), how)

    def read(self, users: Iterable[bytes]) -> list[bytes | None]:
        """Return the snapshots as they are stored."""
        return list(self._db.get([_SNAPSHOT + user for user in users]))

    def write(self, values: Mapping[bytes, bytes], offsets: Mapping[TopicPartition, int]) -> None:
        """Write snapshots and the offsets behind them in one step."""
        batch = WriteBatch(raw_mode=True)
        for user, value in values.items():
            batch.put(_SNAPSHOT + user, value)
        for partition, offset in offsets.items():
            batch.put(_OFFSET + _NUMBER.pack(partition.partition), _NUMBER.pack(offset))
        self._db.write(batch)

    def confirm(self, versions: Mapping[bytes, bytes]) -> None:
        """Remember what the target has stored."""
        batch = WriteBatch(raw_mode=True)
        for user, version in versions.items():
            batch.put(_CONFIRMED + user, version)
        self._db.write(batch)

    def offset(self, partition: int) -> int | None:
        """Return the next offset to read."""
        raw = self._db.get(_OFFSET + _NUMBER.pack(partition))
        return None if raw is None else _NUMBER.unpack(raw)[0]

    def pending(self) -> list[bytes]:
        """Return the users whose version is not the confirmed one."""
        confirmed = dict(self._all(_CONFIRMED))
        return [user for user, value in self._all(_SNAPSHOT) if confirmed.get(user) != value[: _NUMBER.size]]

    def snapshots(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Iterate over all snapshots."""
        return ((user, orjson.loads(value[_NUMBER.size :])) for user, value in self._all(_SNAPSHOT))

    def _all(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._db.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            yield key[1:], value

    def close(self) -> None:
        """Close the database."""
        self._db.close()


class Plain:
    """Joins batches, and sends who changed."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._chosen = chosen
        self._store = Store(chosen.state / "store")
        self._calls = Calls(chosen.target, chosen.concurrency)
        self._pending: dict[bytes, None] = {}
        self._under_way: set[bytes] = set()
        self._more = asyncio.Event()

    async def run(self) -> None:
        """Run until cancelled."""
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, lambda: write_joined(self._chosen.state, digest(self._store.snapshots()))
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._chosen.mode == "deliver":
                    await self._calls.open()
                    self._queue(self._store.pending())
                    for _ in range(self._chosen.concurrency):
                        tasks.create_task(self._send())
                tasks.create_task(self._read())
        finally:
            if self._chosen.mode == "deliver":
                await self._calls.close()
            self._store.close()

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._chosen.bootstrap,
            group_id=self._chosen.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            partitions = [TopicPartition(self._chosen.topic, number) for number in range(PARTITIONS)]
            consumer.assign(partitions)
            for partition in partitions:
                consumer.seek(partition, self._store.offset(partition.partition) or 0)
            while True:
                found = await consumer.getmany(timeout_ms=200, max_records=BATCH)
                if found:
                    offsets = {partition: records[-1].offset + 1 for partition, records in found.items()}
                    self._join([record for records in found.values() for record in records], offsets)
                    await consumer.commit(offsets)
        finally:
            await consumer.stop()

    def _join(self, records: list[ConsumerRecord], offsets: dict[TopicPartition, int]) -> None:
        users = list({record.key for record in records})
        snapshots: dict[bytes, Any] = {
            user: orjson.loads(value[_NUMBER.size :]) if value is not None else None
            for user, value in zip(users, self._store.read(users), strict=True)
        }
        versions: dict[bytes, int] = {}
        for record in records:
            row = orjson.loads(record.value)
            if "__sync" not in row and (merged := merge(snapshots[record.key], row)) is not None:
                snapshots[record.key] = merged
                versions[record.key] = record.offset
        values = {user: _NUMBER.pack(at) + orjson.dumps(snapshots[user]) for user, at in versions.items()}
        self._store.write(values, offsets)
        if self._chosen.mode == "deliver":
            self._queue(user for user in versions if snapshots[user]["user"] is not None)

    def _queue(self, users: Iterable[bytes]) -> None:
        self._pending.update(dict.fromkeys(users))
        self._more.set()

    async def _send(self) -> None:
        while True:
            window = self._window()
            if not window:
                self._more.clear()
                await self._more.wait()
                continue
            self._under_way.update(window)
            unsent = await self._deliver(window)
            if unsent:
                await asyncio.sleep(PAUSE)  # whatever refused them needs a moment
            self._under_way.difference_update(window)
            self._queue(unsent)

    def _window(self) -> list[bytes]:
        """Take the next users; who is under way waits, so that no older state can overtake a newer one."""
        window: list[bytes] = []
        for user in self._pending:
            if user not in self._under_way:
                window.append(user)
                if len(window) == self._chosen.window:
                    break
        for user in window:
            del self._pending[user]
        return window

    async def _deliver(self, window: list[bytes]) -> list[bytes]:
        """Send one window and remember what is stored; return who is not."""
        versions: dict[bytes, bytes] = {}
        entities: dict[bytes, dict[str, Any]] = {}
        for user, value in zip(window, self._store.read(window), strict=True):
            assert value is not None
            entity = entity_of(user.decode(), orjson.loads(value[_NUMBER.size :]))
            if entity is not None:
                versions[user], entities[user] = value[: _NUMBER.size], entity
        if not entities:
            return []
        subs = await self._calls.bulk(list(entities.values()))
        stored = {user: versions[user] for user, entity in entities.items() if entity["sub"] in subs}
        self._store.confirm(stored)
        return [user for user in entities if user not in stored]


async def _main(chosen: argparse.Namespace) -> None:
    task = asyncio.ensure_future(Plain(chosen).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def main() -> int:
    """Run until SIGTERM."""
    uvloop.run(_main(options("plain")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
