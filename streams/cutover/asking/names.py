"""Asks name servers where a name leads, and servers of its own zone for how long that may be remembered.

A server in between tells of a TTL only what is left of it: a small one proves nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from dns import asyncquery, asyncresolver, flags, rcode, rdatatype
from dns.exception import DNSException, Timeout
from dns.message import make_query
from dns.name import from_text
from dns.resolver import NXDOMAIN, NoNameservers

from streams.causes import why
from streams.cutover.domain import Name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from dns.asyncresolver import Resolver
    from dns.message import QueryMessage
    from dns.name import Name as DnsName

#: Where name servers listen; seconds for one of a zone to answer; and so many of them are tried.
PORT, TIMEOUT, MOST = 53, 2.0, 4
_KINDS = ("A", "AAAA")


async def ask(domain: str, target: str, resolver: Resolver, port: int = PORT) -> tuple[Name, Name]:
    """Where both lead, and for how long that of `domain` is remembered; servers of its zone listen at `port`."""
    name, there = await asyncio.gather(_led(from_text(domain), resolver), _led(from_text(target), resolver))
    if not name.away and not name.exact:
        name = await _exact(name, from_text(domain), resolver, port)
    return name, there


async def _led(asked: DnsName, resolver: Resolver) -> Name:
    try:
        return _said([await _answer(asked, kind, resolver) for kind in _KINDS], asked)
    except Timeout:
        return Name(away="no name server answers in time")
    except NoNameservers:
        return Name(away="no name server can say it")
    except (DNSException, OSError) as error:
        return Name(away=why(error))


async def _answer(asked: DnsName, kind: str, resolver: Resolver) -> QueryMessage:
    try:
        return (await resolver.resolve(asked, kind, raise_on_no_answer=False)).response
    except NXDOMAIN as error:
        found = error.responses()  # type: ignore[no-untyped-call]  # the library leaves its types out there
        return cast("QueryMessage", found[asked])


async def _exact(name: Name, asked: DnsName, resolver: Resolver, port: int) -> Name:
    """The same, with the TTL by a server of its zone, where one can be asked."""
    try:
        async for server in _servers(asked, resolver):
            if told := await _told(asked, server, port):
                return replace(name, ttl=_said(told, asked).ttl, exact=True)
    except (DNSException, OSError):
        pass  # nobody says which servers these are: the TTL stays what it was, and not exact
    return name


async def _servers(asked: DnsName, resolver: Resolver) -> AsyncIterator[str]:
    """An address each of some servers of the zone that a name belongs to."""
    zone = await asyncresolver.zone_for_name(asked, resolver=resolver)
    for server in list(await resolver.resolve(zone, "NS"))[:MOST]:
        yield str((await resolver.resolve(server.target, "A"))[0])


async def _told(asked: DnsName, server: str, port: int) -> list[QueryMessage]:
    """What a server of the zone answers of its own knowledge; nothing if it does not."""
    found = []
    for kind in _KINDS:
        query = make_query(asked, kind, flags=0)  # not to be looked up for us
        try:
            answer, _ = await asyncquery.udp_with_fallback(query, server, timeout=TIMEOUT, port=port)
        except (DNSException, OSError):
            return []
        if not answer.flags & flags.AA or answer.rcode() not in (rcode.NOERROR, rcode.NXDOMAIN):
            return []
        found.append(cast("QueryMessage", answer))
    return found


def _said(answers: Sequence[QueryMessage], asked: DnsName) -> Name:
    """Put together what was answered for IPv4 and for IPv6."""
    chain: list[str] = []
    addresses: set[str] = set()
    for answer in answers:
        way = answer.resolve_chaining()
        chain += [str(one.target.to_text(omit_final_dot=True)).lower() for rrset in way.cnames for one in rrset]
        addresses |= {str(one) for one in way.answer or ()}
    # Of two kinds the longer one counts; that there is none of a kind matters only where there is none of either.
    there = [rrset.ttl for answer in answers for rrset in answer.answer if rrset.name == asked]
    ttls = there or [ttl for answer in answers if (ttl := _negative(answer)) is not None]
    return Name(
        tuple(dict.fromkeys(chain)),
        frozenset(addresses),
        max(ttls, default=None),
        exact=all(answer.flags & flags.AA for answer in answers),
    )


def _negative(answer: QueryMessage) -> int | None:
    """For how long it is remembered that there is no such name, or no address of it (RFC 2308, section 5)."""
    soa = next((rrset for rrset in answer.authority if rrset.rdtype == rdatatype.SOA), None)
    return None if soa is None else min(soa.ttl, soa[0].minimum)
