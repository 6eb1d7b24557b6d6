"""The answer of a bulk call, believed per user (pure; C3, facts/cidaas-api.md §1.4).

HTTP 200 is not "stored". An item of the answer belongs to a user

1. by `sub`, when it names one that was sent;
2. by an identifier (e-mail, user name, mobile number, …) that exactly one user of the call has;
3. by elimination: when the answer has as many items as users were sent, every item that names somebody found its own
   user, and the remaining items name nobody and *all say the same*, then that holds for each remaining user, in
   whatever order cidaas answers. Mere position proves nothing, because the order is not documented.

DONE needs such an item, with the state CREATED or UPDATED, and nothing in the answer that contradicts it. Everything
else is FAILED (cidaas said so) or UNCLEAR (not known; the user goes again alone, where 3. always decides).
"""

from __future__ import annotations

import enum
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from streams.cidaas.redaction import Envelope, envelope_of, redact, values_of
from streams.cidaas.refusals import Reason, classify

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: What cidaas writes as the `sub` of a user it did not store; never an id.
ANONYMOUS = "ANONYMOUS"


class OutcomeKind(enum.Enum):
    """What became of one user."""

    DONE = "done"
    FAILED = "failed"
    UNCLEAR = "unclear"


class Outcome(NamedTuple):
    """What the answer proves of one user that was sent.

    `process_state` is cidaas' word ("" where none was readable). `sub_seen` is the `sub` of the answer, never
    ANONYMOUS; for FOREIGN_SUB it is the other user's. `message` is redacted. `others` are the subs in the answer that
    nobody of the call has, the same for each of its users: whoever they belong to is in doubt now too (C3).
    """

    kind: OutcomeKind
    process_state: str = ""
    sub_seen: str = ""
    message: str = ""
    reason: Reason = Reason.NONE
    others: tuple[str, ...] = ()


class UnreadableAnswer(ValueError):  # noqa: N818  a word of the domain, as in rows.py
    """The body has no list of states; `envelope` is the error it carries instead, if any."""

    def __init__(self, why: str, envelope: Envelope | None = None) -> None:
        super().__init__(why)
        self.envelope = envelope or Envelope()


