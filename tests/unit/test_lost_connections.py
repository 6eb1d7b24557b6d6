"""A broker that resets a connection, on the worker's own event loop and a real socket (F6)."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import sys
from typing import TYPE_CHECKING

import uvloop
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from streams.event_loop import lost_is_said

if TYPE_CHECKING:
    import pytest

#: ApiVersions: error code, then (key, oldest, newest) of Metadata and of ApiVersions itself.
_VERSIONS = struct.pack(">hi", 0, 2) + struct.pack(">hhh", 3, 0, 5) + struct.pack(">hhh", 18, 0, 2)
#: aiokafka's own, whether or not it is changed in this process.
_SEND = getattr(AIOKafkaConnection.send, "__wrapped__", AIOKafkaConnection.send)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


async def _broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer which requests are known; reset the connection at the next one."""
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    answer = (await reader.readexactly(size))[4:8] + _VERSIONS
    writer.write(struct.pack(">i", len(answer)) + answer)
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


async def _send_until_lost() -> list[Exception]:
    """Send in every turn of the loop, as long as aiokafka takes the connection for alive; what that raised."""
    server = await asyncio.start_server(_broker, "127.0.0.1", 0)
    connection = await create_conn(*server.sockets[0].getsockname(), request_timeout_ms=5_000)
    raised: list[Exception] = []
    answers = []
    async with asyncio.timeout(5):
        while connection.connected():
            try:
                answers.append(asyncio.ensure_future(connection.send(MetadataRequest([]))))
            except Exception as error:
                raised.append(error)
            await asyncio.sleep(0)
    failed = await asyncio.gather(*answers, return_exceptions=True)
    assert all(isinstance(answer, KafkaConnectionError) for answer in failed), failed
    server.close()
    return raised


def test_a_connection_that_was_lost_just_now_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "send", lost_is_said(_SEND))
    raised = uvloop.run(_send_until_lost())
    assert raised
    assert all(isinstance(error, KafkaConnectionError) for error in raised), raised


def test_without_our_care_it_would_be_an_error_that_aiokafka_does_not_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AIOKafkaConnection, "send", _SEND)
    raised = uvloop.run(_send_until_lost())
    assert raised
    assert not any(isinstance(error, KafkaConnectionError) for error in raised), raised


def test_the_worker_takes_that_care() -> None:
    """The app's own module, in a process of its own: it changes the library for all of it."""
    code = "import streams.app; from aiokafka.conn import AIOKafkaConnection as c; print(c.send.__wrapped__.__name__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["send"]
