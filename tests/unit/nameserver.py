"""A name server of our own, which answers for the domains of its zone and is silent about others."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.census.domains import Address

#: domain -> (response code, number of MX records, number of A records); None: no answer
Zone = Mapping[str, tuple[int, int, int] | None]


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`, and sends what is no answer, too."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: Counter[tuple[str, int]] = Counter()

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
        if (known := self.zone.get(domain)) is not None:
            code, mx, a = known
            records = {15: mx, 1: a}[kind]
            self.transport.sendto(data[:2] + struct.pack("!5H", 0x8180 | code, 1, records, 0, 0) + data[12:], addr)


@asynccontextmanager
async def name_server(zone: Zone) -> AsyncIterator[tuple[NameServer, Address]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    try:
        yield server, transport.get_extra_info("sockname")[:2]
    finally:
        transport.close()
