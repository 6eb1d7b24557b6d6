"""`python -m demo.stack up|down|status|clean|sql`, for the stack in RUN_DIR (default .run).

A new stack has PostgreSQL of POSTGRES_VERSION (14 to 18), if that is set.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import psycopg

from demo.stack import postgres
from demo.stack.errors import Missing, StackError
from demo.stack.prerequisites import missing
from demo.stack.services import SERVICES
from demo.stack.stack import Stack, say
from streams.settings import ConfigError
from streams.source.connect import ConnectError
from streams.source.topics import TopicError


def _services(text: str) -> list[str]:
    names = text.split(",")
    if unknown := sorted(set(names) - set(SERVICES)):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SERVICES)}")
    return names


def arguments() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog="python -m demo.stack", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    up = actions.add_parser("up", help="start what is missing and wait until it is healthy")
    up.add_argument("--only", type=_services, metavar="NAME,...", help="these services, default: all")
    up.add_argument("--no-capture", action="store_true", help="leave the tables without change data capture")
    actions.add_parser("down", help="stop everything and keep the state")
    actions.add_parser("status", help="show what runs; exit code 1 if something is down")
    actions.add_parser("clean", help="stop everything and remove the state")
    run = actions.add_parser("sql", help="run SQL in the legacy database as its administrator, in one transaction")
    what = run.add_mutually_exclusive_group(required=True)
    what.add_argument("file", nargs="?", type=Path, help="a file with statements")
    what.add_argument("-c", dest="statement", help="the statement itself")
    return parser


def main() -> int:
    """Run one action; exit codes 0 done, 1 something failed or is down, 2 something has to be installed first."""
    options = arguments().parse_args()
    stack = Stack(os.environ.get("RUN_DIR") or ".run", report=say, postgres=os.environ.get("POSTGRES_VERSION", ""))
    try:
        if options.action == "up":
            if lines := missing(need_maven=False):
                raise Missing("\n".join(lines))
            stack.up(options.only, capture=not options.no_capture)
            say(f"up; the variables are in {stack.layout.env_file}")
        elif options.action == "down":
            stack.down()
        elif options.action == "clean":
            stack.clean()
        elif options.action == "sql":
            return _run_sql(stack, options)
        else:
            return _show(stack)
    except ConfigError as error:
        say(str(error))
        return 2
    except (StackError, TopicError, ConnectError, psycopg.Error) as error:
        say(str(error).strip())
        return 2 if isinstance(error, Missing) else 1
    except KeyboardInterrupt:
        say("interrupted; `make down` stops what was started")
        return 130
    return 0


def _run_sql(stack: Stack, options: argparse.Namespace) -> int:
    """Run statements, and show the rows of the last one that has some."""
    if not stack.layout.exists():
        say(f"there is no stack in {stack.layout.run_dir}: start one with `make up`")
        return 2
    try:
        text = options.statement or options.file.read_text(encoding="utf-8")
    except OSError as error:
        say(f"{options.file}: cannot be read ({error.strerror})")
        return 2
    with postgres.connect(stack.layout) as admin, admin.transaction():
        done = admin.execute(text.encode())
        if done.description is not None:
            for row in done.fetchall():
                print("\t".join("" if value is None else str(value) for value in row))
    return 0


def _show(stack: Stack) -> int:
    words = stack.status()
    for name, word in words.items():
        port = stack.env.get(SERVICES[name].port, "-")
        print(f"{name:<10}{word:<10}{'port ' + port:<12}{'pid ' + str(stack.pid(name) or '-')}")
    return 0 if set(words.values()) == {"up"} else 1


if __name__ == "__main__":
    sys.exit(main())
