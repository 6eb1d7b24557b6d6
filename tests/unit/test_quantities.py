"""Times and sizes are said in the words of a person."""

from __future__ import annotations

import pytest

from streams.quantities import duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0 s"), (2.93, "2.9 s"), (9.97, "10 s"), (59.94, "60 s"), (60, "1 min"), (75, "1 min 15 s"),
        (3599.6, "1 h"), (90_000, "25 h"), (93_600, "26 h"), (176_400, "2 days 1 h"), (8.64e7, "1,000 days"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 bytes"),
        (512, "512 bytes"),
        (1536, "2 KiB"),
        (-5 << 20, "-5 MiB"),
        (3 << 29, "1.5 GiB"),
        (5 << 40, "5,120.0 GiB"),
    ],
)
def test_sizes(number: float, words: str) -> None:
    assert size(number) == words
