"""An answer with a sub that was not sent: whose is it? That user's data may have been overwritten (C3).

Whoever reads such an answer notes its subs in the control topic before anything else is made of it. The owner of
partition 0 asks all workers whose subs they are, since a sub names its user in one direction only, and puts the users
that are ours in doubt by a control record of their own. The note goes when that is done; so no crash forgets it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx

from streams import views
from streams.cidaas.redaction import redact
from streams.rows import Resync, write_control

if TYPE_CHECKING:
    from collections.abc import Collection

    from streams.pipeline import Pipeline

log = logging.getLogger(__name__)

NOTE = "foreign/"
WHY = "cidaas answered another user's call with the sub of this one"
_EVERY = 1.0
#: Seconds before a search that could not be made is repeated, and for one worker's part of it.
_RETRY, _DEADLINE = 5.0, 60.0
#: Subs in one question to another worker.
_ASKED = 100


class Foreign:
    """Notes foreign subs, and finds their users when it runs in the worker that owns partition 0."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._not_before = 0.0

    async def note(self, subs: Collection[str]) -> None:
        """Note the subs of one answer; when this returns, no crash forgets them."""
        # A key of its own: the note of a later answer must not go with this one.
        await self._pipeline.control.put(f"{NOTE}{uuid.uuid4()}", {"subs": sorted(subs), "at": time.time()})

    def waiting(self) -> int:
        """Subs whose users are looked for."""
        return sum(len(body["subs"]) for body in self._notes().values())

    async def run(self) -> None:
        """Go on until cancelled; a search that cannot be made is repeated."""
        while True:
            await asyncio.sleep(_EVERY)  # a poll: notes and ownership come from different sides
            if any(partition.number == 0 for partition in self._pipeline.partitions()):
                await self._serve()

    def _notes(self) -> dict[str, dict[str, Any]]:
        return {name: body for name, body in self._pipeline.control.state.items() if name.startswith(NOTE)}

    async def _serve(self) -> None:
        notes = self._notes()
        if not notes or time.monotonic() < self._not_before:
            return
        subs = {sub for body in notes.values() for sub in body["subs"]}
        found, everybody = await self._search(subs)
        if not everybody and len(found) < len(subs):
            self._not_before = time.monotonic() + _RETRY
            log.warning("foreign subs cannot be looked up yet subs=%d: not all partitions answer", len(subs))
            return
        outcomes = self._pipeline.delivery.figures.outcomes
        for sub in sorted(subs):
            user = found.get(sub)
            if user is None:
                outcomes["foreign_sub_of_nobody"] += 1
                log.warning("cidaas answered with a sub of none of our users sub=%s", redact(sub))
                continue
            outcomes["foreign_sub_put_in_doubt"] += 1
            log.warning("cidaas answered with the sub of another user, who is sent again user=%s", user)
            await self._pipeline.send(user.encode(), write_control(Resync("cidaas", WHY)))
        for name in notes:
            await self._pipeline.control.put(name, None)

    async def _search(self, subs: Collection[str]) -> tuple[dict[str, str], bool]:
        """Sub -> user, and whether every partition was looked through."""
        pipeline = self._pipeline
        answers = [await views.whose(pipeline, subs)]
        missing = pipeline.settings.partitions - len(answers[0]["partitions"])
        urls = views.workers(pipeline) - {views.url(pipeline)} if missing else set()
        ordered = sorted(subs)
        async with httpx.AsyncClient(timeout=_DEADLINE, trust_env=False) as client:
            for url in sorted(urls):
                for start in range(0, len(ordered), _ASKED):
                    try:
                        some = ordered[start : start + _ASKED]
                        answer = await client.get(f"{url}/sync/whose", params={"sub": some})
                        answers.append(answer.raise_for_status().json())
                    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                        return {}, False
        found = {sub: user for answer in answers for sub, user in answer["users"].items()}
        seen = {number for answer in answers for number in answer["partitions"]}
        return found, len(seen) == pipeline.settings.partitions
