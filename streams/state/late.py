"""What a thawed former owner wrote behind the values that count (O3).

Of two records with one key the higher ranked wins in the store, but compaction keeps the last one. So the winner is
appended again, and until that is done the store remembers where: it passes the late record and never reads it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.state import records
from streams.state.store import Store, Stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Late:
    """The keys of one changelog partition whose last record is a late writer's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        noted = store.get(records.LATE)
        body = records.unpack(noted.value)[1] if noted is not None else {"late": []}
        #: key -> offset of the late record.
        self.offsets: dict[bytes, int] = {key.encode("latin-1"): at for key, at in body["late"]}
        self._noted = dict(self.offsets)

    def found(self, key: bytes, offset: int) -> None:
        """A late record stands at this offset."""
        if key not in records.OWNERSHIP:
            self.offsets[key] = offset

    def covered(self, key: bytes) -> None:
        """The value that counts is the last one of its key."""
        self.offsets.pop(key, None)

    def appended_again(self, late: Mapping[bytes, int]) -> None:
        """The values that count stand behind these late records now."""
        self.offsets = {key: at for key, at in self.offsets.items() if late.get(key) != at}
        self.write([], self._store.next_offset)

    def write(self, items: Iterable[tuple[bytes, Stored]], next_offset: int) -> None:
        """Write to the store, and in the same step what is known of the late records that `next_offset` passes."""
        if self.offsets == self._noted:
            self._store.write(items, next_offset)
            return
        body = {"late": [(key.decode("latin-1"), at) for key, at in self.offsets.items()]}
        self._store.write([*items, (records.LATE, Stored(0, records.pack(0, body)))], next_offset)
        self._noted = dict(self.offsets)
