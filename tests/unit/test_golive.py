"""`cutover freeze`, `sign-off`, `abort`, `certificate`, `verify` as a person calls them, and what holds after a GO."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from clock import Clock, run
from evening import LOOK
from fakes import SETTINGS, Control, envelope, user_row
from test_certificate import KEY, built
from test_freeze_gate import AT, REFUSED
from world import World

from streams import snapshots, views
from streams.commands import cutover, delivery, evening, golive
from streams.commands.status import _problems
from streams.control import CUTOVER, DELIVERY
from streams.cutover import after, certificate, pipeline, record
from streams.cutover.asking import behind
from streams.cutover.freezing import Verdict
from streams.cutover.gate import Late
from streams.cutover.held import record_name
from streams.cutover.record import Marker
from streams.cutover.twice import Twice
from streams.doctor.checks import State, fault
from streams.identity import RefusedError
from streams.ledger import Situation
from streams.rows import ReadAgain, Resync, SetAside
from streams.settings import Secret
from streams.source.look import Look

if TYPE_CHECKING:
    from pathlib import Path

READY = replace(
    SETTINGS, certificate_key=KEY, source=replace(SETTINGS.source, url=Secret("postgresql://r@127.0.0.1:1/shop"))
)
PERSON = {"paused": True, "why": "a script runs", "who": "ben", "at": AT}


def go(marker: int = 5_000, end: int = 9) -> dict[str, Any]:
    """The record of a GO; `end` is the offset up to which partition 0 was looked at."""
    document = built()
    document["topic"]["offsets"]["0"] = end
    document = certificate.sign(document, KEY)
    return record.Record(record.GO, AT, "anna", "host", Marker("m", marker), document).body()


class Stage:
    """A control topic, users as `user` shows them, and a freeze that ends as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.control = Control()
        self.users: dict[str, tuple[str | None, list[int]]] = {"42": ("quarantined", [1, 40])}
        self.verdict = Verdict((), Marker("m", 5_000), 7.2, certificate.sign(built(), KEY))
        self.late = Late()
        self.froze: list[float] = []
        monkeypatch.setenv("SYNC_OPERATOR", "anna")
        monkeypatch.setattr(golive, "Controls", lambda _: self)
        monkeypatch.setattr(delivery, "Controls", lambda _: self)
        monkeypatch.setattr(golive, "look_up", self._look_up)
        monkeypatch.setattr(golive, "control_state", self._state)
        monkeypatch.setattr(golive, "Evening", lambda *_: self)
        monkeypatch.setattr(golive, "Freeze", self._freeze)
        for name in ("Behind", "Passing", "Legacy"):
            monkeypatch.setattr(golive, name, lambda *_: _Asked(self))

    async def __aenter__(self) -> Any:
        return self.control

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def _state(self, _: Any) -> dict[str, Any]:
        return self.control.state

    async def _look_up(self, _: Any, user: str) -> dict[str, Any]:
        situation, version = self.users.get(user, (None, []))
        snapshot = {"version": version} if situation is not None else None
        return {"user": user, "situation": situation, "snapshot": snapshot, "ledger": None, "sentence": "in sync."}

    def _freeze(self, _: Any, __: Any, timeout: float) -> Any:
        self.froze.append(timeout)
        return _Frozen(self.verdict)

    def say(self, *words: str, settings: Any = READY) -> Result:
        (group,) = cutover.commands(settings)
        return CliRunner().invoke(group, list(words))


class _Frozen:
    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict

    async def run(self) -> Verdict:
        return self._verdict


class _Asked:
    """Topic, slot and database, as whoever asks again after a GO sees them."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def late(self, marker: int) -> Late:
        return self._stage.late

    async def streamed(self, lsn: int) -> None:
        return None

    async def query(self, _: Any) -> list[dict[str, Any]]:
        return [{"lsn": 6_000}]

    async def close(self) -> None:
        return None


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Nothing was frozen yet."""
    return Stage(monkeypatch)


# -- freeze -----------------------------------------------------------------------------------------------------------


def test_without_yes_it_says_what_it_would_do(stage: Stage) -> None:
    said = stage.say("freeze")
    assert said.exit_code == 0 and "write a marker" in said.output and "Repeat with --yes" in said.output
    assert stage.froze == [] and stage.control.puts == []


