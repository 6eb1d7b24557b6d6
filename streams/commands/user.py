"""`user ID`: where one user stands, and why, in one look. `trace` says how it came there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from streams import views
from streams.commands import base, room, whom
from streams.explain import sentence
from streams.identity import RefusedError
from streams.offline import read_control, read_joined, read_user

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command("user", help="Say where one user stands, and why.  Example: faust -A streams.app user 42")
    @whom.options
    @base.json_option
    @base.run
    async def user(user_id: str | None, email: str | None, sub: str | None, as_json: bool) -> int:
        body = await look_up(settings, await whom.named(settings, user_id, email, sub))
        await add_slot(settings, body)
        if as_json:
            base.show_json(body)
        else:
            click.echo(text(body))
        return base.OK if body["snapshot"] is not None else base.WRONG

    return [user]


async def look_up(settings: Settings, user_id: str) -> dict[str, Any]:
    """From the worker that owns the user; from the topics when none runs."""
    url: str | None = None
    for _ in range(3):
        try:
            code, body = await base.ask(f"/sync/user/{quote(user_id, safe='')}", url)
        except base.Away:
            break
        if code == 200:
            return body
        url = body.get("owner")
        if code != 421 or url is None:
            break
    snap, entry, partition = await read_user(settings, user_id.encode())
    body = views.look(settings, user_id, snap, entry, settings.mapping.id)
    body |= {"from": "the topics, because no worker that owns it answers", "partition": partition}
    paused = (await read_control(settings)).paused(settings.delivery.start)
    joined = await read_joined(settings, partition)
    body |= {"paused": paused, "waiting": "", "worker_runs": False, "joined": joined}
    body["sentence"] = sentence(body)
    return body


async def add_slot(settings: Settings, body: dict[str, Any]) -> None:
    """Who waits for a pause wants to know for how long that may go on."""
    if not body.get("paused"):
        return
    try:
        state = (await read_control(settings)).state
    except RefusedError:
        state = {}  # a worker may know the rate
    body["slot"] = await room.words(settings, state)


def _when(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds)) if seconds else "-"


def text(body: dict[str, Any]) -> str:
    """What is shown of one user, as text."""
    lines = [f"user {body['user']}: {body['sentence']}", ""]
    rows: list[tuple[str, str]] = []
    snap, entry = body["snapshot"], body["ledger"]
    if snap is not None:
        rows += [
            ("legacy row", snap["row"]),
            ("columns set", ", ".join(snap["columns"]) or "-"),
            ("columns NULL", ", ".join(snap["null_columns"]) or "-"),
        ]
        for credential in snap["credentials"]:
            state = ", ".join(credential["columns"]) if credential["there"] else "deleted"
            rows.append((f"credential {credential['id']}", state))
        kind = "streamed change" if snap["streamed"] else "snapshot read"
        rows += [
            ("last change", f"{kind}, LSN {snap['lsn'] or '-'}, committed {_when(snap['committed'])}"),
            ("version", f"epoch {snap['version'][0]}, offset {snap['version'][1]}, partition {body['partition']}"),
        ]
    if entry is not None:
        what = f"{entry['state']} {entry['process_state']}".strip()
        rows += [
            ("cidaas sub", entry["sub"] or "-"),
            ("ledger", f"{what} at {_when(entry['at'])}, attempts {entry['attempts']}"),
        ]
        if entry["reason"]:
            rows.append(("reason", f"{entry['reason']} {entry['message']}".strip()))
        if entry["notes"]:
            rows.append(("left out", ", ".join(entry["notes"])))
    if body.get("slot"):
        rows.append(("slot", body["slot"]))
    rows.append(("read from", body["from"]))
    return "\n".join([*lines, base.table(rows)])
