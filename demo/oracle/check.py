"""Compares both sides, user by user.

First look: of every user of cidaas a digest is kept (some hundred bytes), then the legacy tables go by. Users whose
digests differ, and only they, are looked at a second time field by field, and asked whether cidaas had a right not to
take them.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any

import orjson

from demo.oracle import expected
from demo.oracle.expected import Expected, LegacyUser
from demo.oracle.report import OracleError, Report
from demo.oracle.rules import Rules
from demo.oracle.sources import Target, legacy_users, target
from demo.oracle.verdicts import Wrong, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_STORED = Struct(">16sq")  # digest of the entity, lastLoggedInTime
_NEVER = -(2**63)
_DETAILS = 20_000  # users looked at field by field; before the initial load everybody is missing


@dataclass(slots=True)
class _Look:
    """What the first look found."""

    report: Report
    wrong: dict[str, Wrong] = field(default_factory=dict)  # by sub
    left: set[str] = field(default_factory=set)  # subs in cidaas of no legacy user


async def check(env: Mapping[str, str] = os.environ) -> Report:
    """Compare everything once. `env` has LEGACY_ADMIN_URL (or LEGACY_DATABASE_URL) and CIDAAS_BASE_URL."""
    began = time.monotonic()
    database = env.get("LEGACY_ADMIN_URL") or env.get("LEGACY_DATABASE_URL")
    cidaas = env.get("CIDAAS_BASE_URL")
    if not database or not cidaas:
        raise OracleError("LEGACY_ADMIN_URL or CIDAAS_BASE_URL is not set; load them: set -a; . .run/stack.env")
    wanted = Expected(Path(env.get("PIPELINE_CONFIG") or "pipeline.toml"))
    async with target(cidaas) as tenant:
        rules = Rules(await tenant.switches())
        look = await _first_look(database, tenant, wanted, rules)
        if look.left or not all(each.refused for each in look.wrong.values()):
            await judge(look.report, look.wrong, look.left, tenant, wanted)
    look.report.seconds = time.monotonic() - began
    return look.report


async def await_equal(
    env: Mapping[str, str] = os.environ, *, seconds: float = 60, progress: Callable[[Report], None] | None = None
) -> Report:
    """Compare until nothing is missing, stale or resurrected, or the time is up; return the last report.

    A side that does not answer is tried again, too; OracleError only when it stays away until the end.
    """
    deadline = time.monotonic() + seconds
    while True:
        pause = 0.2
        try:
            report = await check(env)
        except OracleError:
            if time.monotonic() > deadline:
                raise
        else:
            if report.ok or time.monotonic() > deadline:
                return report
            if progress is not None:
                progress(report)
            pause = max(pause, report.seconds / 2)  # leave the machine to the pipeline, too
        await asyncio.sleep(pause)


async def _first_look(database: str, tenant: Target, wanted: Expected, rules: Rules) -> _Look:
    # cidaas first: what changes in between is not there yet, and the next look finds it.
    there: dict[str, bytes] = {}
    async for entities in tenant.users():
        for entity in entities:
            comparable, last_login = expected.stored(entity)
            there[entity["sub"]] = _STORED.pack(_digest(comparable), _NEVER if last_login is None else last_login)
    look = _Look(Report(at_cidaas=len(there)))
    async for users in legacy_users(database):
        for user in users:
            sub = wanted.sub(user.id)
            _compare(look, user, sub, wanted, rules, there.pop(sub, None))
    look.left = set(there)
    return look


def _compare(look: _Look, user: LegacyUser, sub: str, wanted: Expected, rules: Rules, found: bytes | None) -> None:
    report = look.report
    if user.status == "deleted":
        if found is None:
            report.deleted += 1
        else:
            report.add("resurrected", user.id, "soft-deleted")
        return
    report.users += 1
    entity = wanted.entity(user, sub)
    late_login = False
    if found is not None:
        digest, last_login = _STORED.unpack(found)
        late_login = user.last_login_us is not None and last_login > user.last_login_us
        if digest == _digest(entity) and not late_login:
            report.equal += 1
            report.older_login += last_login != (_NEVER if user.last_login_us is None else user.last_login_us)
            return
    if refusal := rules.refusal(entity):
        report.add("set aside", user.id, refusal)
        if len(look.wrong) < _DETAILS:  # it may hold an address that another user waits for
            look.wrong[sub] = Wrong(user.id, entity, refused=True)
    elif len(look.wrong) < _DETAILS:
        look.wrong[sub] = Wrong(user.id, entity, stored=found is not None, late_login=late_login)
    else:
        report.add("missing" if found is None else "stale", user.id)


def _digest(entity: dict[str, Any]) -> bytes:
    return blake2b(orjson.dumps(entity, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
