"""Password hashes of the example database: real ones, from a small pool where computing them is slow.

bcrypt with cost 12 takes a quarter of a second, and half a million users must be there within a minute or two; so users
share the pool's passwords. Whose password is whose is known, so that somebody can log in: `PASSWORDS`.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from random import Random
from typing import NamedTuple

import bcrypt

PASSWORDS = tuple(f"geheim-{number}" for number in range(8))
_COSTS = (12, 10, 10, 8, 8, 6, 5, 4)
_PREFIXES = ("$2b$", "$2b$", "$2a$", "$2y$")
_SALT = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_ITERATIONS, _KEYLEN = 27500, 64


class Hash(NamedTuple):
    """What stands in a password row."""

    secret: str
    salt: str | None = None
    params: str | None = None


def bcrypt_hash(password: str, cost: int, rng: Random) -> str:
    """Hash with a salt of `rng`: the same seed makes the same database. The last digit of a salt has two bits."""
    salt = "".join(rng.choices(_SALT, k=21)) + rng.choice(".Oeu")
    return bcrypt.hashpw(password.encode(), f"$2b${cost:02d}${salt}".encode()).decode()


class Hashes:
    """Makes password rows' hashes; the slow ones come from a pool."""

    def __init__(self, seed: int) -> None:
        self._bcrypt, self._pbkdf2 = _pool(seed)

    def make(self, algorithm: str, rng: Random) -> Hash:
        """Make a hash of one of PASSWORDS (argon2id: a well-formed string of nobody's password)."""
        if algorithm == "bcrypt":
            return Hash(rng.choice(_PREFIXES) + rng.choice(self._bcrypt)[4:])
        if algorithm == "pbkdf2-sha256":
            return rng.choice(self._pbkdf2)
        password = rng.choice(PASSWORDS)
        if algorithm == "argon2id":
            salt, digest = (base64.b64encode(rng.randbytes(size)).decode().rstrip("=") for size in (16, 32))
            return Hash(f"$argon2id$v=19$m=65536,t=3,p=4${salt}${digest}")
        salt = rng.randbytes(8).hex() if algorithm != "md5" and rng.random() < 0.8 else ""
        return Hash(hashlib.new(algorithm, (salt + password).encode()).hexdigest(), salt or None)


@lru_cache(maxsize=4)
def _pool(seed: int) -> tuple[list[str], list[Hash]]:
    rng = Random(seed)
    hashes = [bcrypt_hash(word, cost, rng) for word, cost in zip(PASSWORDS, _COSTS, strict=True)]
    return hashes, [_pbkdf2(word, rng) for word in PASSWORDS[:4]]


def _pbkdf2(password: str, rng: Random) -> Hash:
    salt = rng.randbytes(12).hex()
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), _ITERATIONS, _KEYLEN)
    return Hash(digest.hex(), salt, json.dumps({"iterations": _ITERATIONS, "keylen": _KEYLEN}))
