"""Who is measured: our worker as in production, and its peers (bench/peers/README.md), behind one interface."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import re
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import orjson

from bench.errors import ContenderError
from bench.processes import Child
from demo.stack.places import ROOT
from demo.stack.ports import is_free
from streams import snapshots
from streams.settings import Settings, load
from streams.state.store import Store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from bench.peers import Peer
    from demo.stack.layout import Layout

OURS, PAIR = "ours", "pair"
CONCURRENCY, WINDOW = 8, 50
FAUST = [str(Path(sys.executable).parent / "faust"), "-A", "streams.app", "worker", "-l", "info"]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one contender: its names, its folder, and what it reads and sends to."""

    group: str
    folder: Path
    layout: Layout
    prefix: str  # of the topic
    target: str

    @property
    def topic(self) -> str:
        """The topic that it reads."""
        return f"{self.prefix}.identity"

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / "log"

    @property
    def state(self) -> Path:
        """Its state; made by it, or lost on purpose."""
        return self.folder / "state"


class Contender(Protocol):
    """One that does the job. A group and a folder belong to one run; a second start on them is a restart."""

    name: str
    title: str
    modes: frozenset[str]
    reads: str  # "topic", or "database"

    def start(self, run: Run, mode: str) -> Child:
        """Start it: "join" only joins, "deliver" sends too."""

    def topics(self, run: Run) -> list[str]:
        """The topics of this run alone, to be deleted after it."""

    async def joined(self, run: Run, child: Child) -> dict[str, Any]:
        """What it has joined, {"users", "digest"} as bench/peers/README.md defines it; may end the process."""


class Ours:
    """Our worker, started as in production."""

    name, title, reads = OURS, "this pipeline", "topic"
    modes = frozenset(("join", "deliver"))
    #: calls in flight of one worker.
    concurrency = CONCURRENCY

    def start(self, run: Run, mode: str) -> Child:
        """Start `faust -A streams.app worker`; in mode join the delivery is paused."""
        return Child(FAUST, run.log, self.environment(run, mode))

    def environment(self, run: Run, mode: str) -> dict[str, str]:
        """What a worker of this run needs: the delivered pipeline.toml under other names, and variables."""
        run.folder.mkdir(parents=True, exist_ok=True)
        config = run.folder / "pipeline.toml"
        if not config.exists():
            config.write_text(configured(run.group, run.prefix, self.concurrency))
            (run.folder / "port").write_text(str(_free_port()))
        return run.layout.environment(
            {
                "PIPELINE_CONFIG": str(config),
                "APP_DATADIR": str(run.state),
                "WEB_PORT": (run.folder / "port").read_text(),
                "CIDAAS_BASE_URL": run.target,
                "DELIVERY_START": "paused" if mode == "join" else "running",
            }
        )

    def settings(self, run: Run) -> Settings:
        """Its settings."""
        return load(env=self.environment(run, "deliver"))

    def topics(self, run: Run) -> list[str]:
        """Its control topic and both changelogs."""
        names = self.settings(run).topics
        return [names.control, names.snapshots, names.ledger]

    async def joined(self, run: Run, child: Child) -> dict[str, Any]:
        """Stop it and read its local stores."""
        await asyncio.to_thread(child.stop)
        return await asyncio.to_thread(_joined, run.state / "tables" / "snapshots")

    def ready(self, run: Run) -> bool:
        """Whether it owns all of its partitions; False also while it does not answer."""
        port = (run.folder / "port").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False


class Pair(Ours):
    """Two of our workers, which share the partitions, and the calls in flight: one process of Python is one core."""

    name, title = PAIR, "this pipeline, two workers"
    modes = frozenset(("deliver",))
    concurrency = CONCURRENCY // 2

    def start(self, run: Run, mode: str) -> Child:
        """Start both."""
        return Child([sys.executable, "-m", "bench.pair", *FAUST], run.log, self.environment(run, mode))


class Other:
    """A peer."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.name, self.title, self.modes, self.reads = peer.name, peer.title, peer.modes, peer.reads

    def start(self, run: Run, mode: str) -> Child:
        """Start it with its options."""
        run.folder.mkdir(parents=True, exist_ok=True)
        options: Mapping[str, str]
        if self.reads == "database":
            options = {"database": run.layout.env["LEGACY_ADMIN_URL"]}
        else:
            bootstrap = run.layout.env["KAFKA_BOOTSTRAP_SERVERS"]
            options = {"bootstrap": bootstrap, "topic": run.topic, "group": run.group}
        options = {
            **options,
            "state": str(run.state),
            "target": run.target,
            "mode": mode,
            "concurrency": str(CONCURRENCY),
            "window": str(WINDOW),
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        # Nothing of the stack's: Faust would take APP_DATADIR for its own, and find the state of the run before.
        env = {name: value for name, value in run.layout.environment().items() if name not in run.layout.env}
        return Child([*self.peer.command(), *words], run.log, env)

    def topics(self, run: Run) -> list[str]:
        """Those that it makes."""
        return list(self.peer.topics(run.group, run.topic))

    async def joined(self, run: Run, child: Child) -> dict[str, Any]:
        """Ask it by SIGUSR1."""
        file = run.state / "joined.json"
        child.send(signal.SIGUSR1)
        for _ in range(1200):
            if file.exists():
                return dict(orjson.loads(file.read_bytes()))
            if child.code is not None:
                break
            await asyncio.sleep(0.1)  # a poll: the file is all that it tells
        raise ContenderError("did not write joined.json")


def contenders(names: Collection[str] | None = None) -> list[Contender]:
    """All of them, ours first, or those named."""
    from bench.peers import PEERS

    everybody: list[Contender] = [Ours(), Pair(), *(Other(peer) for peer in PEERS.values())]
    return [one for one in everybody if names is None or one.name in names]


def configured(app_id: str, prefix: str, concurrency: int = CONCURRENCY) -> str:
    """The delivered pipeline.toml with another app id, another prefix of the source's topics, and so many calls."""
    text = (ROOT / "pipeline.toml").read_text()
    for key, value in (("app_id", f'"{app_id}"'), ("prefix", f'"{prefix}"'), ("concurrency", str(concurrency))):
        text, found = re.subn(rf'^{key} = (".*?"|\d+)', f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        assert found == 1, f"pipeline.toml has no line {key} = ..."
    return text


def forget(run: Run) -> None:
    """Remove the folder of a run."""
    shutil.rmtree(run.folder, ignore_errors=True)


def _joined(tables: Path) -> dict[str, Any]:
    stores = [Store(path, read_only=True) for path in sorted(tables.iterdir())]
    whole, users = hashlib.sha256(), 0
    try:
        for line in heapq.merge(*(_lines(store) for store in stores), key=lambda line: line.split(b"\t", 1)[0]):
            whole.update(line)
            users += 1
    finally:
        for store in stores:
            store.close()
    return {"users": users, "digest": whole.hexdigest()}


def _lines(store: Store) -> Iterator[bytes]:
    for key, stored in store.items():
        snap = snapshots.decode(stored.value)
        if snap.user is not None and snap.user.values is not None:
            rows = {pk: row.values for pk, row in snap.credentials.items() if row.values is not None}
            body = orjson.dumps({"credentials": rows, "user": snap.user.values}, option=orjson.OPT_SORT_KEYS)
            yield key + b"\t" + body + b"\n"


def _free_port() -> int:
    return next(port for port in range(17_100, 20_000, 2) if is_free(port) and is_free(port + 1))
