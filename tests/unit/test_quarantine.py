"""Refused users in a person's hands: who is signed off is not sent, who is retried is, and nobody else moves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from clock import Clock, run
from fakes import SETTINGS, envelope, failed, user_row
from world import World

from streams import views
from streams.commands import base, orders, quarantine
from streams.control import DELIVERY
from streams.explain import sentence
from streams.jobs import Do
from streams.ledger import Entry, Situation, State
from streams.offline import read_standing
from streams.orders import obey
from streams.rows import Answer, Resync, Word, write_control
from streams.standing import Standing
from streams.views import describe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.cidaas.answers import Outcome

ONE = replace(SETTINGS, partitions=1)


def play(path: Path, scenario: Callable[[World], Awaitable[None]], **refused: str) -> None:
    """Run a scenario in whose tenant these users are refused for these reasons ("1" is user 1)."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock)
        refusing(world, **refused)
        world.go()
        await scenario(world)
        assert world.tenant.overlaps == [], "two calls of one user at a time"
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


def refusing(world: World, **refused: str) -> None:
    """Let the tenant refuse these users from now on, and nobody else."""
    reasons = {world.sub(int(user)): reason for user, reason in refused.items()}

    def fault(entities: list[dict[str, Any]]) -> list[Outcome]:
        return [
            failed(reasons[entity["sub"]], entity["sub"]) if entity["sub"] in reasons else world.tenant.store(entity)
            for entity in entities
        ]

    world.tenant.fault = fault


async def refused(world: World, *numbers: int) -> None:
    """Sign these users up and wait until they are in quarantine."""
    await world.sign_up(*numbers)
    await world.until(
        lambda: all(world.where(number) is Situation.QUARANTINED for number in numbers), "quarantine", 10.0
    )


async def order(world: World, number: int, control: Answer | Resync) -> None:
    """What a command sends."""
    world.put_control(number, control)
    await world.joined()


def drop(world: World, number: int) -> Answer:
    """A person signs off what stands in the ledger now."""
    return Answer(Word.DROP, "anna", world.entry(number).version)


# -- drop ------------------------------------------------------------------------------------------------------------


def test_a_dropped_version_is_not_sent_until_a_newer_one_comes(tmp_path: Path) -> None:
    """The person signed off what was refused, and not what the user may become."""

    async def scenario(world: World) -> None:
        await refused(world, 1)
        await order(world, 1, drop(world, 1))
        assert world.where(1) is Situation.DROPPED and world.partition.counts[Situation.DROPPED] == 1
        calls = world.tenant.count("bulk")
        await asyncio.sleep(7_200)
        assert world.tenant.count("bulk") == calls
        refusing(world)
        await world.change(1, email="right@example.org")
        await world.in_sync(1, seconds=5.0)

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL"})


def test_a_dropped_user_says_who_signed_it_off_and_why_it_was_refused(tmp_path: Path) -> None:
    """Months later somebody asks why this user cannot log in."""

    async def scenario(world: World) -> None:
        await refused(world, 1)
        await order(world, 1, drop(world, 1))
        ((snap, entry),) = world.partition.read([b"1"])
        assert snap is not None and entry is not None
        said = sentence(describe("1", snap.value, entry.value, SETTINGS.mapping.id))
        assert "anna signed this version off" in said and "invalid_email" in said and "quarantine retry" in said

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL"})


def test_a_dropped_user_is_sent_again_when_a_person_wants_it_back(tmp_path: Path) -> None:
    """`quarantine retry` takes the sign-off back, and nothing of it is left."""

    async def scenario(world: World) -> None:
        await refused(world, 1)
        await order(world, 1, drop(world, 1))
        await order(world, 1, Resync("anna"))
        await world.until(lambda: world.where(1) is Situation.QUARANTINED, "refused once more", 10.0)
        assert "by" not in world.entry(1).extra
        refusing(world)
        await order(world, 1, Resync("anna"))
        await world.in_sync(1, seconds=5.0)

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL"})


