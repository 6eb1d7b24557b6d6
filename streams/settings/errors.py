"""What is wrong with the configuration, in sentences for the person who has to change it.

ConfigError     the file or the environment cannot be used; every problem found stands in it
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ConfigError(Exception):
    """The configuration is refused; seen at start only, so the exit code is 2.

    `problems` has one line for each thing that is wrong (file or variable, key, what, remedy), all of them
    at once, so that nobody repairs a file one error at a time. No line ever carries a secret's value.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
