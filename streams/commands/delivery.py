"""`pause` and `resume`: whether anything is sent to cidaas, or anything but deletes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from streams.audit.records import Actor
from streams.commands import base, consent, recording, room
from streams.control import DELETES, DELIVERY
from streams.cutover import record
from streams.offline import Controls
from streams.pauses import pause_words

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "pause",
        help="Hold everything, or deletes, back in all workers.  Example: faust -A streams.app pause --why maintenance",
    )
    @click.option("--why", required=True, help="The reason, shown wherever somebody asks.")
    @click.option("--deletes", is_flag=True, help="Only deletes; everybody else goes on.")
    @click.option("--all", "everything", is_flag=True, help="Everything, as without --deletes.")
    @base.json_option
    @base.run
    @recording.recorded(settings, recording.always)
    async def pause(why: str, deletes: bool, everything: bool, as_json: bool) -> None:
        _assert_one(deletes, everything)
        if not why.strip():
            base.fail("say why: `status` shows it to whoever asks months later")
        await _pause(settings, why.strip(), deletes=deletes, as_json=as_json)

    @click.command(
        "resume",
        help="Let delivery go on.  Example: faust -A streams.app resume --deletes",
    )
    @click.option("--deletes", is_flag=True, help="Only deletes; what else is paused stays so.")
    @click.option("--all", "everything", is_flag=True, help="Everything, as without --deletes.")
    @base.json_option
    @base.run
    @recording.recorded(settings, recording.always)
    async def resume(deletes: bool, everything: bool, as_json: bool) -> None:
        _assert_one(deletes, everything)
        await _resume(settings, deletes=deletes, as_json=as_json)

    return [pause, resume]


def _assert_one(deletes: bool, everything: bool) -> None:
    if deletes and everything:
        base.fail("say what: --deletes or --all; not both")


async def _pause(settings: Settings, why: str, *, deletes: bool, as_json: bool) -> None:
    entry: dict[str, Any] = {"paused": True, "why": why, "who": Actor.here().name, "at": time.time()}
    async with Controls(settings) as control:
        before = _held(control.state, DELETES if deletes else DELIVERY)
        await control.put(DELETES if deletes else DELIVERY, entry)
        state = dict(control.state)
    found, why_not = await room.ask(settings, state)
    slot = str(found) if found is not None else f"how long the slot lasts is not known: {why_not}"
    said = (
        f"deletes are paused: {pause_words(entry)}; everybody else goes on. `resume --deletes` ends it"
        if deletes
        else f"paused: {pause_words(entry)}; nothing leaves for cidaas until `resume`"
    )
    said += f"\nchanges go on into Kafka meanwhile, and nothing is lost while the slot is read: {slot}"
    if before is not None:
        said += f"\nit was paused before: {pause_words(before)}"
    what = "deletes" if deletes else "all"
    body = found.body() if found is not None else None
    consent.done(said, as_json=as_json, what=what, before=before, slot_room=body, **entry)


async def _resume(settings: Settings, *, deletes: bool, as_json: bool) -> None:
    entry: dict[str, Any] = {"paused": False, "who": Actor.here().name, "at": time.time()}
    async with Controls(settings) as control:
        _assert_before_the_go(control.state)
        before = {name: held for name in (DELIVERY, DELETES) if (held := _held(control.state, name)) is not None}
        # Always, for it ends `delivery.start = "paused"`, of which no record stands.
        for name in [DELETES] if deletes else [DELIVERY, *([DELETES] if DELETES in before else [])]:
            await control.put(name, entry)
    lines = ["deletes are no longer paused by themselves" if deletes else "resumed"]
    if DELIVERY in before:
        lines.append(f"everything {'is still' if deletes else 'was'} paused: {pause_words(before[DELIVERY])}")
    if DELETES in before:
        lines.append(f"deletes were paused: {pause_words(before[DELETES])}")
    what = "deletes" if deletes else "all"
    consent.done("\n".join(lines), as_json=as_json, what=what, before=list(before.values()), **entry)


def _assert_before_the_go(state: dict[str, dict[str, Any]]) -> None:
    """Refuse once users change at cidaas what would be sent."""
    known = record.read(state)
    if known is not None and known.over:
        base.fail(
            f"{known}: from then on nothing may be sent, because it would overwrite what users change at cidaas. "
            "`cutover abort` goes back to synchronisation."
        )


def _held(state: dict[str, dict[str, Any]], name: str) -> dict[str, Any] | None:
    record = state.get(name, {})
    return record if record.get("paused") else None
