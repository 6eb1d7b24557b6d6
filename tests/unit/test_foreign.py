"""C3: cidaas answers with the sub of somebody who was not sent; that one's data may have been overwritten."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from clock import Clock, run
from fakes import SETTINGS
from world import World

from streams import views
from streams.cidaas.answers import Outcome, OutcomeKind
from streams.cidaas.refusals import Reason
from streams.foreign import NOTE
from streams.ledger import Situation
from streams.verdicts import FOREIGN_TRIES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from streams.settings import Settings

ONE = replace(SETTINGS, partitions=1, cidaas=replace(SETTINGS.cidaas, delete="scim"))
NOBODY = "99999999-7a52-5f0e-9a31-5d3c7e1f2a44"


def play(path: Path, scenario: Callable[[World], Awaitable[None]], settings: Settings = ONE) -> None:
    """Run a scenario with one worker that looks for the users of foreign subs."""
    clock = Clock()

    async def played() -> None:
        world = await started(path, clock, settings)
        await scenario(world)
        assert world.tenant.overlaps == [], "two calls of one user at a time"
        assert world.pipeline.crashed is None, world.pipeline.crashed
        await world.stop()

    run(played(), clock)


async def started(path: Path | None, clock: Clock, settings: Settings = ONE, former: World | None = None) -> World:
    """A worker as the pipeline starts it, and what it sends to the topic is joined."""
    world = await World.start(path, clock, settings=settings, former=former)
    world.pipeline.delivery = world.delivery
    world._tasks.append(asyncio.create_task(world.delivery.foreign.run()))

    async def join() -> None:
        while True:
            await asyncio.sleep(0.1)
            await world.joined()

    world._tasks.append(asyncio.create_task(join()))
    tasks = world._tasks
    world.go()
    world._tasks += tasks
    return world


def writes_into(world: World, sender: int, victim: str, times: int = 1) -> None:
    """Let the tenant store what `sender` sends under the sub `victim`, so many times."""
    left = [times]

    def fault(entities: list[dict[str, Any]]) -> list[Outcome] | None:
        if not left[0] or world.sub(sender) not in {entity["sub"] for entity in entities}:
            return None
        left[0] -= 1
        outcomes = []
        for entity in entities:
            if entity["sub"] != world.sub(sender):
                outcomes.append(world.tenant.store(entity))
                continue
            world.tenant.users[victim] = {**entity, "sub": victim}
            outcomes.append(Outcome(OutcomeKind.UNCLEAR, "UPDATED", victim, reason=Reason.FOREIGN_SUB))
        return [outcome._replace(others=(victim,)) for outcome in outcomes]

    world.tenant.fault = fault


def notes(world: World) -> list[str]:
    return [name for name in world.pipeline.control.state if name.startswith(NOTE)]


def right(world: World, number: int) -> bool:
    """Whether cidaas has this user's own address."""
    entity = world.at_cidaas(number)
    return entity is not None and entity["email"] == f"user{number}@example.org"


def test_the_user_whose_sub_was_answered_is_sent_again(tmp_path: Path) -> None:
    """The ledger said *confirmed* of user 1 while cidaas had the data, and the password, of user 2."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        await world.in_sync(1)
        writes_into(world, 2, world.sub(1))
        await world.sign_up(2)
        await world.until(lambda: not right(world, 1), "user 1 overwritten", 5.0)
        await world.until(lambda: right(world, 1), "user 1 as it was", 10.0)
        await world.in_sync(1, 2, seconds=60.0)
        assert right(world, 1) and right(world, 2)
        assert world.delivery.figures.outcomes["foreign_sub_put_in_doubt"] == 1 and notes(world) == []

    play(tmp_path, scenario)


def test_a_deleted_user_whose_sub_was_answered_is_deleted_again(tmp_path: Path) -> None:
    """Another user's call has brought it back."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        await world.in_sync(1)
        await world.remove(1)
        await world.in_sync(1, seconds=20.0)
        writes_into(world, 2, world.sub(1))
        await world.sign_up(2)
        await world.until(lambda: world.at_cidaas(1) is not None, "resurrected", 5.0)
        await world.until(lambda: world.at_cidaas(1) is None, "deleted again", 30.0)
        await world.in_sync(1, 2, seconds=60.0)

    play(tmp_path, scenario)


