"""`cutover finish`: wherever it is killed, a second run comes to the same end, and no step comes too early."""

from __future__ import annotations

import os
import socket
import stat
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import orjson
import psycopg
import pytest
from click.testing import CliRunner
from fakes import SETTINGS

from streams import ledger, snapshots
from streams.belonging import Belonging
from streams.commands import base, finish, recording
from streams.control import CUTOVER, IDENTITY
from streams.cutover import archive, finished, folders, plan, takedown
from streams.cutover.asking import remains
from streams.cutover.finished import FILE, Finish, Worker
from streams.cutover.plan import Facts, FinishError, Step, own_topics, steps
from streams.cutover.record import FINISHED, FINISHING, GO, Marker, Record
from streams.cutover.takedown import Takedown
from streams.doctor.asking import AwayError
from streams.identity import DataFolder, RefusedError
from streams.settings import Secret
from streams.source import topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.settings import Settings

TOPICS = SETTINGS.topics
BIRTH = "3f0e9a44-0d7c-4b8a-9a53-0a6ad1f2b1c2"
OURS = {"pipeline": SETTINGS.app_id, "topic": BIRTH}
CERTIFICATE = {"at": 1_800_000_000.0, "counts": {"confirmed": 2}, "hmac": "5e5e"}
FAR = Worker("db2", "db2:6066", "/var/lib/cidaas-sync/6066")
DATABASE = ["replication slot cidaas_sync", "publication cidaas_sync", "replica identity of t", "index i", "role r"]
MAPPING = SETTINGS.mapping.id
HASH = "$2b$04$" + "a" * 53

#: As they are: each run has its own in their place.
_WRITE, _REPLACED, _RMTREE = finished.write, archive.replaced, folders.shutil.rmtree


class Killed(BaseException):
    """kill -9: nothing of ours is run any more."""


def entry(**fields: Any) -> bytes:
    told = {"version": (1, 5), "mapping_id": MAPPING, "state": ledger.State.CONFIRMED, "sub": "sub-1"} | fields
    return ledger.Entry(**told).encode(7, 1)


def head(**fields: Any) -> snapshots.Head:
    return snapshots.Head(7, (1, 6), (1, 5), snapshots.ROW)._replace(**fields)


EVERYONE = {
    b"1": (head(), entry(fingerprint="f1nger", message=f"{HASH} of ada@example.org", extra={"mail": "m4rk"})),
    b"2": (head(version=(1, 6)), entry()),
    b"3": (head(), None),
    b"4": (None, entry()),
}
AUDIT = [(1_800_000_000.0, {"id": "a", "phase": "began", "command": "pause", "arguments": ["--why", "go-live"]})]