def test_without_a_key_it_is_refused_with_the_remedy(stage: Stage) -> None:
    said = stage.say("freeze", "--yes", settings=SETTINGS)
    assert said.exit_code == 2 and "SYNC_CERTIFICATE_KEY: is not set" in said.stderr and stage.froze == []


def test_go_is_zero_and_says_for_whom(stage: Stage) -> None:
    said = stage.say("freeze", "--yes", "--timeout", "60")
    assert said.exit_code == 0 and stage.froze == [60.0]
    assert said.output.startswith("GO: every change up to LSN 0/16B3748 is in, for 615 users; 3 of them are not")
    body = orjson.loads(stage.say("freeze", "--yes", "--json").stdout)
    assert body["verdict"] == "GO" and body["reasons"] == [] and body["marker"] == {"id": "m", "lsn": 5_000}
    assert certificate.check(body["certificate"], KEY) is certificate.Signature.GENUINE


def test_no_go_is_one_with_each_reason_and_its_remedy(stage: Stage) -> None:
    reasons = (fault("quarantine", "1 user is refused: 42", "Sign it off."), fault("cidaas", "it is away", "Wait."))
    stage.verdict = Verdict(reasons, None, 0.4)
    said = stage.say("freeze", "--yes")
    assert said.exit_code == 1
    assert said.output == (
        "NO-GO, for 2 reasons:\n! quarantine: 1 user is refused: 42\n  Sign it off.\n! cidaas: it is away\n  Wait.\n"
    )
    body = orjson.loads(stage.say("freeze", "--yes", "--json").stdout)
    assert (body["verdict"], body["certificate"]) == ("NO-GO", None)
    assert body["reasons"][1] == {"slug": "cidaas", "state": "fault", "what": "it is away", "remedy": "Wait."}


def test_again_after_a_go_it_only_looks_whether_it_still_holds(stage: Stage) -> None:
    stage.control.state |= {CUTOVER: go(), DELIVERY: record.pause("go-live: GO")}
    for words in ((), ("--yes",)):
        said = stage.say("freeze", *words)
        assert said.exit_code == 0 and said.stdout.startswith("GO at 2027-01-15 08:00:00 UTC, by anna; nothing was")
    assert stage.froze == [] and stage.control.puts == []


def test_again_after_a_go_a_late_write_is_a_no_go_and_everything_stays_as_it_is(stage: Stage) -> None:
    stage.control.state |= {CUTOVER: go(), DELIVERY: record.pause("go-live: GO")}
    stage.late = Late(2, ("7",))
    said = stage.say("freeze")
    assert said.exit_code == 1 and "late_write: the legacy database was written to after the GO" in said.output
    assert "2 row changes of 7" in said.output and stage.control.puts == []
    stage.control.state[DELIVERY] = {"paused": False}
    assert "! not_held: " in stage.say("freeze").output


@pytest.mark.parametrize("state", [record.FINISHING, record.FINISHED])
def test_what_is_being_finished_is_not_frozen_nor_aborted(stage: Stage, state: str) -> None:
    stage.control.state[CUTOVER] = go() | {"state": state}
    assert stage.say("freeze", "--yes").exit_code == 2
    assert stage.say("abort", "--yes").exit_code == 2
    assert stage.froze == [] and stage.control.puts == []


def one_freeze(control: Control) -> evening.Evening:
    """A freeze that has written nothing yet."""
    one = evening.Evening.__new__(evening.Evening)
    one._control, one._mine = control, None  # type: ignore[assignment]
    return one


class Elsewhere(Control):
    """Somebody else writes, and it is there once this process has read on."""

    def __init__(self) -> None:
        super().__init__()
        self.written: dict[str, Any] = {}

    async def read_to_end(self) -> None:
        self.state |= self.written


def test_whoever_else_freezes_or_aborts_ends_this_freeze() -> None:
    """Else a NO-GO of one would take back the GO of the other."""
    control = Control()
    one = one_freeze(control)
    asyncio.run(one.note(record.FREEZING, None, ""))
    asyncio.run(one.note(record.NO_GO, Marker("m", 7), "why"))
    control.state[CUTOVER] = go()
    with pytest.raises(RefusedError, match="somebody else has frozen or aborted meanwhile"):
        asyncio.run(one.note(record.NO_GO, None, ""))
    assert control.state[CUTOVER]["state"] == "go"


