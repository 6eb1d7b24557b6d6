"""What cidaas has, against what the ledger says that it has confirmed.

Nothing is decided by one look: pages come from a search index, which may be late, and users are sent meanwhile. Whoever
differs is looked at alone; it is proved when its ledger entry is the same before and behind that look and still says
that everything is confirmed, because then no call of ours was on its way between.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from streams.cidaas.answers import normal_sub
from streams.reconcile.cases import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streams.reconcile.source import Progress
    from streams.reconcile.tables import Tables
    from streams.reconcile.target import Target
    from streams.reconcile.traits import Traits

#: Rounds of looks at single users, and users that are looked at in one; who is beyond is judged by its page.
_ROUNDS, _MOST = 5, 2_000
#: A field that at least so many users were sent with, and that cidaas shows of nobody, is not stored by the tenant.
_ENOUGH = 20
#: No user: as different as can be from all that has a value.
_GONE = b""


class Readback:
    """One comparison; `wrong` and `strangers` are what it has proved."""

    def __init__(
        self,
        tables: Tables,
        target: Target,
        traits: Traits,
        case_of: Callable[[bytes], Case | None],
        sub_of: Callable[[str], str],
    ) -> None:
        """`case_of` is what snapshot and ledger say of a user now."""
        self._tables, self._target, self._traits, self._case_of = tables, target, traits, case_of
        self._make_sub = sub_of
        self.read = 0
        #: proved: user -> the case, and the names of fields that differ.
        self.wrong: dict[bytes, tuple[Case, tuple[str, ...]]] = {}
        self.changing: list[bytes] = []
        #: subs that nobody here knows.
        self.strangers: list[str] = []
        #: users who were judged by their page alone, because too many differ.
        self.unseen = 0
        self._sent: Counter[int] = Counter()
        self._shown: Counter[int] = Counter()
        #: suspect -> the rank of its entry before it was looked at.
        self._suspects: dict[bytes, bytes] = {}
        #: suspect -> its traits at cidaas at the first look.
        self._first: dict[bytes, bytes] = {}

    @property
    def not_stored(self) -> list[str]:
        """Fields that were sent with many users, and that cidaas shows of none of them."""
        return [self._traits.names[at] for at in self._absent()]

    def _sub_of(self, key: bytes) -> str:
        return normal_sub(self._make_sub(key.decode()))

    # -- the first look --------------------------------------------------------------------------------------------

    async def everybody(self, ours: Iterable[bytes], progress: Progress) -> None:
        """Read all users at cidaas; `ours` are all whom anybody here knows."""
        subs = {self._sub_of(key): key for key in ours}
        strange: set[str] = set()
        with progress("users read back", len(subs)) as done:
            async for users in self._target.everyone():
                for sub, profile in users.items():
                    key = subs.pop(sub, None)
                    if key is None:
                        strange.add(sub)
                    else:
                        self._look(key, profile)
                self.read += len(users)
                done(self.read)
        for key in subs.values():
            self._look(key, None)
        await self._strangers(strange)
        await self._settle()

    async def some(self, chosen: Iterable[bytes], progress: Progress) -> None:
        """Read these users one by one; of a part of all, nobody can be told to be a stranger."""
        keys = [key for key in chosen if self._case_of(key) in (Case.CONFIRMED, Case.DELETED)]
        with progress("users read back", len(keys)) as done:
            for key in keys:
                self._look(key, await self._target.one(self._sub_of(key)))
                self.read += 1
                done(self.read)
        await self._settle()

    def _look(self, key: bytes, profile: Mapping[str, Any] | None) -> None:
        """Suspect whoever is not as the ledger says."""
        case, noted = self._case_of(key), self._tables.noted(key)
        if noted is None or case not in (Case.CONFIRMED, Case.DELETED):
            return
        shown = _GONE if profile is None else self._traits.of(profile)
        if case is Case.CONFIRMED and profile is not None:
            desired = self._tables.desired(key)
            sent = desired.traits if desired is not None else b""
            given = set(self._traits.given(sent))
            self._sent.update(given)
            self._shown.update(given.intersection(self._traits.given(shown)))
            if not list(self._traits.differing(sent, shown)):
                return
        elif (case is Case.DELETED) == (profile is None):
            return
        self._suspects[key], self._first[key] = noted.rank, shown

    def _absent(self) -> set[int]:
        return {at for at, users in self._sent.items() if users >= _ENOUGH and not self._shown[at]}

    # -- the second look -------------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Look at suspects alone, until each is proved, or not wrong any more, or has changed too often."""
        self._suspects = {key: rank for key, rank in self._suspects.items() if self._case(key, self._first[key])}
        for _ in range(_ROUNDS):
            if not self._suspects:
                return
            looked = dict(self._first)  # whoever is beyond the most keeps what its page has shown
            for key in list(self._suspects)[:_MOST]:
                profile = await self._target.one(self._sub_of(key))
                looked[key] = _GONE if profile is None else self._traits.of(profile)
            self.unseen = max(self.unseen, len(self._suspects) - _MOST)
            await self._tables.read_on()
            self._judge(looked)
        self.changing += self._suspects

    def _judge(self, looked: Mapping[bytes, bytes]) -> None:
        before, self._suspects = self._suspects, {}
        for key, rank in before.items():
            found, noted = self._case(key, looked[key]), self._tables.noted(key)
            if found is None or noted is None:
                continue
            if noted.rank == rank:
                self.wrong[key] = found
            else:
                self._suspects[key] = noted.rank

    def _case(self, key: bytes, shown: bytes) -> tuple[Case, tuple[str, ...]] | None:
        """What is wrong with a user whom cidaas shows like this; None for nothing, or what the ledger knows itself."""
        case = self._case_of(key)
        if case is Case.DELETED:
            return None if shown == _GONE else (Case.NOT_DELETED, ())
        if case is not Case.CONFIRMED:
            return None
        if shown == _GONE:
            return Case.MISSING, ()
        desired, absent = self._tables.desired(key), self._absent()
        sent = desired.traits if desired is not None else b""
        names = tuple(self._traits.names[at] for at in self._traits.differing(sent, shown) if at not in absent)
        return (Case.CHANGED_AT_TARGET, names) if names else None

    async def _strangers(self, strange: set[str]) -> None:
        """Of subs that nobody knew, those that are nobody's still, and still there."""
        if not strange:
            return
        await self._tables.read_on()
        known = {self._sub_of(key) for key in self._tables.users()}
        left = sorted(strange - known)
        for sub in left[:_MOST]:
            if await self._target.one(sub) is not None:
                self.strangers.append(sub)
        self.strangers += left[_MOST:]
