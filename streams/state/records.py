"""Reserved records of the changelogs: who owns a partition, and what the owner left for the next one."""

from __future__ import annotations

from struct import Struct
from typing import Any

import orjson

_HEAD = Struct(">Q")

OWNER = b"\x00owner"  # take-over: the record's offset is the owner's number (O3)
SETTLED = b"\x00settled"  # the last owner left with no call on its way (C5)
UNSETTLED = b"\x00unsettled"  # a take-over found no settled record: calls of a dead worker may still land (C5)
MARK = b"\x00mark"  # written at least once an hour, so that a late writer is found out (O3)
EPOCHS = b"\x00epochs"  # source epochs and the offsets from which they hold (M8)
UNREADABLE = b"\x00unreadable/"  # a record without a readable key, by its offset (M7)
REPLAY = b"\x00replay"  # up to where a partition has to be joined before anybody leaves (C9)
DELETES = b"\x00deletes"  # delete decisions of this partition (the brake)
#: What one owner says of its own ownership: never repeated by another one.
OWNERSHIP = frozenset({OWNER, SETTLED, UNSETTLED, MARK})
LATE = b"\x00late"  # in the local store only: keys whose last record in the changelog is a late writer's (O3)
TRUNCATED = b"\x00truncated"  # in the local store only: the changelog was found shorter than what was read of it


def pack(owner: int, body: dict[str, Any]) -> bytes:
    """Encode a reserved record written by owner `owner`."""
    return _HEAD.pack(owner) + orjson.dumps(body)


def owner_of(value: bytes) -> int:
    """Read the owner's number, which every record of both changelogs begins with."""
    return int(_HEAD.unpack_from(value)[0])


def unpack(value: bytes) -> tuple[int, dict[str, Any]]:
    """Decode a reserved record into the owner's number and its body."""
    return owner_of(value), orjson.loads(memoryview(value)[_HEAD.size :])