class Place:
    """Kafka, Kafka Connect and the database of one pipeline, in memory; its folders are real.

    Each change is counted; the one with the number `kill_at` does not happen any more.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.data = path / "data"
        (self.data / "tables" / "snapshots" / "0").mkdir(parents=True)
        (self.data / "tables" / "snapshots" / "0" / "000004.log").write_text(HASH)
        (self.data / "identity.json").write_bytes(orjson.dumps(OURS))
        admin = Secret("postgresql://postgres:geheim@127.0.0.1:1/legacy")
        source = replace(SETTINGS.source, admin_url=admin)
        self.settings = replace(SETTINGS, path=path / "pipeline.toml", archive="kept", source=source)
        self.folder = path / "kept"
        self.topics = {*own_topics(SETTINGS), TOPICS.control}
        go = Record(GO, 1_800_000_000.0, "anna", "db1", Marker("m", 7), CERTIFICATE, "everybody is there")
        self.state: dict[str, Any] = {CUTOVER: go.body(), IDENTITY: OURS}
        self.connector = ["configuration", "position", "task"]
        self.database = list(DATABASE)
        self.kept: list[str] = []
        self.members: list[str] = []
        self.workers = [Worker(socket.gethostname(), "here:6066", str(self.data)), FAR]
        self.changes = self.kill_at = 0
        self.left = False
        self.said: list[str] = []
        monkeypatch.setenv("APP_DATADIR", str(self.data))
        for name in ("kafka", "connector", "database", "control", "workers"):
            monkeypatch.setattr(remains, f"_{name}", getattr(self, f"_{name}"))
        for name in ("Controls", "Connect"):
            monkeypatch.setattr(takedown, name, lambda _: self)
        monkeypatch.setattr(takedown, "unregister", self._unregister)
        monkeypatch.setattr(takedown, "_disable", self._disable)
        monkeypatch.setattr(topics, "remove", self._remove)
        leave = recording.leave

        async def leaving() -> None:
            self.left = True
            await leave()

        monkeypatch.setattr(recording, "leave", leaving)
        monkeypatch.setattr(archive, "read_everyone", self._everyone)
        monkeypatch.setattr(archive, "read_behind", self._behind)
        monkeypatch.setattr(archive.audit, "read", self._audit)
        monkeypatch.setattr(finished, "write", self._before(_WRITE))
        monkeypatch.setattr(archive, "replaced", self._before(_REPLACED))
        monkeypatch.setattr(folders.shutil, "rmtree", self._before(_RMTREE))

    def change(self) -> None:
        self.changes += 1
        self.assert_held()
        if self.changes == self.kill_at:
            raise Killed

    def _before(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any) -> Any:
            self.change()
            return work(*args)

        return changed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    # what is asked

    async def _kafka(self, settings: Settings) -> tuple[frozenset[str], tuple[str, ...]]:
        return frozenset(self.topics), tuple(self.members)

    async def _connector(self, settings: Settings) -> bool:
        return bool(self.connector)

    async def _database(self, settings: Settings, admin: str) -> tuple[str, ...]:
        return tuple(self.database)

    async def _control(self, settings: Settings) -> dict[str, Any]:
        assert TOPICS.control in self.topics
        return dict(self.state)

    async def _workers(self, settings: Settings) -> tuple[Worker, ...]:
        assert TOPICS.audit in self.topics
        return tuple(self.workers)

    async def status(self, name: str) -> object | None:
        return self.connector or None

    async def _everyone(self, settings: Settings, number: int) -> dict[bytes, Any]:
        assert {TOPICS.snapshots, TOPICS.ledger} <= self.topics
        return EVERYONE if number == 0 else {}

    async def _audit(self, settings: Settings) -> list[Any]:
        assert TOPICS.audit in self.topics
        return AUDIT

    async def _behind(self, settings: Settings) -> int:
        assert TOPICS.identity in self.topics
        return 5

    # what is done

    async def put(self, key: str, body: Any) -> None:
        self.change()
        self.state[key] = body

    async def _unregister(self, connect: Any, name: str) -> bool:
        while self.connector:
            self.change()
            self.connector.pop()
        return True

    def _disable(self, settings: Settings) -> list[str]:
        while self.database:
            self.change()
            self.database.pop(0)
        return self.kept

    async def _remove(self, settings: Settings, names: Any) -> None:
        for name in names:
            self.change()
            assert self.left or name != TOPICS.audit, "somebody writes into it"
            self.topics.remove(name)
            if name == TOPICS.control:
                self.state.clear()

    async def _leave(self) -> None:
        self.left = True

    async def finish(self) -> None:
        """One run of the command."""
        self.left = False
        await plan.carry_out(Takedown(self.settings, self.folder, self._leave), self.said.append)

    def say(self, *words: str) -> Any:
        (command,) = finish.commands(self.settings)
        return CliRunner().invoke(command, list(words))

    # what must hold

    @property
    def begun(self) -> str:
        """Why no worker starts."""
        return finished.refused_by_topic(self.state) or finished.refused_by_file(self.settings)

    def assert_held(self) -> None:
        """At each moment: nothing goes before it is written down, and nothing before what is made of it."""
        noted = finished.read(self.folder)
        ours = self.topics - {TOPICS.control}
        if len(self.connector) < 3 or len(self.database) < len(DATABASE) or len(ours) < 8:
            assert noted is not None and self.begun
        if len(self.database) < len(DATABASE):
            assert not self.connector, "who reads the slot starts again, and makes one"
        if noted is not None:
            assert not self.state or self.state[CUTOVER]["state"] == FINISHING, "the topic says it first"
            assert noted.certificate == CERTIFICATE
            assert not self.state or self.state[CUTOVER]["marker"] == {"id": "m", "lsn": 7}
        if len(ours) < 8:
            assert noted is not None and archive.intact(self.folder, noted.archive)
        if TOPICS.control not in self.topics:
            assert not ours and not self.connector and not self.database
        if noted is not None and noted.state == FINISHED:
            assert not self.topics

    def assert_ended(self) -> None:
        """Nothing is left but one archive and the record."""
        self.assert_held()
        assert (self.topics, self.connector, self.database) == (set(), [], [])
        assert not self.data.exists()
        noted = finished.read(self.folder)
        assert noted is not None and noted.state == FINISHED and noted.archive is not None
        assert noted.left == {"connector": [], "database": [], "topics": [], "folders": []}
        assert {path.name for path in self.folder.iterdir()} == {FILE, noted.archive.file}
        assert "has ended" in self.begun


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Place:
    """A pipeline after its GO; no worker runs."""
    return Place(monkeypatch, tmp_path)


# -- to the end -------------------------------------------------------------------------------------------------------


async def test_it_goes_step_by_step_to_its_end(place: Place) -> None:
    place.folder.mkdir()
    await place.finish()
    place.assert_ended()
    assert [line.partition(":")[0] for line in place.said] == [step.value for step in Step]


async def test_wherever_it_is_killed_a_second_run_comes_to_the_same_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """kill -9 before each change that is made in any place."""
    kills = 0
    while True:
        place = Place(monkeypatch, tmp_path / str(kills))
        place.folder.mkdir()
        place.kill_at = kills + 1
        try:
            await place.finish()
        except Killed:
            kills += 1
        else:
            break
        place.assert_held()
        place.kill_at = 0
        await place.finish()
        place.assert_ended()
    place.assert_ended()
    assert kills == place.changes > 20


async def test_killed_again_and_again_it_gets_there(place: Place) -> None:
    place.folder.mkdir()
    runs = 0
    while True:
        runs += 1
        place.kill_at = place.changes + 3  # two changes a run: a note is written in two places
        try:
            await place.finish()
        except Killed:
            continue
        break
    place.assert_ended()
    assert runs > 5


async def test_a_second_finish_changes_nothing(place: Place) -> None:
    place.folder.mkdir()
    await place.finish()
    before, place.said = place.changes, []
    await place.finish()
    assert (place.changes, place.said) == (before, [])
    place.assert_ended()


async def test_on_another_machine_it_deletes_what_is_left_there(place: Place) -> None:
    """With a copy of the record: the places are not asked any more, they may be gone."""
    place.folder.mkdir()
    await place.finish()
    (place.data / "tables").mkdir(parents=True)
    (place.data / "identity.json").write_bytes(orjson.dumps(OURS))
    place.said = []
    await place.finish()
    assert [line.partition(":")[0] for line in place.said] == ["folders"]
    place.assert_ended()


async def test_a_worker_that_starts_meanwhile_stops_it(place: Place) -> None:
    """It has read the control topic a moment before: it ends by itself, and until then nothing goes on."""
    place.folder.mkdir()
    place.kill_at = 4
    with pytest.raises(Killed):
        await place.finish()
    place.kill_at, place.members = 0, ["faust-0.15.3 at 10.0.0.5"]
    before = place.changes
    with pytest.raises(RefusedError, match=r"workers run still: faust-0\.15\.3 at 10\.0\.0\.5"):
        await place.finish()
    assert place.changes == before
    place.members = []
    await place.finish()
    place.assert_ended()


@pytest.mark.parametrize("state", ["aborted", "freezing"])
async def test_a_go_that_is_taken_back_during_the_first_look_is_not_finished(
    place: Place, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """The look asks Kafka Connect and the database, and takes its time."""
    look = remains.look

    async def looked(*args: Any) -> Any:
        seen = await look(*args)
        place.state[CUTOVER] = place.state[CUTOVER] | {"state": state}
        return seen

    monkeypatch.setattr(remains, "look", looked)
    with pytest.raises(FinishError, match="there is no GO any more"):
        await place.finish()
    assert place.changes == 0 and place.state[CUTOVER]["state"] == state and not (place.folder / FILE).exists()


async def test_a_step_without_effect_is_not_repeated_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that somebody makes again, say."""
    place.folder.mkdir()
    monkeypatch.setattr(takedown, "_disable", lambda _: [])
    with pytest.raises(FinishError, match="database: was done, and is needed still: replication slot cidaas_sync"):
        await place.finish()


