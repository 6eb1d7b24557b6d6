"""The second look: which fields are wrong, and who waits rightly for an address that another user holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.oracle import expected
from demo.oracle.rules import keys

if TYPE_CHECKING:
    from demo.oracle.expected import Expected
    from demo.oracle.report import Report
    from demo.oracle.sources import Target

HELD_BY_ASIDE = "address still held by a user that is set aside"
HELD_BY_OTHER = "address or user name of another user"
SWAP = "e-mail swap (delivery.temporary_email is not set)"


@dataclass(slots=True)
class Wrong:
    """A user whose state at cidaas is not the expected one."""

    user: str
    entity: dict[str, Any]
    stored: bool = False
    refused: bool = False
    late_login: bool = False
    fields: str = ""


async def judge(report: Report, wrong: dict[str, Wrong], left: set[str], tenant: Target, wanted: Expected) -> None:
    """Add the verdicts on `wrong` (by sub) and `left` (subs of no legacy user) to the report."""
    asked = {key for each in wrong.values() if not each.refused for key in keys(each.entity)}
    owners: dict[str, str] = {}
    ids: dict[str, str] = {}
    async for entities in tenant.users():
        for entity in entities:
            sub = entity["sub"]
            owners.update((key, sub) for key in keys(entity) if key in asked)
            if sub in left:
                ids[sub] = str((entity.get("customFields") or {}).get("legacy_user_id", ""))
            elif sub in wrong and not wrong[sub].refused:
                _detail(wrong[sub], entity)
    for sub, each in wrong.items():
        if each.refused:
            continue
        if each.fields == "equal":
            report.equal += 1  # it arrived between the two looks
        elif reason := _waits(sub, wrong, owners, left, wanted.temporary_email is None):
            report.add("set aside", each.user, reason)
        else:
            report.add("stale" if each.stored else "missing", each.user, each.fields)
    for sub in left:
        user = ids.get(sub)
        if user is None:
            continue  # it went between the two looks
        if user and wanted.sub(user) == sub:
            report.add("resurrected", user, "its row is gone")
        else:
            report.add("unexpected", sub)


def _detail(each: Wrong, entity: dict[str, Any]) -> None:
    comparable, _ = expected.stored(entity)
    names = expected.wrong_fields(each.entity, comparable)
    if each.late_login:
        names.append("lastLoggedInTime")
    each.fields = ", ".join(names) or "equal"
    each.stored = True


def _waits(sub: str, wrong: dict[str, Wrong], owners: dict[str, str], left: set[str], no_swaps: bool) -> str:
    """Why this user rightly waits for an address or user name that another one holds; "" if it does not.

    Followed from holder to holder: it ends at a user who is right (a true collision), at one that cidaas refuses, at
    one that should be gone or has no excuse (then this one has none either), or where it began (a swap).
    """
    seen, current = {sub}, sub
    while True:
        holders = {owners[key] for key in keys(wrong[current].entity) if owners.get(key, current) != current}
        if not holders:
            return ""
        holder = min(holders)
        if holder in left:
            return ""
        if holder not in wrong:
            return HELD_BY_OTHER
        if wrong[holder].refused:
            return HELD_BY_ASIDE
        if holder in seen:
            return SWAP if no_swaps else ""
        seen.add(holder)
        current = holder
