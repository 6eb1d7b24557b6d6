"""A name server of our own, which answers for the domains of its zone and is silent about others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dns import message, rdatatype, rrset
from dns.asyncresolver import Resolver
from dns.rcode import Rcode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: domain -> (response code, number of MX records, number of A records); None: no answer
Zone = Mapping[str, tuple[int, int, int] | None]


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`, and sends what is no answer, too."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.asked: Counter[tuple[str, str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = message.from_wire(data)
        name, kind = question.question[0].name, rdatatype.to_text(question.question[0].rdtype)
        domain = name.to_text(omit_final_dot=True)
        self.asked[domain, kind] += 1
        if (known := self.zone.get(domain)) is None:
            return
        code, mx, a = known
        answer = message.make_response(question)
        answer.set_rcode(Rcode(code))
        values = [f"10 mx{n}.{domain}." for n in range(mx)] if kind == "MX" else [f"192.0.2.{n}" for n in range(a)]
        if values:
            answer.answer.append(rrset.from_text(name, 60, "IN", kind, *values))
        self.transport.sendto(answer.to_wire(), addr)


@asynccontextmanager
async def name_server(zone: Zone, seconds: float = 0.1) -> AsyncIterator[tuple[NameServer, Resolver]]:
    """Run it; `seconds` are those that a question may take, all tries together."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(zone), local_addr=("127.0.0.1", 0))
    resolver = Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    resolver.timeout = resolver.lifetime = seconds
    try:
        yield server, resolver
    finally:
        transport.close()