@pytest.mark.parametrize("state", sorted(record.OVER))
def test_the_first_word_of_a_freeze_does_not_write_over_a_go_that_has_just_been_said(state: str) -> None:
    """The other freeze was in its last look when this one began; Kafka Connect has taken some seconds since."""
    control = Elsewhere()
    control.state[CUTOVER] = go() | {"state": record.FREEZING, "certificate": None}
    held = record.pause("go-live: GO")
    control.written = {CUTOVER: go() | {"state": state}, DELIVERY: held}
    with pytest.raises(RefusedError, match="somebody else has frozen or aborted meanwhile"):
        asyncio.run(one_freeze(control).note(record.FREEZING, None, ""))
    assert control.puts == [] and control.state[CUTOVER]["certificate"] is not None
    assert control.state[DELIVERY] == held


def test_a_freeze_does_not_end_the_pause_of_a_go_that_came_behind_its_first_word() -> None:
    control = Elsewhere()
    one = one_freeze(control)
    asyncio.run(one.note(record.FREEZING, None, ""))
    control.written = {CUTOVER: go(), DELIVERY: record.pause("go-live: GO")}
    with pytest.raises(RefusedError, match="this freeze ends: GO at"):
        asyncio.run(one.resume())
    assert control.state[DELIVERY]["paused"] is True


def test_a_go_that_another_freeze_has_written_over_is_not_said() -> None:
    control = Control()
    one = one_freeze(control)
    asyncio.run(one.note(record.FREEZING, None, ""))
    put = control.put

    async def both(key: str, body: dict[str, Any] | None) -> None:
        await put(key, body)
        if key == CUTOVER:  # it has looked before, and writes behind it
            await put(key, record.Record(record.FREEZING, AT, "ben", "host").body())

    control.put = both  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match=r"a freeze under way since .*, by ben"):
        asyncio.run(one.go(Marker("m", 7), certificate.sign(built(), KEY)))


def test_a_freeze_ends_the_pause_of_one_that_was_killed_and_not_that_of_a_person() -> None:
    control = Control()
    one = one_freeze(control)
    control.state[DELIVERY] = record.pause("go-live: the last look")
    asyncio.run(one.resume())
    assert control.state[DELIVERY]["paused"] is False
    control.state[DELIVERY] = PERSON
    asyncio.run(one.resume())
    assert control.state[DELIVERY] == PERSON


# -- sign-off ---------------------------------------------------------------------------------------------------------


def test_one_who_is_named_is_signed_off_at_once_in_this_version(stage: Stage) -> None:
    said = stage.say("sign-off", "42", "--why", "the help desk calls")
    assert said.exit_code == 0 and "With the next change of a user it is void" in said.output
    body = stage.control.state[record_name("42")]
    assert body | {"at": 0} == {"version": [1, 40], "why": "the help desk calls", "who": "anna", "at": 0}


def test_several_take_a_yes(stage: Stage) -> None:
    stage.users["43"] = ("parked", [1, 41])
    said = stage.say("sign-off", "42", "43", "--why", "x")
    assert said.exit_code == 0 and "2 users would be signed off" in said.output and stage.control.puts == []
    assert stage.say("sign-off", "42", "43", "--why", "x", "--yes").exit_code == 0
    assert stage.control.puts == [record_name("42"), record_name("43")]


def test_who_is_not_held_back_is_not_signed_off(stage: Stage) -> None:
    stage.users["43"] = ("in_sync", [1, 41])
    said = stage.say("sign-off", "42", "43", "--why", "x", "--yes")
    assert said.exit_code == 1 and "user 43 needs no sign-off: in sync." in said.stderr
    assert stage.say("sign-off", "4711", "--why", "x").exit_code == 1, "nobody knows it"
    assert stage.control.puts == []


@pytest.mark.parametrize("words", [["--why", "x"], ["42"], ["42", "--why", " "]])
def test_a_sign_off_of_nobody_or_without_a_reason_is_refused(stage: Stage, words: list[str]) -> None:
    assert stage.say("sign-off", *words).exit_code == 2 and stage.control.puts == []


def test_what_is_typed_as_a_reason_is_kept_without_addresses_and_secrets(stage: Stage) -> None:
    stage.say("sign-off", "42", "--why", f"ada@example.org has {KEY.reveal()}")
    why = stage.control.state[record_name("42")]["why"]
    assert why == "<e-mail> has ***"


