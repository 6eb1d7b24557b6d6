"""`trace`: the right sentence in each case, a timeline of what is known, and users who are named in three ways."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from clock import Clock, run
from fakes import SETTINGS, Broker, credential_row, envelope, failed, user_row
from world import World

from streams import trail, views
from streams.cidaas.errors import Kind, failure
from streams.commands import base, trace, user, whom
from streams.explain import has_latest, sentence
from streams.ledger import Situation
from streams.likeness import likeness
from streams.mapping import sub_of
from streams.rows import Resync, SetAside, write_control
from streams.settings.model import SelectRule
from streams.timeline import timeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

IDENTITY = SETTINGS.topics.identity
SELECT = replace(SETTINGS, mapping=replace(SETTINGS.mapping, select=SelectRule("status", frozenset({"vip"}), "keep")))
BRAKE = replace(SETTINGS, brake=replace(SETTINGS.brake, floor=0, ceiling=0))

NOT_THERE = {"row": "not there", "mapping": None, "entity": "", "credentials": []}


def play(path: Path, scenario: Callable[[World], Awaitable[None]], settings: Any = SETTINGS) -> None:
    """Run a scenario with one worker whose agents do not run yet."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock, settings=settings)
        world.pipeline.delivery, world.pipeline.name = world.delivery, "one:6066"  # type: ignore[attr-defined]
        world.partition.joined_offset = world.broker.end(IDENTITY, 0) - 1
        await scenario(world)
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


def test_a_partition_that_was_given_up_a_moment_ago_is_not_read(tmp_path: Path) -> None:
    """Asked in the middle of a rebalance, a worker would answer with an error instead of with what it still has."""

    async def scenario(world: World) -> None:
        pipeline: Any = world.pipeline
        await world.sign_up(1)
        assert [one.number for one in pipeline.partitions()] == [0] and views.user(pipeline, "1") is not None
        await world.partition.close()
        assert pipeline.partitions() == [] and views.user(pipeline, "1") is None
        assert views.applied(pipeline, ["1"]) == {}
        assert await views.whose(pipeline, [world.sub(1)]) == {"users": {}, "partitions": []}

    play(tmp_path, scenario)


def rows(world: World, number: int, status: str = "active", **fields: Any) -> dict[str, Any]:
    """What the database has of a user that `World.sign_up` made."""
    row, credential = user_row(number, status=status, **fields), credential_row(number * 10, number)
    found = likeness(world.settings, str(number), row, {"public.credentials": [credential]})
    return {"row": "there", "credentials": [str(number * 10)], "mapping_id": world.settings.mapping.id, **found}