def test_a_drop_is_void_for_a_version_that_the_person_has_not_seen(tmp_path: Path) -> None:
    """The list was an hour old: the user was corrected, refused for something else, or arrived meanwhile."""

    async def scenario(world: World) -> None:
        await refused(world, 1, 2)
        old, sent = drop(world, 1), drop(world, 2)
        await world.change(1, city="Ulm")
        await world.until(lambda: world.entry(1).version != old.version, "refused in a newer version", 5.0)
        await order(world, 1, old)
        assert world.where(1) is Situation.QUARANTINED
        refusing(world)
        await order(world, 2, Resync("anna"))
        await world.in_sync(2, seconds=5.0)
        await order(world, 2, sent)
        assert world.where(2) is Situation.IN_SYNC, "the same version, but cidaas has it now"

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL", "2": "BAD_FIELD"})


def test_a_drop_keeps_its_place_among_the_changes_of_its_user(tmp_path: Path) -> None:
    """In one batch with a newer change, on either side of it: the newer version is sent."""

    async def scenario(world: World) -> None:
        await refused(world, 1, 2)
        answers = {number: drop(world, number) for number in (1, 2)}
        refusing(world)
        world.put_control(1, answers[1])
        world.put_user(1, "u", city="Ulm")
        world.put_user(2, "u", city="Ulm")
        world.put_control(2, answers[2])
        await world.joined()
        await world.in_sync(1, 2, seconds=5.0)

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL", "2": "INVALID_EMAIL"})


@pytest.mark.parametrize("twice", [False, True])
def test_a_drop_survives_a_crash_and_a_replay(tmp_path: Path, twice: bool) -> None:
    """What a person decided is in the ledger; read twice, the record says the same."""

    async def scenario(world: World) -> None:
        await refused(world, 1)
        answer = drop(world, 1)
        await order(world, 1, answer)
        if twice:
            await order(world, 1, answer)
        await world.stop()
        second = await World.start(world.path, world.clock, former=world)
        assert second.where(1) is Situation.DROPPED
        second.go()
        await asyncio.sleep(60)
        assert second.tenant.count("bulk") == 1
        await second.stop()

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL"})


@pytest.mark.parametrize("same", [True, False])
def test_a_new_mapping_sends_a_dropped_user_only_if_it_makes_another_one_of_it(tmp_path: Path, same: bool) -> None:
    """The sign-off was of this entity; a mapping that was corrected deserves another try."""
    fields = tuple(rule for rule in SETTINGS.mapping.fields if same or rule.target != "locale")
    changed = replace(SETTINGS, mapping=replace(SETTINGS.mapping, fields=fields, id="00112233445566aa"))

    async def scenario(world: World) -> None:
        await refused(world, 1)
        await order(world, 1, drop(world, 1))
        calls = world.tenant.count("bulk")
        await world.stop()
        second = await World.start(world.path, world.clock, former=world, settings=changed)
        second.go()
        await asyncio.sleep(60)
        assert second.where(1) is (Situation.DROPPED if same else Situation.QUARANTINED)
        assert second.tenant.count("bulk") == calls + (not same)
        await second.stop()

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL"})


def test_a_person_answers_only_what_is_there_to_be_answered() -> None:
    """A drop of a confirmed user or an `allow` of a refused one would make up a state that nobody decided."""
    valid = {
        (Word.DROP, State.QUARANTINED): State.DROPPED,
        (Word.ALLOW, State.PARKED): State.IN_DOUBT,
        (Word.ALLOW, State.REJECTED): State.IN_DOUBT,
        (Word.REJECT, State.PARKED): State.REJECTED,
    }
    for word in Word:
        assert obey(None, Answer(word, "anna", (1, 5)), 0.0) is None
        for state in State:
            after = obey(Entry(version=(1, 5), state=state), Answer(word, "anna", (1, 5)), 0.0)
            assert (after.state if after is not None else None) == valid.get((word, state))
            assert obey(Entry(version=(1, 6), state=state), Answer(word, "anna", (1, 5)), 0.0) is None


