"""Workers and commands as a person starts them: `faust -A streams.app …`, each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from demo.stack.places import ROOT
from demo.stack.ports import is_free
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FAUST = [str(Path(sys.executable).parent / "faust"), "-A", "streams.app"]
#: what no message for a person may contain
TRACEBACK = "Traceback (most recent call last)"


def _ports() -> Iterator[int]:
    """Ports below those of outgoing connections, beside those of `make up`."""
    port = 16100 + os.getpid() % 4000
    while True:
        port += 1
        if is_free(port):
            yield port


free_ports = _ports()


class Worker:
    """One worker process with a data folder and a port of its own; it may be started again on the same ones."""

    def __init__(self, name: str, folder: Path, env: Mapping[str, str]) -> None:
        self.name, self.folder = name, folder
        self.port = next(free_ports)
        self.env = {**env, "WEB_PORT": str(self.port)}
        self.env.setdefault("APP_DATADIR", str(folder / f"data-{name}"))
        self.log_file = folder / f"worker-{name}.log"
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=5, trust_env=False)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process."""
        with self.log_file.open("ab") as log:
            command = [*FAUST, "worker", "-l", "info"]
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """Whether all of its partitions are owned; fails when it has ended instead."""
        assert self.alive, f"worker {self.name} ended with {self.code}:\n{self.last_lines()}"
        return self._http.get("/ready").status_code == 200

    def await_ready(self, seconds: float = 60.0) -> None:
        """Wait until it has taken its partitions over."""
        until(self.is_ready, f"worker {self.name} ready", seconds)

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        return dict(self._http.get("/sync/status").json())

    def count(self, situation: str) -> int:
        """Users of its partitions in this situation."""
        return int(self.status().get("counts", {}).get(situation, 0))

    def user(self, user: int) -> dict[str, Any]:
        """What it says of one user; {"owner": …} when another worker owns it."""
        return dict(self._http.get(f"/sync/user/{user}").json())

    def get(self, path: str) -> httpx.Response:
        """Any of its pages."""
        return self._http.get(path)

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; SIGKILL returns when it is gone."""
        if self._process is not None and self.alive:
            self._process.send_signal(number)
            if number == signal.SIGKILL:
                self._process.wait(10)

    def end(self, seconds: float = 25.0) -> int:
        """SIGTERM, and the exit code; killed if it does not end."""
        assert self._process is not None
        self.kill(signal.SIGTERM)
        return self.wait(seconds)

    def wait(self, seconds: float = 30.0) -> int:
        """Wait for its end; the exit code. Killed and failed if there is none."""
        assert self._process is not None
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"worker {self.name} did not end in {seconds:.0f} s") from None

    def log(self) -> str:
        """Everything that it printed, also before a restart."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def last_lines(self, count: int = 40) -> str:
        """The end of the log."""
        return "\n".join(self.log().splitlines()[-count:])


@dataclass(frozen=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err

    def refused(self, code: int, *words: str, lines: int = 1) -> None:
        """Assert a refusal as a person should see it: the exit code, not more than `lines`, these words in it."""
        assert TRACEBACK not in self.text, self.text
        assert self.code == code, self
        assert len(self.text.strip().splitlines()) <= lines, self.text
        for word in words:
            assert re.search(word, self.text), f"{word!r} is not in: {self.text}"


def command(env: Mapping[str, str], *words: str, seconds: float = 60.0) -> Said:
    """Run one command to its end."""
    done = subprocess.run(
        [*FAUST, *words], cwd=ROOT, env=dict(env), capture_output=True, text=True, timeout=seconds, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)
