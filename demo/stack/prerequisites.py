"""Says in one line what has to be installed first, before anything is downloaded.

The Makefile runs this file with the system's Python before `.venv` exists: standard library only.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

JAVA = 17
MAVEN = (3, 8)
PYTHON = (3, 11)


def java_command() -> str | None:
    """Return the java to use: JAVA_HOME's, else the one on PATH."""
    home = os.environ.get("JAVA_HOME")
    if home and (Path(home) / "bin" / "java").exists():
        return str(Path(home) / "bin" / "java")
    return shutil.which("java")


def _output(*command: str) -> str:
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def java_version(text: str) -> int | None:
    """Read the feature version from `java -version` ("1.8.0" is 8)."""
    found = re.search(r'version "(\d+)(?:\.(\d+))?', text)
    if not found:
        return None
    return int(found[2]) if found[1] == "1" and found[2] else int(found[1])


def maven_version(text: str) -> tuple[int, int] | None:
    """Read (major, minor) from `mvn --version`, which may be coloured."""
    found = re.search(r"Apache Maven (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def missing(*, need_maven: bool = True) -> list[str]:
    """Return one line for each prerequisite that is missing or too old."""
    lines = []
    if sys.version_info < PYTHON:
        lines.append(
            f"Python {PYTHON[0]}.{PYTHON[1]} or newer is needed, this is {sys.version_info[0]}.{sys.version_info[1]}: "
            "install one (python.org or your package manager) and call `make PYTHON=python3.11 ...`"
        )
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        lines.append("Python's venv module is missing: install it (Debian, Ubuntu: `apt install python3-venv`)")
    java = java_command()
    found = java_version(_output(java, "-version")) if java else None
    if found is None or found < JAVA:
        has = "none was found" if found is None else f"this is Java {found}"
        lines.append(
            f"Java {JAVA} or newer is needed for Kafka, {has}: install one (Debian, Ubuntu: "
            "`apt install openjdk-17-jre-headless`, others: adoptium.net) or point JAVA_HOME to it"
        )
    if need_maven:
        maven = maven_version(_output("mvn", "--version")) if shutil.which("mvn") else None
        if maven is None or maven < MAVEN:
            has = "none was found" if maven is None else f"this is Maven {maven[0]}.{maven[1]}"
            lines.append(
                f"Maven {MAVEN[0]}.{MAVEN[1]} or newer is needed to fetch Kafka and Debezium, {has}: install one "
                "(Debian, Ubuntu: `apt install maven`, others: maven.apache.org)"
            )
    return lines


def main() -> int:
    """Print what is missing; exit code 2 if anything is."""
    lines = missing()
    for line in lines:
        print(line, file=sys.stderr)
    return 2 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
