"""A TCP proxy whose connections a test cuts, holds and restores.

with Proxy(port, target) as proxy:
    proxy.cut()      resets every connection, and refuses new ones
    proxy.hold()     nothing is forwarded and nothing is closed, as when a cable is pulled
    proxy.restore()  forwards again, what was held first
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_CHUNK = 64 * 1024
#: With this linger time a closed socket sends RST.
_RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Forwards 127.0.0.1:`port` to 127.0.0.1:`target`, in a thread of its own."""

    def __init__(self, port: int, target: int) -> None:
        self._port, self._target = port, target
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._refuses = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        #: connections made through it until now.
        self.connections = 0

    def __enter__(self) -> Proxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def cut(self) -> None:
        """Reset all connections; new ones are reset at once."""
        self._do(self._cut)

    def hold(self) -> None:
        """Forward nothing any more, and close nothing."""
        self._do(self._flows.clear)

    def restore(self) -> None:
        """Forward again."""
        self._do(self._restore)

    def _do(self, work: Callable[[], None]) -> None:
        async def run() -> None:
            work()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    async def _listen(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        self._cut()
        self._flows.set()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        if tasks:  # each ends by itself when its connections are gone
            await asyncio.wait(tasks, timeout=5)

    def _cut(self) -> None:
        self._refuses = True
        for writer in self._writers:
            _reset(writer)

    def _restore(self) -> None:
        self._refuses = False
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self._refuses:
            _reset(writer)
            return
        try:
            there, away = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        both = {writer, away}
        self._writers |= both
        try:
            await asyncio.gather(self._pump(reader, away), self._pump(there, writer))
        finally:
            self._writers -= both

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(_CHUNK):
                await self._flows.wait()
                writer.write(chunk)
                await writer.drain()
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
