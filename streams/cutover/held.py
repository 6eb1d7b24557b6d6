"""Users who are not at cidaas as they are in the database, and who has signed that off (pure).

A sign-off is about one version of one user: with the next change it is void, because nobody has looked at that one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.control import SIGN_OFFS
from streams.ledger import Situation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.snapshots import Position

#: Nobody has answered for them yet; a person has, by a command of their own.
BLOCKING = (Situation.QUARANTINED, Situation.PARKED, Situation.SET_ASIDE)
ANSWERED = {Situation.DROPPED: "quarantine drop", Situation.REJECTED: "deletes reject"}


class Held(NamedTuple):
    """One of them; `since` is Unix seconds, `by` whoever has answered for it by another command."""

    user: str
    situation: Situation
    version: Position
    reason: str
    since: float
    by: str = ""


@dataclass(frozen=True, slots=True)
class SignOff:
    """A person's word that this version of a user may stay as it is; `at` is Unix seconds."""

    version: Position
    why: str
    who: str
    at: float

    def body(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def held(situation: Situation, body: Mapping[str, Any]) -> Held:
    """One user of what workers answer about a situation."""
    return Held(body["user"], situation, _version(body), body["reason"], body["since"], body.get("by", ""))


def _version(body: Mapping[str, Any]) -> Position:
    epoch, offset = body["version"]
    return int(epoch), int(offset)


def record_name(user: str) -> str:
    """The control record of a user's sign-off."""
    return f"{SIGN_OFFS}{user}"


def sign_offs(state: Mapping[str, Any]) -> dict[str, SignOff]:
    """All of them by user; `state` is the control topic."""
    return {
        name.removeprefix(SIGN_OFFS): SignOff(_version(body), body["why"], body["who"], body["at"])
        for name, body in state.items()
        if name.startswith(SIGN_OFFS)
    }


def sign_off(one: Held, signed: Mapping[str, SignOff]) -> SignOff | None:
    """The one that holds for this version of the user."""
    found = signed.get(one.user)
    return found if found is not None and found.version == one.version else None


def unsigned(found: Iterable[Held], signed: Mapping[str, SignOff]) -> list[Held]:
    """Those for whom nobody has answered."""
    return [one for one in found if one.situation in BLOCKING and sign_off(one, signed) is None]