# -- in doubt while a call is under way ------------------------------------------------------------------------------


def test_who_is_put_in_doubt_while_its_call_is_under_way_is_sent_again(tmp_path: Path) -> None:
    """The call may have been applied before what made the person ask (or, C3, before another user's data)."""

    async def scenario(world: World) -> None:
        world.tenant.going.clear()
        await world.sign_up(1)
        await world.until(lambda: bool(world.tenant.calls), "the call")
        await order(world, 1, Resync("anna"))
        world.tenant.going.set()
        await world.in_sync(1, seconds=5.0)
        assert world.tenant.count("bulk") == 2

    play(tmp_path, scenario)


def test_a_doubt_does_not_forget_that_a_purge_is_on_its_way(tmp_path: Path) -> None:
    """C8: the entry that is put in doubt is the one of that moment, also if it was written an instant before."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        await world.in_sync(1)
        (job,) = await world.delivery.prepare([world.user(1)], Do.NOTHING) or [None]
        assert job is not None
        noted = replace(world.entry(1), extra={"purged_at": 1.0})
        world.broker.confirming.clear()
        writing = asyncio.create_task(world.delivery.write([(job, noted)]))
        await asyncio.sleep(0.1)
        world.put_control(1, Resync("anna"))
        joining = asyncio.create_task(world.joined())
        await asyncio.sleep(0.1)
        world.broker.confirming.set()
        await asyncio.gather(writing, joining)
        assert world.entry(1).state is State.IN_DOUBT and world.entry(1).extra == {"purged_at": 1.0}

    play(tmp_path, scenario)


# -- who is in quarantine --------------------------------------------------------------------------------------------


def test_worker_and_topics_name_the_same_users_with_their_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`quarantine list` without a worker is as good as with one."""

    async def scenario(world: World) -> None:
        await refused(world, 1, 2, 3)
        await world.sign_up(4)
        await world.in_sync(4)
        await order(world, 3, drop(world, 3))
        monkeypatch.setattr("streams.offline.kafka.consumer", lambda _: world.broker.consumer())
        for situation, reasons in (
            (Situation.QUARANTINED, {"invalid_email": 1, "bad_field": 1}),
            (Situation.DROPPED, {"bad_field": 1}),
        ):
            running = await views.standing(world.pipeline, situation, "", None)  # type: ignore[arg-type]
            stopped = (await read_standing(ONE, situation, "", None)).body()
            assert running == stopped and running["reasons"] == reasons
        only = await views.standing(world.pipeline, Situation.QUARANTINED, "bad_field", 5)  # type: ignore[arg-type]
        assert [user["user"] for user in only["users"]] == ["2"]
        assert "@" not in str(only)

    play(tmp_path, scenario, **{"1": "INVALID_EMAIL", "2": "BAD_FIELD", "3": "BAD_FIELD"})


def test_the_latest_are_shown_and_everybody_is_counted() -> None:
    """Half a million refused users must neither fill the screen nor the memory."""
    found = Standing(limit=3)
    for number in range(1_000):
        found.add(0, b"%d" % number, Entry(version=(1, number), reason="bad_field", at=float(number)))
        assert len(found.users) <= 110
    other = Standing(limit=3)
    other.add(1, b"new", Entry(version=(1, 1), reason="invalid_email", at=5_000.0))
    found.merge(other.body())
    body = found.body()
    assert body["reasons"] == {"bad_field": 1_000, "invalid_email": 1}
    assert [user["user"] for user in body["users"]] == ["new", "999", "998"]


# -- the commands ----------------------------------------------------------------------------------------------------


