"""Would cidaas take this address? Its syntax, and domains that give addresses away (pure).

cidaas documents that it refuses bad syntax, disposable domains, and domains without MX or A record, and neither its
syntax nor its list. So this is a forecast: what is sent, the mapping alone decides. Strict on purpose, since a
warning too many costs a look, and a warning too few a user on the first day.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

INVALID = "invalid_email"
DISPOSABLE = "disposable_domain"

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
#: The last label is no number: an address with an IP address behind the @ has no domain that could be looked up.
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z)(?:{_LABEL}\.)+(?![0-9]+\Z){_LABEL}")
_LIST = Path(__file__).with_name("disposable.txt")


def judge(address: str) -> tuple[str, str | None]:
    """Return the domain in small letters, and what is wrong with the address: INVALID, DISPOSABLE or None."""
    local, _, domain = address.rpartition("@")
    domain = domain.lower()
    if len(local) > 64 or len(address) > 254 or not _LOCAL.fullmatch(local):
        return domain, INVALID
    return domain, _wrong(domain)


@functools.lru_cache(maxsize=20_000)  # users share domains
def _wrong(domain: str) -> str | None:
    if not _DOMAIN.fullmatch(domain):
        return INVALID
    labels = domain.split(".")
    above = {".".join(labels[at:]) for at in range(len(labels) - 1)}
    return DISPOSABLE if above & disposable() else None


@functools.cache
def disposable() -> frozenset[str]:
    """The domains of disposable.txt."""
    lines = _LIST.read_text(encoding="ascii").split("\n")
    return frozenset(line for line in lines if line and not line.startswith("#"))
