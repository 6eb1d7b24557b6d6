"""`python -m demo.oracle`: the independent check of the stack whose variables are loaded (set -a; . .run/stack.env).

Exit codes: 0 nothing is missing, stale or resurrected; 1 something is; 2 it could not be checked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import httpx

from demo.oracle.check import await_equal
from demo.oracle.report import OracleError, Report


def arguments() -> argparse.Namespace:
    """Describe and read the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.oracle", description=__doc__)
    parser.add_argument("--wait", type=float, default=0, metavar="SECONDS", help="look again until all are equal")
    parser.add_argument("--examples", type=int, default=5, help="users named of each verdict (default %(default)s)")
    return parser.parse_args()


async def sentences(report: Report, web_port: str | None, limit: int = 5) -> list[str]:
    """What the worker says of users that are not right: only for a person to read, no verdict rests on it."""
    if not web_port:
        return []
    wrong = [finding.user for name in ("missing", "stale", "resurrected") for finding in report.findings.get(name, [])]
    said = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web_port}", timeout=5, trust_env=False) as http:
        for user in wrong[:limit]:
            try:
                said.append(f"  the worker on user {user}: {(await http.get(f'/sync/user/{user}')).json()['sentence']}")
            except (httpx.HTTPError, ValueError, KeyError):
                said.append(f"  the worker says nothing of user {user}")
    return said


async def run(options: argparse.Namespace) -> int:
    """Check and print."""
    report = await await_equal(os.environ, seconds=options.wait)
    for line in report.lines(options.examples):
        print(line)
    for line in await sentences(report, os.environ.get("WEB_PORT"), options.examples):
        print(line)
    return 0 if report.ok else 1


def main() -> int:
    """Run."""
    try:
        return asyncio.run(run(arguments()))
    except OracleError as error:
        print(f"not checked: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
