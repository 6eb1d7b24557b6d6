"""Which mail domains cidaas would refuse because they have neither an MX nor an A record.

Each domain is asked for once, a few at a time, with short time-outs. No answer proves nothing, and such a domain is
*unknown*, never dead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dns.asyncresolver import Resolver
from dns.exception import DNSException
from dns.name import from_text
from dns.resolver import NXDOMAIN, NoAnswer, NoResolverConfiguration

from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AT_ONCE = 32
#: Seconds for one server to answer, and for all of them together.
TIMEOUT, LONGEST = 2.0, 4.0
#: So many domains without any answer, and not one with: there is no name server, and asking on takes hours.
_HOPELESS = 64


@dataclass(slots=True)
class Resolved:
    """What was found out: domains without any mail server, and how many were asked for and stayed without an answer."""

    asked: int = 0
    unknown: int = 0
    dead: list[str] = field(default_factory=list)


def resolver(file: str = "/etc/resolv.conf") -> Resolver:
    """Ask the name servers of this machine.

    Raises:
        ConfigError: the file names none.
    """
    try:
        found = Resolver(file)
    except NoResolverConfiguration:
        raise ConfigError([f"{file} names no name server, so no domain can be looked up. Leave out --dns."]) from None
    found.timeout, found.lifetime = TIMEOUT, LONGEST
    return found


async def resolve(domains: Iterable[str], resolver: Resolver, progress: Callable[[int], None]) -> Resolved:
    """Look all these domains up; `progress` is told how many are done."""
    found = Resolved()
    left = iter(domains)
    answered = False

    async def some(left: Iterator[str]) -> None:
        nonlocal answered
        for domain in left:  # one iterator for all: each takes the next one
            takes_mail = None
            if answered or found.unknown < _HOPELESS:
                takes_mail = await _takes_mail(domain, resolver)
            answered = answered or takes_mail is not None
            found.asked += 1
            if takes_mail is None:
                found.unknown += 1
            elif not takes_mail:
                found.dead.append(domain)
            progress(found.asked)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(some(left))
    found.dead.sort()
    return found


async def _takes_mail(domain: str, resolver: Resolver) -> bool | None:
    """Whether there is a server for its mail; None when nobody answers."""
    for kind in ("MX", "A"):
        try:
            await resolver.resolve(from_text(domain), kind)
        except NXDOMAIN:
            return False
        except NoAnswer:
            continue
        except (DNSException, OSError):
            return None
        return True
    return False
