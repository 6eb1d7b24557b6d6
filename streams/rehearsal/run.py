"""One rehearsal, from its worker's start until nothing of it is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from streams import kafka
from streams.identity import RefusedError
from streams.keys import LSN
from streams.ledger import Situation
from streams.legacy import Legacy
from streams.offline import Controls, read_ends
from streams.quantities import duration
from streams.reconcile.cases import DIFFERENCES
from streams.reconcile.passing import Passing
from streams.rehearsal import night
from streams.rehearsal.processes import Child
from streams.rehearsal.standin import Standin
from streams.settings import shadow
from streams.source import topics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streams.control import Control
    from streams.reconcile.run import Result
    from streams.rehearsal.night import Night
    from streams.rehearsal.tenant import Tenant
    from streams.settings import Settings

    Compare = Callable[[Settings, Control], Awaitable[Result]]

#: Seconds between two looks at the worker; seconds without any progress after which it is given up.
_EVERY, _PATIENCE = 1.0, 300.0
#: Seconds for which it is waited that nobody is pending.
_LIVE = 30.0
#: Users that are named of each reason.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Found:
    """What a rehearsal has shown; times are seconds."""

    tenant: Tenant
    users: int
    situations: dict[str, int]
    seconds: float
    #: by reason: how many are refused, and some of them.
    refused: dict[str, tuple[int, tuple[str, ...]]]
    night: Night
    #: from a commit until everything before it is joined; and the comparison of everybody.
    passing: float
    comparing: float
    differences: dict[str, int]

    @property
    def rate(self) -> float:
        """Users a second of the initial load, from the worker's start on."""
        return self.users / self.seconds if self.seconds else 0.0

    @property
    def night_seconds(self) -> float:
        """How long the users of a night take."""
        return self.night.users / self.rate if self.rate else 0.0

    @property
    def freeze_seconds(self) -> float:
        """From freeze to GO: the marker's way, the comparison, and the way of the last look."""
        return self.passing + self.comparing + self.passing


