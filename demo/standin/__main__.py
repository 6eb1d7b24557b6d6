"""`python -m demo.standin`: start the stand-in and say where; exit codes 0 stopped, 2 cannot start."""

from __future__ import annotations

import argparse
import asyncio
import errno
import gc
import logging
import os
import signal
import sys
from pathlib import Path

import orjson

from demo.standin.journal import JournalError
from demo.standin.listener import Listener
from demo.standin.switches import SwitchError, Switches
from demo.standin.tenant import CLIENT_ID, CLIENT_SECRET, Tenant

log = logging.getLogger("demo.standin")


class StartError(Exception):
    """One sentence: why, and what to do."""


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m demo.standin",
        description="A stand-in of cidaas. CIDAAS_CLIENT_ID and CIDAAS_CLIENT_SECRET name its client.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8070, help="port, 0 for a free one (default %(default)s)")
    parser.add_argument("--data", type=Path, help="file that keeps the users; without it they end with the process")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=JSON", dest="switches", help="a switch, see README.md"
    )
    return parser.parse_args(argv)


def read_switches(pairs: list[str]) -> Switches:
    """The switches of `--set`; a value that is no JSON is a text."""
    values = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise StartError(f"--set {pair} has no value; write --set NAME=VALUE")
        try:
            values[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            values[name] = text
    try:
        return Switches().changed(values)
    except SwitchError as error:
        raise StartError(str(error)) from None


async def run(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    tenant = Tenant(
        options.data,
        read_switches(options.switches),
        os.environ.get("CIDAAS_CLIENT_ID") or CLIENT_ID,
        os.environ.get("CIDAAS_CLIENT_SECRET") or CLIENT_SECRET,
    )
    # Half a million users are texts, which the collector need not visit again and again.
    gc.set_threshold(100_000, 50, 100)
    try:
        tenant.open()
    except JournalError as error:
        raise StartError(str(error)) from None
    listener = Listener(tenant, options.host, options.port)
    try:
        await listener.start()
    except OSError as error:
        await listener.stop()
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {options.port} is taken; stop what listens there or choose another --port"
            ) from None
        raise StartError(f"cannot listen on {options.host}:{options.port}: {error.strerror}; change --host") from None
    log.info("cidaas stand-in on %s with %d users", listener.url, len(tenant.users))
    await stopped.wait()
    await listener.stop()


def main() -> int:
    """Run with the fastest event loop there is."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    options = arguments()
    try:
        import uvloop
    except ImportError:
        runner = asyncio.Runner()
    else:
        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    try:
        with runner:
            runner.run(run(options))
    except StartError as error:
        print(f"cidaas stand-in: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
