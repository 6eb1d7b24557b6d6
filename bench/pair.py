"""Two of our workers as one process: `python -m bench.pair COMMAND…` starts the command twice, and ends both.

Each has a folder and a port of its own, as two workers on one machine must. When one ends, the other is ended too.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run until both have ended; returns the worse of their exit codes."""
    state, port = os.environ["APP_DATADIR"], int(os.environ["WEB_PORT"])
    places = [{"APP_DATADIR": f"{state}/{number}", "WEB_PORT": str(port + number)} for number in (0, 1)]
    for place in places:
        Path(place["APP_DATADIR"]).mkdir(parents=True, exist_ok=True)  # Faust makes the last folder of a path alone
    workers = [subprocess.Popen(sys.argv[1:], env={**os.environ, **place}) for place in places]

    def end(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    signal.signal(signal.SIGTERM, end)
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    end()
    return max(worker.wait() for worker in workers)


if __name__ == "__main__":
    sys.exit(main())
