"""Kafka Streams as a peer: built by Maven once into the cache of the embedded stack's jars, offline afterwards."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.peers import PeerError
from demo.stack import Missing, StackError, maven
from demo.stack.places import cache_root
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
    """Compile and fetch if it is not there.

    Raises:
        PeerError: a prerequisite is missing, or Maven could not; the text says what.
    """
    try:
        maven.filled(
            folder(),
            POM,
            ("compile", "dependency:copy-dependencies"),
            doing="building the Kafka Streams peer (once)",
            could_not="build the Kafka Streams peer",
        )
    except (Missing, StackError) as error:
        raise PeerError(str(error)) from None


def command() -> list[str]:
    """Return the words before the options."""
    java = java_command()
    if java is None:
        raise PeerError("\n".join(missing(need_maven=False)))
    home = folder()
    options = [f"-Xmx{HEAP}", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    return [java, *options, "-cp", f"{home / 'build' / 'classes'}:{home / 'libs'}/*", "Peer"]
