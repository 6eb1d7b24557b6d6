"""Users as cidaas shows them (pure; facts/cidaas-api.md §4, §8): one of them, or page by page.

Fields stand beside the account's, or in an identity: a profile is made flat, the account and its own identity first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from streams.cidaas.answers import UnreadableAnswer, normal_sub

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Minutes for which cidaas keeps the moment that the pages are of; each call begins them anew.
_KEEP_ALIVE = "5"
#: A field that never changes, so that nobody moves from one page to another.
_ORDER = "createdTime"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind which user the next page begins, and of which moment it is; the first page knows neither."""

    after: tuple[Any, ...] = ()
    moment: str = ""

    def request(self, size: int) -> bytes:
        """The body of the call."""
        pit = {"keepAlive": _KEEP_ALIVE} | ({"id": self.moment} if self.moment else {})
        body: dict[str, Any] = {"sortfield": _ORDER, "size": size, "pit": pit}
        return orjson.dumps(body | ({"searchAfter": self.after} if self.after else {}))


class Page(NamedTuple):
    """Users by their sub, flat, and where the next page begins; None behind the last one."""

    users: dict[str, dict[str, Any]]
    next: Cursor | None


def read_page(body: bytes) -> Page:
    """Read the answer of a bulk read.

    Raises:
        UnreadableAnswer: it has no list of users, one without a sub, or a last one without its place in the order.
    """
    answer = _object(body)
    shown = answer.get("users")
    if not isinstance(shown, list) or not all(isinstance(one, dict) for one in shown):
        raise UnreadableAnswer("the answer has no list of users")
    users = {normal_sub(one.get("sub")): flat(one) for one in shown}
    if "" in users:
        raise UnreadableAnswer("a user of the answer has no sub")
    if not shown:
        return Page({}, None)
    after = shown[-1].get("sort")
    if not isinstance(after, list) or not after:
        raise UnreadableAnswer("its last user has no place in the order, so the next page cannot be asked for")
    moment = answer.get("pitId")
    return Page(users, Cursor(tuple(after), moment if isinstance(moment, str) else ""))


def read_profile(body: bytes) -> dict[str, Any]:
    """Read the answer of the look-up of one user.

    Raises:
        UnreadableAnswer: it is no JSON, or no user.
    """
    answer = _object(body)
    if not answer.get("sub"):
        raise UnreadableAnswer("the answer is no user")
    return flat(answer)


def flat(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Put the fields of the user's own identity beside the account's, which win where they have a value."""
    identities = [one for one in profile.get("identities") or () if isinstance(one, dict)]
    own = next((one for one in identities if one.get("provider") == "self"), identities[0] if identities else {})
    return {**own, **{name: value for name, value in profile.items() if value is not None or name not in own}}


def _object(body: bytes) -> dict[str, Any]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnreadableAnswer("the answer is not JSON, or cut off") from None
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        answer = answer["data"]
    if not isinstance(answer, dict):
        raise UnreadableAnswer("the answer is no JSON object")
    return answer