def test_a_sign_off_can_be_taken_back(stage: Stage) -> None:
    stage.say("sign-off", "42", "--why", "x")
    assert stage.say("sign-off", "42", "--take-back").exit_code == 0
    assert record_name("42") not in stage.control.state
    assert "none of them is signed off" in stage.say("sign-off", "42", "--take-back").output


# -- abort, and what a GO holds ---------------------------------------------------------------------------------------


def test_an_abort_takes_the_go_back_and_lets_delivery_go_on(stage: Stage) -> None:
    stage.control.state |= {CUTOVER: go(), DELIVERY: record.pause("go-live: GO")}
    said = stage.say("abort")
    assert said.exit_code == 0 and "over what users have changed at cidaas since" in said.output
    assert stage.control.puts == []
    said = stage.say("abort", "--why", "the page is down", "--yes")
    assert said.exit_code == 0 and stage.control.puts == [CUTOVER, DELIVERY], "the word first"
    state = stage.control.state
    assert (state[CUTOVER]["state"], state[CUTOVER]["why"]) == ("aborted", "the page is down")
    assert state[CUTOVER]["certificate"] is None and state[DELIVERY]["paused"] is False
    assert stage.say("certificate").exit_code == 2
    assert "nothing is frozen" in stage.say("abort", "--yes").output


def test_an_abort_leaves_a_pause_of_a_person(stage: Stage) -> None:
    stage.control.state |= {CUTOVER: go(), DELIVERY: PERSON}
    said = stage.say("abort", "--yes")
    assert "delivery stays paused" in said.output and stage.control.state[DELIVERY] == PERSON


def test_an_interrupted_abort_goes_on(stage: Stage) -> None:
    stage.control.state |= {CUTOVER: go() | {"state": "aborted"}, DELIVERY: record.pause("go-live: GO")}
    assert stage.say("abort", "--yes").exit_code == 0
    assert stage.control.state[DELIVERY]["paused"] is False


@pytest.mark.parametrize("words", [[], ["--deletes"]])
def test_nothing_is_resumed_after_a_go(stage: Stage, words: list[str]) -> None:
    stage.control.state |= {CUTOVER: go(), DELIVERY: record.pause("go-live: GO")}
    _, resume = delivery.commands(READY)
    said = CliRunner().invoke(resume, words)
    assert said.exit_code == 2 and "`cutover abort`" in said.stderr and stage.control.puts == []
    stage.control.state[CUTOVER] |= {"state": "aborted"}
    assert CliRunner().invoke(resume, words).exit_code == 0


# -- certificate, verify ----------------------------------------------------------------------------------------------


def test_the_certificate_is_shown_written_and_verified(stage: Stage, tmp_path: Path) -> None:
    stage.control.state[CUTOVER] = go()
    sheet, file = tmp_path / "certificate.html", tmp_path / "certificate.json"
    said = stage.say("certificate", "--html", str(sheet))
    assert said.exit_code == 0 and "GO: every change up to LSN" in said.output and "user 42" in sheet.read_text()
    file.write_bytes(stage.say("certificate", "--json").stdout_bytes)
    said = stage.say("verify", str(file))
    assert said.exit_code == 0 and said.output.startswith("genuine: GO: every change up to LSN 0/16B3748")
    file.write_text(file.read_text().replace('"users": 615', '"users": 616'))
    said = stage.say("verify", str(file))
    assert said.exit_code == 1 and said.output.startswith("NOT genuine: it was changed")
    assert orjson.loads(stage.say("verify", str(file), "--json").stdout)["found"] == "changed"


