"""`make bench`: measures the worker and its peers on a real stack, and writes bench/results.json and docs/figures.md.

python -m bench                          join, deliver, restart, live, backlog: half an hour to an hour on two cores
python -m bench --full                   and memory, growth, whole: hours
python -m bench --only deliver           one of them; the others keep their last figures
python -m bench --only deliver --users 2000 --runs 1 --try    does it work? Writes nothing that stays
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import machine, page, profiles, results
from bench.arena import arena, say
from bench.contenders import OURS
from bench.errors import BenchError, ContenderError
from bench.peers import PEERS, PeerError
from bench.plan import FULL, USUAL, Plan
from bench.scenarios import SCENARIOS, Scenario
from demo.stack import Missing, StackError
from demo.stack.places import ROOT
from demo.stack.prerequisites import missing

if TYPE_CHECKING:
    from collections.abc import Sequence


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help=f"also {', '.join(FULL)}")
    parser.add_argument("--only", nargs="+", choices=(*USUAL, *FULL), metavar="SCENARIO", help="these, and no others")
    parser.add_argument("--contenders", nargs="+", metavar="NAME", help="these, and no others (ours, plain, ...)")
    parser.add_argument("--users", type=int, metavar="N", help="a small size, to see whether it works; needs --try")
    parser.add_argument("--runs", type=int, default=None, metavar="N", help="runs of each (default 3)")
    parser.add_argument("--page", action="store_true", help="measure nothing; write the pages from the last results")
    parser.add_argument("--try", action="store_true", dest="trial", help="keep no results, leave the page alone")
    return parser


def main() -> int:
    """Measure; exit codes 0 all measured, 1 something failed or differed (the table says what), 2 not possible."""
    options = arguments().parse_args()
    if (options.users or options.contenders) and not options.trial:
        say("--users and --contenders make figures that cannot be compared: add --try, which keeps none of them")
        return 2
    if options.page:
        page.write(results.load())
        return 0
    if lines := missing():
        say("\n".join(lines))
        return 2
    plan = Plan.small(options.users, options.runs or 1) if options.users else Plan(runs=options.runs or Plan().runs)
    if options.contenders:
        plan = dataclasses.replace(plan, contenders=tuple(options.contenders))
    chosen = options.only or [*USUAL, *(FULL if options.full else ())]
    try:
        for peer in PEERS.values():
            if plan.contenders is None or peer.name in plan.contenders:
                peer.build()
    except PeerError as error:
        say(str(error))
        return 2
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets its background jobs ignore it
    for number in (signal.SIGTERM, signal.SIGHUP):  # like Ctrl-C: everything that was started is ended
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        with _results(trial=options.trial) as file:
            return asyncio.run(_measure([SCENARIOS[name] for name in chosen], plan, file))
    except Missing as error:
        say(str(error))
        return 2
    except (BenchError, StackError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted; scenarios that were finished are kept")
        return 130


@contextlib.contextmanager
def _results(*, trial: bool) -> Any:
    """Where results go; those of a trial go nowhere, and the page is written by all others."""
    if trial:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "results.json"
            yield file
            say(page.measured(results.load(file)))
        return
    try:
        yield results.FILE
    finally:
        page.write(results.load())


async def _measure(chosen: Sequence[Scenario], plan: Plan, file: Path) -> int:
    """Measure scenario by scenario; those with the same services share a stack."""
    problems = 0
    for services in dict.fromkeys(scenario.services for scenario in chosen):
        for group in _sharing([scenario for scenario in chosen if scenario.services == services]):
            busy = machine.busy_percent()
            async with arena(_folder(), services) as stage:
                for scenario in group:
                    say(f"{scenario.name}")
                    began = time.monotonic()
                    try:
                        rows = await scenario.measure(stage, plan)
                    except ContenderError as error:  # before the first run
                        rows = [{"contender": OURS, "problem": str(error)}]
                        say(f"  {error}")
                    part = {
                        "about": machine.about(),
                        "record_bytes": {str(users): size for users, size in stage.record_bytes.items()},
                        "busy_percent": busy,
                        "seconds": time.monotonic() - began,
                        "rows": rows,
                    }
                    results.put(file, scenario.name, part)
                    await profiles.profile(scenario.name, stage, plan, file.parent / "profiles")
                    problems += sum("problem" in row for row in rows)
                    say(f"{scenario.name}: {time.monotonic() - began:.0f} s")
    if problems:
        say(f"{problems} runs failed or sent something else; the tables say which")
    return 1 if problems else 0


def _sharing(scenarios: list[Scenario]) -> list[list[Scenario]]:
    """Scenarios that can use one stack; one that needs an empty stack gets its own."""
    shared = [one for one in scenarios if not one.alone]
    return [group for group in (shared, *([one] for one in scenarios if one.alone)) if group]


def _folder() -> Path:
    return Path(os.environ.get("BENCH_DIR") or ROOT / ".run-bench")


if __name__ == "__main__":
    sys.exit(main())
