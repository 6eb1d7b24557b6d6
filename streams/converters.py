"""A field's rule becomes a function of its column's value (pure; `streams.values` says what such a function promises).

What a rule does not use is not part of its function, and costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.inside import picker
from streams.phones import reader
from streams.values import UNUSABLE, boolean, day, number, since_epoch, text, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import FieldRule

    Convert = Callable[[Any], Any]


def converter(rule: FieldRule, region: str | None) -> Convert:
    """Return the converter of a rule: path, then its own words for values, then the type; `text` itself if that is all.

    `region` reads phone numbers without a country code.
    """
    plain = {"text": text, "boolean": boolean, "number": number, "date": day, "timestamp": timestamp, "phone": None}
    convert = plain[rule.kind] or _phone(region)
    if rule.values is not None:
        convert = _translated(dict(rule.values), convert)
    if rule.epoch is not None:
        convert = _then(since_epoch(rule.epoch), _day_of if rule.kind == "date" else convert)
    return convert if rule.path is None else _then(picker(rule.path), convert)


def _then(first: Convert, second: Convert) -> Convert:
    """Return one after the other; a value that is none, or cannot be used, ends it."""

    def both(value: Any) -> Any:
        made = first(value)
        return made if made is None or made is UNUSABLE else second(made)

    return both


def _day_of(moment: str) -> str:
    return moment[:10]


def _phone(region: str | None) -> Convert:
    read = reader(region)
    return _then(text, lambda written: read(written) or UNUSABLE)


def _translated(words: dict[str, str], convert: Convert) -> Convert:
    return _then(text, lambda word: convert(words[word]) if word in words else UNUSABLE)