async def test_an_archive_that_was_changed_is_made_again_while_that_can_be(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: str) -> list[str]:
        raise Killed

    place.folder.mkdir()
    with monkeypatch.context() as now:
        now.setattr(folders, "delete", killed)
        with pytest.raises(Killed):
            await place.finish()
    noted = finished.read(place.folder)
    assert noted is not None and noted.archive is not None
    (place.folder / noted.archive.file).write_bytes(b"cut")
    await place.finish()
    place.assert_ended()


# -- refusals ---------------------------------------------------------------------------------------------------------

READY = Facts(state=GO, connector=True, sources=True, topics=("t",), control=True, database=("slot",))


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (READY, ""),
        (replace(READY, state=FINISHING), ""),
        (replace(READY, noted=FINISHING, state=FINISHING), ""),
        (Facts(noted=FINISHING, archived=True), ""),
        (Facts(noted=FINISHED), ""),
        (replace(READY, state=""), "there was no freeze. `cutover freeze` gives one"),
        (replace(READY, state="no-go"), "the go-live is in the state no-go"),
        (replace(READY, state="aborted"), "the go-live is in the state aborted"),
        (Facts(), "there is no GO to finish after"),
        (replace(READY, workers=("w at h",)), "workers run still: w at h"),
        (Facts(noted=FINISHED, workers=("w at h",)), "workers run still"),
        (replace(READY, strange=("/data",)), "/data. Run this as the account of the workers"),
        (replace(READY, sources=False), "`topics` names what is missing"),
        (Facts(noted=FINISHING, control=True, state=FINISHING), "bring the file back"),
        (replace(READY, noted=FINISHING, state=""), "the topics that are there know nothing of it"),
        (replace(READY, noted=FINISHING, state="aborted"), "the topics that are there know nothing of it"),
        (replace(READY, noted=FINISHING, elsewhere=True), "is of another pipeline than the one in this Kafka"),
    ],
)
def test_nothing_is_taken_away_without_a_go_or_while_something_runs(facts: Facts, says: str) -> None:
    """A file of a test system must not delete production."""
    found = plan.refusal(facts)
    assert (says in found) if says else (found == "")
    assert "\n" not in found


