"""What a table of broken things says of each: exactly one check names it, in words that a person understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.doctor.checks import Check, State


@dataclass(frozen=True)
class Broken:
    """What is judged, the check that names it, words of what it says and of its remedy."""

    checks: list[Check]
    slug: str
    state: State
    what: str
    remedy: str

    def assert_named(self, bad: Sequence[Check]) -> None:
        """It alone is among those that are not as they must be."""
        (found,) = bad
        assert (found.slug, found.state) == (self.slug, self.state)
        assert self.what in found.what
        assert self.remedy in found.remedy
        assert "\n" not in found.what + found.remedy, "one line each"
