"""All commands that change something are alike: a preview, --yes, --json, an example; colour only where it belongs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from click.testing import CliRunner
from everything import all_commands
from fakes import SETTINGS
from fakes import Control as FakeControl
from sights import RIGHT, seen

from streams.commands import FILES, base, cdc, source, topics
from streams.control import SWEEP
from streams.settings import load
from streams.source.topics import Missing, TopicError

ROOT = Path(__file__).parents[2]
FILES_THAT_CHANGE = {"cdc", "connector", "deletes", "delivery", "quarantine", "resync", "source", "topics"}
#: what only looks
LOOKS = {"cdc sql", "connector config", "connector status", "deletes list", "quarantine list", "quarantine show",
         "source check"}  # fmt: skip
#: what prints a text that is no answer
TEXTS = {"cdc sql", "connector config"}
#: what can be taken back at once (docs/decisions.md)
AT_ONCE = {"pause", "resume"}


COMMANDS = {path: one for path, one in all_commands().items() if FILES[path.partition(" ")[0]] in FILES_THAT_CHANGE}


def options(path: str) -> set[str]:
    return {name for parameter in COMMANDS[path].params for name in parameter.opts}


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_each_has_an_example_and_answers_as_json(path: str) -> None:
    """The help of a command shows how it is called, by its own name."""
    text = COMMANDS[path].help or ""
    assert f"Example: faust -A streams.app {path}" in text, text
    assert "--json" in options(path) or path in TEXTS


@pytest.mark.parametrize("path", sorted(COMMANDS))
def test_what_changes_something_takes_yes(path: str) -> None:
    """And what only looks does not pretend to."""
    assert ("--yes" in options(path)) is (path not in LOOKS | AT_ONCE)


# -- colour and errors ------------------------------------------------------------------------------------------------


@click.command()
@base.run
async def red() -> None:
    """Say something in red."""
    click.echo(click.style("red", fg="red"))


def test_no_color_is_obeyed_on_a_terminal_too() -> None:
    """`color=True` is click's word for a terminal that shows colours."""
    runner = CliRunner()
    assert runner.invoke(red, color=True).output == "\x1b[31mred\x1b[0m\n"
    assert runner.invoke(red, color=True, env={"NO_COLOR": "1"}).output == "red\n"
    assert runner.invoke(red, color=True, env={"NO_COLOR": ""}).output == "\x1b[31mred\x1b[0m\n"
    assert runner.invoke(red).output == "red\n"


@click.command()
@base.run
async def wrong() -> None:
    """Fail."""
    raise ValueError("it is none")


def test_an_error_stands_on_standard_error_alone() -> None:
    """So that the answer can be piped."""
    said = CliRunner().invoke(wrong)
    assert (said.exit_code, said.stdout, said.stderr) == (2, "", "it is none\n")


# -- topics -----------------------------------------------------------------------------------------------------------


class Topics:
    """A broker that lacks some topics."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lacking = Missing((SETTINGS.topics.control,))
        self.different = ""
        self.made = 0
        monkeypatch.setattr("streams.source.topics.missing", self.missing)
        monkeypatch.setattr("streams.source.topics.ensure", self.ensure)

    async def missing(self, settings: Any) -> Missing:
        if self.different:
            raise TopicError(self.different)
        return self.lacking

    async def ensure(self, settings: Any) -> list[str]:
        self.made += 1
        return list(self.lacking.topics)

    def say(self, *words: str) -> Any:
        (command,) = topics.commands(SETTINGS)
        return CliRunner().invoke(command, list(words))


def test_topics_are_made_only_with_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preview names them."""
    broker, name = Topics(monkeypatch), SETTINGS.topics.control
    said = broker.say()
    assert said.exit_code == 0 and f"make the topic {name}" in said.output and "Repeat with --yes" in said.output
    body = orjson.loads(broker.say("--json").output)
    assert (body["changed"], body["missing"], broker.made) == (False, [name], 0)
    body = orjson.loads(broker.say("--yes", "--json").output)
    assert (body["changed"], body["made"], broker.made) == (True, [name], 1)


