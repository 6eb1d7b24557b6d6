"""The textbook Faust app: a table, an agent for each step, `take(50, within=…)` (`python -m bench.peers.textbook`).

Choices, all as Faust's documentation has them: JSON serializers and `async for` with its own acknowledgement; the
table in RocksDB with its changelog; a topic between the agents, because inside `take` a RocksDB table can neither be
read nor written, so the snapshot travels; `concurrency` for the calls in flight; uvloop. What was confirmed is
remembered by the offset of that topic. It is made before the worker starts: Faust leaves out a topic that the broker
does not show yet, for minutes. The commit interval is 1 s instead of 2.8, as every peer's. All else is Faust's default.

Two changes of the same user may be under way at a time and overtake each other: the textbook has no cure for that.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import faust

from bench.peers.calls import PAUSE, Calls
from bench.peers.entity import digest, entity_of, merge
from bench.peers.options import PARTITIONS, options, write_joined
from bench.peers.topics import make_topic

if TYPE_CHECKING:
    import argparse

WITHIN = 0.1  # seconds
STOP_WITHIN = 8.0  # seconds


class Worker(faust.Worker):
    """Ends soon after SIGTERM: Faust waits without a limit, for instance for the group while it starts."""

    def _on_sigterm(self) -> None:
        super()._on_sigterm()
        self.loop.call_later(STOP_WITHIN, os._exit, 0)


def make(chosen: argparse.Namespace) -> faust.App:
    """Make the app."""
    app = faust.App(
        chosen.group,
        broker=f"kafka://{chosen.bootstrap}",
        store="rocksdb://",
        datadir=str(chosen.state),
        topic_partitions=PARTITIONS,
        broker_commit_interval=1.0,
        web_enabled=False,
        Worker=Worker,
    )
    raw_key = {"key_type": bytes, "key_serializer": "raw", "value_serializer": "json"}
    rows = app.topic(chosen.topic, **raw_key)
    users = app.topic(users_topic(chosen), **raw_key)
    snapshots = app.Table("snapshots", key_type=bytes)
    deliver = chosen.mode == "deliver"

    @app.agent(rows)
    async def join(stream: faust.Stream[dict[str, Any]]) -> None:
        """Merge rows into snapshots, and hand on who changed."""
        async for user, row in stream.items():
            if "__sync" in row:
                continue
            snapshot = merge(snapshots.get(user), row)
            if snapshot is not None:
                snapshots[user] = snapshot
                if deliver and snapshot["user"] is not None:
                    await users.send(key=user, value=snapshot)

    if deliver:
        calls = Calls(chosen.target, chosen.concurrency)

        @app.agent(users, concurrency=chosen.concurrency)
        async def send(stream: faust.Stream[dict[str, Any]]) -> None:
            """Send windows; each until all of it is stored."""
            await calls.open()
            # `take` acknowledges what a crash may then lose (D3): the documentation teaches it, so it is measured.
            async for window in stream.take(chosen.window, within=WITHIN):
                latest = {str(snapshot["user"]["id"]): snapshot for snapshot in window}
                entities = [entity for user, snapshot in latest.items() if (entity := entity_of(user, snapshot))]
                while entities:
                    stored = await calls.bulk(entities)
                    entities = [entity for entity in entities if entity["sub"] not in stored]
                    if entities:
                        await asyncio.sleep(PAUSE)  # whatever refused them needs a moment

    @app.task
    async def started() -> None:
        """Replace the worker's own handler of SIGUSR1, which prints the stack."""
        asyncio.get_running_loop().add_signal_handler(
            signal.SIGUSR1, lambda: write_joined(chosen.state, digest(snapshots.items()))
        )

    return app


def users_topic(chosen: argparse.Namespace) -> str:
    """Return the name of the topic between the agents."""
    return f"{chosen.group}-users"


def main() -> None:
    """Run until SIGTERM."""
    chosen = options("textbook")
    if chosen.mode == "deliver":
        asyncio.run(make_topic(chosen.bootstrap, users_topic(chosen)))
    sys.argv = ["faust", "--loop", "uvloop", "worker", "--loglevel", "warn", "--without-web"]
    make(chosen).main()


if __name__ == "__main__":
    main()
