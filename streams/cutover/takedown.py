"""Does the steps of `cutover finish`. Each can be done twice, and a second time cures what a kill left half done."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
from aiokafka.errors import KafkaError

from streams.audit.records import Actor
from streams.causes import why
from streams.cutover import archive, finished, folders, plan, record
from streams.cutover.asking import remains
from streams.cutover.finished import FILE, Finish
from streams.cutover.plan import FinishError, Step
from streams.cutover.record import FINISHED, FINISHING, GO
from streams.doctor.asking.database import words
from streams.identity import RefusedError
from streams.kafka import UnconfirmedError
from streams.offline import Controls
from streams.source import sql, topics
from streams.source.connect import Connect, ConnectError, unregister

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.cutover.asking.remains import Seen
    from streams.cutover.plan import Facts
    from streams.settings import Settings

#: Seconds in which Kafka Connect shows that the connector is gone.
_SHOWN = 30.0


class Takedown:
    """One pipeline, and the folder for what stays of it; `leave_audit` is called before the audit goes."""

    def __init__(self, settings: Settings, folder: Path, leave_audit: Callable[[], Awaitable[None]]) -> None:
        self._settings, self._folder, self._leave_audit = settings, folder, leave_audit
        self.seen: Seen = remains.Seen(plan.Facts())

    async def look(self) -> Facts:
        """Look at everything.

        Raises:
            AwayError: a place does not answer.
            RefusedError: the record in the folder cannot be read, or is another pipeline's.
        """
        self.seen = await remains.look(self._settings, self._folder)
        if self.seen.noted is not None and self._settings.topics.audit not in self.seen.facts.topics:
            await self._leave_audit()
        return self.seen.facts

    async def do(self, step: Step) -> str:
        """Do one step; what was seen last is what it is done to.

        Raises:
            FinishError: it did not come to its end.
        """
        (url,) = self._settings.require("LEGACY_ADMIN_URL") if step is Step.DATABASE else ("",)
        try:
            return await self._do(step)
        except ConnectError as error:
            said = error.sentence
        except psycopg.Error as error:
            said = f"the legacy database refused: {words(error, url)}"
        except (KafkaError, TimeoutError) as error:
            said = f"Kafka did not do what was asked: {why(error)}"
        except OSError as error:
            said = f"{error.filename or 'the disk'}: {error.strerror or why(error)}"
        except (RefusedError, topics.TopicError, UnconfirmedError) as error:
            said = str(error)
        raise FinishError(f"{step.value}: {said.rstrip('.')}.")

    async def _do(self, step: Step) -> str:
        match step:
            case Step.NOTE:
                return await self._note()
            case Step.CONNECTOR:
                return await self._connector()
            case Step.DATABASE:
                kept = await asyncio.to_thread(_disable, self._settings)
                return "; ".join([f"taken back: {', '.join(self.seen.facts.database)}", *kept])
            case Step.ARCHIVE:
                return await self._archive()
            case Step.FOLDERS:
                return self._folders()
            case Step.TOPICS:
                await self._leave_audit()
                await topics.remove(self._settings, self.seen.facts.topics)
                return f"deleted: {', '.join(self.seen.facts.topics)}"
            case Step.CONTROL:
                await topics.remove(self._settings, [self._settings.topics.control])
                return f"deleted: {self._settings.topics.control}"
            case Step.END:
                return self._end()

    async def _note(self) -> str:
        """The control topic first: while a file says that the end has begun, the topic has said so before."""
        now = time.time()
        async with Controls(self._settings) as control:
            known = record.read(control.state)  # anew: it may have been aborted since the look, which took its time
            if known is None or known.state not in (GO, FINISHING):
                now_is = known or "the control topic says nothing of it"
                raise RefusedError(f"there is no GO any more, and nothing was taken away: {now_is}")
            kept: dict[str, Any] = {"marker": known.marker, "certificate": known.certificate, "why": known.why}
            begun = await record.write(control, FINISHING, at=now, **kept)
        noted = self.seen.noted or Finish(
            pipeline=self._settings.app_id,
            state=FINISHING,
            began=now,
            at=now,
            who=begun.who,
            host=begun.host,
            topic=self.seen.topic,
            workers=self.seen.workers,
            certificate=begun.certificate,
        )
        finished.write(self._folder, noted)
        return f"the end has begun: {self._settings.topics.control} and {self._folder / FILE} say so"

    async def _connector(self) -> str:
        name, deadline = self._settings.source.name, time.monotonic() + _SHOWN
        async with Connect(self._settings.connect) as connect:
            await unregister(connect, name)
            while await connect.status(name) is not None:
                if time.monotonic() > deadline:
                    raise FinishError(f"connector: Kafka Connect still shows {name} after {_SHOWN:.0f} s.")
                await asyncio.sleep(0.1)  # nothing tells when its workers have read it
        return f"removed: {name}, and its position"

    async def _archive(self) -> str:
        assert self.seen.noted is not None
        kept = await archive.write(self._settings, self._folder, self.seen.noted)
        finished.write(self._folder, replace(self.seen.noted, archive=kept))
        without = "" if self.seen.noted.certificate is not None else "; there was no certificate"
        without += f"; {kept.unread:,} records were never joined" if kept.unread else ""
        what = f"{sum(kept.users.values()):,} users, {kept.audit:,} records of the audit"
        return f"{self._folder / kept.file}: {what}{without}"

    def _folders(self) -> str:
        said = []
        for path in self.seen.facts.folders:
            others = folders.delete(path)
            said.append(path + (f" (but for {', '.join(others)}, which is not ours)" if others else ""))
        return f"deleted: {', '.join(said)}"

    def _end(self) -> str:
        assert self.seen.noted is not None
        actor, proof = Actor.here(), plan.left(self.seen.facts)
        ended = replace(self.seen.noted, state=FINISHED, at=time.time(), who=actor.name, host=actor.host, left=proof)
        finished.write(self._folder, ended)
        return f"nothing is left, which {self._folder / FILE} says from now on"


def _disable(settings: Settings) -> list[str]:
    """Do it, and say what has to stay."""
    (admin,) = settings.require("LEGACY_ADMIN_URL")
    kept: list[str] = []
    with psycopg.connect(admin, autocommit=True, connect_timeout=10) as connection:
        sql.disable(connection, settings, kept.append)
    return kept
