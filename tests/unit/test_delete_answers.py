"""A person answers the brake for single users, and a rejection is no licence for the next update."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner
from clock import Clock, run
from fakes import SETTINGS
from fakes import Control as FakeControl
from world import World

from streams import brake
from streams.commands import base, deletes, orders
from streams.ledger import Entry, Situation, State
from streams.parked import _unpark, answer_brake
from streams.rows import Answer, Resync, Word
from streams.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

LIMITS = replace(SETTINGS.brake, floor=5, ceiling=500, share=0.05, window=600.0)
BRAKED = replace(SETTINGS, brake=LIMITS, cidaas=replace(SETTINGS.cidaas, delete="scim"))
MANY = range(1, 21)


def play(path: Path, scenario: Callable[[World], Awaitable[None]]) -> None:
    """Run a scenario with one worker whose brake allows 5 deletes in 10 minutes, and 30 users in sync."""
    clock = Clock()

    async def played() -> None:
        world = await World.start(path, clock, settings=BRAKED)
        world.go()
        task = asyncio.create_task(answer_brake(world.delivery))
        await world.sign_up(*range(1, 31))
        await world.in_sync(*range(1, 31))
        await scenario(world)
        task.cancel()
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


async def parked(world: World) -> None:
    """Twenty soft deletes at once; the brake holds them all."""
    for number in MANY:
        world.put_user(number, "u", status="deleted")
    await world.joined()
    await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "all are parked", 30.0)


async def say(world: World, word: Word, *numbers: int) -> None:
    """What `deletes allow USER…` or `deletes reject USER…` sends."""
    for number in numbers:
        world.put_control(number, Answer(word, "anna", world.entry(number).version))
    await world.joined()


async def all_answered(world: World, *, allow: bool) -> None:
    """What the commands without the name of a user do."""
    control = world.pipeline.control
    await control.put(brake.TRIPPED, brake.answer(control.state, LIMITS, allow=allow, who="anna"))


# -- single users ----------------------------------------------------------------------------------------------------


def test_single_deletes_are_allowed_and_the_others_stay_parked(tmp_path: Path) -> None:
    """Three of the twenty were meant."""

    async def scenario(world: World) -> None:
        await parked(world)
        await say(world, Word.ALLOW, 1, 2, 3)
        await world.in_sync(1, 2, 3, seconds=30.0)
        await asyncio.sleep(600)
        assert world.tenant.count("delete") == 3 and len(world.tenant.users) == 27
        assert world.partition.counts[Situation.PARKED] == 17

    play(tmp_path, scenario)


def test_single_deletes_are_rejected_and_an_answer_for_all_does_not_undo_it(tmp_path: Path) -> None:
    """One user must stay; then all the rest may go."""

    async def scenario(world: World) -> None:
        await parked(world)
        await say(world, Word.REJECT, 1)
        assert world.where(1) is Situation.REJECTED and world.partition.counts[Situation.PARKED] == 19
        await all_answered(world, allow=True)
        await world.in_sync(*MANY[1:], seconds=120.0)
        world.put_control(1, Resync("anna"))
        await world.joined()
        await asyncio.sleep(60)
        assert world.where(1) is Situation.REJECTED and world.at_cidaas(1) is not None

    play(tmp_path, scenario)


def test_a_rejected_delete_can_still_be_allowed(tmp_path: Path) -> None:
    """The person has thought again."""

    async def scenario(world: World) -> None:
        await parked(world)
        await say(world, Word.REJECT, 1)
        await say(world, Word.ALLOW, 1)
        await world.in_sync(1, seconds=30.0)
        assert world.at_cidaas(1) is None

    play(tmp_path, scenario)


def test_an_allowed_delete_still_looks_into_the_database(tmp_path: Path) -> None:
    """The answer is about the brake: a row that is live again is not deleted by it."""

    async def scenario(world: World) -> None:
        await parked(world)
        world.pipeline.legacy.rows = {"1": {"id": "1", "status": "active"}}
        await say(world, Word.ALLOW, 1)
        await asyncio.sleep(30)
        assert world.tenant.count("delete") == 0
        assert world.delivery.figures.outcomes["delete_not_sent_row_is_there"] > 0

    play(tmp_path, scenario)


@pytest.mark.parametrize("word", [Word.ALLOW, Word.REJECT])
def test_an_answer_is_for_the_version_that_the_person_saw(tmp_path: Path, word: Word) -> None:
    """Signed up again meanwhile: neither deleted nor kept as it was."""

    async def scenario(world: World) -> None:
        await parked(world)
        old = Answer(word, "anna", world.entry(1).version)
        await world.change(1, city="Ulm")
        await world.in_sync(1, seconds=10.0)
        world.put_control(1, old)
        await world.joined()
        await asyncio.sleep(60)
        assert world.where(1) is Situation.IN_SYNC and world.at_cidaas(1) is not None

    play(tmp_path, scenario)


@pytest.mark.parametrize("word", [Word.ALLOW, Word.REJECT])
def test_an_answer_survives_a_restart(tmp_path: Path, word: Word) -> None:
    """It is in the ledger, whether the delete was on its way or not."""

    async def scenario(world: World) -> None:
        await parked(world)
        world.pipeline.legacy.away = None
        await say(world, word, 1)
        await world.stop()
        second = await World.start(world.path, world.clock, settings=BRAKED, former=world)
        second.go()
        await asyncio.sleep(120)
        assert second.where(1) is (Situation.IN_SYNC if word is Word.ALLOW else Situation.REJECTED)
        assert (second.at_cidaas(1) is None) is (word is Word.ALLOW)
        assert second.partition.counts[Situation.PARKED] == 19
        await second.stop()

    play(tmp_path, scenario)


def test_an_answer_for_all_leaves_alone_who_is_not_parked_any_more(tmp_path: Path) -> None:
    """Revived and refused while others were answered: the refusal of a live version is no delete to be rejected."""

    async def scenario(world: World) -> None:
        await parked(world)
        ledger = world.partition.ledger
        refused = replace(world.entry(1), state=State.QUARANTINED, reason="invalid_data")
        under_way = asyncio.create_task(ledger.put([(b"1", refused.encode(ledger.owner, ledger.next_count()))]))
        await asyncio.sleep(0)
        assert world.entry(1).state is State.PARKED
        await _unpark(world.delivery, world.partition, allowed=False)
        await under_way
        assert world.entry(1).state is State.QUARANTINED and world.where(1) is Situation.QUARANTINED
        assert all(world.where(number) is Situation.REJECTED for number in MANY[1:])

    play(tmp_path, scenario)


# -- after a rejection -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("single", [True, False])
def test_updates_of_rejected_users_are_counted_as_new_decisions(tmp_path: Path, single: bool) -> None:
    """A nightly job that touches all rows must not do what the person has refused."""

    async def scenario(world: World) -> None:
        await parked(world)
        if single:
            await say(world, Word.REJECT, *MANY)
        await all_answered(world, allow=False)
        await world.until(lambda: world.partition.counts[Situation.REJECTED] == 20, "all are rejected", 30.0)
        for number in MANY:
            world.put_user(number, "u", status="deleted", city="touched")
        await world.joined()
        await world.until(lambda: world.partition.counts[Situation.PARKED] == 20, "parked again", 30.0)
        await asyncio.sleep(300)
        assert world.tenant.count("delete") == 0 and len(world.tenant.users) == 30

    play(tmp_path, scenario)


def test_an_update_in_the_moment_of_the_rejection_is_counted_too(tmp_path: Path) -> None:
    """Between the answer and its entry in the ledger the users are parked, and their updates new decisions."""

    async def scenario(world: World) -> None:
        await parked(world)
        for number in MANY:
            world.put_user(number, "u", status="deleted", city="touched")
        await all_answered(world, allow=False)
        await world.joined()
        await asyncio.sleep(300)
        assert world.tenant.count("delete") == 0 and len(world.tenant.users) == 30

    play(tmp_path, scenario)


def test_a_newer_version_of_one_rejected_user_is_believed(tmp_path: Path) -> None:
    """Until a newer version, the design says: still deleted, and nothing unusual about it."""

    async def scenario(world: World) -> None:
        await parked(world)
        await all_answered(world, allow=False)
        await world.until(lambda: world.partition.counts[Situation.REJECTED] == 20, "all are rejected", 30.0)
        before = brake.total(world.pipeline.control.state, LIMITS)[0]
        for city in ("one", "two"):  # two changes of it are one decision
            world.put_user(1, "u", status="deleted", city=city)
        await world.joined()
        await world.in_sync(1, seconds=30.0)
        assert world.at_cidaas(1) is None
        assert brake.total(world.pipeline.control.state, LIMITS)[0] == before + 1

    play(tmp_path, scenario)


# -- the commands ----------------------------------------------------------------------------------------------------


class Asked:
    """A control topic whose brake holds, one worker with two parked users, and a topic that takes orders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.control = FakeControl()
        self.control.state = {
            brake.TRIPPED: {"on": True, "why": "too many"},
            f"{brake.FIGURE}0": {"buckets": [[1_000, 30]], "upto": 40, "known": 100},
        }
        self.placed: list[tuple[str, Any]] = []
        monkeypatch.setattr(deletes, "Controls", lambda _: self)
        monkeypatch.setattr(base, "ask", self.ask)
        monkeypatch.setattr(orders, "order", self.order)
        monkeypatch.setattr(orders, "look_up", self.look_up)

    async def __aenter__(self) -> FakeControl:
        return self.control

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def ask(self, path: str, url: str | None = None, seconds: float = 5.0) -> tuple[int, dict[str, Any]]:
        if path == "/sync/status":
            return 200, {"url": "http://one", "workers": ["http://one"]}
        found = Standing(partitions=list(range(12)))
        for user in ("41", "42") if "/parked" in path else ("43",):
            found.add(0, user.encode(), Entry(version=(1, 40), reason="the delete brake holds it", at=1e9))
        return 200, found.body()

    async def look_up(self, settings: Any, user: str) -> dict[str, Any]:
        situation = {"41": "parked", "42": "parked", "43": "rejected"}.get(user, "in_sync")
        return {"situation": situation, "sentence": "so it is.", "ledger": {"version": [1, 40], "reason": "brake"}}

    async def order(self, settings: Any, asked: list[tuple[str, Any]]) -> list[dict[str, Any]]:
        self.placed += asked
        return [{"user": user, "partition": 0, "offset": 7} for user, _ in asked]

    def say(self, *words: str) -> Any:
        (group,) = deletes.commands(SETTINGS)
        return CliRunner().invoke(group, list(words))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The brake holds the deletes of 41 and 42; that of 43 was rejected."""
    return Asked(monkeypatch)


def test_list_names_the_parked_users(asked: Asked) -> None:
    """A number alone cannot be judged."""
    said = asked.say("list")
    assert said.exit_code == 1 and "parked: too many" in said.output
    assert "2 parked" in said.output and "41" in said.output and "42" in said.output and "43" not in said.output
    body = orjson.loads(asked.say("list", "--rejected", "--json").output)
    assert body["total"] == 1 and body["users"][0]["user"] == "43" and body["decisions"] == 30


@pytest.mark.parametrize("words", [["allow"], ["allow", "--all"], ["reject"], ["reject", "--all"]])
def test_without_a_name_all_are_answered_and_only_with_yes(asked: Asked, words: list[str]) -> None:
    """As it was before there were names."""
    said = asked.say(*words)
    assert said.exit_code == 0 and "2 parked deletes" in said.output and "--yes" in said.output
    body = orjson.loads(asked.say(*words, "--json").output)
    assert (body["changed"], body["parked"]) == (False, 2) and asked.control.puts == []
    assert asked.say(*words, "--yes").exit_code == 0
    assert asked.control.puts == [brake.TRIPPED] and asked.placed == []
    assert asked.control.state[brake.TRIPPED]["allow"] is (words[0] == "allow")


def test_named_users_are_answered_alone(asked: Asked) -> None:
    """The brake's own record stays as it is, and so do the others."""
    said = asked.say("allow", "41", "43")
    assert said.exit_code == 0 and "the deletes of 2 users would be sent" in said.output and asked.placed == []
    assert orjson.loads(asked.say("allow", "41", "43", "--json").output)["changed"] is False and asked.placed == []
    assert asked.say("allow", "41", "43", "--yes").exit_code == 0
    assert asked.say("reject", "42", "--yes").exit_code == 0
    assert [(user, answer.word, answer.version) for user, answer in asked.placed] == [
        ("41", Word.ALLOW, (1, 40)),
        ("43", Word.ALLOW, (1, 40)),
        ("42", Word.REJECT, (1, 40)),
    ]
    assert asked.control.puts == []


@pytest.mark.parametrize(
    ("words", "code"), [(["allow", "41", "77"], 1), (["reject", "43"], 1), (["allow", "41", "--all"], 2)]
)
def test_an_answer_for_somebody_else_is_refused_as_a_whole(asked: Asked, words: list[str], code: int) -> None:
    """A delete cannot be taken back: a typing error answers nothing."""
    said = asked.say(*words, "--yes")
    assert said.exit_code == code, said.output
    assert asked.placed == [] and asked.control.puts == []
