"""Telephone numbers as E.164, or nothing (pure; the library `phonenumbers` decides).

The library takes 40-100 µs a number, more than the rest of a user. A number that is already written as `+` and
digits is therefore compared with the library's own patterns first; only what they do not settle is parsed. What the
short way accepts, the library accepts unchanged (a property test holds it to that).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import phonenumbers

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)
_NOTHING = re.compile(r"(?!)")


def reader(region: str | None) -> Callable[[str], str | None]:
    """Return a function text -> E.164 or None; `region` reads numbers without a country code, such as "DE"."""

    @functools.lru_cache(maxsize=10_000)
    def slowly(text: str) -> str | None:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            return None
        if not phonenumbers.is_valid_number(number):
            return None
        written = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        return written if _PLAIN.fullmatch(written) else None

    def read(text: str) -> str | None:
        if _PLAIN.fullmatch(text):
            for end in (2, 3, 4):  # calling codes have 1 to 3 digits and none begins another
                pattern = _pattern(text[1:end])
                if pattern is not None:
                    return text if pattern.fullmatch(text, end) else slowly(text)
        return slowly(text)

    return read


@functools.cache
def _pattern(code: str) -> re.Pattern[str] | None:
    """Return what surely valid national numbers of a calling code look like, None if there is no such code.

    The first region of the code is the one that the library asks first. A national prefix (which it would strip)
    is left to the library.
    """
    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(code))
    if regions is None:
        return None
    data = phonenumbers.PhoneMetadata.metadata_for_region(regions[0], None)
    if data is None or not data.general_desc:
        return _NOTHING
    sure = [_described(kind) for kind in (data.mobile, data.fixed_line) if kind and kind.national_number_pattern]
    if not sure:
        return _NOTHING
    stripped = f"(?!{data.national_prefix_for_parsing})" if data.national_prefix_for_parsing else ""
    leading = f"(?={data.leading_digits})" if data.leading_digits else ""
    return re.compile(rf"(?!0){stripped}{leading}(?={_described(data.general_desc)}\Z)(?:{'|'.join(sure)})", re.ASCII)


def _described(kind: phonenumbers.PhoneNumberDesc) -> str:
    lengths = "|".join(f"[0-9]{{{length}}}" for length in kind.possible_length)
    return (
        rf"(?:(?=(?:{lengths})\Z)(?:{kind.national_number_pattern}))"
        if lengths
        else f"(?:{kind.national_number_pattern})"
    )