def test_the_go_is_written_over_before_anything_else() -> None:
    assert steps(READY) == [Step.NOTE, Step.CONNECTOR, Step.DATABASE, Step.ARCHIVE, Step.TOPICS, Step.CONTROL, Step.END]
    assert steps(Facts(noted=FINISHING, archived=True)) == [Step.END], "all is gone, and only the proof is missing"


def test_other_machines_are_named_with_what_to_delete() -> None:
    old = Worker("db3", "db3:6066", "")
    said = plan.by_hand([FAR, FAR, old, Worker("here", "here:6066", "/data")], "here")
    assert said == [
        "on db2: disable the service of worker db2:6066, and delete /var/lib/cidaas-sync/6066",
        "on db3: disable the service of worker db3:6066, and delete its APP_DATADIR",
    ]


def test_every_topic_but_those_of_connect_is_ours() -> None:
    all_of_them = {topic.name for topic in topics.topic_table(SETTINGS)}
    ours = {*own_topics(SETTINGS), TOPICS.control}
    assert all_of_them - ours == {TOPICS.connect_configs, TOPICS.connect_offsets, TOPICS.connect_status}


# -- the record -------------------------------------------------------------------------------------------------------

NOTED = Finish(SETTINGS.app_id, FINISHING, 1_800_000_000.0, 1_800_000_000.0, "anna", "db1", BIRTH, (FAR,), CERTIFICATE)