def traced(world: World, number: int, legacy: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What the command gathers: the worker's page, the topic, the database."""
    body = views.user(world.pipeline, str(number))  # type: ignore[arg-type]
    assert body is not None
    end = world.broker.end(IDENTITY, 0)
    topic = {"name": IDENTITY, "partition": 0, "joined": end, "end": end, "looked": end, "waiting": None, "records": {}}
    body["legacy"] = {"mapping_id": world.settings.mapping.id, **(legacy or NOT_THERE)}
    body["topic"] = topic | more.pop("topic", {})
    body["source"] = {"initial": "complete", "faults": []} | more
    return body


def said(body: dict[str, Any], latest: bool, *words: str) -> None:
    """Assert the sentence, and the exit code that follows."""
    text = sentence(body)
    assert all(word in text for word in words), text
    assert not text.endswith("..") and text.endswith("."), text
    assert has_latest(body) is latest, text
    assert "@" not in str(timeline(body)) + text


# -- the eight cases ---------------------------------------------------------------------------------------------------


def test_never_seen_in_the_source(tmp_path: Path) -> None:
    """A typing error, an initial load that runs, and lost changes are three answers."""

    async def scenario(world: World) -> None:
        row = rows(world, 1)
        said(traced(world, 1), False, "never seen: the legacy database has no row")
        said(traced(world, 1, row), False, "never seen in the source", "if it was not made a moment ago")
        said(traced(world, 1, row, initial="running public.users"), False, "snapshot is running public.users")
        said(traced(world, 1, row, faults=["slot_dropped"]), False, "lost (slot_dropped)", "source repair")
        unread = {"joined": 1, "looked": 3, "end": 9}
        said(traced(world, 1, row, topic=unread), False, "8 records wait in its partition")
        waits = traced(world, 1, row, topic=unread | {"waiting": 4})
        said(waits, False, "waiting because a record of it", "offset 4", "8 records wait there.")
        said(waits | {"worker_runs": False}, False, "8 records wait there; no worker runs.")
        away = {"row": None, "why": "it does not answer."}
        said(traced(world, 1, away), False, "never seen: no row of this user has come", "(it does not answer).")

    play(tmp_path, scenario)


def test_a_partition_that_has_not_been_read_knows_nobody_yet(tmp_path: Path) -> None:
    """Most of an initial load, most partitions wait for their turn: "never seen" would be wrong of all their users."""

    async def scenario(world: World) -> None:
        world.partition.replay_end = 10
        unasked = {"row": None, "why": ""}
        said(traced(world, 1, unasked), False, "not read yet: what waits in the topic is joined first")

    play(tmp_path, scenario)


@pytest.mark.parametrize("paused", [False, True])
def test_filtered_by_the_mapping(tmp_path: Path, paused: bool) -> None:
    """Also before the delivery has noted it: `resume` would not bring that user."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        if paused:
            world.pipeline.control.state["delivery"] = {"paused": True, "why": "looking"}
        else:
            world.go()
            await world.in_sync(1)
        body = traced(world, 1, rows(world, 1))
        said(body, False, "not selected: the mapping leaves this user out")
        assert paused or ("confirmed", "left out by the mapping, without a call") in _shown(body)

    play(tmp_path, scenario, SELECT)


def test_credentials_only(tmp_path: Path) -> None:
    """M6: nobody without a row in the users table."""

    async def scenario(world: World) -> None:
        world.put_credential(10, 1, "c")
        await world.joined()
        said(traced(world, 1), False, "not a user yet: only credential rows")
        said(traced(world, 1, rows(world, 1)), False, "its row is in the legacy database", "source check")

    play(tmp_path, scenario)


def test_waiting_in_the_queue(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.sign_up(1)
        said(traced(world, 1, rows(world, 1)), False, "queued or on its way")
        world.tenant.going.clear()
        world.go()
        await world.until(lambda: world.tenant.count("bulk") == 1, "the call", 5.0)
        said(traced(world, 1, rows(world, 1)), False, "its call is on its way")

    play(tmp_path, scenario)


def test_cidaas_is_away(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        def away(_: Any) -> None:
            raise failure(Kind.UNAVAILABLE, "nobody answers.")

        world.tenant.fault = away
        await world.sign_up(1)
        world.go()
        await world.until(lambda: bool(world.delivery.calls.trouble), "the trouble", 5.0)
        said(traced(world, 1, rows(world, 1)), False, "waiting because cidaas does not take calls")

    play(tmp_path, scenario)


def test_refused_by_cidaas_with_the_reason(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.tenant.fault = lambda entities: [failed("INVALID_EMAIL", one["sub"]) for one in entities]
        await world.sign_up(1)
        world.go()
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "quarantine", 10.0)
        body = traced(world, 1, rows(world, 1))
        said(body, False, "refused by cidaas (invalid_email)", "quarantine retry")
        assert ("refused", "try 1, invalid_email") in [(stage, what[:20]) for stage, what in _shown(body)]

    play(tmp_path, scenario)


def test_its_delete_is_parked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.go()
        await world.in_sync(1)
        await world.remove(1)
        await world.until(lambda: world.where(1) is Situation.PARKED, "parked", 30.0)
        said(traced(world, 1), False, "the delete brake holds all deletes", "deletes allow")

    play(tmp_path, scenario, BRAKE)


def test_delivery_is_paused(tmp_path: Path) -> None:
    """By a person, and with no worker beside it."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.pipeline.control.state["delivery"] = {"paused": True, "why": "looking"}
        body = traced(world, 1, rows(world, 1))
        said(body, False, "delivery is paused (looking)", "`resume`")
        assert ("delivery", "paused: looking") in _shown(body)
        said(body | {"worker_runs": False}, False, "No worker runs")
        said(body | {"worker_runs": False, "paused": None}, False, "waiting because no worker runs")

    play(tmp_path, scenario)


# -- the latest state --------------------------------------------------------------------------------------------------


def test_in_sync_is_said_of_what_the_database_has_now(tmp_path: Path) -> None:
    """A change that has not come through makes *in sync* a thing of the past; a lazy column does not."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.go()
        await world.in_sync(1)
        said(traced(world, 1, rows(world, 1)), True, "in sync: cidaas confirmed")
        said(traced(world, 1, rows(world, 1, last_login_at="2026-01-02T03:04:05Z")), True, "in sync")
        said(traced(world, 1, {"row": None, "why": "the database is away"}), True, "in sync")
        new = rows(world, 1, given_name="Grace")
        said(traced(world, 1, new), False, "other values now", "ask again", "What was read before: in sync")
        said(traced(world, 1, new | {"mapping_id": "another"}), True, "in sync")
        said(traced(world, 1, rows(world, 1) | {"credentials": ["10", "11"]}), False, "other credential rows")
        said(traced(world, 1, rows(world, 1, "deleted")), False, "marked as deleted now")
        said(traced(world, 1), False, "its row is gone from the legacy database")
        said(traced(world, 1, faults=["slot_lost"]), False, "changes were lost (slot_lost)", "source repair")
        await world.remove(1)
        await world.in_sync(1)
        said(traced(world, 1), True, "in sync: deleted in the legacy database and at cidaas")
        said(traced(world, 1, rows(world, 1)), False, "its row is in the legacy database")

    play(tmp_path, scenario)


def test_a_set_aside_user_is_read_again_anyway(tmp_path: Path) -> None:
    """Its snapshot is known to be wrong: how the database differs from it says nothing."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.put_control(1, SetAside("a large value did not travel"))
        await world.joined()
        said(traced(world, 1, rows(world, 1, given_name="Grace")), False, "set aside because a large value")

    play(tmp_path, scenario)


# -- the timeline ------------------------------------------------------------------------------------------------------


def _shown(body: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["stage"], one["what"]) for one in timeline(body)]


