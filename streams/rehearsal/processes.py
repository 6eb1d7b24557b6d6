"""A process that a rehearsal starts, watches and ends; it prints into a file."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from streams.identity import RefusedError
from streams.tied import end, tied

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Seconds for an end in order, and between two looks at a file.
_ENDING, _EVERY = 30.0, 0.1


class Child:
    """One process; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process, self._log = process, log

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Child:
        """Start it in a session of its own: a Ctrl-C is for the command, which ends it in order."""
        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *tied(command, os.getpid()),
                env=env,
                cwd=cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(process, log)

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.returncode

    @property
    def last_words(self) -> str:
        """The last line that it printed."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def assert_runs(self) -> None:
        """Say why it has ended, if it has.

        Raises:
            RefusedError: it has.
        """
        if self.code is not None:
            raise RefusedError(f"a process of the rehearsal ended with exit code {self.code}: {self.last_words}")

    async def said(self, words: re.Pattern[str], seconds: float) -> str:
        """Wait until it has printed this; the first group of it.

        Raises:
            RefusedError: it ended, or never said it.
        """
        try:
            async with asyncio.timeout(seconds):
                while (found := words.search(self._log.read_text(errors="replace"))) is None:
                    self.assert_runs()
                    await asyncio.sleep(_EVERY)  # a poll: a file calls nobody
        except TimeoutError:
            raise RefusedError(
                f"a process of the rehearsal did not start in {seconds:.0f} s: {self.last_words}"
            ) from None
        return found[1]

    async def end(self) -> None:
        """End it, in order if it can be."""
        await end(self._process, _ENDING)
