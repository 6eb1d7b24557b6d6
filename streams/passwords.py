"""Legacy password hashes become cidaas's `password_hash_info` (pure; facts/cidaas-api.md §1.2).

A hash that cidaas could not verify is not sent and gets a note, one of NOTES; the user goes without it, because
a password whose algorithm is unknown does not hold the user back. No note ever carries a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

from streams.argon2 import Parts, assembled
from streams.stored import ARGON2

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import PasswordRule

    Info = dict[str, Any]
    Answer = tuple[Info | None, str | None]

UNKNOWN = "password_algorithm_unknown"  # md5 and whatever the tenant has no id for
MALFORMED = "password_malformed"  # not what its algorithm writes, or without its parameters
COST = "password_cost_unsupported"  # cidaas knows BCRYPT_1 to BCRYPT_20, bcrypt itself begins at 4
UNUSUAL = "password_hash_unusual"  # sent, but no hex digest of the right length
NOTES = (UNKNOWN, MALFORMED, COST, UNUSUAL)

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}", re.ASCII)
_ARGON2 = re.compile(r"\$(argon2(?:id|i|d))\$(?:v=[0-9]+\$)?[A-Za-z0-9=,]+\$[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+", re.ASCII)
_HEX = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
_NUMBER = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


class Passwords:
    """Knows the configured algorithms; made once per configuration."""

    def __init__(self, rule: PasswordRule) -> None:
        self._prefix = rule.bcrypt_prefix
        self._known: dict[str, Callable[[str, str | None, Any], Answer]] = {
            "bcrypt": self._bcrypt,
            **{name: _argon2(name) for name in ("argon2", "argon2id", "argon2i", "argon2d")},
            "sha1": _digest("SHA1", 40),
            "sha-1": _digest("SHA1", 40),
            "sha256": _digest("SHA256", 64),
            "sha-256": _digest("SHA256", 64),
            "pbkdf2": _pbkdf2,
        }
        for name, target in rule.algorithms.items():
            self._known[name] = self._known.get(target) or _tenant(target)

    def info(self, algorithm: Any, secret: Any, salt: Any = None, params: Any = None) -> Answer:
        """Return `password_hash_info` and None, or what can be told about why there is none (or an unusual one).

        `params` is JSON as text or already an object; `algorithm` None is found out where the hash itself says it.
        """
        if not isinstance(secret, str) or not (secret := secret.strip()) or not _sendable(secret):
            return None, MALFORMED
        if salt is not None and (not isinstance(salt, str) or not _sendable(salt)):
            return None, MALFORMED
        read = self._find(algorithm, secret)
        return read(secret, salt or None, params) if read else (None, UNKNOWN)

    def _find(self, algorithm: Any, secret: str) -> Callable[[str, str | None, Any], Answer] | None:
        if isinstance(algorithm, str) and (name := algorithm.strip().casefold()):
            return self._known.get(name) or (_pbkdf2 if name.startswith("pbkdf2") else None)
        if algorithm is not None and algorithm != "":
            return None
        if secret.startswith("$2"):
            return self._bcrypt
        return self._known["argon2"] if secret.startswith("$argon2") else None

    def _bcrypt(self, secret: str, _salt: str | None, _params: Any) -> Answer:
        """Name the cost that the hash itself carries: it must match BCRYPT_n."""
        match = _BCRYPT.fullmatch(secret)
        if match is None:
            return None, MALFORMED
        cost = int(match[1])
        if not 4 <= cost <= 20:
            return None, COST
        if self._prefix is not None:
            secret = self._prefix + secret[4:]
        return {"algorithmTypeId": f"BCRYPT_{cost}", "passwordHash": secret}, None


def _argon2(name: str) -> Callable[[str, str | None, Any], Answer]:
    """Send the whole string; its own first word is the algorithm, whatever the column says.

    Where the file says in which places the parts stand, they are put together.
    """

    def read(secret: str, salt: str | None, params: Any) -> Answer:
        parts = params.get(ARGON2) if isinstance(params, dict) else None
        if isinstance(parts, Parts) and not secret.startswith("$"):
            secret = assembled(name, secret, salt, params.get("iterations"), parts) or ""
        match = _ARGON2.fullmatch(secret)
        return ({"algorithmTypeId": match[1], "passwordHash": secret}, None) if match else (None, MALFORMED)

    return read


def _digest(type_id: str, length: int) -> Callable[[str, str | None, Any], Answer]:
    def read(secret: str, salt: str | None, _params: Any) -> Answer:
        note = None if len(secret) == length and _HEX.fullmatch(secret) else UNUSUAL
        return _with({"algorithmTypeId": type_id, "passwordHash": secret}, {"salt": salt}), note

    return read


def _pbkdf2(secret: str, salt: str | None, params: Any) -> Answer:
    """Put salt, iterations and keylen into hData as texts; without the first two nobody can verify the hash."""
    numbers = _numbers(params)
    if salt is None or "iterations" not in numbers:
        return None, MALFORMED
    return _with({"algorithmTypeId": "PBKDF2", "passwordHash": secret}, {"salt": salt, **numbers}), None


def _tenant(type_id: str) -> Callable[[str, str | None, Any], Answer]:
    """Send the hash under an id that the tenant has set up (CUSTOM_...): its service compares."""

    def read(secret: str, salt: str | None, params: Any) -> Answer:
        return _with({"algorithmTypeId": type_id, "passwordHash": secret}, {"salt": salt, **_numbers(params)}), None

    return read


def _with(info: Info, data: dict[str, str | None]) -> Info:
    given = {name: value for name, value in data.items() if value is not None}
    return {**info, "hData": given} if given else info


def _numbers(params: Any) -> dict[str, str | None]:
    """Return iterations and keylen as texts, as far as they are positive whole numbers."""
    if isinstance(params, str):
        try:
            params = orjson.loads(params)
        except ValueError:
            return {}
    if not isinstance(params, dict):
        return {}
    found: dict[str, str | None] = {}
    for name in ("iterations", "keylen"):
        value = params.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**10:
            found[name] = str(value)
        elif isinstance(value, str) and _NUMBER.fullmatch(value):
            found[name] = value
    return found


def _sendable(text: str) -> bool:
    """Tell whether a text is Unicode that JSON can carry (a lone surrogate is not)."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
