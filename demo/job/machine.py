"""The demo's stack: started in a thread so that signals are heard, watched, and stopped whatever happens.

A service that dies while the demo runs is started again, as systemd or Docker would; its state is durable.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import psutil

from demo.stack import SERVICES, Stack, StackError
from demo.stack.capture import settings_of
from streams.source.connect import Connect, ConnectError
from streams.source.topics import TopicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from demo.job.screen import Screen

Result = TypeVar("Result")

_LOOK = 0.5  # seconds between two looks at the processes
_CONNECTOR_LOOK = 2.0
_STARTS = 8  # of one service during a demo; then something else is wrong
_UPS = 3  # attempts to bring the stack up: a service may be killed in the middle


class InterruptedDemoError(Exception):
    """Raised in the stack's thread when the demo is stopping."""


class Machine:
    """A Stack whose calls can be interrupted at any moment; nothing of it survives `shut_down`."""

    def __init__(self, run_dir: Path, screen: Screen) -> None:
        self.screen = screen
        self.stack = Stack(run_dir, report=self._reported)
        self.restarts: list[str] = []
        self._doing: Callable[[str], None] | None = None
        self._watched: list[str] = []
        self._stopping = threading.Event()
        self._busy = threading.Lock()  # held while a thread works on the stack

    @property
    def env(self) -> dict[str, str]:
        """The variables of stack.env."""
        return self.stack.env

    @property
    def runs(self) -> bool:
        """Tell whether any service is up."""
        return any(self.stack.pid(name) is not None for name in SERVICES)

    @contextmanager
    def telling(self, doing: Callable[[str], None]) -> Iterator[None]:
        """Tell `doing` what the stack does, as long as the context lasts."""
        self._doing = doing
        try:
            yield
        finally:
            self._doing = None

    def check(self) -> None:
        """Raise where the demo is stopping: for work in threads."""
        if self._stopping.is_set():
            raise InterruptedDemoError

    async def thread(self, work: Callable[[], Result]) -> Result:
        """Do blocking work on the stack in a thread; a cancelled caller leaves it to `shut_down` to end it."""

        def guarded() -> Result:
            with self._busy:
                self.check()
                return work()

        return await asyncio.to_thread(guarded)

    async def up(self) -> None:
        """Bring up everything but capture and worker; a service that is killed meanwhile is tried again."""
        services = [name for name in SERVICES if name != "worker"]
        await self._stubborn(lambda: self.stack.up(services, capture=False))
        self._watched = services

    async def capture(self) -> None:
        """Enable change data capture and start the worker, all of what `make up` does."""
        await self._stubborn(self.stack.up)
        self._watched = list(SERVICES)

    async def release(self, name: str) -> None:
        """Stop one service for good."""
        self._watched = [one for one in self._watched if one != name]
        await self.thread(lambda: self.stack.stop(name))

    async def _stubborn(self, work: Callable[[], None]) -> None:
        for attempt in range(1, _UPS + 1):
            try:
                await self.thread(work)
            except (StackError, ConnectError, TopicError) as error:
                if attempt == _UPS or self._stopping.is_set():
                    raise
                self.screen.line("!", f"{str(error).splitlines()[0]}; trying again")
            else:
                return

    async def watch(self) -> None:
        """Start again what dies, for ever. Raises StackError when a service does not stay up."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK)
            for name in self._watched:
                if self.stack.pid(name) is None:
                    await self._restart(name)
            if time.monotonic() - looked > _CONNECTOR_LOOK:
                await self._look_at_connector()
                looked = time.monotonic()

    async def _restart(self, name: str) -> None:
        began = time.monotonic()
        if self.restarts.count(name) >= _STARTS:
            raise StackError(f"{name} has ended {_STARTS} times; read {self.stack.layout.log_file(name)}")
        self.restarts.append(name)
        try:
            await self.thread(lambda: self.stack.start(name))
        except StackError as error:
            self.screen.line("!", f"{name} died and did not come back: {str(error).splitlines()[0]}")
        else:
            self.screen.line("!", f"{name} died; it runs again", time.monotonic() - began)

    async def _look_at_connector(self) -> None:
        """Connect does not start a failed task again by itself."""
        settings = settings_of(self.stack.layout)
        try:
            async with Connect(settings.connect, timeout=5) as connect:
                status = await connect.status(settings.source.name)
                if status is not None and status.failed:
                    await connect.restart(settings.source.name)
                    self.screen.line("!", "the connector had failed; it was started again")
        except ConnectError:
            return  # Connect is starting

    async def shut_down(self) -> None:
        """Stop everything that was started, also what a thread is starting at this moment."""
        self._stopping.set()
        await asyncio.to_thread(self._stop_all)

    def _stop_all(self) -> None:
        while not self._busy.acquire(timeout=0.1):
            self._stop_services()  # what the thread waits for ends, so the thread does, too
            self._stop_helpers()
        self._busy.release()
        self._stop_services()

    def _stop_services(self) -> None:
        for name in reversed(SERVICES):
            if self.stack.pid(name) is not None:
                self._tell(f"stopping {name}")
                self.stack.stop(name)

    def _stop_helpers(self) -> None:
        """End initdb, Maven and their like, which a thread waits for."""
        services = {self.stack.pid(name) for name in SERVICES}
        for child in psutil.Process().children():
            if child.pid not in services:
                child.terminate()

    def _reported(self, line: str) -> None:
        self.check()
        self._tell(line)

    def _tell(self, line: str) -> None:
        if self._doing is not None:
            self._doing(line)
