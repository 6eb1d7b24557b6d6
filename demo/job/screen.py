"""What a person sees: a line for each finished stage, a bar while it runs, nothing else.

    load      ━━━━━━━━━━━━━━━━━━━━          1,204 of 1,852 users, 640 a second

Where the output is no terminal, plain lines every few seconds instead of the bar.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

_EVERY = 5.0  # seconds between two plain lines of a stage
_NAME = 10


class Stage:
    """One stage while it runs: `update` tells how far it is, `result` what is left to read of it."""

    def __init__(self, screen: Screen, name: str, doing: str, progress: Progress | None) -> None:
        self._screen, self._name, self._progress = screen, name, progress
        self.outcome = doing
        self.began = time.monotonic()
        self._said = self.began
        self._task: TaskID | None = None
        if progress is not None:
            self._task = progress.add_task(name, total=None, text=doing)

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.began

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Tell how far it is."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, text=text, completed=done, total=total)
        elif time.monotonic() - self._said >= _EVERY:
            self._said = time.monotonic()
            self._screen.line(self._name, f"{text} ...")

    def result(self, text: str) -> None:
        """Say what the line of the finished stage shall be."""
        self.outcome = text


class Screen:
    """The terminal, or a file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True)

    def line(self, name: str, text: str, seconds: float | None = None) -> None:
        """Print one aligned line."""
        took = "" if seconds is None else f"{seconds:7.1f} s"
        self.console.print(f"  {name:<{_NAME}}{text:<66}{took}".rstrip(), markup=False)

    def say(self, text: str = "") -> None:
        """Print a text as it is."""
        self.console.print(text, markup=False)

    @contextmanager
    def stage(self, name: str, doing: str) -> Iterator[Stage]:
        """Show a stage while it runs; its line with the seconds it took stays, unless it failed."""
        if not self.console.is_terminal:
            stage = Stage(self, name, doing, None)
            yield stage
        else:
            columns = (
                TextColumn(f"  {name:<{_NAME}}"), BarColumn(16), TextColumn("{task.fields[text]}"), TimeElapsedColumn(),
            )  # fmt: skip
            with Progress(*columns, console=self.console, transient=True, refresh_per_second=5) as progress:
                stage = Stage(self, name, doing, progress)
                yield stage
        self.line(name, stage.outcome, stage.seconds)
