"""Fetches broker, Connect and Debezium by Maven into a cache, once for all stacks of this user."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from demo.stack.errors import Missing, StackError
from demo.stack.places import CONNECTORS, cache_root, locked
from demo.stack.prerequisites import missing

POM = CONNECTORS / "pom.xml"


def jars() -> Path:
    """Return the folder with `libs/` and `connect/` (Connect's plugin.path), downloading it when it is not there.

    There is one for each state of pom.xml. It appears by a rename, so it is complete or absent; two stacks that start
    together wait for one download.
    """
    key = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    target = cache_root() / key
    if target.is_dir():
        return target
    if lines := missing():
        raise Missing("\n".join(lines))
    with locked(cache_root() / "download.lock"):
        if not target.is_dir():
            _download(target)
    return target


def _download(target: Path) -> None:
    print("fetching Kafka, Kafka Connect and Debezium (about 60 MB, once) ...", file=sys.stderr, flush=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=target.parent))
    try:
        goals = ("dependency:copy-dependencies@libs", "dependency:unpack@plugins")
        command = ("mvn", "--batch-mode", "--no-transfer-progress", f"--file={POM}", f"-Dout={part}", *goals)
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")][:5]
            raise StackError(
                "Maven could not fetch the jars; check the network or the mirror in Maven's settings.xml, then try "
                "again:\n" + "\n".join(errors or done.stdout.splitlines()[-5:])
            )
        part.chmod(0o755)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