#: (key, folded value) of an identifier.
_Name = tuple[str, str]
_WORDS = frozenset({"CREATED", "UPDATED", "FAILED"})
_LISTS = ("process_states", "processStates", "process_state", "states", "data")
_STATES = ("process_state", "processState", "state", "status", "processing_state", "processingState", "result")
_MESSAGES = ("message", "error", "error_description", "errorMessage", "error_message", "reason", "code")
_IDENTIFIERS = ("identifier", "identifiers", "userIdentifier", "user_identifier")
_NAMES = ("email", "username", "mobile_number", "phone_number", "providerUserId", "identityId")
_STORED = ("CREATED", "UPDATED")
_PLAIN_ITEM = {"identifier", "sub", "process_state"}
_PLAIN_IDENTIFIER = {"email", "provider"}
#: What a sub of ours may look like; anything else is not noted, for it may be anything.
_ID = re.compile(r"[0-9A-Za-z_-]{1,40}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


@dataclass(slots=True)
class _Item:
    """One item of the answer. `names` are (key, value); the key "" stands for an identifier without a key."""

    state: str = ""
    sub: str = ""
    anonymous: bool = False
    names: set[_Name] = field(default_factory=set)
    message: str = ""

    @property
    def nameless(self) -> bool:
        return not self.sub and not self.names


def read_bulk(body: bytes, request: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """Read the answer of a bulk call: one outcome per entity of `request`, in its order.

    Raises UnreadableAnswer when the body has no list of states; nothing else, whatever the body is.
    """
    raws = _states(body)
    plain = _plain(raws, request)
    if plain is not None:
        return plain
    items = [_item(raw) for raw in raws]
    found = _match(items, request)
    spare = any(not mine for mine in found)
    outcomes = [_outcome(entity, mine, request, spare) for entity, mine in zip(request, found, strict=True)]
    others = _others(items, request)
    if not others:
        return outcomes
    if len(outcomes) == 1 and outcomes[0].reason is Reason.UNMATCHED:  # nobody else was sent
        outcomes = [outcomes[0]._replace(reason=Reason.FOREIGN_SUB, sub_seen=others[0])]
    return [outcome._replace(others=others) for outcome in outcomes]


def read_email(body: bytes) -> str | None:
    """Read the e-mail address of one user's profile; None when there is none to be read.

    It stands beside the other fields, or in an identity (facts/cidaas-api.md §4 names no shape).
    """
    try:
        profile = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if isinstance(profile, dict) and isinstance(profile.get("data"), dict):
        profile = profile["data"]
    if not isinstance(profile, dict):
        return None
    for part in (profile, *_parts(profile.get("identities"))):
        if isinstance(email := part.get("email"), str) and email:
            return email
    return None


def _states(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnreadableAnswer("the answer is not JSON, or cut off") from None
    level = document
    for _ in range(4):
        if isinstance(level, list):
            return level
        if not isinstance(level, dict):
            break
        level = next((level[key] for key in _LISTS if isinstance(level.get(key), list | dict)), None)
    raise UnreadableAnswer("the answer has no list of process states", envelope_of(document))


def _plain(raws: list[Any], request: Sequence[Mapping[str, Any]]) -> list[Outcome] | None:
    """Read the answer that nearly all are: one item a user, each with its `sub`, its own e-mail, and a good state.

    None for anything else: the rules of the module then decide, and would have decided the same here.
    """
    if len(raws) != len(request):
        return None
    entities = {entity.get("sub"): entity for entity in request}
    outcomes: dict[str, Outcome] = {}
    for raw in raws:
        if not isinstance(raw, dict) or raw.keys() != _PLAIN_ITEM or raw["process_state"] not in _STORED:
            return None
        sub, identifier = raw["sub"], raw["identifier"]
        entity = entities.get(sub) if isinstance(sub, str) else None
        if entity is None or not isinstance(identifier, dict) or not identifier.keys() <= _PLAIN_IDENTIFIER:
            return None
        if identifier.get("email", entity.get("email")) != entity.get("email"):
            return None
        outcomes[sub] = Outcome(OutcomeKind.DONE, raw["process_state"], sub)
    if len(outcomes) != len(request):
        return None
    return [outcomes[entity["sub"]] for entity in request]


# -- reading one item ---------------------------------------------------------------------------------------------


def normal_sub(value: object) -> str:
    """Normalise a `sub`: the letters of a UUID may change case on the way, those of another id may not."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text.lower() if _UUID.fullmatch(text) else text


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip()).casefold()


def _item(raw: object) -> _Item:
    if not isinstance(raw, dict):
        return _Item()
    words = {word for key in _STATES if isinstance(raw.get(key), str) if (word := raw[key].strip().upper()) in _WORDS}
    identifier = raw.get("identifier")
    sub = normal_sub(raw.get("sub")) or normal_sub(identifier.get("sub") if isinstance(identifier, dict) else None)
    anonymous = sub.upper() == ANONYMOUS
    return _Item(
        state=words.pop() if len(words) == 1 else "",  # two words that disagree are none
        sub="" if anonymous else sub,
        anonymous=anonymous,
        names=set(_item_names(raw)),
        message=": ".join(_item_texts(raw)),
    )


def _item_names(raw: dict[Any, Any]) -> Iterator[_Name]:
    """Yield the identifiers that an item names: under `identifier`, whatever its shape, or beside the state."""
    for key in _IDENTIFIERS:
        yield from _named("", raw.get(key))
    for key in _NAMES:
        yield from _named(key, raw.get(key))


def _named(key: str, value: object, depth: int = 0) -> Iterator[_Name]:
    if isinstance(value, dict | list) and depth == 3:
        yield key, "(too deep)"  # it names somebody, whoever that is
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("provider", "sub", "type"):
                yield from _named(str(name), inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(key, inner, depth + 1)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and (text := _fold(str(value))):
        yield key, text


def _item_texts(raw: dict[Any, Any]) -> Iterator[str]:
    seen = set()
    for key in _MESSAGES:
        value = raw.get(key)
        text = envelope_of({"error": value}).text if isinstance(value, dict) else value
        if isinstance(text, str | int) and not isinstance(text, bool) and str(text).strip() and text not in seen:
            seen.add(text)
            yield str(text)


# -- whose item is it ---------------------------------------------------------------------------------------------


def _entity_names(entity: Mapping[str, Any]) -> set[_Name]:
    """The identifiers of a user that was sent; each also without its key, for answers that give none."""
    names: set[_Name] = set()
    for part in (entity, *(_parts(entity.get("identities")))):
        for key in _NAMES:
            names.update(_named(key, part.get(key)))
        if isinstance(fields := part.get("customFields"), dict):  # a custom field of type USERNAME is an identifier
            names.update(name for key, value in fields.items() for name in _named(str(key), value))
    names.update([("", text) for key, text in names if key in _NAMES])
    return names


def _parts(identities: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(identities, list):
        yield from (identity for identity in identities if isinstance(identity, dict))


def _match(items: list[_Item], request: Sequence[Mapping[str, Any]]) -> list[list[_Item]]:
    """Give every user of the call the items of the answer that are about it."""
    found: list[list[_Item]] = [[] for _ in request]
    by_sub: dict[str, list[int]] = {}
    by_name: dict[_Name, set[int]] = {}
    for index, entity in enumerate(request):
        by_sub.setdefault(normal_sub(entity.get("sub")), []).append(index)
        for name in _entity_names(entity):
            by_name.setdefault(name, set()).add(index)
    rest: list[_Item] = []
    for item in items:
        mine = by_sub.get(item.sub, []) if item.sub else []
        if len(mine) == 1:
            found[mine[0]].append(item)
        else:
            rest.append(item)
    taken = frozenset(index for index, mine in enumerate(found) if mine)
    strangers = 0
    for item in [item for item in rest if not item.nameless]:
        candidates = _candidates(item, by_name)
        if len(candidates) > 1 and item.state == "FAILED":
            candidates -= taken  # of two users with one address, the one that is there by its sub did not fail
        if len(candidates) == 1:
            found[candidates.pop()].append(item)
        else:
            strangers += 1
    nameless = [item for item in rest if item.nameless]
    if not strangers and len(items) == len(request):
        _eliminate(nameless, found)
    return found


def _candidates(item: _Item, by_name: dict[_Name, set[int]]) -> set[int]:
    """The users that an item may be about: its e-mail decides, then whatever else it names."""
    mails = [name for name in item.names if name[0] == "email"]
    for names in (mails, item.names):
        if candidates := set[int]().union(*(by_name.get(name, ()) for name in names)):
            return candidates
    return set()


def _eliminate(nameless: list[_Item], found: list[list[_Item]]) -> None:
    """Rule 3 of the module: what all remaining items say is true of each remaining user."""
    left = [mine for mine in found if not mine]
    if len(left) == len(nameless) and len({(item.state, item.anonymous, item.message) for item in nameless}) == 1:
        for mine, item in zip(left, nameless, strict=True):
            mine.append(item)


# -- what do the items prove --------------------------------------------------------------------------------------


def _others(items: list[_Item], request: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The subs of users that were stored, as the answer has it, and were not sent."""
    sent = {normal_sub(entity.get("sub")) for entity in request}
    named = {item.sub for item in items if item.state != "FAILED" and _ID.fullmatch(item.sub)}
    return tuple(sorted(named - sent))


def _outcome(
    entity: Mapping[str, Any], items: list[_Item], request: Sequence[Mapping[str, Any]], spare: bool
) -> Outcome:
    """Judge the items of one user; several (one per identity) count as the worst of them.

    `spare`: somebody of the call has no item. One of several that do not name this user may be about that one.
    """
    if not items:
        return Outcome(OutcomeKind.UNCLEAR, reason=Reason.UNMATCHED)
    judged = [_judge(entity, item, request) for item in items]
    if spare and len(items) > 1 and not all(item.names & _entity_names(entity) for item in items):
        judged.append(Outcome(OutcomeKind.UNCLEAR, reason=Reason.UNMATCHED))
    worst = (OutcomeKind.UNCLEAR, OutcomeKind.FAILED, OutcomeKind.DONE)
    return min(judged, key=lambda outcome: worst.index(outcome.kind))


def _judge(entity: Mapping[str, Any], item: _Item, request: Sequence[Mapping[str, Any]]) -> Outcome:
    message = redact(item.message, values_of(entity)) if item.message else ""
    if item.state == "FAILED":
        reason = classify(item.message)
        return Outcome(OutcomeKind.FAILED, item.state, item.sub, message, reason)
    reason = Reason.NONE
    if item.sub and item.sub != normal_sub(entity.get("sub")):
        reason = Reason.FOREIGN_SUB
    elif not item.state or item.anonymous:
        reason = Reason.UNREADABLE  # stored, but of nobody: that is no state
    elif _names_another(entity, item, request):
        reason = Reason.UNMATCHED
    kind = OutcomeKind.UNCLEAR if reason is not Reason.NONE else OutcomeKind.DONE
    return Outcome(kind, item.state, item.sub, message, reason)


def _names_another(entity: Mapping[str, Any], item: _Item, request: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether an item with this user's `sub` names another user of the call (and not this one)."""
    keys = {name for name in item.names if name[0] in ("", *_NAMES)}
    if not keys or keys & _entity_names(entity):
        return False
    return any(keys & _entity_names(other) for other in request if other is not entity)
