"""What cidaas stores of a user as it was given, as one short keyed fingerprint a field (pure).

Names of fields that differ can be told from two of them, and values cannot. Not compared: the password (cidaas hashes
it anew after a log-in), times of log-in and creation, second factors, groups, consents and social logins (cidaas adds
its own to them), and fields of lazy columns, which may be newer here than what was sent.
"""

from __future__ import annotations

import math
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.settings import FieldRule, Settings

_SIZE = 4
#: No value, on either side; and a field that was not sent, because its value is not known (M4, M7).
_NULL, _UNSENT = bytes(_SIZE), b"\xff" * _SIZE
_AS_GIVEN = frozenset({
    "email", "username", "given_name", "family_name", "middle_name", "nickname", "gender", "locale", "birthdate",
    "mobile_number", "phone_number", "profile", "picture", "website", "zoneinfo",
})  # fmt: skip
_UNKNOWN: Any = object()


class Traits:
    """The fields of one configuration, in their order, and what a run makes of them."""

    def __init__(self, settings: Settings, key: bytes) -> None:
        """`key` is up to 64 random bytes."""
        mapping, lazy = settings.mapping, settings.source.users.lazy
        self._key = key

        def steady(rules: Iterable[FieldRule]) -> list[str]:
            return [rule.target for rule in rules if not lazy.intersection(rule.reads)]

        plain = [name for name in steady(mapping.fields) if name in _AS_GIVEN]
        self.paths = (
            ("userStatus",),
            *((name,) for name in plain),
            *(("address", name) for name in steady(mapping.address)),
            *(("customFields", name) for name in steady(mapping.custom_fields)),
        )
        self.names = tuple(".".join(path) for path in self.paths)

    def of(self, user: Mapping[str, Any]) -> bytes:
        """The fingerprints of an entity as it is sent, or of a flat profile as cidaas shows it."""
        return b"".join(self._print(path, _at(user, path)) for path in self.paths)

    def differing(self, sent: bytes, shown: bytes) -> Iterator[int]:
        """Which fields, by their place, cidaas shows otherwise than they were sent."""
        if sent == shown:
            return
        for at in range(0, len(sent), _SIZE):
            one, other = sent[at : at + _SIZE], shown[at : at + _SIZE]
            if one != _UNSENT and one != (_NULL if other == _UNSENT else other):
                yield at // _SIZE

    def given(self, traits: bytes) -> Iterator[int]:
        """Which fields, by their place, have a value."""
        for at in range(0, len(traits), _SIZE):
            if traits[at : at + _SIZE] not in (_NULL, _UNSENT):
                yield at // _SIZE

    def _print(self, path: tuple[str, ...], value: Any) -> bytes:
        if value is _UNKNOWN:
            return _UNSENT
        if (text := _text(path, value)) == "":
            return _NULL
        found = blake2b(text.encode("utf-8", "replace"), digest_size=_SIZE, key=self._key).digest()
        return found if found not in (_NULL, _UNSENT) else b"\1" * _SIZE


def _at(user: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = user
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name, _UNKNOWN)
        if value is _UNKNOWN:
            return value
    return value


def _text(path: tuple[str, ...], value: Any) -> str:
    """A value as it is compared; "" for none."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
    if not isinstance(value, str):
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
    text = value.strip()
    if path == ("email",):
        return text.casefold()
    return text[:10] if path == ("birthdate",) else text
