"""A process that is measured: started, looked at through /proc, and ended whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from demo.stack.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")


class Child:
    """A process in a session of its own, so that a Ctrl-C reaches the harness alone, which then ends it."""

    def __init__(
        self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None, *, inner: bool = False
    ) -> None:
        """`log` gets everything that it prints. `inner`: it only watches its child, whom signals are for."""
        self.log, self._inner = log, inner
        self._cpu, self._peak = 0.0, 0.0
        self.started_at = time.time()
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                list(command), cwd=ROOT, env=None if env is None else dict(env), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs, and then its costs are looked at, too: of a dead process few are left."""
        if self._process.returncode is None:
            self._look()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self._cpu = max(self._cpu, usage.ru_utime + usage.ru_stime)
        return self._process.returncode

    def wait(self, seconds: float) -> bool:
        """Wait for its end; return whether it came."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)  # a poll: nothing else tells of an end and of its costs at the same time
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self.code is None:
            inner = self._family()[1:2] if self._inner else []
            os.kill(inner[0].pid if inner else self.pid, number)

    def kill(self) -> None:
        """SIGKILL to it and to its children; it is gone when this returns."""
        family = self._family()
        if self._inner:  # it writes down what it has seen, and ends by itself
            family, watcher = family[1:], family[:1]
        for process in family:
            process.kill()
        if not self.wait(20) and self._inner:
            watcher[0].kill()
            self.wait(20)

    def stop(self, seconds: float = 25.0) -> int | None:
        """SIGTERM; the exit code, None if it had to be killed."""
        self.send(signal.SIGTERM)
        if self.wait(seconds):
            return self.code
        self.kill()
        return None

    def cpu_seconds(self) -> float:
        """CPU time so far, user and system, children too (the dead ones as far as they were waited for)."""
        self._look()
        return self._cpu

    def peak_mb(self) -> float:
        """The largest resident set so far (VmHWM), that of running children added."""
        self._look()
        return self._peak

    def last_lines(self, count: int = 15) -> str:
        """The end of the log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-count:])

    def _look(self) -> None:
        family = self._family()
        self._cpu = max(self._cpu, sum(_cpu_seconds(process.pid) for process in family))
        self._peak = max(self._peak, sum(_peak_mb(process.pid) for process in family))

    def _family(self) -> list[psutil.Process]:
        try:
            process = psutil.Process(self.pid)
            return [process, *process.children(recursive=True)]
        except psutil.Error:
            return []


def _cpu_seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime


def _peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
