"""The command line of a Python peer, and the file that it writes when asked (README.md)."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTITIONS = 12


def options(name: str, arguments: Sequence[str] | None = None, *, database: bool = False) -> argparse.Namespace:
    """Read the options; exit code 2 with a sentence if one is unusable. Makes the state folder."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.peers.{name}")
    if database:
        parser.add_argument("--database", required=True, metavar="URL")
    else:
        parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
        parser.add_argument("--topic", default="legacy.identity")
        parser.add_argument("--group", required=True)
    parser.add_argument("--state", required=True, type=Path, metavar="DIR")
    parser.add_argument("--target", required=True, metavar="URL")
    parser.add_argument("--mode", choices=("deliver",) if database else ("join", "deliver"), default="deliver")
    parser.add_argument("--concurrency", type=_positive, default=8)
    parser.add_argument("--window", type=_positive, default=50)
    found = parser.parse_args(arguments)
    found.state.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    return found


def write_joined(state: Path, joined: dict[str, Any]) -> None:
    """Write joined.json; it appears by a rename, so that nobody reads half of it."""
    part = state / "joined.part"
    part.write_bytes(orjson.dumps(joined))
    part.rename(state / "joined.json")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
