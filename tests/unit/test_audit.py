"""Who ran which command with what effect: no command that changes something goes without, and no secret is in it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
from aiokafka.errors import KafkaConnectionError
from click.testing import CliRunner
from everything import all_commands
from fakes import SETTINGS

import streams
from streams.audit import topic as audit_topic
from streams.audit.fingerprint import differing, digests, fingerprint
from streams.audit.logbook import Logbook
from streams.audit.records import SAID, WORDS, Act, Actor, Hiding, decode, encode, entries, words_of
from streams.commands import audit, base, consent, recording
from streams.settings import ConnectRest, Secret

ROOT = Path(__file__).parents[2]
AWAY = replace(
    SETTINGS,
    kafka=replace(SETTINGS.kafka, bootstrap_servers="127.0.0.1:1"),
    connect=ConnectRest("http://127.0.0.1:1"),
)
#: what only looks; `cdc sql` and `connector config` print, and `doctor` changes something with --write-test only
LOOKS = {
    "audit", "cdc sql", "census", "connector config", "connector status", "cutover certificate",
    "cutover check", "cutover verify", "deletes list",
    "mapping check", "mapping diff", "mapping preview", "quarantine list", "quarantine show", "source check", "status",
    "trace", "user",
}  # fmt: skip
#: what else a command needs to begin with its work
WORDS_OF = {
    "cutover sign-off": ["42", "--why", "x"],
    "doctor": ["--write-test"],
    "pause": ["--why", "x"],
    "quarantine drop": ["42"],
    "quarantine retry": ["42"],
    "reconcile": ["--repair"],
    "resync": ["42"],
}


CHANGES = sorted(all_commands(AWAY).keys() - LOOKS)


def words_for(path: str) -> list[str]:
    takes_yes = any("--yes" in parameter.opts for parameter in all_commands(AWAY)[path].params)
    return WORDS_OF.get(path, []) + (["--yes"] if takes_yes else [])


class Reached(Exception):  # noqa: N818  it names a moment
    """The first record would be written now."""


class Pens:
    """The topic, as a list; `fail` is why nothing can be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records: list[dict[str, Any]] = []
        self.fail = ""
        self.stop_at_first = False
        monkeypatch.setattr(recording, "Pen", lambda _: self)

    async def write(self, record: dict[str, Any]) -> str:
        if self.stop_at_first:
            raise Reached
        if not self.fail:
            self.records.append(orjson.loads(orjson.dumps(record)))
        return self.fail

    async def close(self) -> None:
        return None


@pytest.fixture
def pens(monkeypatch: pytest.MonkeyPatch) -> Pens:
    """Records are kept in a list."""
    monkeypatch.setenv("WEB_PORT", "1")
    monkeypatch.delenv("WORKER_URL", raising=False)
    return Pens(monkeypatch)


# -- all commands -----------------------------------------------------------------------------------------------------


def test_what_changes_something_is_known() -> None:
    """A new command is in one of both lists, or this fails: what looks, or what takes --yes, and three more."""
    takes_yes = {path for path, one in all_commands(AWAY).items() if any("--yes" in part.opts for part in one.params)}
    assert set(CHANGES) == takes_yes | {"pause", "resume", "doctor"}
    assert all_commands(AWAY).keys() >= LOOKS


