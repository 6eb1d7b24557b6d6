"""Which tables with credentials are read: written down, and held against the file at every start (pure).

A table that comes into the file later has rows already, and a connector that streams would never read them: whoever has
a password only there would arrive without one, and nobody would know. And the rows of the first table are named by
their keys alone (`streams.credentials`), so another first table would be taken for it. The list stands in the `control`
topic. A worker writes it where there is none, `connector apply` at the very beginning and when less is to be read, and
`source repair` when it reads other tables: it takes the workers of before out of the way, reads, and then says up to
where a partition has to be joined before anybody leaves, because until then users lack what is new.
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
    "Stop all workers, run `source repair --yes`, which reads all tables again, and start them after its step "
    "`snapshot`."
)
_READ, _ENDS = "read", "ends"


def body(settings: Settings) -> dict[str, Any]:
    """The control record of tables that are read."""
    return {"credentials": _names(settings)}


def begun(settings: Settings) -> dict[str, Any]:
    """The same while a repair reads them: no worker may run."""
    return {**body(settings), _READ: False}


def done(settings: Settings, ends: Mapping[int, int]) -> dict[str, Any]:
    """The same when all has been read, which stands before these offsets, by partition."""
    return {**body(settings), _ENDS: {str(number): end for number, end in ends.items()}}


def is_begun(state: Mapping[str, Any]) -> bool:
    """Whether a repair has begun to read other tables, and has not come to their end."""
    return state.get(TABLES, {}).get(_READ) is False


def is_behind(state: Mapping[str, Any], number: int, joined: int) -> bool:
    """Whether a partition that was joined up to this offset lacks rows of tables that have been read since."""
    return joined + 1 < int(state.get(TABLES, {}).get(_ENDS, {}).get(str(number), 0))


def _names(settings: Settings) -> list[str]:
    return [table.name for table in settings.source.credentials]


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
    """Whether other tables are read than the file names, or another one first."""
    before, now = known(state, settings), _names(settings)
    return before is not None and (set(before) != set(now) or before[:1] != now[:1])


def misplaced(state: Mapping[str, Any], settings: Settings) -> str:
    """Say what is wrong with the order of the tables, "" for nothing: rows of one would be taken for another's."""
    before, now = known(state, settings), _names(settings)
    if not before or not now or now[0] == before[0] or (before[0] not in now and now[0] not in before):
        return ""
    return (
        f"{now[0]} comes first under [[tables.credentials]], but it is {before[0]} whose rows are known by their keys "
        f"alone. Put {before[0]} first, even if it has no rows any more; the order of the others is free."
    )


def unread(state: Mapping[str, Any], settings: Settings) -> list[str]:
    """The tables of the file whose rows nobody has read."""
    before = known(state, settings)
    return [] if before is None else [name for name in _names(settings) if name not in before]


def refusal(state: Mapping[str, Any], settings: Settings) -> str:
    """Say why no worker may run with this file, "" if it may."""
    if why := misplaced(state, settings):
        return why
    file = settings.path.name
    if new := unread(state, settings):
        return f"the connector has not read {', '.join(new)}, which {file} names under [tables.credentials]. {READ_ALL}"
    gone = [name for name in known(state, settings) or () if name not in _names(settings)]
    if gone:
        return (
            f"this pipeline reads {', '.join(gone)}, and {file} does not name it under [tables.credentials]. Bring the "
            "file up to date; or, to leave the table out from now on, run `connector apply --yes` with this file."
        )
    if is_begun(state):
        return "`source repair` reads other tables than before. Start the workers after its step `snapshot`."
    return ""
