"""`make faults`: run the fault tests on the real stack, then write the table of docs/reliability.md from their results.

    python -m tests.faults                      every fault, every variant once
    python -m tests.faults --only F10 --only F3
    python -m tests.faults --repeat 3           three times, unattended

Exit codes: 0 nothing was lost, 1 a test failed, 2 unusable input. The table has the newest run of each fault: --only
replaces the rows of these, if there was a whole run before; else they are only printed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from tests.faults.kit import results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="F10")
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    if options.repeat < 1:
        parser.error("--repeat takes a number from 1 on")
    only = [name.upper() for name in options.only]
    for name in only:
        if name not in results.FAULTS:
            parser.error(f"there is no fault {name}: {', '.join(results.FAULTS)}")
    results.FILE.parent.mkdir(exist_ok=True)
    fresh = results.FILE.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    env = os.environ | {results.VARIABLE: str(fresh)}
    began, failed = time.monotonic(), False
    for _ in range(options.repeat):
        command = [sys.executable, "-m", "pytest", "tests/faults", *(f"--only={name}" for name in only)]
        # A suite that was killed has a negative code, and has not passed.
        failed |= subprocess.call(command, cwd=results.ROOT, stdin=subprocess.DEVNULL, env=env) != 0
    minutes = (time.monotonic() - began) / 60
    new = results.load(fresh)
    found = results.merged(results.load(), new, only) if only else new
    if only:
        print(results.table([result for result in new if result.fault in only]))
    without = [name for name in results.FAULTS if not any(result.fault == name for result in found)]
    if without:
        print(f"docs/reliability.md stays as it is: there is no result of {', '.join(without)}")
    else:
        results.save(found)
        results.write_page(found, about(found))
        print(f"docs/reliability.md has the table of {len(found)} runs; these {len(new)} took {minutes:.0f} minutes")
    return int(failed)


def about(found: list[results.Result]) -> str:
    """The line above the table."""
    days = sorted({result.day for result in found})
    changes = sum(result.changes for result in found)
    strikes = sum(result.strikes for result in found)
    failed = sum(not result.passed for result in found)
    minutes = sum(result.seconds for result in found) / 60
    took = f" in {minutes:.0f} minutes" if all(result.seconds for result in found) else ""
    day = " to ".join(dict.fromkeys((days[0], days[-1])))
    return (
        f"{day}: {len(found)} runs with {strikes} strikes under {changes:,} changes{took} on two shared "
        f"cores; {failed} failed."
    )


if __name__ == "__main__":
    sys.exit(main())
