"""What goes wrong with a measurement, in one sentence and with a remedy where there is one."""

from __future__ import annotations


class BenchError(Exception):
    """The measuring itself cannot go on; exit code 1."""


class ContenderError(Exception):
    """A contender ended, stood still or sent something else; it is reported in the table, and the others go on."""
