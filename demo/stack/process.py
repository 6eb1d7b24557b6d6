"""Starts, recognises and stops one process of the stack, and never another one.

A process id alone is no proof: after a crash the number may belong to somebody else. Beside NAME.pid stands the moment
at which that process was started, as the kernel tells it; a signal is sent only where both agree.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from demo.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from demo.stack.layout import Layout

POLL = 0.1  # seconds between two looks at a condition


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Look at `condition` until it holds or the time is up; return whether it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)  # polling other processes; there is nothing to wait on
    return True


def started_at(pid: int) -> str | None:
    """Return a mark of the moment at which process `pid` began, None if it does not run (or is dead, unburied)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        fields = []
    if fields:  # state is the third field of the file, the start in clock ticks since boot the 22nd
        return None if fields[0] in "ZX" else fields[19]
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(int(process.create_time()))
    except psutil.Error:
        return None


class Process:
    """The process of service `name` in one stack."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.layout, self.name = layout, name
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def _mark_file(self) -> Path:
        return self.layout.data(f"{self.name}.started")

    def pid(self) -> int | None:
        """Return the id of the running process, None if it does not run."""
        if self._child is not None:
            self._child.poll()  # buries it if it is dead
        try:
            pid = int(self.layout.pid_file(self.name).read_text())
            mark = self._mark_file.read_text()
        except (OSError, ValueError):
            return None
        return pid if mark == f"{pid} {started_at(pid)}" else None

    def spawn(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> int:
        """Start the process in a session of its own, so that a Ctrl-C at the terminal does not reach it."""
        with self.layout.log_file(self.name).open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        pid = self._child.pid
        self.layout.pid_file(self.name).write_text(f"{pid}\n")
        self._mark_file.write_text(f"{pid} {started_at(pid)}")
        return pid

    def exit_code(self) -> int | None:
        """Return how the process ended, if it was started from here and has ended."""
        return None if self._child is None else self._child.poll()

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the process; nothing happens if it does not run."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, number)

    def stop(self, number: signal.Signals, seconds: float) -> bool:
        """Stop the process: `number`, after `seconds` SIGKILL. Return whether the kind way was enough."""
        self.kill(number)
        kindly = wait_for(lambda: self.pid() is None, seconds)
        if not kindly:
            self.kill(signal.SIGKILL)
            if not wait_for(lambda: self.pid() is None, 10):
                raise StackError(f"{self.name} (process {self.pid()}) survived SIGKILL; look at it with ps")
        self.layout.pid_file(self.name).unlink(missing_ok=True)
        self._mark_file.unlink(missing_ok=True)
        return kindly

    def last_lines(self, count: int = 12) -> str:
        """Return the end of the log, for an error that explains itself."""
        try:
            with self.layout.log_file(self.name).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - 16384))
                text = log.read().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-count:])
