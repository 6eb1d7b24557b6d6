"""`cidaas-sync COMMAND` is `faust -A streams.app COMMAND`, and is installed with every package that it needs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from streams import __main__ as entry
from streams.commands import FILES
from streams.settings import load

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["status", "--json"], ["status", "--json"]),
        (["worker", "-l", "info"], ["worker", "-l", "info"]),
        ([], ["--help"]),
    ],
)
def test_the_app_stands_before_the_words(monkeypatch: pytest.MonkeyPatch, words: list[str], asked: list[str]) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sys, "argv", ["/venv/bin/cidaas-sync", *words])
    monkeypatch.setattr(entry, "cli", lambda prog_name: seen.extend([prog_name, *sys.argv]))
    entry.main()
    assert seen == ["cidaas-sync", "/venv/bin/cidaas-sync", "-A", "streams.app", *asked]


def test_the_project_names_it() -> None:
    assert PROJECT["project"]["scripts"] == {"cidaas-sync": "streams.__main__:main"}
    assert entry.main.__module__ == "streams.__main__"


def test_every_package_of_the_worker_is_installed_and_nothing_else_is() -> None:
    assert PROJECT["tool"]["setuptools"]["packages"]["find"] == {"include": ["streams", "streams.*"]}
    folders = {path.parent for path in (ROOT / "streams").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == [], "no package, so not installed"
    files = (path for path in (ROOT / "streams").rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))
    data = [str(path.relative_to(ROOT / "streams")) for path in files]
    named = PROJECT["tool"]["setuptools"]["package-data"]
    assert named == {"streams": data}, "a file that is no module has to be named as package data in pyproject.toml"


def test_what_it_needs_stands_in_one_place() -> None:
    assert PROJECT["tool"]["setuptools"]["dynamic"]["dependencies"] == {"file": ["requirements/runtime.in"]}
    lines = (ROOT / "requirements" / "runtime.in").read_text().splitlines()
    assert not [line for line in lines if line.startswith("-")], "setuptools reads names only"


def test_each_command_is_in_the_file_that_is_imported_for_it_and_no_file_has_another_one() -> None:
    found = {
        command.name: name
        for name in set(FILES.values())
        for command in import_module(f"streams.commands.{name}").commands(load(env={}))
    }
    assert found == FILES


def test_a_worker_starts_without_the_commands_and_a_command_without_the_others() -> None:
    """They take as long to import as everything else."""
    program = (
        "import sys, streams.app; from faust.cli.base import cli; from streams.commands import FILES\n"
        "def there(): return {name for name in FILES.values() if 'streams.commands.' + name in sys.modules}\n"
        "assert set(FILES) <= set(cli.commands) and there() == set(), there()\n"
        "assert cli.commands.get('user').name == 'user' and cli.commands.get('no such') is None\n"
        "assert not {'census', 'doctor', 'cutover'} & there(), there()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