def test_topics_that_are_right_or_different_need_no_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Right ones are said to be so; a different one is refused by the preview, too."""
    broker = Topics(monkeypatch)
    broker.lacking = Missing()
    said = broker.say()
    assert said.exit_code == 0 and "there, as it must be" in said.output and "--yes" not in said.output
    broker.lacking = Missing(births=True)
    assert "first records" in broker.say().output
    broker.different = "topic x: partitions is 3, expected 12."
    for words in ([], ["--yes"]):
        said = broker.say(*words)
        assert said.exit_code == 2 and "expected 12" in said.stderr and broker.made == 0


# -- cdc --------------------------------------------------------------------------------------------------------------

ENV = {
    "LEGACY_ADMIN_URL": "postgresql://owner:geheim@db.example/shop",
    "LEGACY_DATABASE_URL": "postgresql://reader:geheim@db.example/shop",
    "CDC_DEBEZIUM_PASSWORD": "geheim",
}


@pytest.mark.parametrize(
    ("word", "says"), [("enable", "a short exclusive lock"), ("disable", "drop the replication slot")]
)
def test_cdc_says_what_it_would_do_and_shows_no_password(monkeypatch: pytest.MonkeyPatch, word: str, says: str) -> None:
    """Nobody is connected to for a preview; what is not set is asked for already."""
    monkeypatch.setattr("psycopg.connect", lambda *_, **__: pytest.fail("connected for a preview"))
    (group,) = cdc.commands(load(ROOT / "pipeline.toml", env=ENV))
    said = CliRunner().invoke(group, [word], env=ENV)
    assert said.exit_code == 0 and says in said.output and "Repeat with --yes" in said.output
    assert "geheim" not in said.output
    body = orjson.loads(CliRunner().invoke(group, [word, "--json"], env=ENV).output)
    assert body["changed"] is False and any(says in step for step in body["would"])
    (bare,) = cdc.commands(load(ROOT / "pipeline.toml", env={}))
    said = CliRunner().invoke(bare, [word])
    assert said.exit_code == 2 and "LEGACY_ADMIN_URL" in said.stderr and said.stdout == ""


# -- source -----------------------------------------------------------------------------------------------------


class Board:
    """A control topic, or Kafka Connect, that is open for a command."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside

    async def __aenter__(self) -> Any:
        return self.inside

    async def __aexit__(self, *exc: object) -> None:
        return None


def test_a_repair_says_the_same_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """One document: what is wrong, each step, and how it ended."""
    control, runs = FakeControl(), list[bool]()
    control.identity = {"source": RIGHT.database.system}  # type: ignore[attr-defined, union-attr]

    class Admin:
        async def system(self) -> str:
            return str(control.identity["source"])  # type: ignore[attr-defined]

    class Repair:
        def __init__(self, *parts: Any) -> None:
            self.say = parts[4]

        async def run(self, look: Any, *, enable: bool) -> None:
            runs.append(enable)
            self.say("stop: the connector is stopped")
            self.say("clear: done")

    async def look_once(settings: Any) -> Any:
        return seen(slot=None)

    monkeypatch.setattr(source, "Controls", lambda _: Board(control))
    monkeypatch.setattr(source, "Connect", lambda _: Board(None))
    monkeypatch.setattr(source, "Admin", lambda _: Admin())
    monkeypatch.setattr(source, "look_once", look_once)
    monkeypatch.setattr("streams.source.repair.Repair", Repair)
    (group,) = source.commands(SETTINGS)
    body = orjson.loads(CliRunner().invoke(group, ["repair", "--json"]).output)
    assert body["changed"] is False and body["problems"][0]["slug"] == "slot_dropped" and runs == []
    assert any("makes a new slot" in step for step in body["would"])
    said = CliRunner().invoke(group, ["repair", "--yes", "--json"])
    body = orjson.loads(said.output)
    assert said.exit_code == 0 and runs == [False]
    assert body["changed"] is True and body["steps"] == ["stop: the connector is stopped", "clear: done"]
    assert body["said"].startswith("repaired")


def test_a_sweep_is_asked_for_only_with_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leads to deletes; that one is under way is said before it begins anew."""
    control = FakeControl()
    control.state[SWEEP] = {"id": "old", "why": "by anna", "at": 1e9}

    monkeypatch.setattr(source, "Controls", lambda _: Board(control))
    (group,) = source.commands(SETTINGS)
    said = CliRunner().invoke(group, ["sweep", "--wait"])
    assert said.exit_code == 0 and "behind the delete brake" in said.output and "has not ended (by anna)" in said.output
    assert control.puts == []
    body = orjson.loads(CliRunner().invoke(group, ["sweep", "--json"]).output)
    assert body["changed"] is False and body["last"]["id"] == "old"
    body = orjson.loads(CliRunner().invoke(group, ["sweep", "--yes", "--json"]).output)
    assert control.puts == [SWEEP] and body["changed"] is True and body["state"] == "asked"
