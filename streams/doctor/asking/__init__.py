"""Asks one place each, and changes nothing there (but for `tenant.trial`, which says so).

AwayError          the place cannot be asked at all: nothing of it can be judged
└── DeniedError    it answers, and does not let us in
"""

from __future__ import annotations


class AwayError(Exception):
    """The place cannot be asked; `remedy` is what to do. The text holds no secret."""

    def __init__(self, why: str, remedy: str) -> None:
        super().__init__(why)
        self.remedy = remedy


class DeniedError(AwayError):
    """The place answers, and demands a user and a password, or does not take ours."""
