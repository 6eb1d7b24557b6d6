"""`make test`: all tests, in two lanes side by side, because most of their time is waiting.

The first lane is the tests of the main pipeline and some faults, shown as they go. The second one is everything else,
on stacks of its own, shown when the first is over; both take about as long. Exit codes: 0 all passed, 1 a test failed;
all lanes go to their end.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from typing import IO

MAIN = (("tests/integration", "--lane", "main"), ("tests/faults", "--smoke"))
OTHERS = (
    ("tests/unit", "tests/integration", "--lane", "others"),
    ("tests/integration", "-m", "oldest", "--postgres", "14"),
)


class Lane:
    """Suites that run one after the other."""

    def __init__(self, suites: tuple[tuple[str, ...], ...], output: IO[bytes] | None) -> None:
        """`output` takes what they print; None is the terminal."""
        self._suites, self._output = suites, output
        self._now: subprocess.Popen[bytes] | None = None
        self._ended = False
        self.failed = False

    def run(self) -> None:
        """Run them to the end."""
        for suite in self._suites:
            if self._ended:
                return
            command = [sys.executable, "-m", "pytest", *suite]
            self._now = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
            )
            self.failed |= self._now.wait() != 0

    def end(self) -> None:
        """Let the suite that runs take its stack down, and start no other."""
        self._ended = True
        if self._now is not None and self._now.poll() is None:
            self._now.terminate()


def main() -> int:
    """Run both lanes."""
    with tempfile.TemporaryFile() as output:
        first, second = Lane(MAIN, None), Lane(OTHERS, output)
        beside = threading.Thread(target=second.run)
        beside.start()
        try:
            first.run()
            print("the other tests, which ran beside these:", flush=True)
        except BaseException:
            second.end()
            raise
        finally:
            beside.join()
            output.seek(0)
            sys.stdout.buffer.write(output.read())
            sys.stdout.flush()
        return int(first.failed or second.failed)


if __name__ == "__main__":
    sys.exit(main())