def test_a_call_that_was_under_way_is_no_proof(tmp_path: Path) -> None:
    """User 1 was in another call at that moment, applied before or after: it goes once more."""

    async def scenario(world: World) -> None:
        await world.sign_up(*range(1, 60))
        await world.in_sync(*range(1, 60))
        writes_into(world, 60, world.sub(1))
        await world.sign_up(60)
        await world.until(lambda: bool(notes(world)), "the note", 5.0)
        world.tenant.going.clear()
        await world.change(1, city="Ulm")
        await world.until(lambda: world.sub(1) in world.tenant.under_way, "a call of user 1", 5.0)
        before = world.calls(1).count("bulk")
        await world.until(lambda: not notes(world), "user 1 put in doubt", 10.0)
        await asyncio.sleep(1)
        world.tenant.going.set()
        await world.in_sync(1, 60, seconds=60.0)
        assert world.calls(1).count("bulk") == before + 1

    play(tmp_path, scenario)


def test_a_crash_does_not_forget_whose_data_may_be_wrong(tmp_path: Path) -> None:
    """The note is in the control topic before anything is made of the answer."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        await world.in_sync(1)
        writes_into(world, 2, world.sub(1))
        await world.sign_up(2)
        await world.until(lambda: bool(notes(world)), "the note", 5.0)
        await world.stop()
        assert not right(world, 1)
        second = await started(world.path, world.clock, former=world)
        second.tenant.fault = None
        await second.until(lambda: right(second, 1), "user 1 as it was", 30.0)
        await second.in_sync(1, 2, seconds=120.0)
        await second.stop()

    play(tmp_path, scenario)


def test_a_sub_of_nobody_is_said_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A user that was made at cidaas by hand: not ours to send, but somebody must look."""

    async def scenario(world: World) -> None:
        writes_into(world, 1, NOBODY)
        await world.sign_up(1)
        await world.until(lambda: bool(notes(world)), "the note", 5.0)
        del world.tenant.users[NOBODY]  # it holds the address
        await world.in_sync(1, seconds=60.0)
        await world.until(lambda: not notes(world), "looked for", 10.0)
        assert world.delivery.figures.outcomes["foreign_sub_of_nobody"] == 1
        assert f"none of our users sub={NOBODY}" in caplog.text

    play(tmp_path, scenario)


def test_whose_calls_end_up_with_others_is_not_tried_for_an_hour(tmp_path: Path) -> None:
    """Each try overwrites the other user for a moment."""

    async def scenario(world: World) -> None:
        await world.sign_up(1)
        await world.in_sync(1)
        writes_into(world, 2, world.sub(1), times=99)
        await world.sign_up(2)
        await world.until(lambda: world.where(2) is Situation.QUARANTINED, "quarantine", 120.0)
        await world.until(lambda: right(world, 1), "user 1 as it was", 30.0)
        await world.in_sync(1, seconds=5.0)
        assert world.calls(2).count("bulk") == FOREIGN_TRIES
        assert world.entry(2).reason == "foreign_sub"

    play(tmp_path, scenario)


# -- other workers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["away", "without its partitions", "with the user"])
def test_other_workers_are_asked_and_until_they_answer_the_note_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answers: str
) -> None:
    """Eleven of twelve partitions may be elsewhere; "nobody's" must not mean "nobody's here"."""
    real = httpx.AsyncClient

    def answer(request: httpx.Request) -> httpx.Response:
        if answers == "away":
            raise httpx.ConnectError("away")
        assert str(request.url) == f"http://other/sync/whose?sub={NOBODY}"
        owned = list(range(1, 12)) if answers == "with the user" else list(range(1, 11))
        users = {NOBODY: "77"} if answers == "with the user" else {}
        return httpx.Response(200, json={"users": users, "partitions": owned})

    monkeypatch.setattr("streams.foreign.httpx.AsyncClient", lambda **_: real(transport=httpx.MockTransport(answer)))
    monkeypatch.setattr(views, "workers", lambda _: {"http://this", "http://other"})
    monkeypatch.setattr(views, "url", lambda _: "http://this")

    async def scenario(world: World) -> None:
        await world.delivery.foreign.note({NOBODY})
        await asyncio.sleep(30)
        found = [key for key, value in world.pipeline.sent if b'"resync"' in value]
        if answers == "with the user":
            assert found == [b"77"] and notes(world) == []
        else:
            assert found == [] and world.delivery.foreign.waiting() == 1
            assert world.delivery.figures.outcomes["foreign_sub_of_nobody"] == 0

    play(tmp_path, scenario, SETTINGS)
