"""`make demo`: from an empty machine to every user in cidaas, with live changes and an independent check.

Exit codes: 0 nothing is missing, stale or resurrected; 1 something is, or something failed; 2 refused; 128 + n when
interrupted by signal n. No process is left behind; the state stays, `make up` brings the stack back.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import psycopg

from demo.job.evening import EveningError
from demo.job.machine import InterruptedDemoError, Machine
from demo.job.marker import Marker, RefusedError, alone, decide
from demo.job.run import Demo
from demo.job.screen import Screen
from demo.job.summary import relative
from demo.legacy.seed import SEED
from demo.oracle import OracleError
from demo.stack import Missing, StackError
from demo.stack.prerequisites import missing
from streams.settings import ConfigError
from streams.source.connect import ConnectError
from streams.source.topics import TopicError

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def arguments() -> argparse.Namespace:
    """Describe and read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--users", type=_positive, default=os.environ.get("USERS") or 2000)
    parser.add_argument(
        "--seed", type=int, default=SEED, help="the same seed makes the same users (default: %(default)s)"
    )
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 100:
        raise argparse.ArgumentTypeError("at least 100 users, so that there is somebody for each kind of change")
    return int(text)


class Interrupts:
    """The first signal cancels the demo; later ones are told to wait."""

    def __init__(self, screen: Screen) -> None:
        self.number: signal.Signals | None = None
        self._screen = screen
        self._task: asyncio.Task[object] | None = None

    def install(self) -> None:
        """Hear signals from now on, for the current task."""
        self._task = asyncio.current_task()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._heard, number)

    def _heard(self, number: signal.Signals) -> None:
        if self.number is None and self._task is not None:
            self.number = number
            self._task.cancel()
        else:
            self._screen.say("  stopping, a moment please")

    def over(self) -> None:
        """The demo is stopping anyway: no cancelling any more."""
        self._task = None


async def run(options: argparse.Namespace, run_dir: Path, screen: Screen) -> int:
    """Run the demo and stop whatever was started."""
    interrupts = Interrupts(screen)
    interrupts.install()
    machine = Machine(run_dir, screen)
    begin = decide(run_dir, options.users, runs=machine.runs)
    before = Marker.read(run_dir)
    marker = before if before is not None and not before.finished else Marker(options.users, options.seed)
    if marker.users != options.users:
        screen.line("!", f"the interrupted demo has {marker.users:,} users; `make clean` forgets it")
    screen.say(f"{marker.users:,} users from PostgreSQL to cidaas (seed {marker.seed}, in {relative(run_dir)})\n")
    code = 1
    try:
        code = await Demo(machine, screen, marker).run(begin)
    except asyncio.CancelledError:
        if interrupts.number is None:
            raise
        code = 128 + interrupts.number
        screen.line("!", "interrupted; `make demo` goes on from here, `make up` brings the stack back")
    finally:
        interrupts.over()
        screen.say()
        with screen.stage("stop", "everything is stopped, the state is kept") as stage, machine.telling(stage.update):
            await machine.shut_down()
    return code


def main() -> int:
    """Run; what goes wrong is one sentence."""
    options = arguments()
    run_dir = Path(os.environ.get("RUN_DIR") or ".run").resolve()
    screen = Screen()
    try:
        if lines := missing(need_maven=False):
            raise Missing("\n".join(lines))
        with alone(run_dir):
            return asyncio.run(run(options, run_dir, screen))
    except (RefusedError, Missing, ConfigError) as error:
        print(error, file=sys.stderr)
        return 2
    except (StackError, ConnectError, TopicError, OracleError, EveningError, psycopg.Error) as error:
        print(str(error).strip(), file=sys.stderr)
        return 1
    except (InterruptedDemoError, KeyboardInterrupt):
        return 130


if __name__ == "__main__":
    sys.exit(main())
