"""Users whom the legacy database has changed after the GO: nothing of it is sent, and a person has to know it.

Nothing is remembered for that. While delivery holds, whoever is changed stays pending, and the snapshot knows behind
which commit the change came. A user that had to be read again is of no commit; there the version tells, which is an
offset: up to which one the GO has looked, the certificate says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams import snapshots
from streams.cutover import record
from streams.ledger import Situation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.state import Partition

#: Users of a partition that are looked at, and that are named.
_MOST, _NAMED = 1_000, 5


def late(state: Mapping[str, Any], partitions: Iterable[Partition]) -> dict[str, Any]:
    """How many there are in these partitions, and the first of them; `state` is the control topic."""
    known = record.read(state)
    users: list[str] = []
    if known is not None and known.over and known.marker is not None:
        for partition in partitions:
            users += _changed(partition, known.marker.lsn, known.ends.get(partition.number))
    return {"users": len(users), "first": users[:_NAMED]}


def _changed(partition: Partition, marker: int, end: int | None) -> Iterator[str]:
    waiting = (Situation.PENDING, Situation.SET_ASIDE)
    keys = [key for situation in waiting for key in partition.standing(situation, _MOST)]
    for key, stored in zip(keys, partition.snapshots.store.get_many(keys) if keys else (), strict=True):
        snap = snapshots.decode(stored.value) if stored is not None else None
        if snap is None:
            continue
        # Whoever was only ordered anew came before, by commit and version.
        committed = snap.streamed and (snap.after_commit or 0) >= marker
        if committed or (end is not None and snap.version[1] >= end):
            yield key.decode(errors="replace")


def together(found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """What several workers say, added up."""
    said = list(found)
    first = [user for one in said for user in one["first"]]
    return {"users": sum(one["users"] for one in said), "first": first[:_NAMED]}
