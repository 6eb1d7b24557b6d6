"""One RocksDB per table and partition: values with the broker's time, and the changelog offset in the same write.

The offset never passes a value that is not in the store (D1): both are one RocksDB write. There is no fsync: what a
power loss takes is read again from the changelog, because the offset goes back with it.
"""

from __future__ import annotations

import re
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    WriteBatch,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_TIME = Struct(">Q")
_OFFSET_KEY = b"\x00\x00offset"

#: Keys of our own begin with a zero byte: PostgreSQL's text cannot hold one, so no user id does.
RESERVED = b"\x00"

#: Shared by all partitions of a worker; RocksDB's default of its own for each would be gigabytes.
_CACHE = Cache(32 * 1024 * 1024)


def damage(error: BaseException) -> str:
    """What RocksDB says of a store that cannot be read any more, in one line; "" for every other error."""
    text = " ".join(str(error).split())
    if type(error) is not Exception:  # it raises nothing more special
        return ""
    # An input or output error is that of a full disk, say, which damages nothing; but its files must be there.
    return text if re.match(r"Corruption|Invalid argument|IO error: No such file", text) else ""


class Stored(NamedTuple):
    """A value as the store has it: the broker's time of its record (ms), and the record's value."""

    time_ms: int
    value: bytes


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(8 * 1024 * 1024)
    options.set_max_write_buffer_number(2)
    options.set_max_open_files(64)
    options.set_keep_log_file_num(2)
    options.set_compression_type(DBCompressionType.lz4())
    table = BlockBasedOptions()
    table.set_block_cache(_CACHE)
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    return options


class Store:
    """The local copy of one partition of one table."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        access = AccessType.read_only() if read_only else AccessType.read_write()
        self._db = Rdict(str(path), _options(), access_type=access)
        raw = self._db.get(_OFFSET_KEY)
        #: offset of the changelog record that follows the newest one in the store; 0 for an empty store.
        self.next_offset: int = _TIME.unpack(raw)[0] if raw else 0

    def get(self, key: bytes) -> Stored | None:
        """Return the value of one key."""
        raw = self._db.get(key)
        return None if raw is None else Stored(_TIME.unpack_from(raw)[0], raw[_TIME.size :])

    def get_many(self, keys: Sequence[bytes]) -> list[Stored | None]:
        """Return the values of many keys, in their order, with one call into RocksDB."""
        return [
            None if raw is None else Stored(_TIME.unpack_from(raw)[0], raw[_TIME.size :])
            for raw in self._db.get(list(keys))
        ]

    def write(self, items: Iterable[tuple[bytes, Stored]], next_offset: int) -> None:
        """Write values and the changelog offset in one step (D1)."""
        batch = WriteBatch(raw_mode=True)
        for key, stored in items:
            batch.put(key, _TIME.pack(stored.time_ms) + stored.value)
        batch.put(_OFFSET_KEY, _TIME.pack(next_offset))
        self._db.write(batch)
        self.next_offset = next_offset

    def items(self, start: bytes = b"\x01") -> Iterator[tuple[bytes, Stored]]:
        """Iterate in key order from `start`; the default leaves the reserved keys out."""
        for key, raw in self._db.items(from_key=start):
            yield key, Stored(_TIME.unpack_from(raw)[0], raw[_TIME.size :])

    def reserved(self, prefix: bytes) -> Iterator[tuple[bytes, Stored]]:
        """Iterate over the reserved keys that begin with `prefix`."""
        for key, raw in self._db.items(from_key=prefix):
            if not key.startswith(prefix):
                return
            yield key, Stored(_TIME.unpack_from(raw)[0], raw[_TIME.size :])

    def close(self) -> None:
        """Close the database; its lock is free afterwards."""
        self._db.close()
