"""Mutations: each patch under `mutations/` takes one rule out of the code, and names the tests that must see it.

The head of a patch says which rule, what is taken out, and who sees it; the rest is for `git apply`:

    Rule: D2
    Takes out: the order of acknowledgements: …
    Seen by: tests/unit/test_runner.py::test_…
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "mutations"
#: What the named tests need of the repository.
_NEEDED = ("streams", "demo", "connectors", "tests/unit", "pipeline.toml", "pyproject.toml")
#: How the message of a test begins that failed because something did not hold.
_ASSERTED = ("AssertionError", "assert ", "Failed: DID NOT RAISE")
#: Seconds for one run of a few unit tests; a mutant may wait for something that never comes.
_RUN, _TEST = 120, 40


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule, taken out."""

    file: Path
    rule: str
    takes_out: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """The patch's name without its end."""
        return self.file.stem


def mutations() -> list[Mutation]:
    """All patches, by name."""
    return [_read(file) for file in sorted(FOLDER.glob("*.patch"))]


def _read(file: Path) -> Mutation:
    head = file.read_text().partition("\ndiff --git ")[0]
    fields: dict[str, list[str]] = {"Rule": [], "Takes out": [], "Seen by": []}
    for line in head.splitlines():
        name, colon, value = line.partition(": ")
        if colon and name in fields:
            fields[name].append(value.strip())
    (rule,), (takes_out,), tests = fields.values()
    return Mutation(file, rule, takes_out, tuple(tests))


def applies(mutation: Mutation, folder: Path, *, check: bool = False) -> str:
    """Apply a patch in a folder (or only look whether it would); what git says against it, "" for nothing."""
    # A folder inside of a repository would be that repository to git, which then passes over the patch.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", "apply", *(["--check"] if check else []), str(mutation.file)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or "git apply failed"


def copy(folder: Path) -> Path:
    """A copy of what the tests need."""
    for name in _NEEDED:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


@dataclass(frozen=True, slots=True)
class Run:
    """What became of each test of a run: how the message of its failure begins, "" for a pass."""

    failures: dict[str, list[str]]
    output: str

    def saw(self, test: str) -> bool:
        """Whether the test, or one of its variants, failed by an assertion."""
        return any(message.startswith(_ASSERTED) for message in self.failures.get(test, []))

    def passed(self, test: str) -> bool:
        """Whether the test ran and all of its variants passed."""
        messages = self.failures.get(test, [])
        return bool(messages) and not any(messages)


def run(folder: Path, tests: list[str]) -> Run:
    """Run tests in a copy, with the interpreter of this run."""
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--timeout={_TEST}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    done = subprocess.run(
        [*command, f"--junitxml={report}", *tests],
        cwd=folder, env=environment | {"PYTHONDONTWRITEBYTECODE": "1"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=_RUN, check=False,
    )  # fmt: skip
    found: dict[str, list[str]] = {}
    for case in ElementTree.parse(report).iter("testcase") if report.exists() else ():
        name = re.sub(r"\[.*", "", case.get("name", ""), flags=re.DOTALL)
        test = f"{case.get('classname', '').replace('.', '/')}.py::{name}"
        failure = case.find("failure")
        error = case.find("error") is not None or case.find("skipped") is not None
        message = "error" if error else failure.get("message", "failed") if failure is not None else ""
        found.setdefault(test, []).append(message)
    return Run(found, done.stdout[-6_000:])
