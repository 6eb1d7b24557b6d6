"""Mail domains are looked up once each, a few at a time; no answer proves nothing."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from streams.census import domains
from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: domain -> (response code, number of MX records, number of A records); None: no answer
ZONE: dict[str, tuple[int, int, int] | None] = {
    "mx.org": (0, 2, 0),
    "a-only.org": (0, 0, 1),
    "nothing.org": (0, 0, 0),
    "gone.org": (3, 0, 0),
    "broken.org": (2, 0, 0),
    "silent.org": None,
}


class NameServer(asyncio.DatagramProtocol):
    """Answers from ZONE; a name that is not there does not answer."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        self.open = self.most = 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        name, at = [], 12
        while length := data[at]:
            name.append(data[at + 1 : at + 1 + length].decode())
            at += 1 + length
        kind = struct.unpack_from("!H", data, at + 1)[0]
        domain = ".".join(name)
        self.asked[domain, kind] += 1
        self.transport.sendto(b"\0\0" + data[2:], addr)  # an answer to somebody else's question
        self.transport.sendto(data, addr)  # an echo is no answer
        if (known := ZONE.get(domain)) is not None:
            code, mx, a = known
            records = {15: mx, 1: a}[kind]
            self.transport.sendto(data[:2] + struct.pack("!5H", 0x8180 | code, 1, records, 0, 0) + data[12:], addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, domains.Address]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[:2]
    finally:
        transport.close()


async def test_domains_without_mx_and_a_are_dead_and_silent_ones_unknown() -> None:
    steps: list[int] = []
    async with name_server() as (server, address):
        found = await domains.resolve(list(ZONE), [address], steps.append, timeout=0.1)
    assert found.dead == ["gone.org", "nothing.org"]
    assert (found.asked, found.unknown) == (6, 2)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert server.asked["mx.org", 15] == 1
    assert ("mx.org", 1) not in server.asked
    assert server.asked["silent.org", 15] == domains.TRIES


async def test_where_no_server_answers_nobody_asks_for_hours() -> None:
    async with name_server() as (server, address):
        found = await domains.resolve([f"{n}.silent.org" for n in range(1000)], [address], lambda _: None, timeout=0.02)
    assert (found.asked, found.unknown, found.dead) == (1000, 1000, [])
    assert server.asked.total() <= 4 * domains.AT_ONCE * domains.TRIES


async def test_a_closed_port_is_no_answer() -> None:
    async with name_server() as (_, address):
        pass
    found = await domains.resolve(["mx.org"], [address], lambda _: None, timeout=0.2)
    assert (found.unknown, found.dead) == (1, [])


def test_the_name_servers_are_those_of_the_machine(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# a comment\nsearch example.org\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    assert domains.name_servers(file) == [("192.0.2.1", 53), ("2001:db8::1", 53)]
    with pytest.raises(ConfigError, match="--dns"):
        domains.name_servers(tmp_path / "none")
