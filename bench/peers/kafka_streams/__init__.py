"""Kafka Streams as a peer: built by Maven once into the cache of the embedded stack's jars, offline afterwards."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.peers import PeerError
from demo.stack.places import cache_root, locked
from demo.stack.prerequisites import java_command, missing

HERE = Path(__file__).parent
POM, SOURCE = HERE / "pom.xml", HERE / "Peer.java"
#: What a service of this size usually gets; the garbage collector is Java's own choice.
HEAP = "1g"


def folder() -> Path:
    """Return the folder of the classes and jars; there is one for each state of the two files."""
    key = hashlib.sha256(POM.read_bytes() + SOURCE.read_bytes()).hexdigest()[:16]
    return cache_root() / f"kafka-streams-{key}"


def build() -> None:
    """Compile and fetch if it is not there. It appears by a rename, so it is complete or absent.

    Raises:
        PeerError: Maven could not; the text has its words.
    """
    target = folder()
    if target.is_dir():
        return
    if lines := missing():
        raise PeerError("\n".join(lines))
    with locked(cache_root() / "download.lock"):
        if not target.is_dir():
            _build(target)


def command() -> list[str]:
    """Return the words before the options."""
    java = java_command()
    if java is None:
        raise PeerError("\n".join(missing(need_maven=False)))
    home = folder()
    options = [f"-Xmx{HEAP}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    return [java, *options, "-cp", f"{home / 'build' / 'classes'}:{home / 'libs'}/*", "Peer"]


def _build(target: Path) -> None:
    print("building the Kafka Streams peer (once) ...", file=sys.stderr, flush=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=target.parent))
    try:
        goals = ("compile", "dependency:copy-dependencies")
        words = ("mvn", "--batch-mode", "--no-transfer-progress", f"--file={POM}", f"-Dout={part}", *goals)
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stdout.splitlines() if line.startswith("[ERROR]")][:5]
            raise PeerError(
                "Maven could not build the Kafka Streams peer; check the network or the mirror in Maven's "
                "settings.xml, then try again:\n" + "\n".join(errors or done.stdout.splitlines()[-5:])
            )
        part.chmod(0o755)
        part.rename(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
