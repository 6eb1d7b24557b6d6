"""The peers of the worker: the same job by other means (README.md beside this file says how they are started).

Only data and small functions here, and nothing imported that a peer does not need: each peer's process loads this too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-bench" / "bin" / "python"


class PeerError(Exception):
    """A peer cannot be built; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer: what it is called, what it can do, how it is built and started.

    `command` returns the words before the options; it is started in ROOT. `topics` are those that it makes for a group
    and the topic that it reads, to be removed after a run (those of one mode may be missing in the other). `reads`
    tells the options: of the topic, or of the database (`--database`).
    """

    name: str
    title: str
    modes: frozenset[str]
    build: Callable[[], None]
    command: Callable[[], list[str]]
    topics: Callable[[str, str], list[str]]
    reads: str = "topic"


def _python_ready() -> None:
    if not (PYTHON.parent.parent / ".ready").exists():
        raise PeerError("the peers' Python environment is missing: `make .venv-bench/.ready` makes it")


def _module(name: str) -> Callable[[], list[str]]:
    return lambda: [str(PYTHON), "-m", f"bench.peers.{name}"]


def _build_kafka_streams() -> None:
    from bench.peers.kafka_streams import build

    build()


def _kafka_streams() -> list[str]:
    from bench.peers.kafka_streams import command

    return command()


def _no_topics(_group: str, _topic: str) -> list[str]:
    return []


def _faust_topics(group: str, _topic: str) -> list[str]:
    return [f"{group}-{name}" for name in ("snapshots-changelog", "users", "__assignor-__leader")]


def _streams_topics(group: str, _topic: str) -> list[str]:
    return [f"{group}-{store}-changelog" for store in ("snapshots", "confirmed")]


def _quix_topics(group: str, topic: str) -> list[str]:
    return [f"changelog__{group}--{topic}--default"]


BOTH = frozenset(("join", "deliver"))

PEERS = {
    peer.name: peer
    for peer in (
        Peer("plain", "plain aiokafka + rocksdict", BOTH, _python_ready, _module("plain"), _no_topics),
        Peer("textbook", "textbook Faust", BOTH, _python_ready, _module("textbook"), _faust_topics),
        Peer("kafka_streams", "Kafka Streams", BOTH, _build_kafka_streams, _kafka_streams, _streams_topics),
        Peer("quix", "Quix Streams", BOTH, _python_ready, _module("quix"), _quix_topics),
        Peer(
            "script",
            "one-time script",
            frozenset(("deliver",)),
            _python_ready,
            _module("script"),
            _no_topics,
            reads="database",
        ),
    )
}
