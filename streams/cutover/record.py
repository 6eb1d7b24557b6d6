"""The state of the go-live: one record of the control topic, which every worker and every command reads.

freezing, then go or no-go; a go ends in finishing and finished, and everything before finishing in aborted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from streams.control import CUTOVER
from streams.cutover.finished import FINISHED, FINISHING, when

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.control import Control

FREEZING, GO, NO_GO, ABORTED = "freezing", "go", "no-go", "aborted"


@dataclass(frozen=True, slots=True)
class Record:
    """Who brought the go-live into which state, and when (Unix seconds).

    `marker` ({id, lsn}) is the place in the WAL up to which everything is in; `certificate` the signed document of a
    GO, which holds no secret.
    """

    state: str
    at: float
    who: str
    host: str
    marker: dict[str, Any] | None = None
    certificate: dict[str, Any] | None = None
    why: str = ""


def read(state: Mapping[str, Mapping[str, Any]]) -> Record | None:
    """The record in the control topic; None before the first freeze."""
    body = state.get(CUTOVER)
    if body is None:
        return None
    return Record(**{field.name: body[field.name] for field in fields(Record) if field.name in body})


async def write(control: Control, record: Record) -> None:
    """Write it, and wait until it was read back."""
    await control.put(CUTOVER, asdict(record))


def refusal(state: Mapping[str, Mapping[str, Any]]) -> str:
    """Why no worker may run any more; "" when it may."""
    record = read(state)
    if record is None or record.state not in (FINISHING, FINISHED):
        return ""
    return (
        f"this pipeline is being taken down: `cutover finish` of {record.who}@{record.host} began at "
        f"{when(record.at)}. Disable this service, and let `cutover finish --yes` come to its end."
    )
