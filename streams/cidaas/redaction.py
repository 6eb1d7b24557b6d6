"""What cidaas writes about an error, read in all its shapes and made fit for logs (pure).

An error text may repeat what was sent: an address, a phone number, a hash. None of that may reach a log, the ledger or
a report (docs/design.md: ids, counts and fingerprints only).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Longest text that is kept, in characters, and longest that is looked at.
KEPT = 300
_LOOKED_AT = 1500

#: Tried in this order at each place, so that a UUID (a `sub`, an id that may be shown) is not taken for a secret.
_PATTERN = re.compile(
    r"""
      (?P<mail>     (?:"[^"\n]{1,100}"|[^\s@<>",;:()\[\]]{1,256}) (?:@|%40) [^\s@<>"',;:()\[\]{}]{1,256} )
    | (?P<uuid>     (?<![0-9A-Za-z]) [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12} (?![0-9A-Za-z]) )
    | (?P<crypt>    \$[0-9A-Za-z-]{1,20}\$[^\s"'`;]{4,} )
    | (?P<bearer>   (?i:bearer)\s+[^\s"']+ )
    | (?P<run>      [0-9A-Za-z+/_.~-]{20,}={0,2} )
    | (?P<hex>      (?<![0-9A-Za-z]) [0-9a-fA-F]{16,19} (?![0-9A-Za-z]) )
    | (?P<number>   (?<![\w.]) (?: \+\d[\d\s()/.-]{5,}\d | \d[\d\s()/-]{7,}\d ) (?!\w) )
    """,
    re.VERBOSE,
)

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

#: Fields of an entity whose values may be shown: ids and words of cidaas' own.
_PUBLIC = frozenset(
    {
        "sub", "identityId", "provider", "userStatus", "algorithmTypeId", "locale", "gender", "no_event", "groupId",
        "roles", "fieldKey", "state", "consentId", "versionId",
    }
)  # fmt: skip


def _replacement(match: re.Match[str]) -> str:
    kind, text = match.lastgroup, match.group()
    if kind == "mail":
        return "<e-mail>"
    if kind == "uuid":
        return text
    if kind == "number":
        return "<number>"
    if kind == "run" and not _looks_random(text):
        return text
    return "<secret>"


def _looks_random(run: str) -> bool:
    """Tell base64, hex and tokens from long words of a sentence (`missing_required_fields`, a path)."""
    if _UUID.fullmatch(run):
        return False
    return any(c.isdigit() or c in "+=" for c in run) or (len(run) >= 40 and run not in (run.lower(), run.upper()))


def redact(text: str, values: Iterable[str] = ()) -> str:
    """Make a text of cidaas fit for logs: no e-mail address, number or secret, none of `values`, not too long."""
    if len(text) > _LOOKED_AT:
        text = text[:_LOOKED_AT].rpartition(" ")[0]  # a word cut in two might hide what it is
    for value in sorted({v for v in values if len(v) >= 3}, key=len, reverse=True):
        if value in text:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "<value>", text)
    text = _PATTERN.sub(_replacement, text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= KEPT else text[: KEPT - 1] + "…"


def values_of(entity: object, key: str = "") -> Iterator[str]:
    """Yield the texts of an entity that no message may repeat (e-mails are found without it, names are not)."""
    if isinstance(entity, dict):
        for name, value in entity.items():
            yield from values_of(value, str(name))
    elif isinstance(entity, list | tuple):
        for value in entity:
            yield from values_of(value, key)
    elif isinstance(entity, str) and key not in _PUBLIC and "@" not in entity:
        yield entity


@dataclass(frozen=True, slots=True)
class Envelope:
    """The error of an answer: cidaas' code, the redacted text, the status it names itself.

    `readable`: the body is one of cidaas' (or SCIM's, or OAuth's) error objects, not a page of something in between.
    """

    code: str = ""
    text: str = ""
    status: int | None = None
    readable: bool = False


def read_error(body: bytes, values: Iterable[str] = ()) -> Envelope:
    """Read an error body; every shape of facts/cidaas-api.md §1.5, OAuth's and SCIM's too; never raises."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Envelope(text="(no JSON: a proxy or another server answered)" if body.strip() else "")
    return envelope_of(document, values)


def envelope_of(document: Any, values: Iterable[str] = ()) -> Envelope:
    """Read the error that a decoded body carries."""
    if isinstance(document, dict) and isinstance(document.get("ErrorResp"), dict):
        document = document["ErrorResp"]
    if not isinstance(document, dict):
        return Envelope()
    levels = [level for level in (document.get("error"), document) if isinstance(level, dict)]
    return Envelope(
        code=redact(_first(levels, "code", "errorCode", "error_code")),
        text=redact(_texts(levels), values),
        status=_status(levels),
        readable="success" in document or "schemas" in document or "error" in document,
    )


def _first(levels: list[dict[str, Any]], *keys: str) -> str:
    for level in levels:
        for key in keys:
            if isinstance(value := level.get(key), str | int) and not isinstance(value, bool) and value != "":
                return str(value)
    return ""


def _texts(levels: list[dict[str, Any]]) -> str:
    """Join the texts of the envelope: the short one first, then what explains it."""
    found: list[str] = []
    for level in levels:
        for key in ("error", "error_description", "message", "detail", "moreInfo"):
            value = level.get(key)
            if isinstance(value, str) and value.strip() and value not in found:
                found.append(value)
    return ": ".join(found)


def _status(levels: list[dict[str, Any]]) -> int | None:
    text = _first(levels, "status", "statusCode")
    return int(text) if re.fullmatch(r"[1-5][0-9][0-9]", text, re.ASCII) else None
