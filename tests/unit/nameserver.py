"""A name server of our own, which answers for the domains of its zone and is silent about others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dns import flags, message, name, rdatatype, rrset
from dns.asyncresolver import Resolver
from dns.rcode import Rcode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: kind -> seconds that it may be remembered, and values. A CNAME is followed; `none` is the SOA beside no value.
Records = Mapping[str, tuple[int, list[str]]]
#: domain -> (response code, number of MX records, number of A records), or its records; None: no answer
Zone = Mapping[str, tuple[int, int, int] | Records | None]


class NameServer(asyncio.DatagramProtocol):
    """Answers from `zone`, of its own knowledge if it is `authoritative`, and sends what is no answer, too."""

    def __init__(self, zone: Zone, *, authoritative: bool = False) -> None:
        self.zone, self.authoritative = zone, authoritative
        self.asked: Counter[tuple[str, str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        question = message.from_wire(data)
        asked, kind = question.question[0].name, rdatatype.to_text(question.question[0].rdtype)
        domain = asked.to_text(omit_final_dot=True)
        self.asked[domain, kind] += 1
        if (known := self.zone.get(domain)) is None:
            return
        answer = message.make_response(question)
        if self.authoritative:
            answer.flags |= flags.AA
        if isinstance(known, tuple):
            code, mx, a = known
            answer.set_rcode(Rcode(code))
            values = [f"10 mx{n}.{domain}." for n in range(mx)] if kind == "MX" else [f"192.0.2.{n}" for n in range(a)]
            if values:
                answer.answer.append(rrset.from_text(asked, 60, "IN", kind, *values))
        else:
            self._add(answer, domain, kind)
        self.transport.sendto(answer.to_wire(), addr)

    def _add(self, answer: Any, domain: str, kind: str) -> None:
        """Put the records of a domain into an answer, those behind a CNAME too."""
        known = self.zone.get(domain)
        if known is None or isinstance(known, tuple):
            answer.set_rcode(Rcode.NXDOMAIN)
            return
        here = name.from_text(domain)
        if "CNAME" in known and kind != "CNAME":
            seconds, (target,) = known["CNAME"]
            answer.answer.append(rrset.from_text(here, seconds, "IN", "CNAME", target))
            self._add(answer, target.rstrip("."), kind)
        elif kind in known:
            seconds, values = known[kind]
            answer.answer.append(rrset.from_text(here, seconds, "IN", kind, *values))
        elif "none" in known:
            seconds, values = known["none"]
            answer.authority.append(rrset.from_text(here.parent(), seconds, "IN", "SOA", *values))


@asynccontextmanager
async def name_server(
    zone: Zone, seconds: float = 0.1, *, authoritative: bool = False, at: tuple[str, int] = ("127.0.0.1", 0)
) -> AsyncIterator[tuple[NameServer, Resolver]]:
    """Run it; `seconds` are those that a question may take, all tries together."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(zone, authoritative=authoritative), local_addr=at
    )
    resolver = Resolver(configure=False)
    resolver.nameservers, resolver.port = [at[0]], transport.get_extra_info("sockname")[1]
    resolver.timeout = resolver.lifetime = seconds
    try:
        yield server, resolver
    finally:
        transport.close()
