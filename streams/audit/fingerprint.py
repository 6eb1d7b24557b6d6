"""A configuration as a fingerprint, and which keys of it differ; no value and no secret is written down (pure)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import orjson

from streams.settings import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.settings import Settings

#: fields of the settings -> where a person finds them in pipeline.toml; all others have the same name there.
_PLACES = {
    "app_id": "pipeline.app_id",
    "partitions": "pipeline.partitions",
    "replication_factor": "pipeline.replication_factor",
    "archive": "cutover.archive",
    "source.users": "tables.users",
    "source.credentials": "tables.credentials",  # of several, the others are told apart by their names
}
#: what follows from others, or differs by place and changes nothing, or is a secret.
_LEFT_OUT = ("path", "topics", "certificate_key", "rehearsal")
#: keys that came with a later version, and what they are where a file does not have them: an upgrade is no change.
_LATER = {"holds": "passwords", "provider": None, "provider_user_id": None}


def digests(settings: Settings) -> dict[str, str]:
    """Return 8 hex digits for each key that counts, by its name in pipeline.toml."""
    found = dict(_keys(settings))
    return {key: _hash(found[key], 8) for key in sorted(found)}


def fingerprint(found: Mapping[str, str]) -> str:
    """Return 12 hex digits that change when any key does."""
    return _hash(dict(found), 12)


def differing(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Name the keys that came, went, or have another value."""
    return sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))


def _keys(settings: Settings) -> Iterator[tuple[str, Any]]:
    for field in fields(settings):
        value = getattr(settings, field.name)
        # A table that came with a later version and is not there: an upgrade alone is no change of the configuration.
        if field.name not in _LEFT_OUT and value is not None:
            yield from _parts(field.name, value)
    yield "LEGACY_DATABASE_URL", _place(settings.source.url)


def _parts(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    name = _PLACES.get(name, name)
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            part = getattr(value, field.name)
            later = field.name in _LATER and part == _LATER[field.name]
            if "Secret" not in str(field.type) and not later:  # a secret that is not set is one as well
                yield from _parts(f"{name}.{field.name}", part)
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(f"{name}.{key}", part)
    elif name == _PLACES["source.credentials"]:
        if len(value) != 1:
            yield name, [table.name for table in value] or None  # their order counts
        for place, table in enumerate(value):
            yield from _parts(f"{name}.{table.name}" if place else name, table)
    elif isinstance(value, tuple | list) and value and all(hasattr(part, "target") for part in value):
        for part in value:
            yield f"{name}.{part.target}", _plain(part)
    else:
        yield name, _plain(value)


def _plain(value: Any) -> Any:
    """The value with one fixed form: sets are sorted, and a function is its name."""
    if isinstance(value, Secret):
        return None
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if callable(value):
        return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
    return value if isinstance(value, str | int | float | None) else str(value)


def _place(url: Secret | None) -> str:
    """Host, port and database of an address; whatever may belong to user and password is left out."""
    text = "" if url is None else url.reveal()
    return text.partition("?")[0].rpartition("@")[2] if "@" in text.partition("?")[0] else ""


def _hash(value: Any, digits: int) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:digits]
