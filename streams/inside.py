"""Values inside the JSON of a column (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from streams.values import UNUSABLE

if TYPE_CHECKING:
    from collections.abc import Callable


def picker(path: str) -> Callable[[Any], Any]:
    """Return a function JSON, as text or already read -> what stands under `path`, names with dots between.

    None where there is no such name, as PostgreSQL's `->>` has it; UNUSABLE for what is no JSON object.
    """
    names = path.split(".")

    def pick(value: Any) -> Any:
        value = read(value)
        for name in names:
            if value is None:
                return None
            if not isinstance(value, dict):
                return UNUSABLE
            value = value.get(name)
        return value

    return pick


def read(value: Any) -> Any:
    """Return JSON text as values, and values as they are; UNUSABLE for a text that is no JSON."""
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return UNUSABLE
