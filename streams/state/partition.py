"""One owned partition: both tables, who owned it before, and where each of its users stands.

Ownership begins with a take-over record in both changelogs and ends with a settled record, if no call can be on its
way any more (C5). Delivery may read a partition only between the two.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from streams import failpoints, ledger, snapshots
from streams.ledger import Situation
from streams.snapshots import GONE, SEEN_LIVE
from streams.state import records
from streams.state.changelog import TableKind
from streams.state.decisions import Decisions
from streams.state.history import History
from streams.state.store import RESERVED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streams.snapshots import Snapshot
    from streams.state.changelog import Changelog
    from streams.state.store import Stored

log = logging.getLogger(__name__)

#: Users looked at before the event loop gets its turn during a scan.
_SLICE = 2_000


@dataclass(frozen=True, slots=True)
class TakeOver:
    """What the take-over found; times are the broker's, in ms (C5)."""

    time_ms: int
    settled: bool  # the last owner left no call on its way
    mapping_changed: bool  # the last owner sent under another mapping
    earlier_unsettled_ms: int | None  # an unsettled take-over before this one


class Partition:
    """The state of one partition in the hands of its owner."""

    def __init__(self, number: int, snaps: Changelog, entries: Changelog, mapping_id: str, settle: float) -> None:
        self.number, self.snapshots, self.ledger = number, snaps, entries
        self.mapping_id = mapping_id
        self._mapping_bytes = bytes.fromhex(mapping_id)
        self._settle = settle
        self.owned = asyncio.Event()
        #: no call starts and no answer counts once the partition is given up (O1).
        self.closing = False
        #: the stores are closed: whatever comes now comes too late.
        self.closed = False
        self.take_over_facts: TakeOver | None = None
        #: source epochs: (first offset, number), ascending (M8).
        self.epochs: list[tuple[int, int]] = [(0, 1)]
        self.topic_epoch = 1
        #: where every user that is *not* in sync stands, who came there first at the beginning; the others are known
        #: but not listed.
        self.situations: dict[bytes, Situation] = {}
        self.counts: Counter[Situation] = Counter()
        self.known = 0
        self.gone = 0
        self.unreadable = 0
        #: users with no confirmed entry when we took over (C5); emptied when their time is over.
        self.unconfirmed: set[bytes] = set()
        #: users that were put in doubt since their last call began: its answer does not confirm them.
        self.doubted: set[bytes] = set()
        #: users of whom the ledger knows but `snapshots` does not, or not their row: it is lost (O4).
        self.orphans: list[bytes] = []
        self._taken_at = 0.0
        #: until when calls of ours may still be on their way after an unclear end (C4), monotonic.
        self.unclear_until = 0.0
        self.calls = 0
        self.joined_offset = -1
        #: up to here it has to be joined before anybody leaves (C9); 0 when nothing has to.
        self.replay_end = 0
        #: the newest decisions to delete (the brake); loaded at the take-over.
        self.decisions = Decisions()
        #: pending users that a scan found and that nobody ever saw live, nor cidaas: the mapping tells what they are.
        self.never_live: list[bytes] = []
        #: users of whom cidaas was asked, for `delivery.only` = first N.
        self.admitted = 0
        #: those of them that have no entry yet.
        self.tried: set[bytes] = set()
        self.last_write = time.monotonic()
        #: what the ledger told of the time before us; made by the scan.
        self.history = History(0)

    # -- ownership -------------------------------------------------------------------------------------------------

    async def take_over(self, worker: str) -> TakeOver:
        """Become the owner of both changelogs and learn how the last owner left (O2, O3, C5)."""
        await self.snapshots.take_over(self.mapping_id, worker)
        if failpoints.armed:
            await failpoints.reach("between-changelogs")
        time_ms = await self.ledger.take_over(self.mapping_id, worker)
        self._taken_at = time.monotonic()
        settled, mapping_changed = True, False
        previous = self.ledger.previous
        if previous is not None:
            number, body = records.unpack(previous.value)
            left = self.ledger.store.get(records.SETTLED)
            settled = left is not None and records.owner_of(left.value) == number
            mapping_changed = body["mapping"] != self.mapping_id
        earlier = self.ledger.store.get(records.UNSETTLED)
        facts = TakeOver(time_ms, settled, mapping_changed, earlier.time_ms if earlier else None)
        if not settled:
            await self.ledger.put([(records.UNSETTLED, records.pack(self.ledger.owner, {}))])
        for changelog in (self.snapshots, self.ledger):
            await self.append_again(changelog.kind, list(changelog.late.offsets))
        self._load_reserved()
        self.take_over_facts = facts
        return facts

    def _load_reserved(self) -> None:
        stored = self.snapshots.store.get(records.EPOCHS)
        if stored is not None:
            self.epochs = [(first, number) for first, number in records.unpack(stored.value)[1]["epochs"]]
        decided = self.snapshots.store.get(records.DELETES)
        if decided is not None:
            self.decisions = Decisions.load(records.unpack(decided.value)[1])
        replay = self.snapshots.store.get(records.REPLAY)
        if replay is not None:
            self.replay_end = int(records.unpack(replay.value)[1]["end"])
        self.unreadable = len(self.unread())

    def unread(self) -> list[bytes]:
        """The marks of records without a readable key that no sweep has answered yet (M7)."""
        marks = self.snapshots.store.reserved(records.UNREADABLE)
        return [key for key, mark in marks if "swept" not in records.unpack(mark.value)[1]]

    async def swept(self, marks: Sequence[bytes]) -> None:
        """Note that both sides have been compared since these marks were made (M7); never by a tombstone (O3)."""
        owner, items = self.snapshots.owner, []
        for key, mark in zip(marks, self.snapshots.store.get_many(marks) if marks else [], strict=True):
            if mark is not None:
                items.append((key, records.pack(owner, {**records.unpack(mark.value)[1], "swept": True})))
        await self.snapshots.put(items)
        if not self.closed:
            self.unreadable = len(self.unread())

    async def append_again(self, kind: TableKind, keys: Sequence[bytes]) -> None:
        """Append our values of these keys behind what a late writer wrote of them, and put the users in doubt (O3).

        In the changelog `kind` the late record is the last one of its key: compaction would keep it and drop ours.
        And who wrote late may have called late.
        """
        if not keys:
            return
        snaps, entries = self.snapshots, self.ledger
        changelog = snaps if kind is TableKind.SNAPSHOTS else entries
        late = {key: changelog.late.offsets.get(key, -1) for key in keys}

        def newest() -> list[tuple[bytes, bytes]]:
            owner = snaps.owner.to_bytes(8, "big")
            found = zip(keys, snaps.store.get_many(keys), strict=True)
            return [(key, owner + stored.value[8:]) for key, stored in found if stored is not None]

        def doubted() -> list[tuple[bytes, bytes]]:
            users = [key for key in keys if not key.startswith(RESERVED)]
            items = []
            for key, stored in zip(users, entries.store.get_many(users), strict=True):
                entry = ledger.decode(stored.value) if stored is not None else ledger.Entry()
                entry.state, entry.reason = ledger.State.IN_DOUBT, "a late writer was found out"
                items.append((key, entry.encode(entries.owner, entries.next_count())))
            return items

        # Made when everything before is in the store: what the join has on its way is newer than what is there now.
        # The doubt is first: after a crash in between, the next owner still finds the late snapshot behind ours.
        self.doubted.update(keys)
        await entries.put_made(doubted)
        if kind is TableKind.SNAPSHOTS and not self.closed:
            await snaps.put_made(newest)
        if not self.closed:  # else the note in the store stays, and the records for whoever reads them
            changelog.late.appended_again(late)
        log.warning("appended again partition=%d table=%s keys=%d", self.number, kind.value, len(keys))

    async def settle(self) -> None:
        """Leave the settled record, unless a call may still be on its way (C5)."""
        if self.owned.is_set() and self.calls == 0 and time.monotonic() >= self.unclear_until:
            if failpoints.armed:
                await failpoints.reach("before-settled")
            await self.ledger.put([(records.SETTLED, records.pack(self.ledger.owner, {}))])

    async def replay(self, end: int) -> None:
        """Note that nobody leaves before the source was joined up to here, also for the owners after us (C9)."""
        if end > self.joined_offset + 1:
            await self.snapshots.put([(records.REPLAY, records.pack(self.snapshots.owner, {"end": end}))])
            self.replay_end = end

    @property
    def replaying(self) -> bool:
        """Whether records of the source are read again that are older than what cidaas may have (C9)."""
        return self.joined_offset + 1 < self.replay_end

    async def close(self) -> None:
        """Give the stores back; waits for writes that are on their way."""
        self.closing = self.closed = True
        await self.snapshots.close()
        await self.ledger.close()

    def epoch_of(self, offset: int) -> int:
        """The source epoch of a record, found by its own offset (M8)."""
        number = self.epochs[0][1]
        for first, epoch in self.epochs:
            if first > offset:
                break
            number = epoch
        return number

    # -- when may this user leave (C5) -----------------------------------------------------------------------------

    def not_before(self, key: bytes, changed_ms: int) -> float:
        """Monotonic time before which nothing may be sent for this user; 0 when it may go at once (C5).

        A lost request of a dead worker can carry only what was current when it was sent, so a version that is older
        than `settle` cannot be overtaken any more.
        """
        facts = self.take_over_facts
        if facts is None:
            return 0.0
        until = 0.0
        if not facts.settled and key in self.unconfirmed:
            young = changed_ms > facts.time_ms - self._settle * 1000
            if young or facts.mapping_changed:
                until = self._taken_at + self._settle
        if facts.earlier_unsettled_ms is not None:
            until = max(until, self._taken_at + self._settle - (facts.time_ms - facts.earlier_unsettled_ms) / 1000)
        if self.unconfirmed and time.monotonic() >= self._taken_at + self._settle:
            self.unconfirmed.clear()
        return until if until > time.monotonic() else 0.0

    # -- reading both tables ---------------------------------------------------------------------------------------

    @property
    def readable(self) -> bool:
        """Whether it is completely owned and its stores are open; in a revoke they close while others run."""
        return self.owned.is_set() and not self.closed

    def read(self, keys: Sequence[bytes]) -> list[tuple[Stored | None, Stored | None]]:
        """Return (snapshot, ledger entry) of each key, as they are in the store (D1)."""
        return list(zip(self.snapshots.store.get_many(keys), self.ledger.store.get_many(keys), strict=True))

    def situation(self, snap: Stored | None, entry: Stored | None) -> Situation | None:
        """Where a user stands; None for one whom nobody has seen."""
        if snap is None:
            return None
        return ledger.situation(
            snapshots.head(snap.value), None if entry is None else ledger.head(entry.value), self._mapping_bytes
        )

    def standing_of(self, snap: Snapshot, entry: bytes | None) -> Situation:
        """The same for a snapshot in hand, whose encoded form is in the store, and an encoded entry."""
        head = snapshots.Head(0, snap.applied, snap.version, snap.flags)
        return ledger.situation(head, None if entry is None else ledger.head(entry), self._mapping_bytes)

    def moved(self, key: bytes, situation: Situation | None) -> None:
        """Note where a user stands now."""
        before = self.situations.get(key)
        if before is situation:
            return
        if before is not None:
            self.counts[before] -= 1
            del self.situations[key]  # else it would keep its place in the order
        if situation is not None and situation is not Situation.IN_SYNC:
            self.situations[key] = situation
            self.counts[situation] += 1

    def standing(self, situation: Situation, most: int | None = None) -> list[bytes]:
        """The users in this situation, who came there first at the beginning, at most so many."""
        if not self.counts[situation]:
            return []
        return list(islice((key for key, where in self.situations.items() if where is situation), most))

    async def scan(self) -> AsyncIterator[list[tuple[bytes, Situation, int]]]:
        """Find every user that is not in sync, in slices of (key, situation, time of the snapshot in ms).

        Both stores are read in key order side by side; nothing is decoded but the headers.
        """
        self.situations.clear()
        self.counts.clear()
        self.known = self.gone = self.admitted = 0
        self.unconfirmed, self.tried = set(), set()
        self.orphans, self.never_live = [], []
        remember = self.take_over_facts is not None and not self.take_over_facts.settled
        history = self.history = History(self.take_over_facts.time_ms if self.take_over_facts is not None else 0)
        times: dict[bytes, int] = {}
        entries = self.ledger.store.items()
        entry_key, entry = next(entries, (None, None))
        found: list[tuple[bytes, Situation, int]] = []
        for seen, (key, snap) in enumerate(self.snapshots.store.items(), 1):
            while entry_key is not None and entry_key < key:
                self.orphans.append(entry_key)
                entry_key, entry = next(entries, (None, None))
            mine = None
            if entry_key == key:
                mine = entry
                entry_key, entry = next(entries, (None, None))
            self.admitted += mine is not None and ledger.asked(mine.value)
            self.known += 1
            flags = snapshots.head(snap.value).flags
            if flags & GONE:
                self.gone += 1
            situation = self.situation(snap, mine)
            if mine is not None:
                history.entry(key, mine.time_ms, confirmed=situation is Situation.IN_SYNC)
            if (
                situation is Situation.CREDENTIALS_ONLY
                and mine is not None
                and ledger.ahead(snapshots.head(snap.value), ledger.head(mine.value))
            ):
                self.orphans.append(key)  # its row is lost; never pending, so nobody else would look (O4)
            if situation is not None and situation is not Situation.IN_SYNC:
                self.moved(key, situation)
                if situation is Situation.PENDING and mine is None and not flags & SEEN_LIVE:
                    self.never_live.append(key)
                times[key] = snap.time_ms
                found.append((key, situation, snap.time_ms))
                if remember:
                    self.unconfirmed.add(key)
            if seen % _SLICE == 0:
                yield found
                found = []
                await asyncio.sleep(0)
        if entry_key is not None:
            self.orphans.append(entry_key)
        self.orphans.extend(key for key, _ in entries)
        newest = max(times.values(), default=0)  # of whoever moved meanwhile
        self.situations = dict(sorted(self.situations.items(), key=lambda one: times.get(one[0], newest)))
        yield found

    def admit(self, key: bytes, most: int) -> bool:
        """Whether a user that cidaas was never asked of is one of the first `most` that may leave; it is counted once.

        Else each try of a call that fails would take another place.
        """
        if key in self.tried:
            return True
        if self.admitted >= most:
            return False
        self.admitted += 1
        self.tried.add(key)
        return True