def at(folder: Path) -> Settings:
    return replace(SETTINGS, path=folder / "pipeline.toml", archive=".")


def test_the_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    kept = finished.Archive("a.zip", "5e", {"in_sync": 2}, 7, 0)
    for noted in (NOTED, replace(NOTED, archive=kept, state=FINISHED, left=plan.left(Facts()))):
        finished.write(tmp_path, noted)
        assert finished.read(tmp_path) == noted
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_no_worker_starts_while_the_record_is_there(tmp_path: Path) -> None:
    here = at(tmp_path)
    assert finished.refused_by_file(SETTINGS) == "" == finished.refused_by_file(here)
    assert finished.refused_by_file(replace(here, archive="not/there")) == ""
    finished.write(tmp_path, NOTED)
    said = finished.refused_by_file(here)
    assert "is being taken down: `cutover finish` of anna@db1 began at 2027-01-15 08:00:00 UTC" in said
    finished.write(tmp_path, replace(NOTED, state=FINISHED))
    said = finished.refused_by_file(here)
    assert "has ended" in said and "Disable this service" in said
    finished.write(tmp_path, replace(NOTED, pipeline="another"))
    assert finished.refused_by_file(here) == "", "it is another's"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"archive": null, "workers": [{}]}'])
def test_a_record_that_cannot_be_read_lets_nobody_start(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    assert "is damaged" in finished.refused_by_file(at(tmp_path))
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    assert "cannot be read (Is a directory)" in finished.refused_by_file(at(tmp_path))


async def test_the_record_of_another_name_is_not_gone_on_with(place: Place) -> None:
    place.folder.mkdir()
    finished.write(place.folder, replace(NOTED, pipeline="another"))
    with pytest.raises(RefusedError, match="is of the pipeline another"):
        await place.finish()


async def test_the_record_of_another_kafka_is_not_gone_on_with(place: Place) -> None:
    """Test and production have one name, and one folder by mistake."""
    place.folder.mkdir()
    finished.write(place.folder, replace(NOTED, topic="of the test system"))
    before = place.changes
    with pytest.raises(RefusedError, match="is of another pipeline"):
        await place.finish()
    assert place.changes == before


class _Control(SimpleNamespace):
    identity = None


async def test_a_worker_ends_when_the_end_begins() -> None:
    begun = {CUTOVER: Record(FINISHING, 1_800_000_000.0, "anna", "db1").body()}
    refused: list[str] = []
    worker: Any = Belonging(
        SimpleNamespace(  # type: ignore[arg-type]
            settings=SETTINGS, control=_Control(state=begun), app=SimpleNamespace(refuse=refused.append)
        )
    )
    with pytest.raises(RefusedError, match="is being taken down"):
        await worker.find_out("topic")
    await worker.follow()
    assert "`cutover finish` of anna@db1" in refused[0]
    for state in ("go", "freezing", "aborted"):
        assert finished.refused_by_topic({CUTOVER: Record(state, 1.0, "anna", "db1").body()}) == ""
    assert finished.refused_by_topic({}) == ""


# -- local state ------------------------------------------------------------------------------------------------------


def local(place: Place, topic: str = BIRTH) -> folders.Local:
    return folders.look(SETTINGS.app_id, topic, place.workers)


def test_local_state_is_ours_another_s_or_nobody_s(place: Place, tmp_path: Path) -> None:
    assert local(place) == ((str(place.data),), (), ())
    assert local(place, "of another life").strange == (str(place.data),)
    (place.data / "identity.json").write_bytes(orjson.dumps({**OURS, "pipeline": "another"}))
    assert local(place) == ((), (), ())
    (place.data / "identity.json").write_text('{"pipe')
    assert local(place).strange == (str(place.data),)
    (place.data / "identity.json").unlink()
    assert local(place).strange == (str(place.data),), "copies of both changelogs, and nothing says whose"
    _RMTREE(place.data)
    assert local(place) == ((), (), ())
    place.data.write_text("a file")
    assert local(place) == ((), (), ())


def test_a_folder_in_use_is_a_worker_that_runs(place: Place) -> None:
    held = DataFolder(place.data)
    held.lock()
    assert local(place).used == (str(place.data),)
    with pytest.raises(RefusedError, match="in use by another worker"):
        folders.delete(str(place.data))
    assert (place.data / "identity.json").exists()
    assert held._lock is not None
    held._lock.close()
    assert local(place).used == ()


def test_only_what_a_worker_makes_is_deleted(place: Place) -> None:
    """APP_DATADIR may be the home of somebody."""
    (place.data / "v1" / "tables").mkdir(parents=True)
    (place.data / "photo.jpg").write_text("a summer")
    assert folders.delete(str(place.data)) == ["photo.jpg"]
    assert [path.name for path in place.data.iterdir()] == ["photo.jpg"]
    assert local(place) == ((), (), ())


def test_a_link_is_taken_away_and_not_what_it_leads_to(place: Place, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    (place.data / "v1").symlink_to(elsewhere)
    folders.delete(str(place.data))
    assert not place.data.exists() and (elsewhere / "kept").exists()


# -- the archive ------------------------------------------------------------------------------------------------------


async def test_the_archive_has_everybody_and_no_secret(place: Place) -> None:
    place.folder.mkdir()
    await place.finish()
    noted = finished.read(place.folder)
    assert noted is not None and noted.archive is not None
    path = place.folder / noted.archive.file
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with zipfile.ZipFile(path) as pack:
        assert pack.testzip() is None
        texts = {name: pack.read(name).decode() for name in pack.namelist()}
    assert set(texts) == {"ledger.jsonl", "audit.jsonl", "certificate.json", "about.json"}
    users = [orjson.loads(line) for line in texts["ledger.jsonl"].splitlines()]
    assert [(one["user"], one["situation"]) for one in users] == [
        ("1", "in_sync"), ("2", "pending"), ("3", "pending"), ("4", "unknown"),
    ]  # fmt: skip
    assert (users[0]["ledger"]["sub"], users[0]["ledger"]["state"]) == ("sub-1", "confirmed")
    assert noted.archive.users == {"in_sync": 1, "pending": 2, "unknown": 1}
    assert noted.archive.unread == orjson.loads(texts["about.json"])["records_unread"] == 5
    assert orjson.loads(texts["certificate.json"]) == CERTIFICATE
    assert orjson.loads(texts["audit.jsonl"])["arguments"] == ["--why", "go-live"]
    everything = "".join([*texts.values(), (place.folder / FILE).read_text()])
    secrets = (HASH, "f1nger", "m4rk", "ada@example.org", "geheim")
    assert [one for one in secrets if one in everything] == []


async def test_without_a_certificate_that_is_said(place: Place) -> None:
    place.folder.mkdir()
    noted = replace(NOTED, certificate=None)
    kept = await archive.write(place.settings, place.folder, noted)
    with zipfile.ZipFile(place.folder / kept.file) as pack:
        assert "certificate.json" not in pack.namelist()
        assert orjson.loads(pack.read("about.json"))["certificate"] is False
    assert archive.intact(place.folder, kept) and not archive.intact(place.folder, None)
    assert not archive.intact(place.folder, replace(kept, file="another.zip"))


# -- the command ------------------------------------------------------------------------------------------------------


def test_without_yes_it_says_what_it_would_do_and_changes_nothing(place: Place) -> None:
    said = place.say()
    assert (said.exit_code, place.changes, place.folder.exists()) == (0, 0, False), said
    for words in (
        "This would:",
        "take back in the legacy database: replication slot cidaas_sync, publication cidaas_sync",
        "4 users (1 in sync, 2 pending, 1 unknown), of whom nothing is sent any more; 5 records that nobody has joined",
        f"delete the local state in {place.data}",
        f"delete the topic {TOPICS.control}, as the last one",
        "not to be seen from here: on db2: disable the service of worker db2:6066",
        "Repeat with --yes to do it.",
    ):
        assert words in said.stdout, said.stdout
    body = orjson.loads(place.say("--json").stdout)
    assert body["changed"] is False and len(body["would"]) == len(Step)
    assert (body["state"], body["users"]["pending"], body["records_unread"], body["archive"]) == (GO, 2, 5, None)


def test_what_another_pipeline_needs_in_the_database_is_said_to_stay(place: Place) -> None:
    place.kept = ["public.credentials keeps its replica identity"]
    assert "role r; public.credentials keeps its replica identity\n" in place.say("--yes").stdout
    place.assert_ended()


def test_what_another_publication_has_is_not_looked_for() -> None:
    """It stays: a finish that took it for left over would never end."""
    index, identity = (
        part for part in remains._DATABASE.split("UNION ALL") if "'index '" in part or "'replica " in part
    )
    assert "pg_publication_tables" in remains._DATABASE and "t.pubname <> %(name)s" in remains._DATABASE
    assert "indrelid NOT IN (SELECT oid FROM shared)" in index and "c.oid NOT IN (SELECT oid FROM shared)" in identity


def test_with_yes_it_is_done_and_proved(place: Place) -> None:
    body = orjson.loads(place.say("--yes", "--json").stdout)
    place.assert_ended()
    assert body["changed"] is True and body["state"] == FINISHED and not any(body["left"].values())
    assert Path(body["archive"]["file"]).parent == place.folder
    assert [line.partition(":")[0] for line in body["steps"]] == [step.value for step in Step]
    assert body["by_hand"] == ["on db2: disable the service of worker db2:6066, and delete /var/lib/cidaas-sync/6066"]

    for words in ((), ("--yes",)):
        again = place.say(*words)
        assert again.exit_code == 0 and "finished already, at" in again.stdout and again.stderr == ""
        assert f"kept: {body['archive']['file']}" in again.stdout
    assert orjson.loads(place.say("--yes", "--json").stdout)["changed"] is False


def test_a_go_without_a_certificate_is_named_before(place: Place) -> None:
    place.state[CUTOVER]["certificate"] = None
    assert "do so without a certificate" in place.say().stdout


@pytest.mark.parametrize("words", [(), ("--yes",)])
def test_what_is_in_the_way_is_one_sentence(place: Place, monkeypatch: pytest.MonkeyPatch, words: Any) -> None:
    def refused(contains: str) -> None:
        said = place.say(*words)
        assert (said.exit_code, place.changes) == (2, 0) and contains in said.stderr, said.stderr
        assert len(said.stderr.splitlines()) == 1

    place.members = ["faust-0.15.3 at 10.0.0.5"]
    refused("workers run still")
    place.members = []
    place.state[CUTOVER]["state"] = "no-go"
    refused("in the state no-go")
    place.state[CUTOVER]["state"] = GO

    async def away(_: Any) -> bool:
        raise AwayError("Kafka Connect does not answer", "Start it.")

    monkeypatch.setattr(remains, "_connector", away)
    refused("Kafka Connect does not answer. Start it.")
    place.settings = replace(place.settings, archive=None)
    refused("archive under [cutover] in pipeline.toml is not set")


def test_a_folder_that_cannot_be_written_into_is_found_before_anything_goes(place: Place) -> None:
    place.folder.write_text("a file")
    said = place.say("--yes")
    assert said.exit_code == 2 and place.changes == 0, said
    if os.geteuid() != 0:
        place.folder.unlink()
        place.folder.mkdir(mode=0o500)
        said = place.say("--yes")
        assert said.exit_code == 2 and "cannot be written into" in said.stderr and place.changes == 0


def test_a_step_that_fails_says_so_and_the_next_run_goes_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Any) -> None:
        raise psycopg.errors.ObjectInUse("slot cidaas_sync is in use by process 4711")

    with monkeypatch.context() as broken:
        broken.setattr(takedown, "_disable", refuse)
        said = place.say("--yes")
    assert said.exit_code == base.WRONG
    assert "database: the legacy database refused: slot cidaas_sync is in use by process 4711." in said.stderr
    assert "`cutover finish --yes` goes on" in said.stderr and "geheim" not in said.output
    assert not place.connector and len(place.database) == len(DATABASE) and len(place.topics) == 9
    assert place.say("--yes").exit_code == 0
    place.assert_ended()


class _Pen:
    """The audit's topic, which is deleted while the command runs."""

    def __init__(self) -> None:
        self.records: list[str] = []
        self.closed = False

    async def write(self, one: dict[str, Any]) -> str:
        assert not self.closed, "a connection that asks for a topic may make it again"
        self.records.append(str(one["phase"]))
        return ""

    async def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(("fails", "phases"), [(False, ["began"]), (True, ["began", "ended"])])
def test_its_end_stands_in_the_audit_only_while_there_is_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, fails: bool, phases: list[str]
) -> None:
    pen = _Pen()
    monkeypatch.setattr(recording, "Pen", lambda _: pen)
    if fails:
        place.members = ["faust at h"]
    assert place.say("--yes").exit_code == (2 if fails else 0)
    assert pen.records == phases and pen.closed


