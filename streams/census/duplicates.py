"""Who shares an identifier with somebody else, without keeping the identifiers (pure)."""

from __future__ import annotations

import os
from hashlib import blake2b


class Duplicates:
    """Counts users whose identifier somebody else has too, by keyed hashes of 60 bits, about 70 bytes a user.

    The key is new for each run, so what lies in memory tells nothing of an address. Two different addresses with one
    hash do not matter: among a million the chance of any such pair is one in two million, and it would make a figure
    of the forecast wrong by two; nothing is decided by it.
    """

    def __init__(self) -> None:
        self._key = os.urandom(16)
        self._once: set[int] = set()
        self._more: set[int] = set()
        #: users who came after the first one with the same identifier
        self.later = 0

    def seen(self, identifier: str) -> bool:
        """Take a user's identifier; tell whether somebody had it before."""
        digest = blake2b(identifier.encode(), digest_size=8, key=self._key).digest()
        mark = int.from_bytes(digest) >> 4  # below 2**60 an int takes 32 bytes
        if mark not in self._once:
            self._once.add(mark)
            return False
        self._more.add(mark)
        self.later += 1
        return True

    @property
    def shared(self) -> int:
        """Identifiers that more than one user has."""
        return len(self._more)

    @property
    def users(self) -> int:
        """Users who share an identifier."""
        return self.later + len(self._more)
