"""`user ID`: where one user stands, and why."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from psycopg import sql

from streams import views
from streams.commands import base
from streams.explain import sentence
from streams.legacy import Legacy, qualified
from streams.offline import read_user

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command("user", help="Say where one user stands, and why.  Example: faust -A streams.app user 42")
    @click.argument("user_id", required=False)
    @click.option("--email", help="Look the user up by e-mail address in the legacy database.")
    @base.json_option
    @base.run
    async def user(user_id: str | None, email: str | None, as_json: bool) -> int:
        if (user_id is None) == (email is None):
            base.fail("name one user: `user 42`, or `user --email ada@example.org`")
        if email is not None:
            user_id = await _by_email(settings, email)
        assert user_id is not None
        body = await look_up(settings, user_id)
        if as_json:
            base.show_json(body)
        else:
            click.echo(text(body))
        return base.OK if body["snapshot"] is not None else base.WRONG

    return [user]


async def _by_email(settings: Settings, email: str) -> str:
    column = next((f.column for f in settings.mapping.fields if f.target == "email"), None)
    if column is None:
        base.fail("no column is mapped to `email` in pipeline.toml, so a user cannot be looked up by it")
    users = settings.source.users
    query = sql.SQL("SELECT {id}::text AS id FROM {table} WHERE lower({column}) = lower(%s) LIMIT 5").format(
        id=sql.Identifier(users.id), table=qualified(users.name), column=sql.Identifier(column)
    )
    legacy = Legacy(settings, timeout=30.0)
    try:
        rows = await legacy.query(query, (email,))
    finally:
        await legacy.close()
    if not rows:
        base.fail("no row of the legacy database has this address; a deleted user is found by its id", base.WRONG)
    if len(rows) > 1:
        base.fail(f"several users have this address: {', '.join(row['id'] for row in rows)}; name one by its id")
    return str(rows[0]["id"])


async def look_up(settings: Settings, user_id: str) -> dict[str, Any]:
    """From the worker that owns the user; from the topics when none runs."""
    url: str | None = None
    for _ in range(3):
        try:
            code, body = await base.ask(f"/sync/user/{user_id}", url)
        except base.Away:
            break
        if code == 200:
            return body
        url = body.get("owner")
        if code != 421 or url is None:
            break
    snap, entry, partition = await read_user(settings, user_id.encode())
    body = views.describe(user_id, snap, entry, settings.mapping.id)
    body |= {"from": "the topics, because no worker that owns it answers", "partition": partition}
    body |= {"paused": None, "waiting": "", "worker_runs": False}
    body["sentence"] = sentence(body)
    return body


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
    rows.append(("read from", body["from"]))
    return "\n".join([*lines, base.table(rows)])
