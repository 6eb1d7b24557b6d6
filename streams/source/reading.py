"""Which tables with credentials are read: written down, and held against the file at every start (pure).

A table that comes into the file later has rows already, and a connector that streams would never read them: whoever has
a password only there would arrive without one, and nobody would know. And the rows of the first table are named by
their keys alone (`streams.credentials`), so another first table would be taken for it. The list stands in the `control`
topic. A worker writes it where there is none, `connector apply` when the connector begins anew or reads less, `source
repair` always, because it reads everything again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.control import TABLES
from streams.source.memory import recall

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings import Settings

#: What makes a new table one that is read.
READ_ALL = (
    "Stop all workers, run `source repair --yes`, which reads all tables again, and start them after its step `resume`."
)


def body(settings: Settings) -> dict[str, Any]:
    """The control record."""
    return {"credentials": [table.name for table in settings.source.credentials]}


def known(state: Mapping[str, Any], settings: Settings) -> list[str] | None:
    """The tables that are read, the first one first; None before anybody has written or seen it.

    Before there was such a record the guard has remembered the tables that it looked at, in the same order.
    """
    if TABLES in state:
        return list(state[TABLES]["credentials"])
    memory = recall(state)
    if memory is None or memory.files is None:
        return None
    return [name for name in memory.files if name != settings.source.users.name]


def differs(state: Mapping[str, Any], settings: Settings) -> bool:
    """Whether the record has to be written."""
    return bool(state.get(TABLES) != body(settings))


def misplaced(state: Mapping[str, Any], settings: Settings) -> str:
    """Say what is wrong with the order of the tables, "" for nothing: rows of one would be taken for another's."""
    before, now = known(state, settings), body(settings)["credentials"]
    if not before or not now or now[0] == before[0] or (before[0] not in now and now[0] not in before):
        return ""
    return (
        f"{now[0]} comes first under [[tables.credentials]], but it is {before[0]} whose rows are known by their keys "
        f"alone. Put {before[0]} first, even if it has no rows any more; the order of the others is free."
    )


def unread(state: Mapping[str, Any], settings: Settings) -> list[str]:
    """The tables of the file whose rows nobody has read."""
    before = known(state, settings)
    return [] if before is None else [name for name in body(settings)["credentials"] if name not in before]


def refusal(state: Mapping[str, Any], settings: Settings) -> str:
    """Say why no worker may run with this file, "" if it may."""
    if why := misplaced(state, settings):
        return why
    file = settings.path.name
    if new := unread(state, settings):
        return f"the connector has not read {', '.join(new)}, which {file} names under [tables.credentials]. {READ_ALL}"
    gone = [name for name in known(state, settings) or () if name not in body(settings)["credentials"]]
    if gone:
        return (
            f"this pipeline reads {', '.join(gone)}, and {file} does not name it under [tables.credentials]. Bring the "
            "file up to date; or, to leave the table out from now on, run `connector apply --yes` with this file."
        )
    return ""
