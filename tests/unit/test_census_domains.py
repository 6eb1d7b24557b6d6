"""Mail domains are looked up once each, a few at a time; no answer proves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streams.census import domains
from streams.settings import ConfigError
from tests.unit.nameserver import name_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.nameserver import Zone

ZONE: Zone = {
    "mx.org": (0, 2, 0),
    "a-only.org": (0, 0, 1),
    "nothing.org": (0, 0, 0),
    "gone.org": (3, 0, 0),
    "broken.org": (2, 0, 0),
    "silent.org": None,
}


async def test_domains_without_mx_and_a_are_dead_and_silent_ones_unknown() -> None:
    steps: list[int] = []
    async with name_server(ZONE) as (server, resolver):
        found = await domains.resolve(list(ZONE), resolver, steps.append)
    assert found.dead == ["gone.org", "nothing.org"]
    assert (found.asked, found.unknown) == (6, 2)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert server.asked["mx.org", "MX"] == 1
    assert ("mx.org", "A") not in server.asked


async def test_where_no_server_answers_nobody_asks_for_hours() -> None:
    async with name_server(ZONE, seconds=0.02) as (server, resolver):
        found = await domains.resolve([f"{n}.silent.org" for n in range(1000)], resolver, lambda _: None)
    assert (found.asked, found.unknown, found.dead) == (1000, 1000, [])
    assert len(server.asked) <= 4 * domains.AT_ONCE


async def test_a_closed_port_is_no_answer() -> None:
    async with name_server(ZONE) as (_, resolver):
        pass
    found = await domains.resolve(["mx.org"], resolver, lambda _: None)
    assert (found.unknown, found.dead) == (1, [])


def test_the_name_servers_are_those_of_the_machine(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    file.write_text("# a comment\nsearch example.org\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n")
    assert domains.resolver(str(file)).nameservers == ["192.0.2.1", "2001:db8::1"]
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="--dns"):
        domains.resolver(str(file))
