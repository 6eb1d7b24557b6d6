"""The five services of the stack as data: how each is prepared, started, asked for its health, and stopped."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from demo.stack import kafka, postgres
from demo.stack.jars import jars
from demo.stack.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.stack.layout import Layout


@dataclass(frozen=True, slots=True)
class Service:
    """One service; `ready_within` and `stop_within` are seconds."""

    name: str
    port: str
    prepare: Callable[[Layout], None]
    command: Callable[[Layout], list[str]]
    environment: Callable[[Layout], dict[str, str]]
    healthy: Callable[[Layout], bool]
    ready_within: float = 60
    stop_within: float = 30
    stop_signal: signal.Signals = signal.SIGTERM
    cwd: Callable[[], Path] = lambda: ROOT


def _no_preparation(_layout: Layout) -> None:
    """There is nothing to prepare."""


def _environment(layout: Layout) -> dict[str, str]:
    return layout.environment({"PYTHONUNBUFFERED": "1"})


def _cidaas_command(layout: Layout) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", layout.env["CIDAAS_PORT"]]
    return [sys.executable, "-m", "demo.standin", *where, "--data", str(layout.data("cidaas"))]


def _cidaas_healthy(layout: Layout) -> bool:
    return kafka.answers(layout.env["CIDAAS_BASE_URL"] + "/.well-known/openid-configuration")


def _worker_command(_layout: Layout) -> list[str]:
    """The Faust process itself: its pid is the worker's."""
    return [str(Path(sys.executable).parent / "faust"), "-A", "streams.app", "worker", "-l", "info"]


def _worker_healthy(layout: Layout) -> bool:
    return kafka.answers(f"http://127.0.0.1:{layout.env['WEB_PORT']}/live")


# In the order in which they are started; stopped the other way round.
SERVICES = {
    service.name: service
    for service in (
        Service(
            "postgres",
            "POSTGRES_PORT",
            postgres.prepare,
            postgres.command,
            postgres.environment,
            postgres.healthy,
            stop_signal=signal.SIGINT,  # fast shutdown: SIGTERM would wait for every client to leave
        ),
        Service(
            "kafka",
            "KAFKA_PORT",
            kafka.prepare_broker,
            kafka.broker_command,
            kafka.broker_environment,
            kafka.broker_healthy,
        ),
        Service(
            "connect",
            "CONNECT_PORT",
            _no_preparation,
            kafka.connect_command,
            kafka.connect_environment,
            kafka.connect_healthy,
            ready_within=90,
            cwd=jars,  # plugin.path is relative
        ),
        Service("cidaas", "CIDAAS_PORT", _no_preparation, _cidaas_command, _environment, _cidaas_healthy),
        Service("worker", "WEB_PORT", _no_preparation, _worker_command, _environment, _worker_healthy),
    )
}