# -- topics -----------------------------------------------------------------------------------------------------------


class Broker:
    """Topics that can be deleted; `code` is Kafka's answer, and it shows them for some more looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, code: int = 0, shown: int = 0) -> None:
        self.there, self.code, self.shown = {"a", "b", "others"}, code, shown
        self.asked: list[str] = []
        monkeypatch.setattr(topics, "_admin", lambda _: self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def describe_topics(self) -> list[dict[str, Any]]:
        if self.asked and not self.code:
            self.shown -= 1
            if self.shown < 0:
                self.there -= set(self.asked)
        return [{"topic": name, "partitions": [0]} for name in self.there]

    async def delete_topics(self, names: list[str]) -> Any:
        self.asked += names
        return SimpleNamespace(topic_error_codes=[(name, self.code) for name in names])


async def test_topics_are_gone_when_kafka_shows_them_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(monkeypatch, shown=3)
    await topics.remove(SETTINGS, ["a", "b", "gone"])
    assert (broker.asked, broker.there) == (["a", "b"], {"others"})
    await topics.remove(SETTINGS, ["a"])
    assert broker.asked == ["a", "b"], "nothing is asked for that is not there"


async def test_who_may_not_delete_topics_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Broker(monkeypatch, code=29)
    with pytest.raises(topics.TopicError, match=r"topic a cannot be deleted \(topic authorization failed\): check"):
        await topics.remove(SETTINGS, ["a"])
