"""One freeze, step by step, until GO or NO-GO; what it asks and does is given, so that tests can let it happen.

    who is in the way       workers, source, cidaas, users who are held back
    the marker              when no transaction is open, and none is after it either
    the way of the marker   slot, end of the topic, end of the topic once more: removals are a second hop
    everybody               nobody pending, nothing in a call
    the last comparison     legacy tables, snapshots, ledger
    the last look           delivery holds, and everything up to now has come the same way: nothing was written since

The pause comes before the last look: from then on nothing can leave that no look has seen. Unless GO was said, delivery
goes on afterwards, whatever ended the freeze; killed, it leaves the pause, which says of what it is.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from streams.cutover import gate, record
from streams.doctor.asking import AwayError
from streams.doctor.checks import fault, unknown
from streams.identity import RefusedError
from streams.legacy import LegacyAwayError
from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from streams.cutover.freeze import Transaction
    from streams.cutover.gate import Late, Sight
    from streams.cutover.held import Held
    from streams.cutover.record import Marker
    from streams.doctor.checks import Check
    from streams.reconcile.run import Result
    from streams.settings import Settings

#: Seconds between two looks, and for transactions that are just ending.
EVERY, ENDING = 0.5, 5.0
_AGAIN = "Cure it, then freeze again."


class World(Protocol):
    """What a freeze asks, and does."""

    async def look(self) -> Sight:
        """Look at everything that workers, database and Kafka say; RefusedError where not everybody can be seen."""

    async def cidaas(self) -> str:
        """Why cidaas does not answer; "" when it does."""

    async def opened(self) -> Sequence[Transaction]:
        """The open and prepared transactions of the legacy database; AwayError when it cannot be asked."""

    async def mark(self) -> Marker:
        """Write a marker; AwayError when that cannot be."""

    async def past(self, lsn: int) -> None:
        """Wait until everything before this LSN is joined; RefusedError when it stands still."""

    def waits_for(self) -> str:
        """What `past` waits for now."""

    async def late(self, marker: Marker) -> Late:
        """The row changes in the topic up to now that were committed behind the marker."""

    async def compare(self) -> Result:
        """Compare everything, as `reconcile` does."""

    async def answered(self) -> Sequence[Held]:
        """The users who are held back by somebody's word."""

    async def note(self, state: str, marker: Marker | None, why: str) -> None:
        """Write down how the go-live stands."""

    async def pause(self) -> None:
        """Hold all deliveries."""

    async def resume(self) -> None:
        """Let them go on, if a freeze holds them."""

    def certify(self, proof: Proof) -> dict[str, Any]:
        """The signed certificate of a GO; changes nothing."""

    async def go(self, marker: Marker, certificate: dict[str, Any]) -> None:
        """Say GO, and let nothing be sent from now on."""

    def say(self, words: str) -> None:
        """Show what is waited for; "" for nothing."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a GO rests on: the marker, the comparison, and who is not at cidaas as in the database, by whose word."""

    marker: Marker
    result: Result
    sight: Sight
    held: Sequence[Held]
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a freeze ended: GO without a reason."""

    reasons: Sequence[Check]
    marker: Marker | None
    seconds: float
    certificate: dict[str, Any] | None = None

    @property
    def go(self) -> bool:
        """Whether it was a GO."""
        return not self.reasons


class _NoGo(Exception):  # noqa: N818  it names a verdict
    def __init__(self, *reasons: Check) -> None:
        self.reasons = reasons


def _refuse(reasons: Sequence[Check]) -> None:
    """End the freeze, if there is a reason."""
    said: dict[str, Check] = {}
    for one in reasons:
        said.setdefault(one.slug, one)  # a worker may see what this process sees, too
    if said:
        raise _NoGo(*said.values())


class Freeze:
    """One run."""

    def __init__(self, settings: Settings, world: World, timeout: float) -> None:
        """`timeout` are the seconds until a NO-GO for want of an end."""
        self._settings, self._world, self._timeout = settings, world, timeout
        self._began = time.monotonic()
        self._marker: Marker | None = None
        self._paused = False
        self._said = "nothing was looked at yet"

    async def run(self) -> Verdict:
        """Freeze, and say GO or why not."""
        await self._world.note(record.FREEZING, None, "")
        try:
            proof = await self._in_time()
            certificate = self._world.certify(proof)
        except _NoGo as no:
            await whole(self._back("; ".join(one.what for one in no.reasons)))
            return Verdict(no.reasons, self._marker, time.monotonic() - self._began)
        except BaseException:
            await whole(self._back("it was interrupted"))
            raise
        finally:
            self._world.say("")
        # Not taken back whatever happens on its way: in doubt nothing is sent.
        await self._world.go(proof.marker, certificate)
        return Verdict((), self._marker, time.monotonic() - self._began, certificate)

    async def _back(self, why: str) -> None:
        """Go back to where it began; the word comes first, because a pause alone is seen, and ended by the next one."""
        await self._world.note(record.NO_GO, self._marker, why)
        if self._paused:
            await self._world.resume()

    async def _in_time(self) -> Proof:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                return await self._steps()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise _NoGo(gate.judge_time(self._timeout, self._said)) from None

    async def _steps(self) -> Proof:
        # That of a freeze that was killed in its last look. Behind our first word: one that runs still ends by it.
        await self._world.resume()
        await self._nothing_in_the_way()
        marker = self._marker = await self._marked()
        await self._passed(marker)
        await self._confirmed(marker)
        result = await self._compared()
        return await self._last_look(marker, result)

    # -- the steps -----------------------------------------------------------------------------------------------------

    async def _nothing_in_the_way(self) -> None:
        self._say("looks at what is in the way")
        try:
            await self._look()
        except _NoGo as no:
            _refuse([*no.reasons, *await self._cidaas(), *await self._open()])
        _refuse(await self._cidaas())

    async def _marked(self) -> Marker:
        """A marker across which no transaction was open: none before it, and none behind it."""
        deadline = time.monotonic() + ENDING
        while True:
            self._say("waits until no transaction is open")
            found = await self._open()
            if not found:
                marker = await self._mark()
                found = await self._open()
                if not found:
                    return marker
            if time.monotonic() > deadline or any(one.slug != "open_transactions" for one in found):
                _refuse(found)
            await asyncio.sleep(EVERY)  # a poll: nothing tells when a transaction ends

    async def _passed(self, marker: Marker) -> None:
        """Wait until everything before the marker is joined, and look meanwhile: who is in the way ends it at once."""
        task = asyncio.create_task(self._past(marker), name="freeze: past")
        try:
            while not task.done():
                await asyncio.wait([task], timeout=EVERY)
                if left := self._world.waits_for():
                    self._say(f"waits {left}")
                await self._look()
        finally:
            task.cancel()
            await asyncio.wait([task])
        await task

    async def _past(self, marker: Marker) -> None:
        try:
            await self._world.past(marker.lsn)
        except (RefusedError, LegacyAwayError) as error:
            raise _NoGo(fault("not_passed", str(error), _AGAIN)) from None

    async def _confirmed(self, marker: Marker) -> None:
        while True:
            sight = await self._look()
            if not (left := gate.waits(sight.status)):
                break
            self._say(f"waits: {', '.join(left)}")
            await asyncio.sleep(EVERY)  # a poll: workers tell nobody that they are done
        _refuse(await self._late(marker))

    async def _compared(self) -> Result:
        self._say("")  # the comparison shows how far it is by itself
        self._said = "the comparison of both sides"
        try:
            result = await self._world.compare()
        except (RefusedError, LegacyAwayError, ConfigError) as error:
            raise _NoGo(fault("not_compared", f"both sides could not be compared: {error}", _AGAIN)) from None
        _refuse(gate.judge_compared(result))
        return result

    async def _last_look(self, marker: Marker, result: Result) -> Proof:
        self._say("holds delivery, and looks once more")
        self._paused = True  # before it is: interrupted on its way, it may have come
        await self._world.pause()
        await self._passed(await self._mark())
        sight = await self._look()
        held = [*sight.held, *await self._answered()]
        _refuse([
            *await self._open(),
            *await self._late(marker),
            *gate.judge_last(sight.status, result, held),
            *await self._cidaas(),
        ])  # fmt: skip
        return Proof(marker, result, sight, held, time.monotonic() - self._began)

    # -- looks ---------------------------------------------------------------------------------------------------------

    async def _look(self) -> Sight:
        try:
            sight = await self._world.look()
        except RefusedError as error:
            raise _NoGo(unknown("workers", str(error), _AGAIN)) from None
        _refuse(gate.judge(self._settings, sight))
        return sight

    async def _answered(self) -> Sequence[Held]:
        try:
            return await self._world.answered()
        except RefusedError as error:
            raise _NoGo(unknown("workers", str(error), _AGAIN)) from None

    async def _open(self) -> list[Check]:
        try:
            return gate.judge_open(await self._world.opened())
        except AwayError as error:
            return [unknown("open_transactions", f"which transactions are open is not known: {error}", error.remedy)]

    async def _mark(self) -> Marker:
        try:
            return await self._world.mark()
        except AwayError as error:
            raise _NoGo(fault("marker", f"no marker could be written: {error}", error.remedy)) from None

    async def _late(self, marker: Marker) -> list[Check]:
        return gate.judge_late(await self._world.late(marker))

    async def _cidaas(self) -> list[Check]:
        return gate.judge_cidaas(await self._world.cidaas())

    def _say(self, words: str) -> None:
        if words:
            self._said = words
        self._world.say(words)


async def whole(work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end, whoever interrupts it: half a GO, or half a way back, must not be."""
    task = asyncio.ensure_future(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
    task.result()