class Asked:
    """Workers that answer, and a topic that takes orders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.workers: dict[str, dict[str, Any]] = {}
        self.placed: list[tuple[str, Any]] = []
        monkeypatch.setattr(base, "ask", self.ask)
        monkeypatch.setattr(orders, "order", self.order)

    async def ask(self, path: str, url: str | None = None, seconds: float = 5.0) -> tuple[int, dict[str, Any]]:
        urls = list(self.workers)
        if not urls:
            raise base.Away
        if path == "/sync/status":
            return 200, {"url": urls[0], "workers": urls}
        return 200, self.workers[url or urls[0]]

    async def order(self, settings: Any, asked: list[tuple[str, Any]]) -> list[dict[str, Any]]:
        self.placed += asked
        return [{"user": user, "partition": 0, "offset": 7} for user, _ in asked]

    def say(self, *words: str) -> Any:
        (group,) = quarantine.commands(SETTINGS)
        return CliRunner().invoke(group, list(words))


def worker(numbers: range, *users: tuple[str, str]) -> dict[str, Any]:
    """What a worker that owns these partitions answers: users with their reasons."""
    found = Standing(partitions=list(numbers))
    for user, reason in users:
        found.add(numbers[0], user.encode(), Entry(version=(1, 40), reason=reason, message="said cidaas", at=1e9))
    return found.body()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Two workers with three refused users."""
    made = Asked(monkeypatch)
    made.workers = {
        "http://one": worker(range(6), ("41", "bad_field"), ("42", "bad_field")),
        "http://two": worker(range(6, 12), ("43", "invalid_email")),
    }
    return made


def test_list_adds_the_workers_up(asked: Asked) -> None:
    """One worker knows its own partitions only."""
    said = asked.say("list")
    assert said.exit_code == 0, said.output
    assert said.output.startswith("3 refused by cidaas: bad_field 2, invalid_email 1")
    assert all(user in said.output for user in ("41", "42", "43", "said cidaas"))
    body = orjson.loads(asked.say("list", "--json", "--limit", "1").output)
    assert body["total"] == 3 and len(body["users"]) == 1


def test_what_is_not_seen_whole_is_not_shown_as_if_it_were(asked: Asked) -> None:
    """In the middle of a rebalance "nobody is refused" would be a lie, and "all" would be some."""
    asked.workers["http://two"]["partitions"].remove(11)
    for words in (["list"], ["retry", "--all", "--yes"]):
        said = asked.say(*words)
        assert said.exit_code == 1 and "1 of 12 partitions" in said.output
    assert asked.placed == []


def test_more_than_one_user_is_asked_for_only_with_yes(asked: Asked) -> None:
    """A person sees whom it is about before it is done."""
    said = asked.say("drop", "--all")
    assert said.exit_code == 0 and "3 users would be signed off" in said.output and "--yes" in said.output
    body = orjson.loads(asked.say("drop", "--all", "--json").output)
    assert body["changed"] is False and "3 users would be signed off" in body["would"][0]
    assert [user["user"] for user in body["users"]] == ["41", "42", "43"] and asked.placed == []
    assert asked.say("drop", "--all", "--yes").exit_code == 0
    assert [(user, answer.word, answer.version) for user, answer in asked.placed] == [
        (user, Word.DROP, (1, 40)) for user in ("41", "42", "43")
    ]
    asked.placed.clear()
    asked.workers["http://one"]["users"].pop()
    asked.workers["http://one"]["users"].pop()
    assert "1 user would be sent again" in asked.say("retry", "--all").output, "whoever was not named is shown first"
    assert asked.say("retry", "--all", "--yes").exit_code == 0
    assert [(user, type(control)) for user, control in asked.placed] == [("43", Resync)]


@pytest.mark.parametrize("words", [["retry"], ["drop"], ["drop", "42", "--all"], ["retry", "--reason", "x", "--all"]])
def test_whom_it_is_about_is_said_in_one_way(asked: Asked, words: list[str]) -> None:
    """`drop` without a name must not mean everybody."""
    said = asked.say(*words)
    assert said.exit_code == 2 and "one of the three" in said.output and asked.placed == []


