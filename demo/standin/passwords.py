"""Password hashes as cidaas takes them (facts/cidaas-api.md §1.2): which are acceptable, and does a password fit?"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.standin.switches import Switches

_BCRYPT = re.compile(r"\$(2[a-z]?)\$(\d\d)\$[./A-Za-z0-9]{53}")


class PasswordRules:
    """What `password_hash_info` must look like to be taken."""

    def __init__(self, switches: Switches) -> None:
        self._algorithms = frozenset((*switches.algorithms, *switches.custom_algorithms))
        self._prefixes = frozenset(switches.bcrypt_prefixes)
        self._cost = switches.bcrypt_cost == "checked"

    def problem(self, info: Any) -> str | None:
        """What is wrong with `info`, without any of its secrets; None if it is fine."""
        if info.__class__ is not dict:
            return "invalid datatype for field password_hash_info"
        algorithm, digest = info.get("algorithmTypeId"), info.get("passwordHash")
        if algorithm.__class__ is not str or algorithm not in self._algorithms:
            return "unknown algorithmTypeId"
        if digest.__class__ is not str or not digest:
            return "invalid passwordHash"
        hdata = info.get("hData")
        if hdata is not None and not _all_texts(hdata):
            return "invalid datatype for field hData"
        if algorithm[:7] == "BCRYPT_":
            return self._bcrypt_problem(algorithm, digest)
        if algorithm == "PBKDF2" and not (hdata and hdata.get("salt") and hdata.get("iterations", "").isdigit()):
            return "PBKDF2 needs hData.salt and hData.iterations"
        return None

    def _bcrypt_problem(self, algorithm: str, digest: str) -> str | None:
        found = _BCRYPT.fullmatch(digest)
        if not found or found[1] not in self._prefixes:
            return "invalid passwordHash for a BCRYPT algorithmTypeId"
        if self._cost and int(found[2]) != int(algorithm[7:]):
            return "cost of passwordHash does not match algorithmTypeId"
        return None


def _all_texts(hdata: Any) -> bool:
    """Salt and iterations are both texts in cidaas's schema."""
    return hdata.__class__ is dict and all(each is None or each.__class__ is str for each in hdata.values())


def fits(password: str, info: dict[str, Any], switches: Switches) -> bool | None:
    """Whether `password` makes the hash in `info`; None if this stand-in cannot compute that algorithm.

    Takes as long as bcrypt takes: call it in a thread.
    """
    algorithm: str = info["algorithmTypeId"]
    digest: str = info["passwordHash"]
    hdata: dict[str, str | None] = info.get("hData") or {}
    salt = hdata.get("salt") or ""
    if algorithm.startswith("BCRYPT_"):
        try:
            import bcrypt  # only log-ins need it: where a worker is installed there is none

            return bcrypt.checkpw(password.encode()[:72], digest.encode())
        except ValueError:
            return None
    if algorithm in ("SHA1", "SHA256", "CUSTOM_MD5"):
        text = salt + password if switches.salt_order == "salt+password" else password + salt
        # cidaas takes hashes of a legacy system, however weak.
        made = hashlib.new(algorithm.removeprefix("CUSTOM_").lower(), text.encode()).hexdigest()
        return hmac.compare_digest(made, digest.lower())
    if algorithm == "PBKDF2":
        raw = _decoded(salt) if switches.pbkdf2_salt == "base64" else salt.encode()
        return None if raw is None else _pbkdf2(password, raw, hdata.get("iterations") or "", digest)
    return None


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None


def _pbkdf2(password: str, salt: bytes, iterations: str, digest: str) -> bool | None:
    """PBKDF2 with SHA-256; the digest as hex or base64, its length being the key's."""
    try:
        wanted = bytes.fromhex(digest)
    except ValueError:
        decoded = _decoded(digest)
        if decoded is None:
            return None
        wanted = decoded
    if not iterations.isdigit() or not 0 < int(iterations) <= 10_000_000 or not wanted:
        return None
    made = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(iterations), len(wanted))
    return hmac.compare_digest(made, wanted)
