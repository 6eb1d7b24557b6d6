"""Which mail domains cidaas would refuse because they have neither an MX nor an A record.

Each domain is asked for once, a few at a time, with short time-outs. Only the head of an answer is read: whether the
name exists, and how many records came. No answer proves nothing, and such a domain is *unknown*, never dead.
"""

from __future__ import annotations

import asyncio
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Address = tuple[str, int]

AT_ONCE, TIMEOUT, TRIES = 32, 2.0, 2  # questions, seconds, times that a question is asked
#: So many domains without any answer, and not one with: there is no name server, and asking on takes hours.
_HOPELESS = 64
_MX, _A = 15, 1
_HEAD = struct.Struct("!6H")
_RECURSE, _IS_ANSWER, _CODE = 0x0100, 0x8000, 0x000F
_NO_ERROR, _NO_SUCH_NAME = 0, 3


@dataclass(slots=True)
class Resolved:
    """What was found out: domains without any mail server, and how many were asked for and stayed without an answer."""

    asked: int = 0
    unknown: int = 0
    dead: list[str] = field(default_factory=list)


def name_servers(file: Path = Path("/etc/resolv.conf")) -> list[Address]:
    """The name servers of this machine.

    Raises:
        ConfigError: the file names none.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = [words[1] for line in lines if len(words := line.split()) > 1 and words[0] == "nameserver"]
    if not found:
        raise ConfigError([f"{file} names no name server, so no domain can be looked up. Leave out --dns."])
    return [(host, 53) for host in found]


async def resolve(
    domains: Iterable[str], servers: list[Address], progress: Callable[[int], None], timeout: float = TIMEOUT
) -> Resolved:
    """Look all these domains up; `progress` is told how many are done. `timeout` is in seconds for one question."""
    found = Resolved()
    left = iter(domains)
    answered = False

    async def some(left: Iterator[str]) -> None:
        nonlocal answered
        for domain in left:  # one iterator for all: each takes the next one
            takes_mail = None
            if answered or found.unknown < _HOPELESS:
                takes_mail = await _takes_mail(domain, servers, timeout)
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


async def _takes_mail(domain: str, servers: list[Address], timeout: float) -> bool | None:
    for kind in (_MX, _A):
        records = await _records(domain, kind, servers, timeout)
        if records is None or records > 0:
            return None if records is None else True
    return False


async def _records(domain: str, kind: int, servers: list[Address], timeout: float) -> int | None:
    """How many records of this kind there are; None for no usable answer of any server."""
    for at in range(TRIES):
        try:
            async with asyncio.timeout(timeout):
                code, records = await _ask(domain, kind, servers[at % len(servers)])
        except (OSError, TimeoutError):
            continue
        if code == _NO_SUCH_NAME:
            return 0
        if code == _NO_ERROR:
            return records
    return None


async def _ask(domain: str, kind: int, server: Address) -> tuple[int, int]:
    """Put one question to one server; return the response code and the number of records."""
    question = _question(domain, kind)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(lambda: _Answer(question, answer), remote_addr=server)
    try:
        transport.sendto(question)
        _, flags, _, records, _, _ = _HEAD.unpack_from(await answer)
        return flags & _CODE, records
    finally:
        transport.close()


def _question(domain: str, kind: int) -> bytes:
    head = _HEAD.pack(int.from_bytes(os.urandom(2)), _RECURSE, 1, 0, 0, 0)
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in domain.split("."))
    return head + labels + struct.pack("!BHH", 0, kind, 1)


class _Answer(asyncio.DatagramProtocol):
    """Waits for the answer to `question`: the same number, and marked as an answer. Others are not ours."""

    def __init__(self, question: bytes, answer: asyncio.Future[bytes]) -> None:
        self._number, self._answer = question[:2], answer

    def datagram_received(self, data: bytes, addr: object) -> None:
        ours = len(data) >= _HEAD.size and data[:2] == self._number and _HEAD.unpack_from(data)[1] & _IS_ANSWER
        if ours and not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)
