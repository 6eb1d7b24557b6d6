"""Durable tables: Kafka's changelog first, then the local store (D1), with one writer per partition (O3)."""

from streams.state.changelog import AGAIN, Changelog, GapError, LostError, TableKind, TruncatedError
from streams.state.partition import Partition, TakeOver
from streams.state.store import Store, Stored, damage

__all__ = [
    "AGAIN",
    "Changelog",
    "GapError",
    "LostError",
    "Partition",
    "Store",
    "Stored",
    "TableKind",
    "TakeOver",
    "TruncatedError",
    "damage",
]
