"""Quix Streams: a stateful `apply` and a sink (`python -m bench.peers.quix`).

Choices, all as its documentation has them: JSON; the state in RocksDB with its changelog; a streaming sink of our own
(`add` sends, `flush` confirms), which gathers windows and sends them on threads with httpx, for Quix Streams knows no
asyncio. What was confirmed is remembered by the committed offsets: a checkpoint ends when its calls have. The commit
interval is 1 s instead of 5, as every peer's. All else is its default.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import orjson
from quixstreams import Application
from quixstreams.sinks import BaseSink
from rocksdict import AccessType, Options, Rdict

from bench.peers.blocking import BlockingCalls
from bench.peers.entity import digest, entity_of, merge
from bench.peers.options import options, write_joined

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from quixstreams.state import State

STOP_WITHIN = 8.0  # seconds
COMMIT = 1.0  # seconds between two checkpoints
KEY = "snapshot"


class App(Application):
    """Ends soon after SIGTERM, also while a checkpoint waits for a target that is away."""

    def _on_sigterm(self, *arguments: Any) -> None:
        timer = threading.Timer(STOP_WITHIN, os._exit, (0,))
        timer.daemon = True
        timer.start()
        super()._on_sigterm(*arguments)


class Target(BaseSink):
    """Sends users in windows; `flush` returns when all of them are stored."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        super().__init__()
        self._calls = BlockingCalls(chosen.target, chosen.concurrency)
        self._window: int = chosen.window
        self._threads = ThreadPoolExecutor(chosen.concurrency)
        self._gathered: dict[str, dict[str, Any]] = {}
        self._under_way: set[str] = set()
        self._futures: list[Future[None]] = []

    def add(self, value: Any, key: Any, *_: Any, **__: Any) -> None:
        """Take one user; a full window leaves at once."""
        if key in self._under_way:  # no older state may overtake a newer one
            self._settle()
        self._gathered[key] = value
        if len(self._gathered) >= self._window:
            self._send()

    def flush(self) -> None:
        """Send what is left, and wait for all calls of the checkpoint."""
        self._send()
        self._settle()

    def _send(self) -> None:
        entities = [entity for user, snapshot in self._gathered.items() if (entity := entity_of(user, snapshot))]
        self._under_way.update(self._gathered)
        self._gathered.clear()
        if entities:
            self._futures.append(self._threads.submit(self._calls.until_stored, entities))

    def _settle(self) -> None:
        wait(self._futures)
        for future in self._futures:
            future.result()
        self._futures.clear()
        self._under_way.clear()


def join(record: dict[str, Any], _key: Any, _timestamp: int, _headers: Any, state: State) -> dict[str, Any] | None:
    """Merge a row into its user's snapshot; None where nothing changed, or where there is no user yet."""
    if "__sync" in record:
        return None
    snapshot = merge(state.get(KEY), record)
    if snapshot is None:
        return None
    state.set(KEY, snapshot)
    return snapshot if snapshot["user"] is not None else None


def snapshots(state: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Read the state's files beside the running app; what an ended checkpoint has committed is in them."""
    for current in sorted(state.rglob("CURRENT")):
        database = Rdict(str(current.parent), Options(raw_mode=True), access_type=AccessType.read_only())
        for raw in database.values():
            snapshot = orjson.loads(raw)
            if snapshot["user"] is not None:
                yield str(snapshot["user"]["id"]).encode(), snapshot
        database.close()


def _tell(state: Path) -> None:
    """Write what is joined when the checkpoint under way has ended: it commits offsets first, and the files after them.

    The signal may have come in between, and its handler holds the checkpoint up: another thread waits for it.
    """
    timer = threading.Timer(2 * COMMIT, lambda: write_joined(state, digest(snapshots(state))))
    timer.daemon = True
    timer.start()


def main() -> int:
    """Run until SIGTERM."""
    chosen = options("quix")
    app = App(
        broker_address=chosen.bootstrap,
        consumer_group=chosen.group,
        auto_offset_reset="earliest",
        commit_interval=COMMIT,
        state_dir=chosen.state,
        loglevel="WARNING",
    )
    users = app.dataframe(app.topic(chosen.topic, key_deserializer="str", value_deserializer="json"))
    users = users.apply(join, stateful=True, metadata=True)
    if chosen.mode == "deliver":
        users.filter(lambda snapshot: snapshot is not None).sink(Target(chosen))
    signal.signal(signal.SIGUSR1, lambda *_: _tell(chosen.state))
    app.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
