"""Lets Maven fill a folder, once for all stacks of this user."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from demo.stack.errors import Missing, StackError
from demo.stack.places import cache_root, locked
from demo.stack.prerequisites import missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _nothing(_folder: Path) -> None:
    """There is nothing to do with what Maven brought."""


def filled(
    target: Path,
    pom: Path,
    goals: Sequence[str],
    *,
    doing: str,
    could_not: str,
    then: Callable[[Path], None] = _nothing,
) -> Path:
    """Run the goals of this pom.xml with `-Dout=` the folder, then `then` with it, if it is not there yet.

    It appears by a rename, so it is complete or absent; two who need it together wait for one run. `doing` and
    `could_not` are what a person reads meanwhile, and when it failed.

    Raises:
        Missing: a prerequisite.
        StackError: Maven could not; the text has its words.
    """
    if target.is_dir():
        return target
    if lines := missing():
        raise Missing("\n".join(lines))
    with locked(cache_root() / "download.lock"):
        if not target.is_dir():
            print(f"{doing} ...", file=sys.stderr, flush=True)
            _run(target, pom, goals, could_not, then)
    return target


def _run(target: Path, pom: Path, goals: Sequence[str], could_not: str, then: Callable[[Path], None]) -> None:
    part = Path(tempfile.mkdtemp(prefix="part-", dir=target.parent))
    try:
        command = ("mvn", "--batch-mode", "--no-transfer-progress", f"--file={pom}", f"-Dout={part}", *goals)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")][:5]
            raise StackError(
                f"Maven could not {could_not}; check the network or the mirror in Maven's settings.xml, then try "
                "again:\n" + "\n".join(errors or done.stdout.splitlines()[-5:])
            )
        then(part)
        part.chmod(0o755)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
