"""The name that users type: where it leads, how long that is remembered, and which certificate waits for it (pure).

Before the switch it leads to the old place, and after it to the target. Both are as they must be; which one it is, is
said. In between, where one of its addresses is the target's and another one is not, nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.doctor.checks import fault, ok, some, todo, unknown, warning
from streams.quantities import duration

if TYPE_CHECKING:
    from streams.doctor.checks import Check
    from streams.settings import Cutover

#: Seconds for which the old answer may be remembered: for so long after the switch users arrive at the old place.
SHORT = 300
#: A certificate that runs out within so many seconds is said: renewing it is nobody's work on that evening.
SOON = 14 * 86_400.0


@dataclass(frozen=True, slots=True)
class Name:
    """What name servers say of a name: the names that it leads to by CNAME, and the addresses at their end.

    `ttl` are the seconds for which whoever asks may remember the answer, also that there is none; None: nobody said it.
    `exact`: by a server of its zone; else it is what is left of it, as a server in between remembers it. `away`: why
    nothing is known.
    """

    chain: tuple[str, ...] = ()
    addresses: frozenset[str] = frozenset()
    ttl: int | None = None
    exact: bool = False
    away: str = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """What answered at the target to whoever asked for the domain: valid `until` (Unix seconds), or `wrong` says why.

    `away`: nobody could be asked; `proxied`: all other calls of this machine leave it by a proxy.
    """

    until: float | None = None
    wrong: str = ""
    away: str = ""
    proxied: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out about both names."""

    name: Name
    target: Name
    certificate: Certificate


def not_set(file: str) -> list[Check]:
    """Nobody has said which name it is."""
    remedy = f"Set domain and target under [cutover] in {file}, where applications find cidaas by a name of yours."
    return [unknown("domain_name", f"{file} does not say which name users type", remedy)]


def judge(cutover: Cutover, facts: Facts, now: float) -> list[Check]:
    """Judge both names and the certificate at `now` (Unix seconds)."""
    if facts.name.away:
        found = [unknown("domain_name", f"where {cutover.domain} leads is not known: {facts.name.away}", _ASK)]
    else:
        found = [_name(cutover, facts), _ttl(cutover, facts)]
    found.append(_target(cutover, facts.target))
    if facts.target.addresses:
        found.append(_certificate(cutover, facts.certificate, now))
    return found


_ASK = "Look at the name servers of this machine (/etc/resolv.conf), or ask from another one."


def _switched(cutover: Cutover, facts: Facts) -> bool:
    """A CNAME proves it, also where the target's addresses are others at each look."""
    here = facts.name.addresses
    return cutover.target in facts.name.chain or (bool(here) and here <= facts.target.addresses)


def _name(cutover: Cutover, facts: Facts) -> Check:
    name, (domain, target) = facts.name, (cutover.domain, cutover.target)
    if _switched(cutover, facts):
        return ok("domain_name", f"after the switch: {domain} leads to {target}")
    if not name.addresses:
        what = f"before the switch: {domain} has no address yet"
        return todo("domain_name", what, f"On the evening: {domain} CNAME {target}, with a TTL of {SHORT} s or less.")
    if both := name.addresses & facts.target.addresses:
        others = some(sorted(name.addresses - both))
        what = f"{domain} leads to {target} ({some(sorted(both))}) and to another place ({others})"
        return fault("domain_name", what, f"Take the others away (A and AAAA), or make it a CNAME of {target}.")
    where = name.chain[0] if name.chain else some(sorted(name.addresses))
    if facts.target.away:
        why = f"{domain} leads to {where}; whether that is {target} is not known: {facts.target.away}"
        return unknown("domain_name", why, _ASK)
    return ok("domain_name", f"before the switch: {domain} leads to {where}, and not to {target} yet")


def _ttl(cutover: Cutover, facts: Facts) -> Check:
    name, domain = facts.name, cutover.domain
    if _switched(cutover, facts):
        return ok("domain_ttl", "after the switch: it does not matter how long the answer is remembered")
    if name.ttl is not None and name.ttl > SHORT:
        least = "" if name.exact else "at least "
        what = f"before the switch: where {domain} leads is remembered for {least}{duration(name.ttl)}"
        remedy = f"Set its TTL to {SHORT} s or less, that long before the switch: till then users go to the old place."
        return fault("domain_ttl", what, remedy)
    if name.ttl is None or not name.exact:
        why = f"how long it is remembered where {domain} leads is not known: no name server of its zone could be asked"
        return unknown("domain_ttl", why, f"Look there: its TTL has to be {SHORT} s or less.")
    return ok("domain_ttl", f"before the switch: where {domain} leads is remembered for {duration(name.ttl)}")


def _target(cutover: Cutover, target: Name) -> Check:
    if target.away:
        return unknown("domain_target", f"where {cutover.target} leads is not known: {target.away}", _ASK)
    if not target.addresses:
        what = f"{cutover.target} has no address"
        return fault("domain_target", what, "Correct target under [cutover], or ask cidaas for the tenant's name.")
    return ok("domain_target", f"{cutover.target} leads to {some(sorted(target.addresses))}")


def _certificate(cutover: Cutover, found: Certificate, now: float) -> Check:
    slug, domain, target = "domain_certificate", cutover.domain, cutover.target
    if found.until is not None:
        left = found.until - now
        said = f"{target} has a certificate for {domain}; it runs out in {duration(left)}"
        remedy = "Have it renewed before the evening; cidaas may do it by itself some days before."
        return warning(slug, said, remedy) if left < SOON else ok(slug, said)
    if found.wrong:
        what = f"{target} has no certificate that browsers take for {domain}: {found.wrong}"
        return fault(slug, what, f"Have {domain} and its certificate set up at cidaas before the switch.")
    what = f"{target} could not be asked for its certificate for {domain}: {found.away}"
    if found.proxied:
        remedy = "From here only a proxy reaches it. Run this on a machine that needs none."
        return unknown(slug, what, remedy)
    return fault(slug, what, f"Look whether {target} is right, and at what stands in between: network, firewall.")
