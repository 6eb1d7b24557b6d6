"""`audit`: who ran which command with what effect, and under which configuration the workers started."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import click

from streams.audit.records import ENDED, WORKER, entries
from streams.audit.topic import read
from streams.commands import base
from streams.commands.orders import when
from streams.commands.resync import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.settings import Settings

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: Keys of a changed configuration that are named in a line; --json names all.
_NAMED = 8


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "audit",
        help="Say who ran which command with what effect, and what changed in the configuration at each start of a "
        "worker, oldest first.  Example: faust -A streams.app audit --since 2h",
    )
    @click.option(
        "--since", metavar="TIME", help="From 30m, 2h or 7d ago on, or from 2026-11-27T14:00 (UTC, or +01:00)."
    )
    @click.option("--command", "command", metavar="COMMAND", help="These only: connector, 'cdc enable', worker …")
    @base.json_option
    @base.run
    async def audit(since: str | None, command: str | None, as_json: bool) -> int:
        first = 0.0 if since is None else since_when(since)
        # All of it is read: what changed at a start follows from the starts before.
        found = selected(entries(await read(settings)), first, command)
        if as_json:
            base.show_json({"entries": found})
        else:
            click.echo("\n".join(lines(found)) or "nothing has been written down")
        return base.OK

    return [audit]


def since_when(text: str) -> float:
    """A span back from now, or a moment, in Unix seconds.

    Raises:
        ValueError: it is neither.
    """
    if (span := re.fullmatch(r"\s*(\d{1,9})\s*([smhd])\s*", text)) is not None:
        return time.time() - int(span[1]) * _SECONDS[span[2]]
    try:
        return moment(text)
    except ValueError as error:
        raise ValueError(f"{error}; or a span such as 30m, 2h, 7d") from None


def selected(found: Iterable[dict[str, Any]], first: float, command: str | None) -> list[dict[str, Any]]:
    """Those from a moment on, and of one command or group of commands."""
    words = (command or "").split()
    return [one for one in found if one["at"] >= first and one["command"].split()[: len(words)] == words]


def lines(found: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each, with aligned columns."""
    rows = [(when(one["at"]), _who(one), _what(one), _effect(one)) for one in found]
    widths = [min(max(len(row[column]) for row in rows), most) for column, most in ((1, 30), (2, 44))] if rows else []
    return [f"{at}  {who:<{widths[0]}}  {what:<{widths[1]}}  {effect}".rstrip() for at, who, what, effect in rows]


def _who(entry: dict[str, Any]) -> str:
    account, person = entry["account"], entry["person"]
    return f"{f'{person} as {account}' if person and person != account else account}@{entry['host']}"


def _what(entry: dict[str, Any]) -> str:
    if entry["command"] == WORKER:
        return f"worker {entry['worker']}"
    words = [word if word and " " not in word else f'"{word}"' for word in entry["arguments"]]
    return " ".join([entry["command"], *words])


def _effect(entry: dict[str, Any]) -> str:
    if entry["command"] == WORKER:
        return _start(entry) if "differs" in entry else _end("ended", entry)
    if entry["phase"] != ENDED:
        return "began, and nobody wrote how it ended: it runs, or was killed, or Kafka was away"
    return _end("done" if entry["changed"] is not False else "nothing to do", entry)


def _end(well: str, entry: dict[str, Any]) -> str:
    how = f"failed ({entry['code']})" if entry["code"] else well
    return f"{how}: {entry['said']}" if entry["said"] else how


def _start(entry: dict[str, Any]) -> str:
    differs, versions = entry["differs"], entry["versions"]
    said = [f"started, configuration {entry['fingerprint']}"]
    if differs is None:
        said.append(", ".join(f"{name} {version}" for name, version in versions.items() if version))
    else:
        said.append(f"changed since the start before: {_some(differs['keys'])}" if differs["keys"] else "as before")
        said += [f"{name} {old} -> {new}" for name, (old, new) in differs["versions"].items()]
    if entry["unended"]:
        said.append("it had not said that it ended: killed, or its machine was")
    if entry["phase"] == ENDED:  # the start itself could not be written
        said.append(_end("ended", entry))
    return "; ".join(part for part in said if part)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - _NAMED} more (--json)" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more
