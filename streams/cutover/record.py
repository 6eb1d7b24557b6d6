"""The go-live as it stands: one entry of the control topic, which `freeze`, `abort` and `finish` write.

`freezing` is a freeze under way, or one that was killed. From `go` on nothing may be sent any more: users change their
passwords at cidaas. `no-go` and `aborted` are ordinary synchronisation.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.audit.records import Actor
from streams.control import CUTOVER, DELIVERY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.control import Control

FREEZING, GO, NO_GO, ABORTED, FINISHING, FINISHED = "freezing", "go", "no-go", "aborted", "finishing", "finished"
#: Nothing may be sent any more.
OVER = frozenset((GO, FINISHING, FINISHED))
#: Marks a pause of the go-live's own, which an abort ends; what a person has paused it leaves alone.
OURS = "go-live"


class Marker(NamedTuple):
    """A message in the WAL, and its LSN: whatever was committed before it is covered by a GO."""

    id: str
    lsn: int


@dataclass(frozen=True, slots=True)
class Record:
    """What stands in the control topic; `at` is Unix seconds, `certificate` is there from the GO on."""

    state: str
    at: float
    who: str
    host: str
    marker: Marker | None = None
    certificate: dict[str, Any] | None = None
    why: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing may be sent any more."""
        return self.state in OVER

    @property
    def ends(self) -> dict[int, int]:
        """Up to which offset the GO has looked at each partition of the topic; nothing without a certificate."""
        offsets = (self.certificate or {}).get("topic", {}).get("offsets", {})
        return {int(number): int(offset) for number, offset in offsets.items()}

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"marker": None if self.marker is None else self.marker._asdict()}

    def __str__(self) -> str:
        """Say what it is, when and by whom."""
        return f"{_WORDS[self.state]} {moment(self.at)}, by {self.who}"


_WORDS = {
    FREEZING: "a freeze under way since",
    GO: "GO at",
    NO_GO: "NO-GO at",
    ABORTED: "aborted at",
    FINISHING: "being finished since",
    FINISHED: "finished at",
}


def moment(at: float) -> str:
    """A moment, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def read(state: Mapping[str, Any]) -> Record | None:
    """The record; None while nobody has ever frozen. `state` is the control topic."""
    body = state.get(CUTOVER)
    if body is None:
        return None
    marker = body.get("marker")
    return Record(
        state=str(body["state"]),
        at=float(body["at"]),
        who=str(body["who"]),
        host=str(body["host"]),
        marker=None if marker is None else Marker(str(marker["id"]), int(marker["lsn"])),
        certificate=body.get("certificate"),
        why=str(body.get("why") or ""),
    )


async def write(
    control: Control,
    state: str,
    *,
    marker: Marker | None = None,
    certificate: dict[str, Any] | None = None,
    why: str = "",
    at: float | None = None,
) -> Record:
    """Write it, by whoever runs this process, and wait until it was read back; `at` is now if nothing else is said."""
    here = Actor.here()
    written = Record(state, time.time() if at is None else at, here.name, here.host, marker, certificate, why)
    await control.put(CUTOVER, written.body())
    return written


def shown(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """What `status` shows of it: the certificate may be long, and has a command of its own."""
    known = read(state)
    return None if known is None else {**known.body(), "certificate": None, "words": str(known), "over": known.over}


# -- the pause that goes with it --------------------------------------------------------------------------------------


def pause(why: str) -> dict[str, Any]:
    """The entry that holds all deliveries, as `pause` writes it."""
    return {"paused": True, "why": why, "who": "cutover freeze", "at": time.time(), OURS: True}


def resume() -> dict[str, Any]:
    """The entry that lets them go on."""
    return {"paused": False, "who": Actor.here().name, "at": time.time()}


def paused(state: Mapping[str, Any]) -> bool:
    """Whether a pause of the go-live's own holds all deliveries."""
    entry = state.get(DELIVERY) or {}
    return bool(entry.get("paused")) and bool(entry.get(OURS))