def read(broker: Broker, monkeypatch: pytest.MonkeyPatch, offsets: Sequence[int], joined: int) -> trail.Trail:
    """Read user 1's trail from the topic of this broker."""
    monkeypatch.setattr(trail.kafka, "consumer", lambda _: broker.consumer())
    return asyncio.run(trail.read_trail(SETTINGS, "1", 0, offsets, joined))


def test_the_timeline_goes_from_the_row_to_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LSN, place in Kafka, version and answer, and a later record that was worth no call."""
    kept: list[tuple[Broker, dict[str, Any]]] = []

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        world.go()
        await world.in_sync(1)
        await world.change(1, last_login_at="2026-01-02T03:04:05Z")
        kept.append((world.broker, traced(world, 1, rows(world, 1))))

    play(tmp_path, scenario)
    ((broker, body),) = kept
    (_, version), (_, applied) = body["snapshot"]["version"], body["snapshot"]["applied"]
    assert applied > version
    found = read(broker, monkeypatch, [version, applied], body["joined"])
    body["topic"] |= asdict(found)
    assert (found.waiting, found.looked) == (None, found.end)
    stages = [stage for stage, _ in _shown(body)]
    assert stages == [*("committed", "in Kafka", "committed", "in Kafka", "joined", "confirmed", "legacy row", "topic")]
    said_of = [what for _, what in _shown(body)]
    assert said_of[0].startswith("insert into public.credentials, LSN 0/")
    assert said_of[1] == f"{IDENTITY}, partition 0, offset {version}"
    assert said_of[2].startswith("update of public.users, LSN 0/")
    assert said_of[3].endswith("it changed nothing that is worth a call")
    assert f"offset {applied}, version of offset {version}: its row is live" in said_of[4]
    assert said_of[5].startswith("CREATED, try 1")
    assert said_of[6] == "there, live, 1 credential row"
    assert said_of[7].endswith("nothing waits")
    shown = trace.text(body | {"sub": "s", "sentence": sentence(body), "timeline": timeline(body)})
    assert shown.splitlines()[-1].startswith("in sync: cidaas confirmed")
    assert "example.org" not in shown and "$2b$" not in shown


def test_a_record_that_waits_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this user's own counts, and none that its snapshot knows already."""
    broker = Broker(Clock())
    for key in (b"1", b"2", b"1", b"2", b"1"):
        broker.append(IDENTITY, 0, key, envelope("u", "users", 1_000, user_row(int(key))))
    assert read(broker, monkeypatch, [0], 0).waiting == 2, "offset 0 is in the snapshot"
    assert read(broker, monkeypatch, [0, 2], 1).waiting == 4
    found = read(broker, monkeypatch, [4, 3, 99], 5)
    assert (found.waiting, found.looked, found.end) == (None, 5, 5)
    assert list(found.records) == [4], "another user's record is not this one's, and 99 is not there"