def test_named_users_are_looked_up_and_others_are_refused(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error must not half succeed: nobody is changed unless all of them are refused users."""
    ledger = {"version": [1, 40], "reason": "bad_field"}

    async def look_up(settings: Any, user: str) -> dict[str, Any]:
        situation = "quarantined" if user in ("41", "42") else "in_sync"
        return {"situation": situation, "sentence": "in sync.", "ledger": ledger}

    monkeypatch.setattr(orders, "look_up", look_up)
    said = asked.say("retry", "41", "77", "--yes")
    assert said.exit_code == 1 and "user 77 is not among them" in said.output and asked.placed == []
    assert asked.say("retry", "41", "42", "--yes").exit_code == 0
    assert [user for user, _ in asked.placed] == ["41", "42"]


def test_show_says_what_to_do(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy stands beside the reason."""
    entry = Entry(version=(1, 40), mapping_id=SETTINGS.mapping.id, state=State.QUARANTINED, reason="bad_field", at=1e9)

    async def look_up(settings: Any, user: str) -> dict[str, Any]:
        body = describe(user, None, entry.encode(1, 1), SETTINGS.mapping.id)
        return body | {"situation": "quarantined", "sentence": "set aside.", "from": "worker", "partition": 0}

    monkeypatch.setattr(quarantine, "look_up", look_up)
    said = asked.say("show", "42")
    assert said.exit_code == 0 and "remedy: Compare the field's data type" in said.output


def test_each_order_goes_to_the_partition_of_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order with the user's changes; another partition's owner would take it for somebody it never saw."""
    sent: list[tuple[bytes, int, bytes]] = []

    class Producer:
        async def start(self) -> None:
            return None

        async def stop(self) -> None:
            return None

        async def send(self, topic: str, value: bytes, *, key: bytes, partition: int) -> Any:
            sent.append((key, partition, value))
            done = asyncio.get_running_loop().create_future()
            done.set_result(SimpleNamespace(partition=partition, offset=len(sent)))
            return done

    monkeypatch.setattr("streams.commands.orders.kafka.producer", lambda _: Producer())
    control = Resync("anna")
    placed = asyncio.run(orders.order(SETTINGS, [(str(number), control) for number in range(2_500)]))
    assert len(placed) == len(sent) == 2_500
    assert len({partition for _, partition, _ in sent}) == 12
    assert all(value == write_control(control) for _, _, value in sent)
    assert {key: partition for key, partition, _ in sent}[b"42"] == orders.partition_of(b"42", 12)


# -- the figure that people watch ------------------------------------------------------------------------------------


def test_latency_leaves_out_what_waited_for_a_person(tmp_path: Path) -> None:
    """A retry of a user from last week, and a weekend's pause, would make p99 days for the next 10,000 users."""

    async def scenario(world: World) -> None:
        latencies = world.delivery.figures.latencies

        async def change(number: int) -> None:
            value = envelope("u", "users", world.lsn(), user_row(number), __source_ts_us=int(world.clock.time() * 1e6))
            world.broker.append(SETTINGS.topics.identity, 0, b"%d" % number, value)
            await world.joined()

        await change(1)
        await world.in_sync(1)
        assert len(latencies) == 1 and latencies[0] < 1.0
        await asyncio.sleep(3_600)
        await order(world, 1, Resync("anna"))
        await world.in_sync(1)
        assert len(latencies) == 1 and world.tenant.count("bulk") == 2
        world.pipeline.control.state[DELIVERY] = {"paused": True, "at": world.clock.time()}
        await change(2)
        await asyncio.sleep(3_600)
        world.pipeline.control.state[DELIVERY] = {"paused": False, "at": world.clock.time()}
        await world.in_sync(2)
        assert len(latencies) == 1
        await change(3)
        await world.in_sync(3)
        assert len(latencies) == 2 and max(latencies) < 1.0

    play(tmp_path, scenario)