@pytest.mark.parametrize("path", CHANGES)
def test_it_is_written_down_before_anything_is_done(path: str, pens: Pens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is connected to before the record stands: what was done without one cannot be."""
    pens.stop_at_first = True
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr("socket.socket." + name, lambda *_: pytest.fail("connected before the record"))
    said = CliRunner().invoke(all_commands(AWAY)[path], words_for(path))
    assert isinstance(said.exception, Reached), said


@pytest.mark.parametrize("path", CHANGES)
def test_how_it_ended_is_written_down_too(path: str, pens: Pens) -> None:
    """Here nothing answers, so all of them fail: with the same exit code and sentence as on the screen."""
    said = CliRunner().invoke(all_commands(AWAY)[path], words_for(path))
    began, ended = pens.records
    assert (began["phase"], ended["phase"], began["id"]) == ("began", "ended", ended["id"])
    assert path.endswith(began["command"]) and set(words_for(path)) == set(began["arguments"])
    assert ended["code"] == said.exit_code and said.exit_code in (1, 2)
    assert path == "doctor" or ended["said"].split()[:3] == said.stderr.split()[:3]


@pytest.mark.parametrize("path", [path for path in CHANGES if path not in ("pause", "resume")])
def test_a_preview_is_not_written_down(path: str, pens: Pens, monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes nothing; several users, because one who is named needs no --yes."""

    async def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    monkeypatch.setattr("streams.commands.doctor.examine", nothing)
    monkeypatch.setattr("streams.commands.checklist.show", lambda _, as_json: 0)
    several = ("resync", "quarantine retry", "quarantine drop", "cutover sign-off")
    words = ["42", "43"] if path in several else []
    CliRunner().invoke(all_commands(AWAY)[path], words)
    assert pens.records == []


# -- one command ------------------------------------------------------------------------------------------------------


def command(work: Any, settings: Any = AWAY) -> click.Command:
    @click.command("act")
    @click.option("--why", default="")
    @consent.yes_option
    @base.run
    @recording.recorded(settings)
    async def act(why: str, yes: bool) -> int | None:
        """Do something."""
        return await work()  # type: ignore[no-any-return]

    return act


async def done() -> None:
    """Say that it is done."""
    consent.done("two lines\nof text", as_json=False)


def test_the_effect_is_what_was_said(pens: Pens) -> None:
    said = CliRunner().invoke(command(done), ["--yes", "--why", "mail ada@example.org, password=geheim"])
    began, ended = pens.records
    assert (ended["said"], ended["changed"], ended["code"], ended["late"]) == ("two lines of text", True, 0, False)
    assert began["arguments"] == ["--why", "mail <e-mail>, password=***", "--yes"]
    assert said.exit_code == 0 and said.stderr == ""


def test_what_could_not_be_written_is_said_in_one_line_and_stops_nobody(pens: Pens) -> None:
    """`cdc enable` comes before there is a Kafka."""
    pens.fail = "Kafka did not take it (nobody listens there)"
    said = CliRunner().invoke(command(done), ["--yes"])
    assert said.exit_code == 0 and "two lines" in said.stdout
    assert said.stderr == "this is not in the audit: Kafka did not take it (nobody listens there)\n"


def test_a_topic_that_the_command_made_holds_its_whole_record(pens: Pens) -> None:
    """`topics` itself: before, there is none to write to."""
    pens.fail = "there is no topic yet"

    async def make() -> None:
        pens.fail = ""
        consent.done("made it", as_json=False)

    said = CliRunner().invoke(command(make), ["--yes"])
    (record,) = pens.records
    assert (record["late"], record["said"], record["arguments"], said.stderr) == (True, "made it", ["--yes"], "")
    (entry,) = entries([(9e9, record)])
    assert entry["at"] == record["at"], "the broker's clock is that of the end"


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (ValueError("that is none"), 2, "that is none"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (LookupError("oh"), 1, "a mistake of ours: oh"),
    ],
)
def test_however_it_ends(pens: Pens, error: BaseException, code: int, says: str) -> None:
    async def fail() -> None:
        consent.done("half of it", as_json=False)
        raise error

    CliRunner().invoke(command(fail), ["--yes"])
    assert pens.records[1]["code"] == code
    assert pens.records[1]["said"].startswith("half of it; ") and says in pens.records[1]["said"]


