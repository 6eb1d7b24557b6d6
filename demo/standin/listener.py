"""The listening socket: opened, closed for a while (`away` with style `refused`), opened again on the same port."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from demo.standin.server import MAX_BODY, Front
from demo.standin.testing import Extras

if TYPE_CHECKING:
    from demo.standin.tenant import Tenant

_BACKLOG = 1024
_AGAIN = 0.2  # seconds until a port that somebody else took meanwhile is tried again


class Listener:
    """A running stand-in: `async with Listener(tenant, host, port) as listener`."""

    def __init__(self, tenant: Tenant, host: str = "127.0.0.1", port: int = 0) -> None:
        self._tenant = tenant
        self._host = host
        self.port = port
        app = web.Application(client_max_size=MAX_BODY)
        app.add_routes(Front(tenant).routes())
        app.add_routes(Extras(tenant, self._refuse).routes())
        # Held calls do not hold up the end: SIGTERM means now.
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.05)
        self._site: web.TCPSite | None = None
        self._reopening: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self._host}:{self.port}"

    async def start(self) -> None:
        """Open the port; raises OSError if that cannot be. The users must have been read before."""
        await self._runner.setup()
        await self._open()
        self._tenant.begin()

    async def stop(self) -> None:
        """Close the port and all connections."""
        if self._reopening is not None:
            self._reopening.cancel()
        await self._runner.cleanup()
        self._tenant.close()

    async def __aenter__(self) -> Listener:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def _open(self) -> None:
        self._site = web.TCPSite(self._runner, self._host, self.port, backlog=_BACKLOG)
        await self._site.start()
        self.port = int(self._runner.addresses[0][1])

    async def _refuse(self, seconds: float, request: web.Request) -> None:
        """Close the port for `seconds`, and all connections at once (that of `request` ends with its answer)."""
        if self._site is not None:
            await self._site.stop()
            self._site = None
        server = self._runner.server
        for connection in list(server.connections if server else ()):
            if connection is not request.protocol and connection.transport is not None:
                connection.transport.abort()
        if self._reopening is not None:
            self._reopening.cancel()
        self._reopening = asyncio.create_task(self._reopen(seconds))

    async def _reopen(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while True:
            with contextlib.suppress(OSError):
                await self._open()
                return
            await asyncio.sleep(_AGAIN)
