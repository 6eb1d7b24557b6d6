"""The name that users type: before the switch, after it, and in between; asked of real name and TLS servers."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from broken import Broken
from test_connect_login import OURS, listening

from streams.cutover import domain
from streams.cutover.asking import certificate, names
from streams.cutover.domain import Certificate, Facts, Name
from streams.doctor.checks import State
from streams.settings import Cutover
from tests.unit.nameserver import name_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.doctor.checks import Check
    from tests.unit.nameserver import Records, Zone

OK, WARNING, FAULT, TODO, UNKNOWN = State
LOGIN = Cutover("login.example.com", "tenant.cidaas.de")
#: certificates of login.example.com, signed by themselves, one of which ran out in 2020; the key guards nothing.
THEIRS = Path(__file__).parent / "login_example"
NOW, DAY = 1_000_000.0, 86_400.0

OLD, NEW, NEW_6 = "192.0.2.1", "198.51.100.7", "2001:db8::7"
BEFORE = Name((), frozenset({OLD}), 300, exact=True)
AFTER = Name((LOGIN.target,), frozenset({NEW}), 3_600, exact=True)
TARGET = Name((), frozenset({NEW, NEW_6}), 60)
RIGHT = Facts(BEFORE, TARGET, Certificate(until=NOW + 60 * DAY))


def judged(name: Name = BEFORE, target: Name = TARGET, found: Certificate = RIGHT.certificate) -> list[Check]:
    return domain.judge(LOGIN, Facts(name, target, found), NOW)


def bad(checks: list[Check]) -> list[Check]:
    return [check for check in checks if check.state is not OK]


# -- judged -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (BEFORE, "before the switch: login.example.com leads to 192.0.2.1, and not to tenant.cidaas.de yet"),
        (replace(BEFORE, chain=("www.shop.example",)), "before the switch: login.example.com leads to www.shop.ex"),
        (AFTER, "after the switch: login.example.com leads to tenant.cidaas.de"),
        (Name((), frozenset({NEW})), "after the switch: login.example.com leads to tenant.cidaas.de"),
        # The addresses of a target may be others at each look.
        (replace(AFTER, addresses=frozenset({"198.51.100.9"})), "after the switch: "),
    ],
)
def test_before_and_after_the_switch_are_both_right_and_told_apart(name: Name, says: str) -> None:
    checks = judged(name)
    assert bad(checks) == []
    assert tuple(check.slug for check in checks) == ("domain_name", "domain_ttl", "domain_target", "domain_certificate")
    assert says in checks[0].what
    assert checks[1].what.split(":")[0] == checks[0].what.split(":")[0], "both say the same of the switch"


BROKEN = {
    "half switched": Broken(
        judged(Name((), frozenset({NEW_6, OLD}), 60, exact=True)),
        "domain_name",
        FAULT,
        "leads to tenant.cidaas.de (2001:db8::7) and to another place (192.0.2.1)",
        "CNAME of tenant.cidaas.de",
    ),
    "no such name yet": Broken(
        judged(Name(ttl=300, exact=True)), "domain_name", TODO, "has no address yet", "CNAME tenant.cidaas.de"
    ),
    "nobody says where it leads": Broken(
        judged(Name(away="no answer")), "domain_name", UNKNOWN, "no answer", "/etc/resolv.conf"
    ),
    "remembered for too long": Broken(
        judged(replace(BEFORE, ttl=3_600)), "domain_ttl", FAULT, "remembered for 1 h", "300 s or less"
    ),
    "a server in between remembers it for long": Broken(
        judged(replace(BEFORE, ttl=3_600, exact=False)), "domain_ttl", FAULT, "at least 1 h", "300 s or less"
    ),
    "a server in between remembers it for a while": Broken(
        judged(replace(BEFORE, ttl=40, exact=False)), "domain_ttl", UNKNOWN, "no name server of its zone", "300 s"
    ),
    "that there is none is remembered for too long": Broken(
        [check for check in judged(Name(ttl=86_400, exact=True)) if check.slug != "domain_name"],
        "domain_ttl",
        FAULT,
        "remembered for 24 h",
        "300 s or less",
    ),
    "no such target": Broken(
        judged(target=Name(), found=Certificate(away="it has no address")),
        "domain_target",
        FAULT,
        "tenant.cidaas.de has no address",
        "[cutover]",
    ),
    "for another name": Broken(
        judged(found=Certificate(wrong="the one that it shows is for another name")),
        "domain_certificate",
        FAULT,
        "for login.example.com: the one that it shows is for another name",
        "at cidaas before the switch",
    ),
    "runs out soon": Broken(
        judged(found=Certificate(until=NOW + 5 * DAY)), "domain_certificate", WARNING, "in 5 days", "renewed"
    ),
    "nobody answers": Broken(
        judged(found=Certificate(away="nobody listens there")), "domain_certificate", FAULT, "nobody listens", "network"
    ),
    "only a proxy leads there": Broken(
        judged(found=Certificate(away="no answer in time", proxied=True)),
        "domain_certificate",
        UNKNOWN,
        "no answer in time",
        "a proxy",
    ),
    "not said": Broken(domain.not_set("shop.toml"), "domain_name", UNKNOWN, "shop.toml does not say", "[cutover]"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_yields_exactly_its_check(name: str) -> None:
    BROKEN[name].assert_named(bad(BROKEN[name].checks))


def test_a_target_that_nobody_knows_hides_only_what_follows_from_it() -> None:
    states = {check.slug: check.state for check in judged(target=Name(away="no answer"))}
    assert states == {"domain_name": UNKNOWN, "domain_ttl": OK, "domain_target": UNKNOWN}
    assert bad(judged(AFTER, Name(away="no answer")))[0].slug == "domain_target", "a CNAME proves the switch"


# -- asked of name servers ----------------------------------------------------------------------------------------

ZONE: dict[str, Records] = {
    "example.com": {"SOA": (600, ["ns.example.com. me.example.com. 1 2 3 4 900"]), "NS": (600, ["ns.example.com."])},
    "ns.example.com": {"A": (600, ["127.0.0.2"])},
    "tenant.cidaas.de": {"A": (60, [NEW]), "AAAA": (60, [NEW_6])},
}
A_RECORD: Records = {"A": (3_600, [OLD])}
CNAME: Records = {"CNAME": (120, ["tenant.cidaas.de."])}
NOBODY: Records = {"none": (600, ["ns.example.com. me.example.com. 1 2 3 4 900"])}


def zone(login: Records | None, ttl: int | None = None) -> Zone:
    """The names, that of the users with these records, all with another TTL if there is one."""
    if login is not None and ttl is not None:
        login = {kind: (ttl, values) for kind, (_, values) in login.items()}
    return {**ZONE, LOGIN.domain: login}


async def asked(seen: Zone, own: Zone | None = None) -> tuple[Name, Name]:
    """Ask a server in between that sees this, and the server of the zone, where there is one that answers."""
    async with name_server(seen) as (server, resolver):
        port = server.transport.get_extra_info("sockname")[1]
        if own is None:
            return await names.ask(LOGIN.domain, LOGIN.target, resolver, port)
        async with name_server(own, authoritative=True, at=("127.0.0.2", port)):
            return await names.ask(LOGIN.domain, LOGIN.target, resolver, port)


@pytest.mark.parametrize("left", [17, 3_600])
async def test_the_ttl_is_what_the_zone_says_and_not_what_is_left_of_it(left: int) -> None:
    name, target = await asked(zone(A_RECORD, left), zone(A_RECORD))
    assert name == Name((), frozenset({OLD}), 3_600, exact=True)
    assert target.addresses == {NEW, NEW_6}


async def test_a_name_that_leads_to_the_target() -> None:
    name, target = await asked(zone(CNAME), zone(CNAME))
    assert name == Name(("tenant.cidaas.de",), target.addresses, 120, exact=True)
    assert "after the switch" in judged(name, target)[0].what


async def test_a_name_without_an_address_is_remembered_too() -> None:
    name, _ = await asked(zone(NOBODY), zone(NOBODY))
    assert name == Name(ttl=600, exact=True)


async def test_where_no_server_of_the_zone_answers_the_ttl_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "TIMEOUT", 0.1)
    name, _ = await asked(zone(A_RECORD, 17))
    assert name == Name((), frozenset({OLD}), 17)


async def test_a_server_that_only_repeats_what_others_said_proves_no_ttl() -> None:
    async with name_server(zone(A_RECORD, 17)) as (server, resolver):
        port = server.transport.get_extra_info("sockname")[1]
        async with name_server(zone(A_RECORD, 5), at=("127.0.0.2", port)):
            name, _ = await names.ask(LOGIN.domain, LOGIN.target, resolver, port)
    assert not name.exact


async def test_silence_is_no_answer() -> None:
    name, target = await asked(zone(None))
    assert name.away == "no name server answers in time"
    assert target.addresses == {NEW, NEW_6}, "the one hides nothing of the other"


# -- asked of a TLS server ----------------------------------------------------------------------------------------


@asynccontextmanager
async def at_the_target(certificate_file: Path, key: Path) -> AsyncIterator[int]:
    """A TLS server with this certificate; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file, key)
    async with listening(context) as (port, _):
        yield port