async def test_a_kafka_that_is_silent_is_not_waited_for_twice() -> None:
    """A firewall swallows what is sent; the command has to begin, and to end."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    silent = replace(AWAY, kafka=replace(AWAY.kafka, bootstrap_servers=f"127.0.0.1:{port}"))
    pen, began = audit_topic.Pen(silent), time.monotonic()
    async with server:
        assert await pen.write({"id": "x"}) == "Kafka did not take it (no answer in time)"
        assert await pen.write({"id": "x"}) == "Kafka did not take it (no answer in time)"
        await pen.close()
    assert time.monotonic() - began < audit_topic.PATIENCE + 4 * audit_topic.AGAIN


async def test_a_kafka_that_is_away_is_known_at_once_and_in_words() -> None:
    """No command waits long for it."""
    began, pen = time.monotonic(), audit_topic.Pen(AWAY)
    said = await pen.write({"id": "x"})
    await pen.close()
    assert said == "Kafka did not take it (nobody lets us in there)"
    assert time.monotonic() - began < audit_topic.PATIENCE


# -- who, and without secrets -----------------------------------------------------------------------------------------


def test_who_is_the_account_and_the_person_behind_it() -> None:
    here = Actor.here({"LOGNAME": "somebody else", "USER": "somebody else"})
    assert here.account and here.account != "somebody else" and here.person == ""
    assert Actor.here({"SUDO_USER": "anna"}).person == "anna"
    assert Actor.here({"SUDO_USER": "anna", "SYNC_OPERATOR": "Ben"}).person == "Ben"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://owner:s3cret@db/shop refused",
        "password=s3cret",
        "PGPASSWORD: 's3cret x'",
        "client_secret = s3cret",
        "Authorization: Bearer s3cret123",
        "ALTER ROLE x PASSWORD s3cret",
        "a user at s3cret@example.org",
        "hash $2b$10$s3crets3cret",
    ],
)
def test_no_secret_and_no_address_is_kept(text: str) -> None:
    hiding = Hiding.of(replace(SETTINGS, connect=ConnectRest("http://x", "u", Secret("s3cret"))))
    assert "s3cret" not in hiding(text)
    if "ROLE" not in text:  # a bare word is known by the configuration only
        assert "s3cret" not in Hiding()(text)


def test_passwords_inside_of_addresses_are_known_in_both_spellings() -> None:
    source = replace(SETTINGS.source, admin_url=Secret("postgresql://o:a%2Fb%40c@db/shop"))
    hiding = Hiding.of(replace(SETTINGS, source=source))
    assert hiding("it was a/b@c or a%2Fb%40c") == "it was *** or ***"


def test_ids_stay_and_much_is_cut() -> None:
    assert words_of(["4711004711", "8f14e45f-ceea-467f-a8a4-3e2b2b1d0c11"], Hiding()) == [
        "4711004711",
        "8f14e45f-ceea-467f-a8a4-3e2b2b1d0c11",
    ]
    assert words_of(["1"] * 100, Hiding())[WORDS:] == ["… and 80 more"]
    assert len(Hiding()("x" * 10_000)) == SAID


# -- the configuration ------------------------------------------------------------------------------------------------


def test_a_changed_key_is_named_as_in_the_file() -> None:
    before = digests(SETTINGS)
    users = replace(SETTINGS.source.users, lazy=frozenset({"x"}))
    now = digests(replace(
        SETTINGS,
        partitions=13,
        delivery=replace(SETTINGS.delivery, window=7),
        source=replace(SETTINGS.source, users=users),
        mapping=replace(SETTINGS.mapping, fields=SETTINGS.mapping.fields[1:]),
    ))  # fmt: skip
    field = SETTINGS.mapping.fields[0].target
    assert differing(before, now) == [
        "delivery.window",
        f"mapping.fields.{field}",
        "pipeline.partitions",
        "tables.users.lazy",
    ]
    assert fingerprint(before) != fingerprint(now)
    assert fingerprint(before) == fingerprint(digests(SETTINGS))


def test_a_secret_is_no_part_of_it_but_the_place_of_the_database_is() -> None:
    def at(url: str, **more: Any) -> dict[str, str]:
        return digests(replace(SETTINGS, source=replace(SETTINGS.source, url=Secret(url), **more)))

    before = at("postgresql://r:one@db:5432/shop?sslmode=require")
    assert at("postgresql://r:two@db:5432/shop", role_password=Secret("x"), admin_url=Secret("y")) == before
    assert differing(before, at("postgresql://r:one@other:5432/shop")) == ["LEGACY_DATABASE_URL"]


def test_each_field_of_the_settings_counts_or_is_a_secret() -> None:
    """Also one that somebody adds: each leaf that is no secret is a key."""

    def leaves(value: Any) -> int:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return sum(leaves(getattr(value, field.name)) for field in dataclasses.fields(value))
        return 0 if isinstance(value, Secret) else 1

    parts = [getattr(SETTINGS, field.name) for field in dataclasses.fields(SETTINGS)]
    flat = sum(leaves(part) for part in parts if part not in (SETTINGS.path, SETTINGS.topics))
    assert len(digests(SETTINGS)) > flat


# -- a worker ---------------------------------------------------------------------------------------------------------


class Producer:
    """A broker that takes records, or does not answer."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.records: list[dict[str, Any]] = []

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, partition: int) -> None:
        assert (topic, partition) == (SETTINGS.topics.audit, 0)
        if self.away:
            raise KafkaConnectionError("gone")
        self.records.append(orjson.loads(value))


