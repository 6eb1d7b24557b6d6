"""What was measured, and on what: versions, machine, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import psutil

from bench.peers import PYTHON
from demo.stack.places import CONNECTORS, ROOT
from demo.stack.postgres import binaries
from demo.stack.prerequisites import java_command

_WRITTEN = (":!bench/results.json", ":!bench/profiles", ":!docs/figures.md", ":!README.md")
_WORKER = ("faust-streaming", "aiokafka", "rocksdict", "httpx", "orjson", "uvloop")


def busy_percent(seconds: float = 3.0) -> float:
    """How much of all cores somebody else uses, before anything of ours runs."""
    return float(psutil.cpu_percent(seconds))


def about() -> dict[str, Any]:
    """Date, commit, machine and versions, as they stand in the results."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _git("rev-parse", "--short=10", "HEAD"),
        # What scenarios before this one have written is no change of what is measured.
        "changed_files": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN)),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "memory_gb": round(psutil.virtual_memory().total / 1024**3),
            "system": f"{platform.system()} {platform.release()}",
        },
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in _WORKER}
    found |= _peers_versions()
    found["PostgreSQL"] = _postgres()
    found |= _pom_versions()
    if (java := java_command()) is not None:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
        match = re.search(r'"([\w.+-]+)"', said)
        found["Java"] = match[1] if match else "unknown"
    return found


def _peers_versions() -> dict[str, str]:
    """Of what only a peer has; Kafka Streams is of the broker's version."""
    script = "import importlib.metadata as m; print(m.version('quixstreams'))"
    done = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, check=False)
    return {"Quix Streams": done.stdout.strip()} if done.returncode == 0 else {}


def _postgres() -> str:
    done = subprocess.run([binaries() / "postgres", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.split()[-1] if done.stdout else "unknown"


def _pom_versions() -> dict[str, str]:
    """The versions of Kafka and Debezium, which pom.xml pins."""
    space = "{http://maven.apache.org/POM/4.0.0}"
    properties = Xml.parse(CONNECTORS / "pom.xml").getroot().find(f"{space}properties")  # noqa: S314 - our own file
    assert properties is not None
    named = {each.tag.removeprefix(space): each.text or "" for each in properties}
    return {
        name: value
        for key, value in named.items()
        for word, name in (("kafka", "Kafka"), ("debezium", "Debezium"))
        if key.startswith(word) and key.endswith("version")
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