@pytest.mark.parametrize(
    ("value", "kind", "what"),
    [
        (write_control(Resync("anna")), "control", "to be sent again"),
        (write_control(SetAside("x")), "control", "set aside, to be read again"),
        (b"{", "unreadable", "cannot be read: the record is not JSON"),
        (envelope("r", "credentials", 2_000, credential_row(7, 1)), "change", "snapshot read of public.credentials"),
    ],
)
def test_each_kind_of_record_has_words(value: bytes, kind: str, what: str) -> None:
    record = SimpleNamespace(key=b"1", value=value, offset=7, timestamp=1_700_000_000_000)
    found = trail.describe(SETTINGS, record)  # type: ignore[arg-type]
    assert (found["kind"], found["what"], found["at"]) == (kind, what, 1_700_000_000.0)
    assert "@" not in str(found) and "$2b$" not in str(found)


# -- the command -------------------------------------------------------------------------------------------------------


class Asked:
    """The command line with a worker, a topic and a database that answer; or that do not."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.body: dict[str, Any] = views.look(SETTINGS, "42", None, None, SETTINGS.mapping.id)
        self.body |= {"from": "worker one", "partition": 3, "paused": None, "waiting": "", "joined": 5}
        self.legacy: dict[str, Any] = dict(NOT_THERE)
        self.asked: list[str] = []
        monkeypatch.setattr(trace, "look_up", self._look_up)
        monkeypatch.setattr(trace, "read_trail", self._trail)
        monkeypatch.setattr(trace, "read_control", self._control)
        monkeypatch.setattr(trace, "rows_now", self._rows)

    async def _look_up(self, settings: Any, user_id: str) -> dict[str, Any]:
        self.asked.append(user_id)
        return self.body | {"user": user_id}

    async def _trail(self, settings: Any, user_id: str, partition: int, offsets: Any, joined: int) -> trail.Trail:
        return trail.Trail(partition, joined, 5, 5)

    async def _control(self, settings: Any) -> Any:
        return SimpleNamespace(state={}, notifications=[{"type": "COMPLETED"}], identity={"source": "1/legacy"})

    async def _rows(self, settings: Any, user_id: str, expected: str) -> dict[str, Any]:
        assert expected == "1/legacy"
        return self.legacy

    def say(self, *words: str) -> Any:
        (command,) = trace.commands(SETTINGS)
        return CliRunner().invoke(command, list(words))


def test_the_exit_code_says_whether_cidaas_has_the_latest_state(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    assert asked.say("42").exit_code == 1
    asked.body["situation"] = "nothing_to_do"
    body = orjson.loads(asked.say("42", "--json").stdout_bytes)
    assert body["has_latest"] and body["sub"] == sub_of("42", SETTINGS)
    assert asked.say("42").exit_code == 0
    del asked.body["joined"]
    assert "older version" in asked.say("42").output
    asked.body["joined"] = 5
    asked.legacy["row"] = "impossible"
    refused = asked.say("forty-two")
    assert refused.exit_code == 2 and "no id of public.users looks like that" in refused.output


@pytest.mark.parametrize("words", [[], ["42", "--sub", "x"], ["--email", "a@example.org", "--sub", "x"], [""]])
def test_a_user_is_named_in_one_way(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    said = asked.say(*words)
    assert said.exit_code == 2 and "in one way" in said.output and asked.asked == []


# -- by sub ------------------------------------------------------------------------------------------------------------


class _Cursor:
    def __init__(self, ids: list[str]) -> None:
        self._ids = ids

    async def execute(self, query: Any) -> None:
        return None

    async def fetchmany(self, size: int) -> list[str]:
        taken, self._ids = self._ids[:size], self._ids[size:]
        return taken


class _Table:
    """The legacy database with many ids, which is closed in the end."""

    ids: tuple[str, ...] = ()
    closed = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        return None

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[Any]:
        @asynccontextmanager
        async def cursor(*_: Any, **__: Any) -> AsyncIterator[_Cursor]:
            yield _Cursor(list(self.ids))

        yield SimpleNamespace(cursor=cursor)

    async def close(self) -> None:
        _Table.closed += 1


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> type[_Table]:
    """A users table with half a million ids."""
    monkeypatch.setattr(whom, "Legacy", _Table)
    monkeypatch.setattr(_Table, "ids", tuple(map(str, range(500_000))))
    return _Table


def test_a_sub_is_found_by_computing_forward(many: type[_Table], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a million ids in less than 10 s, the letters of the UUID in either case."""
    asked, closed = Asked(monkeypatch), many.closed
    began = time.process_time()
    asked.say("--sub", sub_of("499999", SETTINGS).upper())
    assert time.process_time() - began < 10.0
    assert asked.asked == ["499999"] and many.closed == closed + 1