async def test_a_worker_writes_its_configuration_and_how_it_ended() -> None:
    """Kafka Connect is away, which holds nothing up."""
    producer = Producer()
    book = Logbook(AWAY, producer, "app1:6066")  # type: ignore[arg-type]
    book.begin()
    assert await book.end(1, "the broker took nothing of postgresql://a:geheim@db") is True
    began, ended = producer.records
    assert (began["worker"], began["fingerprint"], began["versions"]["debezium"]) == (
        "app1:6066", fingerprint(digests(AWAY)), "",
    )  # fmt: skip
    assert (ended["code"], ended["late"], ended["id"]) == (1, False, began["id"]) and "geheim" not in ended["said"]


async def test_a_worker_lives_without_an_audit_and_writes_all_of_it_in_the_end() -> None:
    producer = Producer(away=True)
    book = Logbook(AWAY, producer, "app1:6066")  # type: ignore[arg-type]
    assert await book.end(0, "stopped") is False, "it had not started"
    book.begin()
    await asyncio.wait([book._beginning])  # type: ignore[type-var, list-item]
    producer.away = False
    assert await book.end(0, "stopped") is True
    (record,) = producer.records
    (line,) = audit.lines(entries([(1.8e9, record)]))
    assert "started, configuration" in line and line.endswith("; ended: stopped")


# -- what `audit` says ------------------------------------------------------------------------------------------------


def act(name: str, *words: str, **more: Any) -> Act:
    return Act(name, list(words), Actor("root", "anna", "db1"), more)


def worker(print_: str, **settings: str) -> Act:
    versions = {"app": "0.1.0", "debezium": "3.7.0.Final"}
    return act("worker", worker="app1:6066", fingerprint=print_, settings=settings, versions=versions)


def story() -> list[tuple[float, dict[str, Any]]]:
    """A worker that starts, is killed, starts with other settings, and stops; a command, and one that never ended."""
    one, two = worker("aaa", x="1", y="1"), worker("bbb", x="1", y="2", z="1")
    two.more["versions"] = {"app": "0.2.0", "debezium": ""}
    stop, lost = act("connector stop", "--yes"), act("source repair", "--yes")
    records = [
        one.began(),
        stop.began(),
        stop.ended(1, "Kafka Connect does not answer", changed=None, late=False),
        two.began(),
        lost.began(),
        two.ended(0, "stopped", changed=None, late=False),
    ]
    return [(1_800_000_000.0 + nth, orjson.loads(encode(record))) for nth, record in enumerate(records)]


def test_what_happened_is_told_in_one_line_each() -> None:
    lines = audit.lines(entries(story()))
    assert lines[0][:19] == "2027-01-15 08:00:00"
    assert all("anna as root@db1" in line for line in lines)
    assert [" ".join(line.split()[5:]) for line in lines] == [
        "worker app1:6066 started, configuration aaa; app 0.1.0, debezium 3.7.0.Final",
        "connector stop --yes failed (1): Kafka Connect does not answer",
        "worker app1:6066 started, configuration bbb; changed since the start before: y, z; app 0.1.0 -> 0.2.0; "
        "it had not said that it ended: killed, or its machine was",
        "source repair --yes began, and nobody wrote how it ended: it runs, or was killed, or Kafka was away",
        "worker app1:6066 ended: stopped",
    ]


def test_a_command_and_a_time_are_chosen() -> None:
    found = entries(story())
    assert [one["command"] for one in audit.selected(found, 0, "connector")] == ["connector stop"]
    assert [one["command"] for one in audit.selected(found, 0, "connector start")] == []
    assert [one["command"] for one in audit.selected(found, 1_800_000_003.0, None)] == [
        "worker", "source repair", "worker",
    ]  # fmt: skip


def test_times_as_a_person_writes_them() -> None:
    assert abs(audit.since_when("2h") - (time.time() - 7_200)) < 5
    assert audit.since_when("2026-11-27T14:00+01:00") == 1_795_784_400
    with pytest.raises(ValueError, match="span such as 30m"):
        audit.since_when("yesterday")


def test_what_is_none_of_ours_is_passed_over() -> None:
    for value in (None, b"", b"no json", b"[]", b"{}", b'{"id": 1, "phase": "began"}', b'{"id": "x", "phase": "?"}'):
        assert decode(value) is None
    assert decode(encode(act("pause").began())) is not None


def test_the_version_is_that_of_the_project() -> None:
    """It stands in the records of workers."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == streams.VERSION