def test_a_file_that_cannot_be_checked_is_two_and_one_that_is_none_is_one(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "x"
    assert stage.say("verify", str(file)).exit_code == 2
    file.write_text("GO")
    assert stage.say("verify", str(file)).exit_code == 2
    file.write_text('{"verdict": "GO"}')
    assert stage.say("verify", str(file)).exit_code == 1
    said = stage.say("verify", str(file), settings=SETTINGS)
    assert said.exit_code == 2 and "SYNC_CERTIFICATE_KEY" in said.stderr


def test_without_a_go_there_is_no_certificate(stage: Stage) -> None:
    said = stage.say("certificate")
    assert said.exit_code == 2 and "nobody has frozen yet" in said.stderr
    stage.control.state[CUTOVER] = record.Record(record.NO_GO, AT, "anna", "host", None, None, "late").body()
    assert "NO-GO at 2027-01-15" in stage.say("certificate").stderr


# -- late writes ------------------------------------------------------------------------------------------------------


def test_who_is_changed_after_the_go_waits_is_named_and_is_not_sent(tmp_path: Path) -> None:
    """Nothing of that is remembered: the next owner of the partition says the same."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await world.sign_up(1, 2, 3, 4)
        await world.in_sync(1, 2, 3, 4)
        state = world.pipeline.control.state
        end = world.broker.end(SETTINGS.topics.identity, 0)
        state |= {CUTOVER: go(world.lsn(), end), DELIVERY: record.pause("go-live: GO")}
        assert after.late(state, [world.partition]) == {"users": 0, "first": []}
        calls = len(world.tenant.calls)
        await world.change(2, given_name="Spät")
        await world.remove(3)
        world.put_control(4, Resync("anna"))
        await world.joined()
        await asyncio.sleep(3_600)
        late = after.late(state, [world.partition])
        assert late["users"] == 2 and set(late["first"]) == {"2", "3"}, "an order is no write"
        assert len(world.tenant.calls) == calls
        assert world.where(4) is Situation.PENDING
        await world.stop()
        again = await World.start(tmp_path, clock, former=world)
        assert after.late(state, [again.partition])["users"] == 2
        again.go()
        await asyncio.sleep(600)
        assert len(world.tenant.calls) == calls
        state |= {CUTOVER: go() | {"state": "aborted"}, DELIVERY: record.resume()}
        again.delivery.poke()
        await again.in_sync(2, 3, 4)
        assert (again.at_cidaas(2) or {})["given_name"] == "Spät" and again.at_cidaas(3) is None
        assert after.late(state, [again.partition])["users"] == 0
        await again.stop()

    run(scenario(), clock)


def test_who_had_to_be_read_again_after_the_go_is_named_too(tmp_path: Path) -> None:
    """A large value does not travel with each change: the user is set aside and read again, which is of no commit."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await world.sign_up(1, 2)
        await world.in_sync(1, 2)
        # Read again before the GO, and ordered anew after it: that is no write.
        await read_again(world, 2)
        await world.in_sync(2)
        end = world.broker.end(SETTINGS.topics.identity, 0)
        state = world.pipeline.control.state
        state |= {CUTOVER: go(world.lsn(), end), DELIVERY: record.pause("go-live: GO")}
        world.put_control(2, Resync("anna"))
        await world.joined()
        assert world.where(2) is Situation.PENDING
        assert after.late(state, [world.partition]) == {"users": 0, "first": []}
        await read_again(world, 1, given_name="Spät")
        assert world.where(1) is Situation.PENDING
        assert after.late(state, [world.partition]) == {"users": 1, "first": ["1"]}
        await world.stop()

    run(scenario(), clock)


async def read_again(world: World, number: int, **fields: Any) -> None:
    """A change that cannot be taken as it is, and what the source says of this user then."""
    await world.change(number, **fields)
    world.put_control(number, SetAside("a large value did not travel"))
    await world.joined()
    ((stored, _),) = world.partition.read([b"%d" % number])
    assert stored is not None
    snap = snapshots.decode(stored.value)
    assert snap.aside is not None
    world.put_control(number, ReadAgain(snap.aside[0], snap.applied, user_row(number, **fields), {}))
    await world.joined()


def test_several_workers_are_added_up_and_older_ones_say_nothing() -> None:
    said = [{"users": 4, "first": ["1", "2", "3", "4"]}, {"users": 2, "first": ["8", "9"]}]
    assert after.together(said) == {"users": 6, "first": ["1", "2", "3", "4", "8"]}
    assert after.together([]) == {"users": 0, "first": []}


def problems(**body: Any) -> dict[str, dict[str, str]]:
    known = {
        "paused": None, "deletes_paused": None, "brake": None, "sweep": None, "foreign_subs": 0, "users": {},
        "faults": [], "slot_room": None, "heartbeat_age_seconds": None,
    }  # fmt: skip
    return {one["slug"]: one for one in _problems(SETTINGS, Look(), [], known | body)}


def test_status_says_late_writes_and_that_a_go_holds_is_no_problem() -> None:
    state = {CUTOVER: go(), DELIVERY: record.pause("go-live: GO")}
    shown = record.shown(state)
    held = problems(paused=state[DELIVERY], cutover=shown, late={"users": 0, "first": []})
    assert not held.keys() & {"paused", "late_write"}
    late = problems(paused=state[DELIVERY], cutover=shown, late={"users": 7, "first": ["1", "2"]})["late_write"]
    assert "users 1, 2 and 5 more" in late["what"] and "cutover abort" in late["remedy"]
    assert "paused" in problems(paused=state[DELIVERY], cutover=shown and {**shown, "over": False})


def test_the_check_of_the_evening_knows_that_a_go_holds_delivery() -> None:
    """After the switch it still looks at the domain, and nothing else is in the way."""
    now = LOOK | {"cutover": record.shown({CUTOVER: go()})}
    found = {one.slug: one for one in pipeline.judge(SETTINGS, Twice(now, now, 5.0))}
    assert found["delivery_paused"].state is State.OK and "GO" in found["delivery_paused"].what


def test_the_topic_itself_tells_what_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the workers say: also a change that makes no new version."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(None, clock)
        await world.sign_up(1)
        monkeypatch.setattr(behind.kafka, "consumer", lambda _: world.broker.consumer())
        marker = world.lsn()
        topic = SETTINGS.topics.identity
        begin = {0: world.broker.end(topic, 0)}
        looking = behind.Behind(SETTINGS, begin)
        assert await looking.late(marker) == Late()
        world.put_control(1, SetAside("x"))
        before = envelope("u", "users", marker - 5, user_row(1), after_commit=marker - 9)
        world.broker.append(topic, 0, b"1", before)
        world.broker.append(topic, 0, b"1", b"nothing that anybody can read")
        assert await looking.late(marker) == Late()
        for user in (2, 1, 2):
            late = envelope("u", "users", marker - 2, user_row(user), after_commit=marker + 3)
            world.broker.append(topic, 0, b"%d" % user, late)
        assert await looking.late(marker) == Late(3, ("2", "1"))
        assert looking.offsets == {0: world.broker.end(topic, 0)}
        await looking.close()
        await world.stop()

    run(scenario(), clock)


# -- who is held back -------------------------------------------------------------------------------------------------


def test_workers_name_users_who_are_set_aside_with_their_version(tmp_path: Path) -> None:
    """Of these the ledger knows nothing, and a sign-off is about what the snapshot has."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await world.sign_up(1, 2)
        await world.in_sync(1, 2)
        world.put_control(2, SetAside("somebody doubts it"))
        await world.joined()
        body = await views.standing(world.pipeline, Situation.SET_ASIDE, "", None)  # type: ignore[arg-type]
        (one,) = body["users"]
        assert (one["user"], one["reason"], one["partition"]) == ("2", "somebody doubts it", 0)
        ((snap, _),) = world.partition.read([b"2"])
        assert snap is not None
        assert one["version"] == views.snapshots.head(snap.value).version
        other = await views.standing(world.pipeline, Situation.SET_ASIDE, "another", None)  # type: ignore[arg-type]
        assert other["users"] == [] and body["reasons"] == {"somebody doubts it": 1}
        await world.stop()

    run(scenario(), clock)


def test_users_are_named_only_if_all_partitions_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    one = evening.Evening.__new__(evening.Evening)
    one._settings, one._status = SETTINGS, {"users": {"quarantined": 1}}
    answer = {"user": "42", "version": [1, 40], "reason": "invalid_email", "since": AT, "by": ""}
    bodies = [{"reasons": {"invalid_email": 1}, "users": [answer], "partitions": list(range(11))}]

    async def ask_all(path: str, *_: Any) -> list[dict[str, Any]]:
        assert path.startswith("/sync/standing/quarantined?")
        return bodies

    monkeypatch.setattr("streams.commands.orders.base.ask_all", ask_all)
    with pytest.raises(RefusedError, match="1 of 12 partitions"):
        asyncio.run(one._standing((Situation.QUARANTINED, Situation.PARKED)))
    bodies.append({"reasons": {}, "users": [], "partitions": [11]})
    assert asyncio.run(one._standing((Situation.QUARANTINED, Situation.PARKED))) == [REFUSED]
