"""The target (bench/target.py) as the harness sees it: a process, and what it answers on its second port."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import httpx
import orjson

from bench.errors import BenchError
from bench.processes import Child
from demo.stack.ports import is_free

if TYPE_CHECKING:
    from pathlib import Path


class Sink:
    """One target process."""

    def __init__(self, folder: Path) -> None:
        log = folder / "target.log"
        log.unlink(missing_ok=True)
        # Below the ports of outgoing connections: nobody takes it while the target is away.
        port = next(port for port in range(18_100, 20_000) if is_free(port))
        self.process = Child([sys.executable, "-m", "bench.target", "--port", str(port)], log)
        ports = self._ports(log)
        self.url = f"http://127.0.0.1:{ports['port']}"
        self._control = httpx.Client(base_url=f"http://127.0.0.1:{ports['control']}", trust_env=False, timeout=120)

    def _ports(self, log: Path) -> dict[str, int]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.code is None:
            if b"\n" in (said := log.read_bytes()):
                return dict(orjson.loads(said.splitlines()[0]))
            time.sleep(0.05)  # a poll: its first line of output is all that it tells
        raise BenchError(f"the target did not start: {self.process.last_lines()}")

    def reset(self, *, latency: float = 0.0, goal: int = 0, journal: bool = False) -> None:
        """Forget everything; `latency` in seconds, `goal` the number of users after which `done_at` is set."""
        self._get(f"/reset?latency={latency}&goal={goal}&journal={int(journal)}")

    def stats(self) -> dict[str, Any]:
        """Calls, users, times."""
        return dict(self._get("/stats"))

    def digest(self) -> dict[str, Any]:
        """Users and one hash over their last states."""
        return dict(self._get("/digest"))

    def journal(self, *, on: bool = True) -> list[list[Any]]:
        """(sub, given name, received, answered) of each user confirmed since the last call; goes on if `on`."""
        return list(self._get(f"/journal?on={int(on)}"))

    def away(self, seconds: float) -> None:
        """Close the port for that long."""
        self._get(f"/away?seconds={seconds}")

    def close(self) -> None:
        """End the process."""
        self._control.close()
        self.process.stop(10)

    def _get(self, path: str) -> Any:
        return orjson.loads(self._control.get(path).raise_for_status().content)