def test_a_deleted_user_is_found_among_those_that_the_workers_know(
    many: type[_Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is gone, so no id of the table has this sub; without a worker the topics are read."""
    monkeypatch.setattr(many, "ids", ("1", "2"))
    asked, sub = Asked(monkeypatch), sub_of("77", SETTINGS)
    paths: list[str] = []

    async def workers(path: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        paths.append(path)
        return [{"users": {}, "partitions": [0]}, {"users": {sub: "77"}, "partitions": [1]}]

    async def away(path: str, seconds: float = 60.0) -> list[dict[str, Any]]:
        raise base.Away

    async def topics(settings: Any, wanted: Callable[[str], bool]) -> str | None:
        return next((one for one in ("76", "77") if wanted(one)), None)

    monkeypatch.setattr(base, "ask_all", workers)
    asked.say("--sub", sub)
    assert paths == [f"/sync/whose?sub={sub}"]
    monkeypatch.setattr(base, "ask_all", away)
    monkeypatch.setattr(whom, "find_user", topics)
    asked.say("--sub", sub)
    assert asked.asked == ["77", "77"]
    unknown = asked.say("--sub", sub_of("78", SETTINGS))
    assert unknown.exit_code == 1 and "no user has this sub" in unknown.output


def test_where_the_sub_is_the_id_nothing_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, sub="id"))
    assert asyncio.run(whom.named(settings, None, None, "shop-7")) == "shop-7"


def test_an_id_is_quoted_in_the_address_of_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids may be texts, with a slash or a question mark in them."""
    paths: Counter[str] = Counter()

    async def ask(path: str, url: str | None = None, seconds: float = 5.0) -> tuple[int, dict[str, Any]]:
        paths[path] += 1
        return 200, {}

    monkeypatch.setattr(base, "ask", ask)
    asyncio.run(user.look_up(SETTINGS, "a/b?c"))
    assert paths == {"/sync/user/a%2Fb%3Fc": 1}