def trusting(authority: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority))


async def test_the_certificate_for_the_domain_is_asked_for_at_the_target() -> None:
    mine = THEIRS / "certificate.pem"
    async with at_the_target(mine, THEIRS / "key.pem") as port:
        found = await certificate.ask(LOGIN, frozenset({"127.0.0.1"}), trusting(mine), port)
    assert found.until is not None and found.until > 4_000_000_000


@pytest.mark.parametrize(
    ("shown", "key", "trusted", "says"),
    [
        (OURS / "certificate.pem", OURS / "key.pem", OURS / "certificate.pem", "for another name"),
        (THEIRS / "expired.pem", THEIRS / "key.pem", THEIRS / "expired.pem", "has run out"),
        (THEIRS / "certificate.pem", THEIRS / "key.pem", OURS / "certificate.pem", "nobody that this machine trusts"),
    ],
    ids=["another name", "run out", "not trusted"],
)
async def test_one_that_browsers_would_not_take_is_none(shown: Path, key: Path, trusted: Path, says: str) -> None:
    async with at_the_target(shown, key) as port:
        found = await certificate.ask(LOGIN, frozenset({"127.0.0.1"}), trusting(trusted), port)
    assert says in found.wrong and not found.away


async def test_the_next_address_is_asked_where_one_does_not_answer() -> None:
    mine = THEIRS / "certificate.pem"
    async with at_the_target(mine, THEIRS / "key.pem") as port:
        # Nobody listens at the other one, which is asked first.
        found = await certificate.ask(LOGIN, frozenset({"127.0.0.1", "127.0.0.0"}), trusting(mine), port)
    assert found.until is not None


async def test_nobody_there_is_away_and_a_proxy_may_be_why(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with at_the_target(THEIRS / "certificate.pem", THEIRS / "key.pem") as port:
        pass
    found = await certificate.ask(LOGIN, frozenset({"127.0.0.1"}), port=port)
    assert found == Certificate(away="nobody listens there")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert (await certificate.ask(LOGIN, frozenset({"127.0.0.1"}), port=port)).proxied
