"""What a freeze asks and does, on the real pipeline: workers, control topic, legacy database, topic and cidaas."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

from streams.audit.logbook import versions
from streams.audit.records import Actor
from streams.cidaas import CidaasError
from streams.cidaas.client import Cidaas
from streams.commands import base, orders
from streams.commands.progress import Line
from streams.commands.reconcile import compare
from streams.commands.status import collect
from streams.control import DELIVERY, RECONCILE
from streams.cutover import certificate, record
from streams.cutover.asking import database, marker
from streams.cutover.asking.behind import Behind
from streams.cutover.freezing import whole
from streams.cutover.gate import Sight
from streams.cutover.held import ANSWERED, BLOCKING, held, sign_offs
from streams.identity import RefusedError
from streams.offline import read_ends
from streams.reconcile import last
from streams.reconcile.passing import Passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.control import Control
    from streams.cutover.freeze import Transaction
    from streams.cutover.freezing import Proof
    from streams.cutover.gate import Late
    from streams.cutover.held import Held
    from streams.cutover.record import Marker, Record
    from streams.ledger import Situation
    from streams.reconcile.run import Result
    from streams.settings import Settings


class Evening:
    """The world of one freeze; open while it is used as an asynchronous context manager."""

    def __init__(self, settings: Settings, control: Control, timeout: float, rate: float | None) -> None:
        """`timeout` as of the freeze, in seconds; `rate` calls a second read everybody back at cidaas, None nobody."""
        self._settings, self._control, self._rate = settings, control, rate
        self._passing = Passing(settings, control, patience=timeout)
        self._line = Line()
        self._behind: Behind | None = None
        self._versions: dict[str, str] = {}
        self._status: dict[str, Any] = {}
        #: the record as this freeze has left it: whoever else freezes or aborts ends this one.
        self._mine: Record | None = None

    async def __aenter__(self) -> Self:
        # Before anything is frozen: Kafka Connect may take its time for an answer.
        self._versions = await versions(self._settings)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._line.say("")
        await self._passing.close()
        if self._behind is not None:
            await self._behind.close()

    # -- looks ---------------------------------------------------------------------------------------------------------

    async def look(self) -> Sight:
        """Ask all workers, the database, Connect and Kafka."""
        self._assert_mine()
        self._status = await collect(self._settings)
        return Sight(self._status, await self._standing(BLOCKING), sign_offs(self._control.state))

    async def answered(self) -> Sequence[Held]:
        """Who was signed off by another command."""
        return await self._standing(tuple(ANSWERED))

    async def _standing(self, situations: Sequence[Situation]) -> list[Held]:
        found: list[Held] = []
        for situation in situations:
            if not self._status["users"].get(situation.value):
                continue
            try:
                standing = await orders.of_workers(situation)
            except base.Away:
                raise RefusedError("no worker answers any more") from None
            without = self._settings.partitions - len(set(standing.partitions))
            if without:
                raise RefusedError(
                    f"{without} of {self._settings.partitions} partitions have no owner that answers, so not all users "
                    "can be seen"
                )
            found += [held(situation, body) for body in standing.users]
        return found

    async def cidaas(self) -> str:
        """Ask for the discovery document, and for a token."""
        try:
            async with Cidaas(self._settings.cidaas, concurrency=1) as client:
                await client.probe()
                await client.check_token()
        except CidaasError as error:
            return str(error)
        return ""

    async def opened(self) -> Sequence[Transaction]:
        """Ask the legacy database."""
        return await database.transactions(self._settings)

    # -- the marker ----------------------------------------------------------------------------------------------------

    async def mark(self) -> Marker:
        """Write one; what comes into the topic is looked at from before the first one on."""
        if self._behind is None:
            self._behind = Behind(self._settings, await read_ends(self._settings))
        return await marker.emit(self._settings)

    async def past(self, lsn: int) -> None:
        """Slot, end of the topic, and its end once more."""
        await self._passing.past(lsn)

    def waits_for(self) -> str:
        """What that waits for."""
        return self._passing.waits_for

    async def late(self, marker: Marker) -> Late:
        """Read the topic on."""
        assert self._behind is not None
        return await self._behind.late(marker.lsn)

    async def compare(self) -> Result:
        """Compare, and keep what was found as `reconcile` does."""
        result = await compare(self._settings, self._control, sample=None, rate=self._rate)
        await self._control.put(RECONCILE, last.record(result, Actor.here().name, accepted=True))
        return result

    # -- what is written down ------------------------------------------------------------------------------------------

    async def note(self, state: str, marker: Marker | None, why: str) -> None:
        """Write the state into the control topic."""
        await self._write(state, marker=marker, why=why)

    async def pause(self) -> None:
        """Hold all deliveries."""
        await self._read_on()
        why = "go-live: the last look of `cutover freeze`; if that does not run any more, freeze again or `resume`"
        await self._control.put(DELIVERY, record.pause(why))

    async def resume(self) -> None:
        """End the pause of a freeze, and no other: not that of a GO which somebody else has said meanwhile."""
        await self._read_on()
        if record.paused(self._control.state):
            await self._control.put(DELIVERY, record.resume())

    def certify(self, proof: Proof) -> dict[str, Any]:
        """Put everything together, and sign it."""
        settings, key = self._settings, self._settings.certificate_key
        assert key is not None and self._behind is not None
        identity = self._control.identity or {}
        place = certificate.Place(
            time.time(), Actor.here(), str(identity.get("source", "")), self._behind.offsets, self._versions
        )
        return certificate.sign(certificate.build(settings, proof, place), key)

    async def go(self, marker: Marker, certificate: dict[str, Any]) -> None:
        """Pause for good and write the state, to the end of both."""
        await whole(self._written(marker, certificate))

    async def _written(self, marker: Marker, signed: dict[str, Any]) -> None:
        await self._read_on()
        at = signed["at"]
        await self._control.put(DELIVERY, record.pause(f"go-live: GO at {record.moment(at)}"))
        await self._write(record.GO, marker=marker, certificate=signed, at=at)
        await self._read_on()  # another freeze that began at this very moment has not seen it, and takes it back

    async def _write(self, state: str, **more: Any) -> None:
        await self._read_on()
        self._mine = await record.write(self._control, state, **more)

    async def _read_on(self) -> None:
        """Read what anybody has written by now, and end if that was somebody else's word."""
        await self._control.read_to_end()
        self._assert_mine()

    def _assert_mine(self) -> None:
        """Before the first word of this freeze nothing is its own, and that of a GO is not written over."""
        now = record.read(self._control.state)
        theirs = now is not None and now.over if self._mine is None else now != self._mine
        if theirs:
            raise RefusedError(f"somebody else has frozen or aborted meanwhile, and this freeze ends: {now}")

    def say(self, words: str) -> None:
        """Show what is waited for."""
        self._line.say(words)
