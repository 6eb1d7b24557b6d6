"""Whom cidaas may refuse: the stand-in's published rules (demo/standin/README.md), written a second time (pure)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Rules:
    """The rules as the stand-in's switches have them."""

    def __init__(self, switches: Mapping[str, Any]) -> None:
        self._dead = [each.lower() for each in switches["dead_domains"]]
        self._disposable = [] if switches["allow_disposable_email"] else list(switches["disposable_domains"])
        self._algorithms = frozenset(switches["algorithms"])

    def refusal(self, entity: Mapping[str, Any]) -> str | None:
        """Why cidaas refuses this user for good; None if it has no reason."""
        email = entity.get("email")
        if email is not None:
            wrong = self._email(email)
            if wrong:
                return wrong
        elif not (entity.get("username") or entity.get("mobile_number")):
            return "no e-mail, user name or phone"
        info = entity.get("password_hash_info")
        if info and info["algorithmTypeId"] not in self._algorithms:
            return "hash algorithm unknown to the tenant"
        return None

    def _email(self, email: str) -> str | None:
        if not email.isascii():
            return "e-mail: bad syntax"
        local, _, domain = email.lower().rpartition("@")
        labels = domain.split(".")
        good = len(email) <= 254 and len(local) <= 64 and _LOCAL.fullmatch(local) and len(labels) > 1
        if not good or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
            return "e-mail: bad syntax"
        if _within(domain, self._disposable):
            return "e-mail: disposable domain"
        if _within(domain, self._dead):
            return "e-mail: domain without mail server"
        return None


def keys(entity: Mapping[str, Any]) -> list[str]:
    """What no two users of cidaas may share: the e-mail in lower case, the user name as it is."""
    email, name = entity.get("email"), entity.get("username")
    return ([f"e-mail {email.lower()}"] if email else []) + ([f"user name {name}"] if name else [])


def _within(domain: str, parents: list[str]) -> bool:
    return any(domain == parent or domain.endswith("." + parent) for parent in parents)
