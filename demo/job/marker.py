"""Whose state lies in RUN_DIR? demo.json says that the demo made it, how many users it has, and whether it finished.

A run that was interrupted goes on where it stopped; a finished one is forgotten and begun anew, unless its stack is
up: then somebody looks around there, and live changes and check are made on what is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING

from demo.stack.places import cache_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class RefusedError(Exception):
    """The demo does not start here; the text says why and what to do. Exit code 2."""


class Begin(Enum):
    """How a run begins."""

    NEW = "new"
    RESUME = "resume"  # an earlier run was interrupted
    ANEW = "anew"  # an earlier run finished and its stack is down: its state is forgotten first
    AROUND = "around"  # an earlier run finished and its stack is up


@dataclass(frozen=True, slots=True)
class Marker:
    """What demo.json says."""

    users: int
    seed: int
    finished: bool = False
    #: the last act has begun to take everything away: no worker starts any more.
    ending: bool = False

    @staticmethod
    def file(run_dir: Path) -> Path:
        """Where it lies."""
        return run_dir / "demo.json"

    @classmethod
    def read(cls, run_dir: Path) -> Marker | None:
        """Read it, None if there is none or it cannot be understood (then the state is not known to be ours)."""
        try:
            return cls(**json.loads(cls.file(run_dir).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, run_dir: Path) -> None:
        """Write it, at once or not at all."""
        run_dir.mkdir(parents=True, exist_ok=True)
        part = self.file(run_dir).with_suffix(".part")
        part.write_text(json.dumps(asdict(self)) + "\n")
        part.rename(self.file(run_dir))


def decide(run_dir: Path, users: int, *, runs: bool) -> Begin:
    """Say how to begin; `runs` tells whether any service of the stack is up. Raises RefusedError."""
    marker = Marker.read(run_dir)
    if marker is None:
        if (run_dir / "stack.env").exists() or (run_dir / "data").exists():
            raise RefusedError(
                f"{run_dir} holds a stack that the demo did not make, and the demo would fill its database: choose "
                "another folder (make demo RUN_DIR=.run-demo), or forget that stack with `make clean`"
            )
        return Begin.NEW
    if not marker.finished:
        return Begin.RESUME
    if not runs:
        return Begin.ANEW
    if marker.users != users:
        raise RefusedError(
            f"the stack of a finished demo with {marker.users:,} users is up in {run_dir}: stop it with `make down`, "
            f"then `make demo USERS={users}` forgets it and begins anew"
        )
    return Begin.AROUND


@contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Keep a second demo out of the same folder. Raises RefusedError."""
    name = hashlib.sha256(str(run_dir).encode()).hexdigest()[:16]
    with (cache_root() / f"demo-{name}.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"a demo runs in {run_dir} already: wait for it, or choose another RUN_DIR") from None
        yield
