"""F6: the broker is restarted, killed, away for 45 s, out of disk, and a worker is cut off from it for a minute."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from demo.stack.layout import write_env
from tests.faults.kit.disk import SmallDisk
from tests.faults.kit.proxy import Proxy
from tests.integration.waiting import until
from tests.integration.workers import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.stack import Stack
    from tests.faults.kit.arena import Arena
    from tests.faults.kit.load import Load

pytestmark = pytest.mark.fault("F6")

#: Seconds of a pause that no worker may end for, and of a worker's being cut off.
PAUSE, CUT_OFF = 45.0, 60.0
PARTITIONS = 12


@pytest.mark.parametrize("kindly", [True, False], ids=["restarted", "killed"])
def test_goes_and_comes(arena: Arena, kindly: bool) -> None:
    kafka: Callable[[], object] = partial(arena.stack.stop if kindly else arena.stack.kill, "kafka")
    with arena.load() as load:
        for _ in arena.strikes(load):
            worker = arena.sync.worker
            arena.strike(kafka)
            arena.stack.start("kafka")
            arena.recovered()
            assert arena.sync.alive() == [worker], f"the worker ended with {worker.code}"
    arena.judge()


def test_away_for_45_seconds(arena: Arena) -> None:
    """No worker ends for a pause under a minute; the source goes on, and what it says waits in its WAL."""
    worker = arena.sync.worker
    with arena.load() as load:
        for _ in arena.strikes(load):
            arena.strike(lambda: arena.stack.kill("kafka"))
            over = time.monotonic() + PAUSE
            until(lambda over=over: not worker.alive or time.monotonic() > over, "the pause is over", PAUSE + 5)
            began = time.monotonic()
            arena.stack.start("kafka")
            arena.recovered(since=began)
            assert worker.alive, f"the worker ended with {worker.code} for a pause of {PAUSE:.0f} s"
    arena.judge()


# -- the topic's disk is full ----------------------------------------------------------------------------------------


@pytest.fixture
def disks() -> Iterator[list[SmallDisk]]:
    """Small disks of a test; unmounted at its end."""
    made: list[SmallDisk] = []
    yield made
    for disk in made:
        disk.unmount()


def test_its_disk_is_full(ruins: Callable[..., Arena], disks: list[SmallDisk]) -> None:
    def prepare(stack: Stack) -> None:
        disks.append(SmallDisk(stack.layout.data("kafka"), 512))

    arena = ruins(prepare=prepare)
    (disk,) = disks
    ended = 0
    with arena.load() as load:
        for _ in arena.strikes(load):
            arena.strike(disk.fill)
            until(lambda: arena.stack.pid("kafka") is None, "the broker gives up", 90)
            load.more(120)
            began = time.monotonic()
            disk.make_room()
            arena.stack.start("kafka")
            arena.stack.start("connect")
            before = arena.sync.workers["one"]
            # A worker that met the full disk may still be ending now: it has up to 25 s for that.
            arena.recovered(since=began, meanwhile=partial(revive, arena))
            ended += arena.sync.workers["one"] is not before
    arena.figure("workers that ended for a full disk (exit code 1)", ended)
    arena.judge()


def revive(arena: Arena) -> None:
    """Start the worker again when it has ended, as a service manager does."""
    worker = arena.sync.workers["one"]
    if not worker.alive:
        assert worker.code == 1, worker.last_lines()
        arena.sync.launch()


# -- one worker is cut off -------------------------------------------------------------------------------------------


def test_a_worker_is_cut_off_for_a_minute(ruins: Callable[..., Arena]) -> None:
    """Its connections are reset, or nothing passes any more; the other worker, which sees the broker, takes over."""
    port, behind = next(free_ports), next(free_ports)

    def prepare(stack: Stack) -> None:
        """A second listener that names the proxy to its clients, so that they find no way around it."""
        own, controller = stack.env["KAFKA_PORT"], stack.env["KAFKA_CONTROLLER_PORT"]
        both = f"PLAINTEXT://127.0.0.1:{own},CONTROLLER://127.0.0.1:{controller}"
        stack.env["BROKER_OVERRIDES"] = (
            f"listeners={both},PROXIED://127.0.0.1:{behind} "
            f"advertised.listeners={both},PROXIED://127.0.0.1:{port} "
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"
        )
        write_env(stack.layout.env_file, stack.env)

    with Proxy(port, behind) as proxy:
        arena = ruins(prepare=prepare)
        ended = 0
        launch = partial(arena.sync.launch, "two", KAFKA_BOOTSTRAP_SERVERS=f"127.0.0.1:{port}")
        launch()
        until(lambda: shared(arena), "both workers share the partitions", 60)
        assert proxy.connections > 0
        with arena.load() as load:
            for number in arena.strikes(load):
                cut = proxy.cut if number % 2 else proxy.hold
                ended += cut_off(arena, load, cut, proxy.restore)
                if not arena.sync.workers["two"].alive:
                    launch()
                until(lambda: shared(arena), "both workers share the partitions", 60)
    arena.figure("cut off workers that ended (exit code 1)", ended)
    arena.judge()


def cut_off(arena: Arena, load: Load, cut: Callable[[], None], restore: Callable[[], None]) -> int:
    first, second = arena.sync.workers["one"], arena.sync.workers["two"]
    until(lambda: second.status()["in_flight"] > 0, "the worker that will be cut off has a call under way")
    arena.strike(cut)
    over = time.monotonic() + CUT_OFF
    until(lambda: first.status()["owned"] == PARTITIONS, "the other worker took everything over", 45)
    arena.recovered()
    until(lambda: time.monotonic() > over, "a minute is over", CUT_OFF)
    restore()
    load.more(60)
    until(lambda: not second.alive or shared(arena), "it has ended, or shares the work again", 90)
    if second.alive:
        return 0
    assert second.code == 1, second.last_lines()
    return 1


def shared(arena: Arena) -> bool:
    owned = [int(worker.status().get("owned", 0)) for worker in arena.sync.alive()]
    return len(owned) == 2 and sum(owned) == PARTITIONS and min(owned) > 0
