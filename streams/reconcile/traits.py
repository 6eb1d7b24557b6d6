"""What cidaas stores of a user as it was given, as one short fingerprint a field (pure).

Names of fields that differ can be told from two of them, and values cannot: they are Python's own hashes, keyed anew in
each process, and never leave it. Not compared: the password (cidaas hashes it anew after a log-in), times of log-in and
creation, second factors, groups, consents and social logins (cidaas adds its own to them), and fields of lazy columns,
which may be newer here than what was sent.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streams.settings import FieldRule, Settings

#: No value, on either side; and a field that was not sent, because its value is not known (M4, M7).
_NULL, _UNSENT = 0, 1
_MASK = 0xFFFFFFFF
_AS_GIVEN = frozenset({
    "email", "username", "given_name", "family_name", "middle_name", "nickname", "gender", "locale", "birthdate",
    "mobile_number", "phone_number", "profile", "picture", "website", "zoneinfo",
})  # fmt: skip
_UNKNOWN: Any = object()


class Traits:
    """The fields of one configuration, in their order, and what a run makes of them."""

    def __init__(self, settings: Settings) -> None:
        mapping, lazy = settings.mapping, settings.source.users.lazy

        def steady(rules: Iterable[FieldRule]) -> list[str]:
            return [rule.target for rule in rules if not lazy.intersection(rule.reads)]

        plain = [name for name in steady(mapping.fields) if name in _AS_GIVEN]
        self._paths = (
            ("", "userStatus"),
            *(("", name) for name in plain),
            *(("address", name) for name in steady(mapping.address)),
            *(("customFields", name) for name in steady(mapping.custom_fields)),
        )
        self.names = tuple(".".join(filter(None, path)) for path in self._paths)
        self._packed = Struct(f">{len(self.names)}I")

    def of(self, user: Mapping[str, Any]) -> bytes:
        """The fingerprints of an entity as it is sent, or of a flat profile as cidaas shows it."""
        return self._packed.pack(*(_print(name, _at(user, part, name)) for part, name in self._paths))

    def differing(self, sent: bytes, shown: bytes) -> Iterator[int]:
        """Which fields, by their place, cidaas shows otherwise than they were sent."""
        if sent == shown:
            return
        both = zip(self._packed.unpack(sent), self._packed.unpack(shown), strict=True)
        for at, (one, other) in enumerate(both):
            if one != _UNSENT and one != (_NULL if other == _UNSENT else other):
                yield at

    def given(self, traits: bytes) -> Iterator[int]:
        """Which fields, by their place, have a value."""
        return (at for at, one in enumerate(self._packed.unpack(traits)) if one not in (_NULL, _UNSENT))


def _at(user: Mapping[str, Any], part: str, name: str) -> Any:
    """A field's value, `_UNKNOWN` where it is absent."""
    of = user.get(part) if part else user
    return of.get(name, _UNKNOWN) if isinstance(of, dict) else _UNKNOWN


def _print(name: str, value: Any) -> int:
    if value is _UNKNOWN:
        return _UNSENT
    text = _text(name, value)
    return max(2, hash(text) & _MASK) if text else _NULL


def _text(name: str, value: Any) -> str:
    """A value as it is compared; "" for none."""
    if isinstance(value, str):  # nearly all are
        text = value.strip()
        if name == "email":
            return text.casefold()
        return text[:10] if name == "birthdate" else text
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(int(value)) if math.isfinite(value) and value == int(value) else repr(value)
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str).decode()
