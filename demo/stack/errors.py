"""What goes wrong with the embedded stack, in one sentence and with a remedy."""

from __future__ import annotations


class StackError(Exception):
    """A service did not start or stop; the text says which, why, and what to do. Exit code 1."""


class Missing(StackError):  # noqa: N818 - reads as what it says
    """Something that has to be installed first is not there. Exit code 2."""