class Rehearsal:
    """One run; `say` shows how far it is, `compare` does what `reconcile --without-cidaas` does."""

    def __init__(
        self, settings: Settings, tenant: Tenant, hours: float, say: Callable[[str], None], compare: Compare
    ) -> None:
        self._live, self._tenant, self._hours = settings, tenant, hours
        self._say, self._compare = say, compare
        self._name = shadow.name_of(settings.app_id, int(time.time()))
        self._settings = shadow.shadow(settings, self._name)
        self._url = ""

    async def run(self) -> Found:
        """Rehearse; whatever happens, nothing of it is left.

        Raises:
            RefusedError: a process of it ended, or came no further.
        """
        await assert_none_runs(self._live)
        await remove(self._live)  # of one that was killed
        try:
            async with AsyncExitStack() as open_:
                folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix=f"{self._name}-")))
                self._say("starts a stand-in of cidaas")
                standin = await open_.enter_async_context(Standin(self._live, self._tenant, folder / "standin.log"))
                ends = await read_ends(self._live)
                began = time.monotonic()
                worker = await self._worker(folder, standin.environment)
                open_.push_async_callback(worker.end)
                status = await self._loaded(worker, ends)
                seconds = time.monotonic() - began
                return await self._found(status, seconds)
        finally:
            self._say("takes away what it has made")
            await remove(self._live)
            self._say("")

    async def _worker(self, folder: Path, reaches: dict[str, str]) -> Child:
        port = _free_port()
        self._url = f"http://127.0.0.1:{port}"
        own = {
            shadow.VARIABLE: self._name,
            "APP_DATADIR": str(folder / "state"),
            "WEB_PORT": str(port),
            "WEB_BIND": "127.0.0.1",
            "WEB_HOST": "127.0.0.1",
            "DELIVERY_ONLY": "",
            "DELIVERY_START": "running",
        }
        command = [sys.executable, "-m", "streams", "worker", "-l", "warn"]
        return await Child.start(command, {**os.environ, **own, **reaches}, folder / "worker.log")

    # -- the initial load ----------------------------------------------------------------------------------------------

    async def _loaded(self, worker: Child, ends: dict[int, int]) -> dict[str, Any]:
        """Wait until everything that was in the topic at the start is joined, and its users were judged."""
        deadline, best, joined_at = time.monotonic() + _PATIENCE, -1, 0.0
        while True:
            worker.assert_runs()
            status = await self._ask("/sync/status")
            if status is not None and not status.get("starting"):
                if self._is_joined(status, ends):
                    joined_at = joined_at or time.monotonic()
                    if self._is_judged(status, time.monotonic() - joined_at):
                        return status
                done = self._progress(status)
                if done > best:
                    deadline, best = time.monotonic() + _PATIENCE, done
            if time.monotonic() > deadline:
                trouble = (status or {}).get("trouble") or worker.last_words
                raise RefusedError(f"the rehearsal came no further for {duration(_PATIENCE)}: {trouble}")
            await asyncio.sleep(_EVERY)  # a poll: another process

    @staticmethod
    def _is_joined(status: dict[str, Any], ends: dict[int, int]) -> bool:
        joined = {int(number): one["joined"] for number, one in status["partitions"].items()}
        return all(joined.get(number, -1) >= end - 1 for number, end in ends.items())

    def _is_judged(self, status: dict[str, Any], seconds: float) -> bool:
        """Nobody is pending; where live changes go on, so that somebody is at any moment, no more than one round."""
        pending = status["counts"].get("pending", 0)
        delivery = self._settings.delivery
        return not pending or (seconds > _LIVE and pending <= delivery.window * delivery.concurrency)

    def _progress(self, status: dict[str, Any]) -> int:
        counts = status["counts"]
        known, pending = counts.get("users", 0), counts.get("pending", 0)
        joined = sum(one["joined"] for one in status["partitions"].values())
        rate = status["rate"]["60s"]
        self._say(f"loads: {known - pending:,} of {known:,} users are through, {rate:,.0f} users/s")
        return int(joined + status["confirmed"])

    async def _ask(self, path: str) -> dict[str, Any] | None:
        try:
            async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
                answer = await client.get(f"{self._url}{path}")
                body: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        return body

    # -- what it has shown ---------------------------------------------------------------------------------------------

    async def _found(self, status: dict[str, Any], seconds: float) -> Found:
        counts = status["counts"]
        refused = await self._refused()
        self._say(f"reads what the last {self._hours:.3g} hours have brought")
        brought = await night.look(self._live, self._hours)
        passing, result = await self._frozen()
        situations = {one.value: counts[one.value] for one in Situation if counts.get(one.value)}
        return Found(
            tenant=self._tenant,
            users=counts.get("users", 0),
            situations={"in_sync": counts.get("in_sync", 0)} | situations,
            seconds=seconds,
            refused=refused,
            night=brought,
            passing=passing,
            comparing=result.seconds,
            differences={case.value: number for case, number in result.counts.items() if case in DIFFERENCES},
        )

    async def _refused(self) -> dict[str, tuple[int, tuple[str, ...]]]:
        body = await self._ask(f"/sync/standing/{Situation.QUARANTINED.value}") or {"reasons": {}, "users": []}
        named: dict[str, list[str]] = {}
        for one in body["users"]:
            named.setdefault(one["reason"], []).append(one["user"])
        return {
            reason: (number, tuple(named.get(reason, ())[:_NAMED]))
            for reason, number in sorted(body["reasons"].items(), key=lambda item: (-item[1], item[0]))
        }

    async def _frozen(self) -> tuple[float, Result]:
        """What a freeze does that takes time: the way of a marker, and the comparison; nothing is held or written."""
        async with Controls(self._settings) as control:
            legacy, passing = Legacy(self._settings), Passing(self._settings, control)
            try:
                began = time.monotonic()
                self._say("waits as a freeze does, until what was committed just now is joined")
                await passing.past(int((await legacy.query(LSN))[0]["lsn"]))
                seconds = time.monotonic() - began
            finally:
                await passing.close()
                await legacy.close()
            self._say("compares everybody, as a freeze does")
            return seconds, await self._compare(self._settings, control)


async def assert_none_runs(settings: Settings) -> None:
    """Another rehearsal of this pipeline would lose its topics.

    Raises:
        RefusedError: one runs.
    """
    there = await topics.beginning(settings, shadow.prefix_of(settings.app_id))
    async with kafka.administering(settings.kafka) as admin:
        for name in sorted({name.removesuffix("-control") for name in there if name.endswith("-control")}):
            if found := await kafka.members(admin, name):
                raise RefusedError(f"a rehearsal of this pipeline runs already ({', '.join(found)}): wait for its end")


async def remove(settings: Settings) -> None:
    """Delete the topics of all rehearsals of this pipeline, and the folders that killed ones have left here."""
    prefix = shadow.prefix_of(settings.app_id)
    await topics.remove(settings, await topics.beginning(settings, prefix))
    _remove_folders(prefix)


def _remove_folders(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{prefix}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
