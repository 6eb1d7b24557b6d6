"""An argon2 hash whose parts stand apart, as the one string that cidaas takes (pure).

`$argon2id$v=19$m=7168,t=5,p=1$SALT$HASH`: the PHC string format, with the limits of RFC 9106 and its implementation.

What is missing, or cannot be, makes no string: a guess would be a hash that nobody can ever log in with.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, NamedTuple

#: What a row calls the variants, and the versions of the algorithm.
_TYPES = {word: f"argon2{short}" for short in ("id", "i", "d") for word in (short, f"argon2{short}")}
_VERSIONS = {"1.0": 16, "16": 16, "1.3": 19, "19": 19}
_NUMBER = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)
#: The least bytes that verifiers take for a salt and a hash.
_SALT, _HASH = 8, 4


class Parts(NamedTuple):
    """The parameters as they stand in a row; None for one that is missing, or that the file does not name."""

    type: Any = None
    version: Any = None
    memory: Any = None
    parallelism: Any = None
    length: Any = None


def assembled(algorithm: str, secret: str, salt: str | None, iterations: Any, parts: Parts) -> str | None:
    """Put the parts together; None if one is missing or wrong.

    `algorithm` names the variant where the row does not; salt and hash are base64, memory counts KiB.
    """
    variant = _TYPES.get(_text(parts.type) if parts.type is not None else algorithm)
    version, length = _VERSIONS.get(_text(parts.version)), _number(parts.length)
    memory, rounds, lanes = _number(parts.memory), _number(iterations), _number(parts.parallelism)
    salt_, hash_ = _bytes(salt or ""), _bytes(secret)
    if variant is None or version is None or memory is None or rounds is None or lanes is None:
        return None
    if memory < 8 * lanes or lanes >= 1 << 24 or max(memory, rounds) >= 1 << 32:
        return None
    if len(salt_) < _SALT or len(hash_) < _HASH or (parts.length is not None and len(hash_) != length):
        return None
    return f"${variant}$v={version}$m={memory},t={rounds},p={lanes}${_unpadded(salt_)}${_unpadded(hash_)}"


def _text(value: Any) -> str:
    """A word of a row; a list with one is that one, as Keycloak writes them."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return str(value).strip().casefold() if isinstance(value, str | int | float) else ""


def _number(value: Any) -> int | None:
    text = _text(value)
    return int(text) if _NUMBER.fullmatch(text) else None


def _bytes(text: str) -> bytes:
    """What base64 stands for, with or without its padding; nothing for what is none."""
    text = text.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _unpadded(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")
