"""The embedded stack: PostgreSQL, Kafka, Kafka Connect, a cidaas stand-in and a worker as plain processes.

    stack = Stack(".run")
    stack.up()              starts what is missing, and waits until it is healthy
    stack.kill("kafka")     SIGKILL, as a crash would
    stack.start("kafka")
    stack.down()            stops everything and keeps the state

Every service can die alone. State, ports and passwords of a stack live in its folder (`run_dir`), so that it comes back
as it was.
"""

from __future__ import annotations

import shutil
import signal
import sys
from typing import TYPE_CHECKING

from demo.stack import ports, postgres
from demo.stack.errors import StackError
from demo.stack.layout import Layout
from demo.stack.places import locked
from demo.stack.process import Process, wait_for
from demo.stack.services import SERVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

STARTS = 3  # PostgreSQL refuses to start while children of a killed server still run


def _quiet(_line: str) -> None:
    """Say nothing."""


def say(line: str) -> None:
    """Tell a person at the terminal."""
    print(line, file=sys.stderr, flush=True)


class Stack:
    """One stack in `run_dir`; `report` is told what happens, line by line.

    `postgres` is the major version of PostgreSQL for a new stack ("14" to "18"), "" for the usual one.
    """

    def __init__(
        self, run_dir: Path | str = ".run", report: Callable[[str], None] = _quiet, *, postgres: str = ""
    ) -> None:
        self.layout = Layout(run_dir, postgres)
        self.report = report
        self._processes = {name: Process(self.layout, name) for name in SERVICES}

    @property
    def env(self) -> dict[str, str]:
        """The variables of stack.env."""
        return self.layout.env

    def pid(self, name: str) -> int | None:
        """Return the process id of a service, None if it does not run."""
        return self._processes[name].pid()

    def healthy(self, name: str) -> bool:
        """Tell whether a service runs and answers."""
        return self.pid(name) is not None and SERVICES[name].healthy(self.layout)

    def up(self, services: Iterable[str] | None = None, *, capture: bool = True) -> None:
        """Start what is missing of `services` (default: all) and wait until each is healthy.

        Topics and the legacy database come with their services; with `capture`, also what enable.sql does and the
        connector. Raises StackError with the end of the log of what did not start.
        """
        wanted = [name for name in SERVICES if services is None or name in set(services)]
        self.layout.prepare()
        with locked(self.layout.run_dir / "stack.lock"):
            first = [name for name in wanted if name != "worker"]
            for name in first:  # all at once: Connect waits for its broker
                self._spawn(name)
            for name in first:
                self._await_healthy(name)
                if name == "postgres":
                    postgres.create_legacy(self.layout)
                if name == "kafka":
                    self._topics()
            if capture and {"postgres", "kafka", "connect"} <= set(wanted):
                self._capture()
            if "worker" in wanted:
                self._spawn("worker")
                self._await_healthy("worker")

    def capture(self) -> None:
        """Enable change data capture and register the connector, as a DBA would: after the tables are filled."""
        with locked(self.layout.run_dir / "stack.lock"):
            self._capture()

    def start(self, name: str) -> None:
        """Start one service if it does not run, and wait until it is healthy."""
        self.layout.prepare()
        with locked(self.layout.run_dir / "stack.lock"):
            self._spawn(name)
            self._await_healthy(name)

    def stop(self, name: str) -> bool:
        """Stop one service; return whether it went before it had to be killed."""
        service = SERVICES[name]
        return self._processes[name].stop(service.stop_signal, service.stop_within)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a service; SIGKILL returns when the process is gone."""
        process = self._processes[name]
        process.kill(number)
        if number == signal.SIGKILL and not wait_for(lambda: process.pid() is None, 10):
            raise StackError(f"{name} survived SIGKILL; look at it with ps")

    def down(self) -> None:
        """Stop everything, in the reverse of the order of the start; the state stays."""
        if not self.layout.exists():
            return
        with locked(self.layout.run_dir / "stack.lock"):
            for name in reversed(SERVICES):
                if self.pid(name) is not None:
                    self.report(f"stopping {name}")
                    if not self.stop(name):
                        self.report(f"{name} did not stop in time and was killed")

    def clean(self) -> None:
        """Stop everything and remove the state."""
        self.down()
        if self.layout.exists():
            shutil.rmtree(self.layout.run_dir)
            ports.release(self.layout.run_dir)
            self.layout.env.clear()

    def status(self) -> dict[str, str]:
        """Return for each service: down, starting (runs, does not answer yet), or up."""
        words = {}
        for name in SERVICES:
            words[name] = "down" if self.pid(name) is None else "up" if self.healthy(name) else "starting"
        return words

    def _capture(self) -> None:
        from demo.stack import capture

        self.report("enabling change data capture, registering the connector")
        capture.enable(self.layout)
        capture.register_connector(self.layout)

    def _topics(self) -> None:
        from demo.stack import capture

        capture.ensure_topics(self.layout)

    def _spawn(self, name: str) -> None:
        if self.pid(name) is not None:
            return
        service = SERVICES[name]
        port = self.layout.port(service.port)
        if not wait_for(lambda: ports.is_free(port), 5):
            raise StackError(
                f"port {port}, which {name} of this stack uses, is taken by another program: stop that program, "
                "or forget this stack with `make clean`"
            )
        self.report(f"starting {name} on port {port}")
        service.prepare(self.layout)
        self._processes[name].spawn(service.command(self.layout), service.environment(self.layout), service.cwd())

    def _await_healthy(self, name: str) -> None:
        """Wait for a service; one that ends while starting is started again, not more than STARTS times in all."""
        service, process = SERVICES[name], self._processes[name]
        for attempt in range(1, STARTS + 1):
            wait_for(lambda: process.pid() is None or service.healthy(self.layout), service.ready_within)
            if process.pid() is not None:
                break
            if attempt < STARTS and name == "postgres":
                self._spawn(name)
        if self.healthy(name):
            return
        what = "ended while starting" if process.pid() is None else f"was not ready in {service.ready_within:.0f} s"
        raise StackError(f"{name} {what}. The end of {self.layout.log_file(name)}:\n{process.last_lines()}")
