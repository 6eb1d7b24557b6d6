"""Decisions to delete, counted in the partition where they are made (the brake rests on them)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Decisions are counted in buckets of this length, by the time of the source's topic.
_BUCKET_MS = 10_000
#: Buckets that are kept at least: another partition may be read hours later, and what was decided there counts together
#: with what was decided here at that time. (They stand in each figure: 6 kB.)
_KEPT = 300


@dataclass(slots=True)
class Decisions:
    """The newest decisions of one partition, as they stand in `snapshots`.

    `upto` is the offset of the newest record that decided a delete.
    """

    buckets: dict[int, int] = field(default_factory=dict)
    upto: int = -1

    @classmethod
    def load(cls, body: dict[str, Any]) -> Decisions:
        """Read what `body` wrote."""
        return cls({int(at): int(count) for at, count in body["buckets"]}, int(body["upto"]))

    def add(self, offset: int, time_ms: int, window: float) -> None:
        """Count one decision, made by the record at `offset`; those of the last `window` seconds are never dropped."""
        bucket = time_ms - time_ms % _BUCKET_MS
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.upto = offset
        if len(self.buckets) > _KEPT and (oldest := min(self.buckets)) < bucket - window * 1000 - _BUCKET_MS:
            del self.buckets[oldest]

    def body(self) -> dict[str, Any]:
        """The figure for the changelog and for the control topic."""
        return {"buckets": sorted(self.buckets.items()), "upto": self.upto}
