"""README and docs say what is there: each command, option, make target, variable, topic, finding and rule."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import faust.cli.faust  # noqa: F401  registers Faust's own commands, `worker` among them
import pytest
from everything import all_commands
from faust.cli.base import cli

from streams import commands
from streams.cidaas.errors import POLICY, STATUS, Halve, Wait
from streams.cidaas.refusals import REMEDY, Reason
from streams.screen import WORDS
from streams.settings import load
from streams.source.topics import topic_table

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
OPERATIONS = PAGES["operations.md"]
TEXT = "\n".join(PAGES.values())
SETTINGS = load(ROOT / "pipeline.toml", env={})
FAUST = "faust -A streams.app "


def blocks(language: str) -> list[tuple[str, str]]:
    found = re.compile(rf"^ *```{language}\n(.*?)^ *```", re.MULTILINE | re.DOTALL)  # also inside a list
    return [(name, block) for name, text in PAGES.items() for block in found.findall(text)]


def shell_lines() -> list[str]:
    return [line.strip() for _, block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]


def faust_calls() -> list[str]:
    calls = [part.split(FAUST, 1)[1] for line in shell_lines() for part in [line] if FAUST in line]
    return sorted({re.split(r" [|>#]", call)[0].strip() for call in calls})


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    commands.register(SETTINGS)
    command: click.Command = cli
    while isinstance(command, click.Group):
        child = command.commands.get(words[0]) if words else None
        assert child is not None, f"there is no command {words[:1]} in {command.name}"
        command, words = child, words[1:]
    return command, words


@pytest.mark.parametrize("call", faust_calls())
def test_each_call_in_the_docs_is_one_that_the_commands_take(call: str) -> None:
    command, arguments = resolve(shlex.split(call))
    command.make_context(command.name, arguments)  # UsageError: no such option, or something is missing


@pytest.mark.parametrize("path", sorted(all_commands()))
def test_each_command_has_help_and_stands_in_the_docs(path: str) -> None:
    command = all_commands()[path]
    assert f"Example: {FAUST}{path}" in " ".join((command.help or "").split()), "an example tells more than a sentence"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help, f"{path} {parameter.opts} has no help"
    assert re.search(rf"(`|{re.escape(FAUST)}){re.escape(path)}\b", TEXT), f"{path} stands nowhere in README or docs"
    assert (
        any(call == path or call.startswith(f"{path} ") for call in faust_calls()) or f"`{path}`" in PAGES["README.md"]
    )


def test_each_make_target_in_the_docs_is_one_of_the_makefile() -> None:
    targets = set(re.findall(r"^([\w.]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = {line.split()[1] for line in shell_lines() if line.startswith("make ")}
    said |= set(re.findall(r"`make (\w+)", TEXT))
    assert said >= {"demo", "test", "up", "down"}
    assert said <= targets


# -- variables --------------------------------------------------------------------------------------------------------

_NAME = r"[A-Z][A-Z0-9_]+"


def variables_of_the_code() -> set[str]:
    prefixes = "LEGACY|CDC|KAFKA|CONNECT|CIDAAS|DELIVERY|APP|WEB|WORKER|PIPELINE|LOG|SYNC"
    streams = "\n".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    found = set(re.findall(rf'"((?:{prefixes})_[A-Z0-9_]+)"', streams))
    connectors = [path.read_text() for path in (ROOT / "connectors").glob("*.*") if path.is_file()]
    found |= set(re.findall(rf"\$\{{env:({_NAME})}}", "\n".join([streams, *connectors])))
    demo = "\n".join(path.read_text() for path in (ROOT / "demo").rglob("*.py"))
    return found | set(re.findall(rf'environ\.get\("({_NAME})"', demo))


def variables_of_the_docs() -> set[str]:
    table = OPERATIONS.split("## Environment variables")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return set(re.findall(rf"`({_NAME})`", " ".join(cells)))


def test_the_table_of_variables_is_that_of_the_code() -> None:
    assert variables_of_the_docs() == variables_of_the_code()


def test_the_docs_set_and_read_known_variables_only() -> None:
    used: set[str] = set()
    for _, block in blocks("sh") + blocks("properties"):
        used |= set(re.findall(rf"(?:^|\s)({_NAME})=", block)) | set(re.findall(rf"\$({_NAME})", block))
    assert "LEGACY_DATABASE_URL" in used
    assert used - {"PATH", "PWD", "UPDATE", "SET"} <= variables_of_the_docs()


# -- what the code can say --------------------------------------------------------------------------------------------


def test_each_finding_of_status_has_its_line() -> None:
    modules = ("source/guard.py", "source/memory.py", "watch.py")
    guard = "\n".join((ROOT / "streams" / name).read_text() for name in modules)
    status = (ROOT / "streams/commands/status.py").read_text()
    slugs = set(re.findall(r'Finding\(\s*"(\w+)"', guard)) | set(re.findall(r'\badd\(\s*"(\w+)"', status))
    assert len(slugs) > 10
    assert {slug for slug in slugs if f"`{slug}`" not in OPERATIONS} == set()


def test_each_check_of_the_evening_before_has_its_line() -> None:
    table = OPERATIONS.split("\n## The evening before\n")[1].split("\n## ")[0]
    modules = sorted((ROOT / "streams/cutover").glob("*.py"))
    said = r'(?:ok|warning|fault|todo|unknown|_said)\(\s*(?:now,\s*)?"(\w+)"'
    slugs = {slug for path in modules for slug in re.findall(said, path.read_text())}
    assert len(slugs) > 15
    assert {slug for slug in slugs if f"`{slug}`" not in table and not slug.startswith("first_day")} == set()


def test_each_line_of_status_is_explained() -> None:
    assert [words for words in WORDS.values() if words not in OPERATIONS] == []


def test_each_reason_of_a_refusal_has_its_cure() -> None:
    assert set(REMEDY) == set(Reason) - {Reason.NONE}
    assert {reason.value for reason in REMEDY if f"`{reason.value}`" not in OPERATIONS} == set()


def table_of_errors() -> list[str]:
    """The rows of the table of design.md, as `errors.POLICY` and the kinds of HTTP statuses have them."""
    halve = {Halve.NEVER: "never", Halve.AT_ONCE: "at once", Halve.SECOND_TIME: "at the second time"}
    wait = {Wait.NONE: "none", Wait.BACKOFF: "backoff", Wait.RETRY_AFTER: "`Retry-After`, else backoff"}
    rows = []
    for kind, policy in POLICY.items():
        statuses = ", ".join(str(status) for status in sorted(STATUS) if STATUS[status] is kind)
        cells = [
            f"`{kind.value}`",
            statuses or "-",
            halve[policy.halve],
            "yes" if policy.settle else "no",
            wait.get(policy.wait, "a minute"),
            "yes" if policy.away else "no",
            "yes" if policy.person else "no",
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def test_the_table_of_errors_is_that_of_the_code() -> None:
    """C6: one table of error kind × policy, in the code and in the docs."""
    table = PAGES["design.md"].split("\n## A call that fails as a whole\n")[1].split("\n## ")[0]
    said = [line for line in table.splitlines() if line.startswith("| `")]
    assert said == table_of_errors(), "write these rows:\n" + "\n".join(table_of_errors())


def test_each_metric_in_the_docs_is_one_of_the_worker() -> None:
    metrics = (ROOT / "streams/metrics.py").read_text()
    names = {name.removesuffix("_total") for name in re.findall(r"cidaas_sync_([a-z0-9_]+)", OPERATIONS)} - {"read"}
    names = {name for name in names if name not in ("cidaas_sync",)}
    assert "users" in names
    assert {name for name in names if not re.search(rf'["_]{name}"', metrics)} == set()


def test_the_table_of_topics_is_that_of_the_code() -> None:
    table = OPERATIONS.split("\n## Topics\n")[1].split("\n## ")[0]
    lines = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    assert list(lines) == [topic.name for topic in topic_table(SETTINGS)]
    for topic in topic_table(SETTINGS):
        cells = [cell.strip() for cell in lines[topic.name].split("|")[1:-1]]
        assert cells[1] == str(topic.partitions)
        assert cells[3] == ", ".join(f"`{key}={value}`" for key, value in topic.settings.items())


def test_each_rule_that_the_code_cites_stands_in_the_design() -> None:
    rules = set(re.findall(r"^\* \*\*([DMCO]\d)\.\*\*", PAGES["design.md"], re.MULTILINE))
    code = "\n".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    cited = set(re.findall(r"\b([DMCO]\d)\b", code))
    assert {"D1", "O5"} <= cited <= rules


# -- examples of the configuration ------------------------------------------------------------------------------------


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        both[key] = _merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
    return both


@pytest.mark.parametrize("block", [block for _, block in blocks("toml")])
def test_each_example_is_accepted(block: str, tmp_path: Path) -> None:
    config = tomllib.loads(block)
    if "pipeline" not in config:  # a part: laid over a whole one
        whole = next(block for name, block in blocks("toml") if name == "mapping.md" and "[pipeline]" in block)
        config = _merged(tomllib.loads(whole), config)
        if "algorithm" in config["tables"]["users"].get("password", {}):
            config["tables"]["users"]["password"].pop("algorithm_constant", None)
    path = tmp_path / "pipeline.toml"
    path.write_text("".join(f"{json.dumps(key)} = {_toml(value)}\n" for key, value in config.items()))
    assert load(path, env={}).source.users.name == "public.accounts"


def test_each_link_leads_somewhere() -> None:
    for name, text in PAGES.items():
        folder = ROOT if name == "README.md" else ROOT / "docs"
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            assert (folder / target).exists(), f"{name} -> {target}"


def test_each_anchor_is_a_heading() -> None:
    headings = {
        name: {
            re.sub(r"[^\w -]", "", head).strip().lower().replace(" ", "-")
            for head in re.findall(r"^#+ (.+)$", text, re.M)
        }
        for name, text in PAGES.items()
    }
    for name, text in PAGES.items():
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", text):
            assert anchor in headings[Path(target).name if target else name], f"{name} -> {target}#{anchor}"


def test_no_two_test_modules_have_one_name() -> None:
    """pytest would refuse to collect them together, and `make test` does."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
