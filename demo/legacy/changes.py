"""Live changes of the example legacy database, each a real transaction as the shop's software would do it.

    change = await one("password", connection, rng)        one change of a kind; None if no user fits
    async for change in drive(url, plan, seconds=15, rng=rng): ...

`Change` says which users change at cidaas and when the commit was sent, for measuring; KINDS names all kinds.
Connections are in autocommit.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg

from demo.legacy import kinds
from demo.legacy.kinds import Change, Effect, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from random import Random

__all__ = ["DEMO", "KINDS", "Change", "Effect", "drive", "one", "plan"]

KINDS: dict[str, Kind] = {
    "sign-up": Kind(kinds.sign_up),
    "profile": Kind(kinds.profile),
    "e-mail": Kind(kinds.email),
    "e-mail cured": Kind(kinds.email_cured),
    "e-mail refused": Kind(kinds.email_refused),
    "e-mail swap": Kind(kinds.email_swap),
    "password": Kind(kinds.password),
    "password replaced": Kind(kinds.password_replaced),
    "TOTP on": Kind(kinds.totp_on),
    "TOTP off": Kind(kinds.totp_off),
    "moved credential": Kind(kinds.moved_credential),
    "status": Kind(kinds.status),
    "soft delete": Kind(kinds.soft_delete, deletes=1),
    "hard delete": Kind(kinds.hard_delete, deletes=1),
    "revived": Kind(kinds.revived),
    "deleted, same id again": Kind(kinds.again_same_id, deletes=1),
    "deleted, new id": Kind(kinds.again_new_id, deletes=1),
    "log-in only": Kind(kinds.login_only),
    "no-op": Kind(kinds.no_op),
    "rollback": Kind(kinds.rolled_back),
}

# Number of each kind in the demo's 15 seconds. Deletes stay well under the delete brake (20 in 10 minutes).
DEMO: dict[str, int] = {
    "sign-up": 45, "profile": 60, "e-mail": 35, "e-mail cured": 2, "e-mail refused": 1, "password": 40,
    "password replaced": 20, "TOTP on": 12, "TOTP off": 10, "moved credential": 5, "status": 12, "soft delete": 4,
    "hard delete": 3, "revived": 2, "deleted, same id again": 2, "deleted, new id": 2, "log-in only": 25, "no-op": 10,
    "rollback": 5,
}  # fmt: skip
_APART = 6.0  # seconds between two changes of the same user: each then has a latency of its own
_AWAY = 120.0  # seconds the database may be away


def plan(rng: Random, numbers: dict[str, int] | None = None) -> list[str]:
    """The kinds in random order, each as often as `numbers` (default DEMO) says."""
    names = [kind for kind, number in (numbers or DEMO).items() for _ in range(number)]
    rng.shuffle(names)
    return names


async def one(
    kind: str, connection: psycopg.AsyncConnection, rng: Random, avoid: Collection[int] = ()
) -> Change | None:
    """Make one change of this kind to a user who is not in `avoid`; None if no user fits."""
    change = await KINDS[kind].make(connection, rng, list(avoid))
    return None if change is None else replace(change, kind=kind)


async def drive(url: str, kinds_in_order: Sequence[str], *, seconds: float, rng: Random) -> AsyncIterator[Change]:
    """Make the changes evenly spread over `seconds`; a database that is away is awaited.

    A change whose commit was not answered may or may not have happened; it is not yielded and not repeated.
    """
    began = time.monotonic()
    recent: deque[tuple[float, int]] = deque()
    connection = await _connected(url)
    try:
        for number, kind in enumerate(kinds_in_order):
            await asyncio.sleep(max(0.0, began + number * seconds / len(kinds_in_order) - time.monotonic()))
            while recent and recent[0][0] < time.monotonic() - _APART:
                recent.popleft()
            try:
                change = await one(kind, connection, rng, [user for _, user in recent])
            except psycopg.OperationalError:
                connection = await _connected(url)
                continue
            if change is not None:
                recent.extend((time.monotonic(), user) for user in change.touched)
                yield change
    finally:
        await connection.close()


async def _connected(url: str) -> psycopg.AsyncConnection:
    deadline = time.monotonic() + _AWAY
    while True:
        try:
            return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5)
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)  # a poll: a database that is being started again tells nobody
