"""`make faults`: run the fault tests on the real stack, then write the table of docs/reliability.md from their results.

    python -m tests.faults                      every fault, every variant once
    python -m tests.faults --only F10 --only F3
    python -m tests.faults --repeat 3           three times, unattended

Exit codes: 0 nothing was lost, 1 a test failed, 2 unusable input. The table is written in each case, except with
--only: then the results are printed, because the table is of a whole run.
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
    results.FILE.unlink(missing_ok=True)
    env = os.environ | {results.VARIABLE: str(results.FILE)}
    began, code = time.monotonic(), 0
    for _ in range(options.repeat):
        command = [sys.executable, "-m", "pytest", "tests/faults", *(f"--only={name}" for name in only)]
        code = max(code, subprocess.call(command, cwd=results.ROOT, stdin=subprocess.DEVNULL, env=env))
    seconds = time.monotonic() - began
    found = results.load()
    if only:
        print(results.table([result for result in found if result.fault in only]))
    else:
        results.write_page(found, about(found, seconds))
        print(f"docs/reliability.md has the table of {len(found)} runs")
    return min(code, 1)


def about(found: list[results.Result], seconds: float) -> str:
    """The line above the table."""
    day = time.strftime("%Y-%m-%d", time.gmtime())
    changes = sum(result.changes for result in found)
    strikes = sum(result.strikes for result in found)
    failed = sum(not result.passed for result in found)
    return (
        f"{day}: {len(found)} runs with {strikes} strikes under {changes:,} changes in {seconds / 60:.0f} minutes on "
        f"two shared cores; {failed} failed."
    )


if __name__ == "__main__":
    sys.exit(main())
