"""`trace ID`: one user's way from its row to the ledger, and in one sentence why cidaas does not have it, if so."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from streams.commands import base, whom
from streams.commands.user import add_slot, look_up
from streams.credentials import Names, shown
from streams.explain import has_latest, sentence
from streams.legacy import Legacy, LegacyAwayError
from streams.likeness import likeness
from streams.mapping import sub_of
from streams.offline import read_control
from streams.settings import ConfigError
from streams.source import faults
from streams.source.progress import initial_snapshot
from streams.timeline import timeline
from streams.trail import read_trail

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "trace",
        help="Show one user's way from its row to cidaas, and why it is not there.  Example: "
        "faust -A streams.app trace 42",
    )
    @whom.options
    @base.json_option
    @base.run
    async def trace(user_id: str | None, email: str | None, sub: str | None, as_json: bool) -> int:
        body = await gather(settings, await whom.named(settings, user_id, email, sub))
        if as_json:
            base.show_json(body)
        else:
            click.echo(text(body))
        return base.OK if body["has_latest"] else base.WRONG

    return [trace]


async def gather(settings: Settings, user_id: str) -> dict[str, Any]:
    """What `user` says, and beside it the user's records in the topic and its rows in the legacy database.

    The database is asked last: what it has beyond the others has come since, or was lost.
    """
    body = await look_up(settings, user_id)
    if "joined" not in body:
        base.fail(f"{body['from']} is of an older version than this command: restart it, then ask again", base.WRONG)
    snap = body["snapshot"]
    positions = {snap[name][1] for name in ("version", "applied")} if snap is not None else set()
    trail = await read_trail(settings, user_id, body["partition"], sorted(positions), body["joined"])
    control = await read_control(settings)
    body["topic"] = {"name": settings.topics.identity, **asdict(trail)}
    body["source"] = {
        "initial": initial_snapshot(control.notifications),
        "faults": [fault.slug for fault in faults.standing(control.state)],
    }
    await add_slot(settings, body)
    body["legacy"] = await rows_now(settings, user_id, str((control.identity or {}).get("source", "")))
    if snap is None and body["legacy"]["row"] == "impossible":
        users = settings.source.users
        base.fail(f"{user_id!r} cannot be a user: no {users.id} of {users.name} looks like that")
    body |= {"sub": sub_of(user_id, settings), "sentence": sentence(body), "has_latest": has_latest(body)}
    body["timeline"] = timeline(body)
    return body


async def rows_now(settings: Settings, user_id: str, expected: str) -> dict[str, Any]:
    """Which rows the legacy database has of the user now; `expected` names the one that this pipeline reads (O5).

    `row` is None when it could not be asked, and `why` says why.
    """
    legacy = Legacy(settings, timeout=10.0)
    legacy.expected = expected
    try:
        found = await legacy.rows([user_id])
    except (LegacyAwayError, ConfigError) as error:
        return {"row": None, "why": str(error), "credentials": []}
    finally:
        await legacy.close()
    if user_id not in found:
        return {"row": "impossible", "credentials": []}
    row, credentials = found[user_id]
    seen = likeness(settings, user_id, row, Names(settings.source.credentials).by_table(credentials))
    there = {"row": "not there" if row is None else "there", "credentials": list(map(shown, sorted(credentials)))}
    return there | seen | {"mapping_id": settings.mapping.id}


def text(body: dict[str, Any]) -> str:
    """The timeline, and the sentence at its end."""
    moments = [(_when(one["at"]), one["stage"], one["what"]) for one in body["timeline"]]
    wide = max(len(stage) for _, stage, _ in moments)
    lines = [f"{at:<23}  {stage:<{wide}}  {what}".rstrip() for at, stage, what in moments]
    head = f"user {body['user']}, cidaas sub {body['sub']} (times are UTC; read from {body['from']})"
    return "\n".join([head, "", *lines, "", body["sentence"]])


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "now"
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}"
