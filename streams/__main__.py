"""`cidaas-sync COMMAND`, also `python -m streams COMMAND`: the same as `faust -A streams.app COMMAND`."""

from __future__ import annotations

import sys

from faust.cli.faust import cli

NAME = "cidaas-sync"


def main() -> None:
    """Run the command that `sys.argv` names; without one show the help. Only `worker` starts a worker."""
    # Faust itself looks into sys.argv for the app, because it must be imported before its commands are known.
    sys.argv[1:] = ["-A", "streams.app", *(sys.argv[1:] or ["--help"])]
    cli(prog_name=NAME)


if __name__ == "__main__":
    main()
