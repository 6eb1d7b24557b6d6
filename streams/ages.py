"""Since when a pending user is pending, by what its snapshot and its ledger entry say (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.ledger import Entry, State

if TYPE_CHECKING:
    from streams.snapshots import Snapshot


def pending_since(
    snap: Snapshot, written: float, entry: Entry | None, noted: float, mapping_id: str, taken: float
) -> float:
    """Unix seconds: the commit of a change that was streamed, else when the snapshot was written.

    Whom cidaas had already is pending since something made it so: an order to send it again (`noted`, when its entry
    was written), or a new mapping (`taken`, when a worker with that one took its partition over). A refused user that
    is tried again waits since its change.
    """
    since = snap.committed_us / 1e6 if snap.streamed and snap.committed_us else written
    if entry is None or entry.version != snap.version or entry.state is State.RETRYING:
        return since
    if entry.mapping_id != mapping_id:
        return max(since, taken)
    return max(since, noted)
