"""A connection pooler between a client and PostgreSQL, as far as a client sees one: its own numbers for cancelling.

Only connections with `sslmode=disable&gssencmode=disable` pass: before these the server answers with a single letter.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import threading
from typing import TYPE_CHECKING

from tests.integration.workers import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

#: BackendKeyData: the session's process id and secret, by which a client cancels.
_KEY = b"K"


@contextlib.contextmanager
def pooler(server: int) -> Iterator[int]:
    """Stand before the PostgreSQL at this port of 127.0.0.1; yields the port of its own."""

    class Session(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", server)) as behind:
                threading.Thread(target=_pass_on, args=(self.request, behind), daemon=True).start()
                with contextlib.suppress(OSError):
                    _answer(behind, self.request)

    port = next(free_ports)
    with socketserver.ThreadingTCPServer(("127.0.0.1", port), Session) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            listening.shutdown()
            thread.join()


def _pass_on(client: socket.socket, server: socket.socket) -> None:
    """What the client says, byte by byte; its end is the session's."""
    with contextlib.suppress(OSError):
        while part := client.recv(65_536):
            server.sendall(part)
        server.shutdown(socket.SHUT_WR)


def _answer(server: socket.socket, client: socket.socket) -> None:
    """What the server says, message by message: a letter, the length of the rest with itself, the rest."""
    while kind := _read(server, 1):
        head = _read(server, 4)
        body = _read(server, struct.unpack("!I", head)[0] - 4)
        if kind == _KEY:
            (pid,) = struct.unpack("!I", body[:4])
            body = struct.pack("!I", pid ^ 1) + body[4:]
        client.sendall(kind + head + body)


def _read(server: socket.socket, count: int) -> bytes:
    """So many bytes; fewer when the server has closed the connection."""
    found = b""
    while len(found) < count and (part := server.recv(count - len(found))):
        found += part
    return found
