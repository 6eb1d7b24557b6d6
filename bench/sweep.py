"""Measures a sweep's first look and comparison: `python -m bench.sweep --users 500000` (a PostgreSQL of its own).

One worker with all partitions, the worst case for its memory. The measuring runs in a process of its own, so that its
peak is not that of the filling.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg

from demo.legacy.seed import fill
from demo.stack import Stack
from demo.stack.places import ROOT
from streams.keys import first_look
from streams.offline import partition_of
from streams.settings import Settings, load
from streams.snapshots import Row, Snapshot
from streams.state.store import Store, Stored
from streams.sweep import Comparison


def _peak_mb() -> float:
    """The peak of this process alone: getrusage would tell that of the one which started it, too."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


def _settings(url: str) -> Settings:
    return load(ROOT / "pipeline.toml", {"LEGACY_DATABASE_URL": url})


class _Watch:
    """How long the event loop stood still at most, in CPU time: what the neighbours take is not ours."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.thread_time() - before)


def _fill_stores(settings: Settings, url: str, folder: Path) -> None:
    """Snapshots of everybody, with rows of the size of the example's."""
    stores = [Store(folder / str(number)) for number in range(settings.partitions)]
    values = dict.fromkeys(settings.source.users.columns, "x" * 12)
    secret = {"secret": "x" * 60, "kind": "password", "algorithm": "bcrypt"}
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT u.id, c.id FROM users u LEFT JOIN credentials c ON c.user_id = u.id")
        snaps: dict[bytes, Snapshot] = {}
        for user, pk in rows:
            snap = snaps.setdefault(b"%d" % user, Snapshot((1, 1), (1, 1), Row(1, 1, {**values, "id": user})))
            if pk is not None:
                snap.credentials[str(pk)] = Row(1, 1, secret)
    batches: list[list[tuple[bytes, Stored]]] = [[] for _ in stores]
    for key, snap in snaps.items():
        batches[partition_of(key, settings.partitions)].append((key, Stored(0, snap.encode(1))))
    for store, batch in zip(stores, batches, strict=True):
        store.write(batch, 1)
        store.close()


async def _measured(settings: Settings, folder: Path) -> dict[str, float]:
    base, watch, began = _peak_mb(), _Watch(), time.perf_counter()
    look = await first_look(settings, "", lambda key: partition_of(key, settings.partitions) >= 0)
    looked = time.perf_counter()
    figures = {
        "users": float(len(look.marks)),
        "look, seconds": looked - began,
        "look, longest stall ms": watch.longest * 1000,
        "look, peak MB above the start": _peak_mb() - base,
    }
    watch.longest = 0.0
    partitions: list[Any] = [
        SimpleNamespace(number=n, closing=False, unread=list, snapshots=SimpleNamespace(store=Store(folder / str(n))))
        for n in range(settings.partitions)
    ]
    pipeline: Any = SimpleNamespace(
        settings=settings,
        control=SimpleNamespace(state={}),
        partition_of=lambda key: partition_of(key, settings.partitions),
    )
    found = await Comparison(pipeline, "bench", partitions)._differing(look)
    figures |= {
        "comparison, seconds": time.perf_counter() - looked,
        "comparison, longest stall ms": watch.longest * 1000,
        "all, peak MB above the start": _peak_mb() - base,
        "candidates": float(sum(map(len, found.values()))),
    }
    watch.task.cancel()
    return figures


def _measure(url: str, folder: str) -> None:
    for name, value in asyncio.run(_measured(_settings(url), Path(folder))).items():
        print(f"{name:<32} {value:,.1f}")


def main() -> int:
    """Make a database, fill it, measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.sweep", description=__doc__)
    parser.add_argument("--users", type=int, default=500_000)
    users = parser.parse_args().users
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "run")
        try:
            stack.up(("postgres",), capture=False)
            url = stack.env["LEGACY_ADMIN_URL"]
            with psycopg.connect(url, autocommit=True) as connection:
                fill(connection, users)
            stores = str(Path(folder) / "stores")
            fresh = multiprocessing.get_context("spawn")
            for target, arguments in ((_fill_stores, (_settings(url), url, Path(stores))), (_measure, (url, stores))):
                process = fresh.Process(target=target, args=arguments)
                process.start()
                process.join()
        finally:
            stack.clean()
    return 0


if __name__ == "__main__":
    sys.exit(main())
