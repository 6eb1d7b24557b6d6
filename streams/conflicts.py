"""Addresses that change hands: who waits for whose, and rings of users that cidaas accepts in no order.

The users of a ring may belong to different workers. So each owner publishes its users in conflict in the `control`
topic, by marks (fingerprints) of the address that a user wants and of the one that it holds at cidaas, and every
worker looks at all of them. Memory only: after a restart the next refusal finds them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from streams.pipeline import Pipeline
    from streams.state import Partition

CONFLICTS = "conflicts/"
#: Refusals before a conflict is published: most are over at the first or second try.
_PATIENCE = 2
#: Users that one partition publishes; those refused last, so that everybody's turn comes.
_PER_PARTITION = 200


class _Conflict(NamedTuple):
    wants: str
    holds: str
    tries: int


class Conflicts:
    """The users of this worker that wait for an address, and what the other workers publish of theirs."""

    def __init__(self, pipeline: Pipeline, wake: Callable[[bytes], None]) -> None:
        """`wake` lets a user of this worker go at once; users are named as in the queues."""
        self._pipeline, self._wake = pipeline, wake
        #: mark of an address -> users that wait for it.
        self._waiting_for: dict[str, set[bytes]] = {}
        #: who holds another address than it wants, those refused last behind; nobody else can be part of a ring.
        self._mine: dict[bytes, _Conflict] = {}
        self._others: dict[bytes, _Conflict] = {}
        self._published: dict[int, dict[str, list[str]]] = {}
        self._woken: set[bytes] = set()

    def found(self, user: bytes, wants: str, holds: str, tries: int) -> None:
        """The user was refused because somebody has the address that it wants; `tries` counts the refusals."""
        self._waiting_for.setdefault(wants, set()).add(user)
        self._mine.pop(user, None)
        if holds:
            self._mine[user] = _Conflict(wants, holds, tries)

    def over(self, user: bytes, freed: str) -> None:
        """The user is stored or deleted; it does not hold the address `freed` any more ("" for none)."""
        self._mine.pop(user, None)
        self._woken.discard(user)
        if freed:
            self._free(freed)

    def _free(self, mark: str) -> None:
        for user in self._waiting_for.pop(mark, ()):
            self._wake(user)

    def in_ring(self, user: bytes) -> bool:
        """Whether this user waits for an address whose holder waits, in the end, for this user's own."""
        return bool(self._ring(user, self._everyone(), self._holders()))

    def _everyone(self) -> dict[bytes, _Conflict]:
        return {**self._others, **self._mine}

    def _holders(self) -> dict[str, bytes]:
        return {conflict.holds: user for user, conflict in self._everyone().items()}

    @staticmethod
    def _ring(user: bytes, everyone: dict[bytes, _Conflict], holders: dict[str, bytes]) -> list[bytes]:
        seen, current = [user], everyone.get(user)
        while current is not None:
            following = holders.get(current.wants)
            if following == user:
                return seen
            if following is None or following in seen:
                break
            seen.append(following)
            current = everyone.get(following)
        return []

    def forget(self) -> None:
        """Forget everything after a revoke: others may have freed addresses since."""
        self._waiting_for.clear()
        self._mine.clear()
        self._published.clear()
        self._woken.clear()

    # -- with the other workers --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish, and look at what the others publish, until cancelled."""
        while True:
            await self._pipeline.control.wait_changed()  # a second at most
            await self.exchange()

    async def exchange(self) -> None:
        """Publish what has changed here; wake whom a change elsewhere concerns."""
        partitions = self._pipeline.partitions()
        for partition in partitions:
            await self._publish(partition)
        others = dict(self._read({partition.number for partition in partitions}))
        if others == self._others:
            return
        freed = {one.holds for one in self._others.values()} - {one.holds for one in others.values()}
        self._others = others
        for mark in freed:
            self._free(mark)
        everyone, holders = self._everyone(), self._holders()
        for user in self._mine.keys() - self._woken:
            ring = self._ring(user, everyone, holders)
            # One of the ring is enough, and the others wait for nothing else: all workers choose the same one.
            if ring and user == min(ring):
                self._woken.add(user)
                self._wake(user)

    async def _publish(self, partition: Partition) -> None:
        if partition.closing:
            return
        number = partition.number
        prefix = number.to_bytes(2, "big")
        mine = [(user, one) for user, one in self._mine.items() if user[:2] == prefix and one.tries >= _PATIENCE]
        wanted = {user[2:].decode(): [one.wants, one.holds] for user, one in mine[-_PER_PARTITION:]}
        name = f"{CONFLICTS}{number}"
        before = self._published.get(number, self._pipeline.control.state.get(name, {}).get("users", {}))
        if wanted != before:
            await self._pipeline.control.put(name, {"users": wanted})
        self._published[number] = wanted

    def _read(self, own: set[int]) -> Iterable[tuple[bytes, _Conflict]]:
        for name, body in self._pipeline.control.state.items():
            if name.startswith(CONFLICTS) and int(name.removeprefix(CONFLICTS)) not in own:
                prefix = int(name.removeprefix(CONFLICTS)).to_bytes(2, "big")
                for user_id, (wants, holds) in body["users"].items():
                    yield prefix + user_id.encode(), _Conflict(wants, holds, _PATIENCE)
