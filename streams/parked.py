"""Deletes that the brake has parked go back into the queue when a person has answered it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from streams.brake import TRIPPED
from streams.ledger import Situation, State, decode
from streams.orders import answered

if TYPE_CHECKING:
    from streams.delivery import Delivery
    from streams.state import Partition


async def answer_brake(delivery: Delivery) -> None:
    """Hear of answers until cancelled; keep the brake's limit right, too."""
    pipeline = delivery.pipeline
    while True:
        await pipeline.control.wait_changed()
        for partition in pipeline.partitions():
            await delivery.brake.refresh(partition)
        state = pipeline.control.state.get(TRIPPED)
        if state is None or state.get("on"):
            continue
        # Each time, not once for each answer: a delete may be parked at the very moment of the answer.
        for partition in pipeline.partitions():
            await _unpark(delivery, partition, allowed=bool(state.get("allow")))


async def _unpark(delivery: Delivery, partition: Partition, *, allowed: bool) -> None:
    """Everything parked was answered, also users whose version is newer than the last decision."""
    keys = partition.standing(Situation.PARKED)
    for start in range(0, len(keys), 500):
        some = keys[start : start + 500]
        if partition.closing:
            return  # its next owner does it
        await partition.ledger.put_made(partial(_answers, partition, some, allowed=allowed))
        if partition.closed:
            return
        for key, (snap, stored) in zip(some, partition.read(some), strict=True):
            delivery.joined(partition, key, partition.situation(snap, stored), False)


def _answers(partition: Partition, keys: list[bytes], *, allowed: bool) -> list[tuple[bytes, bytes]]:
    """Entries of those who are parked still: since the list was made, others were joined, sent, and written."""
    items = []
    for key, (_, stored) in zip(keys, partition.read(keys), strict=True):
        if stored is not None and (entry := decode(stored.value)).state is State.PARKED:
            entry = answered(entry, allow=allowed, now=time.time())
            items.append((key, entry.encode(partition.ledger.owner, partition.ledger.next_count())))
    return items
