"""`connector apply|stop|start|restart|remove|status`: what each would do, does, and refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

import orjson
import pytest
from click.testing import CliRunner
from fakes import SETTINGS
from sights import RIGHT, seen

from streams.commands import connector
from streams.source.connect import ConnectorStatus
from streams.source.connector import connector_config
from streams.source.keeping import Kept

NAME = SETTINGS.source.name
RUNNING = ConnectorStatus("RUNNING", ("RUNNING",), None)
FAILED = ConnectorStatus("RUNNING", ("FAILED",), "first line\n\tat java\nCaused by: no log-in")
STOPPED = ConnectorStatus("STOPPED", (), None)


class Asked:
    """Kafka Connect with one connector; it notes what was done to it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: ConnectorStatus | None = RUNNING
        self.stored: dict[str, str] = {"name": NAME, **connector_config(SETTINGS)}
        self.did: list[str] = []
        self.look, self.state = RIGHT, dict[str, Any]()
        self.position = True
        self.settings = SETTINGS
        self.kept = Kept(300 << 20, 2 << 30)
        monkeypatch.setattr(connector, "Connect", lambda _: self)
        monkeypatch.setattr(connector, "keeping", self.keeping)
        monkeypatch.setattr(connector, "control_state", self.control_state)
        monkeypatch.setattr(connector, "look_once", self.look_once)
        monkeypatch.setattr(connector, "Controls", lambda _: self)

    async def put(self, key: str, body: dict[str, Any]) -> None:
        self.state[key] = body

    async def keeping(self, settings: Any) -> Kept:
        return self.kept

    async def control_state(self, settings: Any) -> dict[str, Any]:
        return self.state

    async def look_once(self, settings: Any) -> Any:
        return self.look

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def status(self, name: str) -> ConnectorStatus | None:
        return self.found

    async def config(self, name: str) -> dict[str, str] | None:
        return self.stored if self.found is not None else None

    async def offsets(self, name: str) -> list[dict[str, Any]]:
        return [{"lsn": 1}] if self.position else []

    async def put_config(self, name: str, config: dict[str, str]) -> bool:
        if self.found is not None and self.stored == {"name": name, **config}:
            return False
        self.did.append("config")
        return True

    async def stop(self, name: str, *, seconds: float = 30) -> None:
        self.did.append("stop")

    async def resume(self, name: str) -> None:
        self.did.append("resume")

    async def restart(self, name: str, *, only_failed: bool = True) -> None:
        self.did.append("restart failed" if only_failed else "restart all")

    async def delete_offsets(self, name: str) -> None:
        self.did.append("offsets")

    async def delete(self, name: str) -> bool:
        self.did.append("delete")
        return self.found is not None

    async def wait_running(self, name: str, *, seconds: float) -> None:
        return None

    def say(self, *words: str) -> Any:
        (group,) = connector.commands(self.settings)
        return CliRunner().invoke(group, list(words))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The connector runs, and nothing is wrong."""
    return Asked(monkeypatch)


CHANGES = [
    ("apply", None, ["config"], "register the connector"),
    ("apply", FAILED, ["restart failed"], "no log-in"),
    ("apply", STOPPED, ["resume"], "which is STOPPED"),
    ("stop", RUNNING, ["stop"], "lets go of the replication slot"),
    ("stop", FAILED, ["stop"], "lets go of the replication slot"),
    ("start", STOPPED, ["resume"], "goes on where it stood"),
    ("restart", FAILED, ["restart failed"], "no log-in"),
    ("remove", RUNNING, ["stop", "offsets", "delete"], "delete its position"),
]


@pytest.mark.parametrize(("word", "found", "does", "says"), CHANGES)
def test_nothing_is_done_without_yes_and_json_says_the_same(
    asked: Asked, word: str, found: ConnectorStatus | None, does: list[str], says: str
) -> None:
    """Exit code 0 for a preview, which says how to repeat it."""
    asked.found = found
    said = asked.say(word)
    assert said.exit_code == 0 and says in said.output and "Repeat with --yes" in said.output
    body = orjson.loads(asked.say(word, "--json").output)
    assert body["changed"] is False and says in " ".join(body["would"]) and body["connector"] == NAME
    assert asked.did == []
    done = asked.say(word, "--yes", "--json")
    assert done.exit_code == 0 and asked.did == does
    assert orjson.loads(done.output)["changed"] is True


@pytest.mark.parametrize(
    ("word", "found"),
    [("apply", RUNNING), ("stop", STOPPED), ("start", RUNNING), ("restart", RUNNING), ("remove", None)],
)
def test_where_there_is_nothing_to_do_that_is_said(asked: Asked, word: str, found: ConnectorStatus | None) -> None:
    """Each is safe to run twice, and needs no --yes for nothing."""
    asked.found = found
    said = asked.say(word, "--json")
    assert said.exit_code == 0, said.output
    assert orjson.loads(said.output)["changed"] is False and asked.did in ([], ["delete"])


@pytest.mark.parametrize(
    ("word", "found"), [("apply", None), ("apply", STOPPED), ("start", STOPPED), ("restart", FAILED)]
)
@pytest.mark.parametrize("yes", [True, False])
def test_nothing_starts_while_changes_are_lost(
    asked: Asked, word: str, found: ConnectorStatus | None, yes: bool
) -> None:
    """After the start it would show no more; the preview does not promise it either."""
    asked.found, asked.look = found, seen(slot=None)
    said = asked.say(word, *(["--yes"] if yes else []))
    assert said.exit_code == 1 and "not started" in said.stderr and "source repair" in said.stderr
    assert asked.did == []


def test_a_change_of_the_configuration_names_its_keys_only(asked: Asked) -> None:
    """Somebody may have put a password there by hand."""
    asked.stored |= {"database.password": "geheim", "tasks.max": "7"}
    said = asked.say("apply")
    assert "change database.password, tasks.max of the connector" in said.output and "geheim" not in said.output


def test_a_stop_says_what_it_costs(asked: Asked) -> None:
    """The slot keeps WAL: how much now, and how much it may be."""
    said = asked.say("stop", "--yes")
    assert "PostgreSQL keeps 300 MiB of WAL" in said.output and "Beyond 2.0 GiB" in said.output
    assert "`connector start --yes`" in said.output
    asked.kept = replace(asked.kept, most=None)
    assert "without a limit: watch the disk" in asked.say("stop").output
    asked.kept = Kept(away="nobody answers")
    assert "cannot be asked: nobody answers" in asked.say("stop").output
    body = orjson.loads(asked.say("stop", "--json").output)
    assert body["wal"] == {"kept": None, "most": None, "away": "nobody answers"}


def test_restart_is_of_what_failed_unless_all_is_said(asked: Asked) -> None:
    """A task that runs is better left alone."""
    assert "--all" in asked.say("restart", "--yes").output and asked.did == []
    assert asked.say("restart", "--all").exit_code == 0 and asked.did == []
    assert asked.say("restart", "--all", "--yes").exit_code == 0 and asked.did == ["restart all"]


@pytest.mark.parametrize(
    ("word", "found", "says"),
    [
        ("start", FAILED, "connector restart --yes"),
        ("restart", STOPPED, "connector start --yes"),
        ("start", None, "connector apply"),
        ("restart", None, "connector apply"),
        ("stop", None, "connector apply"),
    ],
)
def test_the_wrong_word_names_the_right_one(asked: Asked, word: str, found: ConnectorStatus | None, says: str) -> None:
    """Exit code 1, and nothing is done."""
    asked.found = found
    said = asked.say(word, "--yes")
    assert said.exit_code == 1 and says in said.stderr and asked.did == []


@pytest.mark.parametrize(("found", "code"), [(RUNNING, 0), (FAILED, 1), (STOPPED, 1), (None, 1)])
def test_status_is_0_only_while_it_runs(asked: Asked, found: ConnectorStatus | None, code: int) -> None:
    """For a script; and why it failed stands there."""
    asked.found = found
    said = asked.say("status")
    assert said.exit_code == code
    assert ("no log-in" in said.output) is (found is FAILED)
    body = orjson.loads(asked.say("status", "--json").output)
    assert body["state"] == (found.state if found is not None else None)
