"""One run: source against snapshots, ledger against cidaas, and what snapshots and ledger say of everybody."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from streams.ages import pending_since
from streams.divergence import EXAMPLES
from streams.ledger import Entry, State
from streams.reconcile.cases import DIFFERENCES, WAITING, Case, standing
from streams.reconcile.readback import Readback
from streams.reconcile.suspects import Suspects
from streams.snapshots import NEVER, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from streams.reconcile.passing import Passing
    from streams.reconcile.source import Progress, Source
    from streams.reconcile.tables import Desired, Noted, Tables
    from streams.reconcile.target import Target
    from streams.reconcile.traits import Traits
    from streams.settings import Settings
    from streams.snapshots import Position

#: Looks at suspects after the first one, until those that change all the time are left alone.
_ROUNDS = 8


class Wrong(NamedTuple):
    """One user that differs. `fields`: which ones cidaas shows otherwise; `applied` and `epoch` are for a removal."""

    user: str
    case: Case
    fields: tuple[str, ...] = ()
    applied: Position = NEVER
    epoch: int = 1


@dataclass(slots=True)
class Result:
    """What was found: `counts` of all users, examples by id, everybody who differs, and what was not compared."""

    at: float
    seconds: float = 0.0
    counts: Counter[Case] = field(default_factory=Counter)
    examples: dict[Case, list[str]] = field(default_factory=dict)
    #: Unix seconds since when the first of them waits.
    oldest: dict[Case, float] = field(default_factory=dict)
    wrong: list[Wrong] = field(default_factory=list)
    #: users read at cidaas, None if it was left out; and whether they were a sample.
    read_back: int | None = None
    sampled: bool = False
    #: columns that both sides may write in different ways; fields that the tenant stores of nobody.
    left_out: Sequence[str] = ()
    not_stored: Sequence[str] = ()
    #: users at cidaas who were judged by one look, because too many differ.
    unseen: int = 0

    def add(self, case: Case, user: str, since: float | None = None) -> None:
        """Count one user."""
        self.counts[case] += 1
        if len(shown := self.examples.setdefault(case, [])) < EXAMPLES:
            shown.append(user)
        if since is not None:
            self.oldest[case] = min(since, self.oldest.get(case, since))

    @property
    def differences(self) -> int:
        """How many users differ."""
        return sum(self.counts[case] for case in DIFFERENCES)


class Run:
    """One comparison of everything; the parts are given, so that tests can let them move."""

    def __init__(
        self,
        settings: Settings,
        source: Source,
        passing: Passing,
        tables: Tables,
        progress: Progress,
        *,
        target: Target | None = None,
        traits: Traits | None = None,
        sample: int | None = None,
    ) -> None:
        """`target` and `traits` are None where cidaas is left out; `sample` is about how many users are read there."""
        self._settings, self._source, self._passing, self._tables = settings, source, passing, tables
        self._progress, self._target, self._traits, self._sample = progress, target, traits, sample
        self._mapping_id = bytes.fromhex(settings.mapping.id)
        select = settings.mapping.select
        self._leaves = select is not None and select.on_leave == "delete"

    async def run(self, sub_of: Callable[[str], str]) -> Result:
        """Compare; `sub_of` makes the sub of an id.

        Raises:
            RefusedError: it cannot be told what is late from what is lost, or cidaas cannot be read.
            LegacyAwayError, ConfigError: the legacy tables cannot be read.
        """
        began, at = time.monotonic(), time.time()
        there = await self._source.everyone(self._progress)
        asked = self._chooser()
        self._tables.begin(self._source.marker, self._traits, asked)
        with self._progress("records read", await self._tables.waiting()) as done:
            await self._tables.read_on(done)
        suspects = await self._source_side(there)
        del there
        back = await self._target_side(suspects, asked, sub_of)
        if back is None:
            await self._tables.read_on()
        result = Result(at, left_out=self._source.marker.left_out)
        for key, case, fields in self._all(suspects, back):
            self._count(result, key, case, fields)
        if back is not None:
            result.read_back, result.sampled, result.unseen = back.read, self._sample is not None, back.unseen
            result.not_stored = back.not_stored
            for sub in back.strangers:
                result.add(Case.FOREIGN, sub)
                result.wrong.append(Wrong(sub, Case.FOREIGN))
        result.wrong.sort(key=lambda one: (one.case.value, one.user))
        result.seconds = time.monotonic() - began
        return result

    # -- source against snapshots ------------------------------------------------------------------------------------

    async def _source_side(self, there: Mapping[bytes, int]) -> Suspects:
        suspects = Suspects(self._tables.desired)
        suspects.first(there, self._tables.users())
        for _ in range(_ROUNDS):
            keys = suspects.left()
            if not keys:
                break
            marks, lsn = await self._source.again(keys)
            await self._passing.past(lsn)
            await self._tables.read_on()
            suspects.again(marks)
        return suspects

    # -- ledger against cidaas -----------------------------------------------------------------------------------------

    def _chooser(self) -> Callable[[bytes], bool]:
        """Whom cidaas is asked for: everybody, or a part of them that is another one in each run."""
        if self._target is None or self._sample is None or self._sample >= self._source.users:
            return lambda _: self._target is not None
        most, key = (self._sample << 64) // self._source.users, str(time.time_ns()).encode()
        return lambda user: int.from_bytes(blake2b(user, digest_size=8, key=key).digest()) < most

    async def _target_side(
        self, suspects: Suspects, asked: Callable[[bytes], bool], sub_of: Callable[[str], str]
    ) -> Readback | None:
        if self._target is None or self._traits is None:
            return None
        back = Readback(self._tables, self._target, self._traits, self._standing, sub_of)
        if self._sample is None:
            await back.everybody({*self._tables.users(), *suspects.proved()}, self._progress)
        else:
            await back.some([key for key in self._tables.users() if asked(key)], self._progress)
        return back

    # -- everybody -----------------------------------------------------------------------------------------------------

    def _standing(self, key: bytes) -> Case | None:
        return standing(self._tables.desired(key), self._tables.noted(key), self._mapping_id, leaves=self._leaves)

    def _all(self, suspects: Suspects, back: Readback | None) -> Iterator[tuple[bytes, Case, tuple[str, ...]]]:
        proved, wrong = suspects.proved(), back.wrong if back is not None else {}
        changing = {*suspects.left(), *(back.changing if back is not None else ())}
        unknown = [key for key in proved if self._tables.desired(key) is None and self._tables.noted(key) is None]
        for key in chain(self._tables.users(), unknown):
            case, fields = self._standing(key), tuple[str, ...]()
            if case is not Case.SET_ASIDE and key in proved:
                case = proved[key]
            elif case in (Case.CONFIRMED, Case.DELETED) and key in wrong:
                case, fields = wrong[key]
            elif case not in WAITING and key in changing:
                case = Case.CHANGING
            if case is not None:
                yield key, case, fields

    def _count(self, result: Result, key: bytes, case: Case, fields: tuple[str, ...]) -> None:
        user, desired, noted = key.decode(errors="replace"), self._tables.desired(key), self._tables.noted(key)
        since = self._since(case, key, desired, noted) if case in WAITING else None
        result.add(case, user, since)
        if case in DIFFERENCES:
            applied = desired.applied if desired is not None else NEVER
            result.wrong.append(Wrong(user, case, fields, applied, self._tables.epoch(key)))

    def _since(self, case: Case, key: bytes, desired: Desired | None, noted: Noted | None) -> float | None:
        if desired is None:
            return None
        if case is Case.SET_ASIDE or noted is None:
            return desired.since
        if case is not Case.PENDING:
            return noted.at
        snap = Snapshot(version=desired.version)
        entry = Entry(noted.version, noted.mapping_id.hex(), State(noted.state))
        return pending_since(snap, desired.since, entry, noted.at, self._settings.mapping.id, self._tables.taken(key))
