"""A column's value as Debezium's JSON has it becomes a value for cidaas (pure).

Each converter takes any JSON value but NULL and returns what to send: None for a blank text, UNUSABLE for what
cannot be sent. None of them raises, whatever comes.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import Epoch


class _Unusable:
    def __repr__(self) -> str:
        return "UNUSABLE"


UNUSABLE: Final = _Unusable()

_DATE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:Z|T00:00:00(?:\.0+)?Z?)?", re.ASCII)
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)?",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1)
_TRUE = frozenset(("true", "t", "yes", "y", "on", "1"))
_FALSE = frozenset(("false", "f", "no", "n", "off", "0"))


def text(value: Any) -> Any:
    """Return the trimmed text; numbers and booleans as PostgreSQL would write them."""
    if isinstance(value, str):
        trimmed = value.strip()
        if trimmed.isascii():
            return trimmed or None
        try:
            trimmed.encode()
        except UnicodeEncodeError:  # a lone surrogate, which no JSON text can carry
            return UNUSABLE
        return trimmed
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 256 else UNUSABLE
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return UNUSABLE


def boolean(value: Any) -> Any:
    """Return true or false, also for the usual words and for 1 and 0."""
    if isinstance(value, bool):
        return value
    word = text(value)
    if word is None or word is UNUSABLE:
        return word
    word = word.casefold()
    return True if word in _TRUE else False if word in _FALSE else UNUSABLE


def number(value: Any) -> Any:
    """Return an integer or a float; decimals come as texts (decimal.handling.mode=string)."""
    if isinstance(value, bool):
        return UNUSABLE
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        try:
            value = int(value) if value.isascii() and value.lstrip("+-").isdigit() and len(value) < 20 else float(value)
        except ValueError:
            return UNUSABLE
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else UNUSABLE
    return value if isinstance(value, float) and math.isfinite(value) else UNUSABLE


def day(value: Any) -> Any:
    """Return a date as YYYY-MM-DD."""
    if not isinstance(value, str):
        return UNUSABLE
    if not (value := value.strip()):
        return None
    if len(value) != 10 or value[4:8:3] != "--":
        match = _DATE.fullmatch(value)
        if match is None:
            return UNUSABLE
        value = match[1]
    try:
        date.fromisoformat(value)
    except ValueError:
        return UNUSABLE
    return value


def timestamp(value: Any) -> Any:
    """Return a point in time as ISO 8601 in UTC with a Z; one without a zone is taken as UTC."""
    if not isinstance(value, str):
        return UNUSABLE
    if not (value := value.strip()):
        return None
    try:
        if value[4:17:3] == "--T::" and value[-1] == "Z" and value[19] in ".Z":  # what isostring writes: as it is
            datetime.fromisoformat(value)
            return value
        if not _TIMESTAMP.fullmatch(value):
            return UNUSABLE
        moment = datetime.fromisoformat(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, IndexError):
        return UNUSABLE
    return moment.replace(tzinfo=None).isoformat() + "Z"


def moment_of(value: Any) -> datetime | None:
    """Return a timestamp for comparing, None if it is none."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def since_epoch(unit: Epoch) -> Callable[[Any], Any]:
    """Return a converter of numbers that count since 1970 into ISO 8601 in UTC."""
    micro = {"s": 1_000_000, "ms": 1_000, "us": 1}[unit]

    def convert(value: Any) -> Any:
        count = number(value)
        if count is None or count is UNUSABLE:
            return count
        try:
            moment = _EPOCH + timedelta(microseconds=round(count * micro))
        except OverflowError:
            return UNUSABLE
        return moment.isoformat() + "Z"

    return convert
