"""A field's rule becomes a function of its columns' values (pure; `streams.values` says what such a function promises).

What a rule does not use is not part of its function, and costs nothing.
"""

from __future__ import annotations

import logging
import re
import traceback
from string import Formatter
from typing import TYPE_CHECKING, Any

from streams.inside import picker
from streams.phones import reader
from streams.settings import functions
from streams.values import UNUSABLE, boolean, day, number, since_epoch, text, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.settings import FieldRule

    Convert = Callable[[Any], Any]

log = logging.getLogger(__name__)

_BLANKS = re.compile(" {2,}")
#: Places of errors that are logged for one function.
_TOLD = 20


def converter(rule: FieldRule, region: str | None) -> Convert:
    """Return the converter of a rule of one column, `text` itself if that is all: path, then what `_finish` does.

    `region` reads phone numbers without a country code.
    """
    convert = _finish(rule, region)
    return convert if rule.path is None else _then(picker(rule.path), convert)


def derived(rule: FieldRule, region: str | None) -> Callable[[Sequence[Any]], Any]:
    """Return what makes the field of the values of `rule.reads`, in their order and NULL among them.

    A rule with a template or a function. A function is called with the value of its column, or with a dictionary of
    its columns; whatever it does, the worker goes on, and the field counts as unusable.
    """
    finish = _finish(rule, region)
    if rule.template is not None:
        return _template(rule.template, rule.columns, finish)
    assert rule.function is not None
    call = guarded(rule.function)
    pick = None if rule.path is None else picker(rule.path)

    def made(values: Sequence[Any]) -> Any:
        given: Any = values[0] if rule.column else dict(zip(rule.columns, values, strict=True))
        if pick is not None and given is not None and (given := pick(given)) is UNUSABLE:
            return UNUSABLE
        answer = call(given)
        if answer is None or answer is UNUSABLE:
            return answer
        return finish(answer) if isinstance(answer, str | bool | int | float) else UNUSABLE

    return made


def maker(rule: FieldRule, region: str | None) -> Callable[[Sequence[Any]], Any]:
    """Return what makes the field of the values of `rule.reads`, whatever the rule is; for what is not in a hurry."""
    if rule.derived:
        return derived(rule, region)
    convert = converter(rule, region)
    return lambda values: None if values[0] is None else convert(values[0])


def guarded(name: str) -> Convert:
    """Return a person's function that does not raise: UNUSABLE instead, and each place of an error is logged once."""
    function = functions.find(name)
    told: set[str] = set()

    def call(value: Any) -> Any:
        try:
            return function(value)
        except (Exception, SystemExit) as error:
            where = place_of(error)
            if where not in told and len(told) < _TOLD:
                told.add(where)
                log.warning("the function %s of the mapping failed, and its field is sent as null: %s", name, where)
            return UNUSABLE

    return call


def place_of(error: BaseException) -> str:
    """Name an error and its line, never its words: those may hold a value."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in line {last.lineno} of {last.filename.rpartition('/')[2]}"


def _template(template: str, columns: Sequence[str], finish: Convert) -> Callable[[Sequence[Any]], Any]:
    """NULL is an empty text and leaves no second blank behind; where all columns are NULL, so is the field."""
    parts = [
        (literal, None if name is None else columns.index(name)) for literal, name, *_ in Formatter().parse(template)
    ]

    def made(values: Sequence[Any]) -> Any:
        words = [None if value is None else text(value) for value in values]
        if UNUSABLE in words:
            return UNUSABLE
        if words and not any(words):
            return None
        written = "".join(literal + ("" if at is None else words[at] or "") for literal, at in parts)
        return finish(written if all(words) else _BLANKS.sub(" ", written))

    return made


def _finish(rule: FieldRule, region: str | None) -> Convert:
    """Return what comes last, in this order: letters, the person's own words for values, a number's epoch, the type."""
    plain = {"text": text, "boolean": boolean, "number": number, "date": day, "timestamp": timestamp, "phone": None}
    convert = plain[rule.kind] or _phone(region)
    if rule.values is not None:
        convert = _translated(dict(rule.values), convert)
    if rule.epoch is not None:
        convert = _then(since_epoch(rule.epoch), _day_of if rule.kind == "date" else convert)
    return convert if rule.case is None else _cased(rule.case, convert)


def _cased(case: str, convert: Convert) -> Convert:
    return _then(text, lambda word: convert(word.lower() if case == "lower" else word.upper()))


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

    def phone(value: Any) -> Any:
        written = text(value)
        if written is None or written is UNUSABLE:
            return written
        return read(written) or UNUSABLE

    return phone


def _translated(words: dict[str, str], convert: Convert) -> Convert:
    def translated(value: Any) -> Any:
        word = text(value)
        if word is None or word is UNUSABLE:
            return word
        return convert(words[word]) if word in words else UNUSABLE

    return translated
