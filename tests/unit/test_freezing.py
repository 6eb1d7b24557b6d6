"""A freeze from its first look to GO or NO-GO: in which order, what ends it at once, and what it leaves behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from clock import Clock, run
from evening import OPEN, PREPARED, problem
from fakes import SETTINGS
from test_freeze_gate import ASIDE, AT, DROPPED, PARKED, REFUSED, result, status, word

from streams.cutover import record
from streams.cutover.freezing import Freeze, Proof, Verdict, World, whole
from streams.cutover.gate import Late, Sight
from streams.cutover.record import Marker
from streams.doctor.asking import AwayError
from streams.identity import RefusedError
from streams.legacy import LegacyAwayError
from streams.reconcile.cases import Case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streams.cutover.freeze import Transaction
    from streams.cutover.held import Held, SignOff
    from streams.reconcile.run import Result


class Fake:
    """An evening on which everything has come; each test changes what happens at one step."""

    def __init__(self) -> None:
        #: what was done, looks left out.
        self.did: list[str] = []
        self.now: dict[str, Any] = {}
        self.held: list[Held] = []
        self.answered_: list[Held] = [DROPPED]
        self.signed: dict[str, SignOff] = {}
        self.away = ""
        self.open: list[list[Transaction]] = []
        self.late_: list[Late] = []
        self.result: Result = result(Case.SIGNED_OFF)
        self.paused = False
        self.said: list[str] = []
        self.looks = 0
        #: happens before each look, and instead of waiting for the marker.
        self.before_look: Callable[[], None] = lambda: None
        self.passing: Callable[[], Any] = lambda: asyncio.sleep(2)
        self.why = ""

    async def look(self) -> Sight:
        await asyncio.sleep(0.3)
        self.looks += 1
        self.before_look()
        held = {"paused": record.pause("go-live"), "problems": [problem("paused")]} if self.paused else {}
        return Sight(status(**held | self.now), self.held, self.signed)

    async def cidaas(self) -> str:
        return self.away

    async def opened(self) -> Sequence[Transaction]:
        """One answer after the other; nothing is open any more behind them."""
        return self.open.pop(0) if self.open else []

    async def mark(self) -> Marker:
        self.did.append("mark")
        return Marker("marker", 5_000)

    async def past(self, lsn: int) -> None:
        self.did.append("past")
        await self.passing()

    def waits_for(self) -> str:
        return "until Kafka has it"

    async def late(self, marker: Marker) -> Late:
        self.did.append("late")
        return self.late_.pop(0) if self.late_ else Late()

    async def compare(self) -> Result:
        self.did.append("compare")
        return self.result

    async def answered(self) -> Sequence[Held]:
        return self.answered_

    async def note(self, state: str, marker: Marker | None, why: str) -> None:
        self.did.append(state)
        self.why = why

    async def pause(self) -> None:
        self.paused = True
        self.did.append("pause")

    async def resume(self) -> None:
        if self.paused:
            self.paused = False
            self.did.append("resume")

    def certify(self, proof: Proof) -> dict[str, Any]:
        self.proof = proof
        return {"verdict": "GO"}

    async def go(self, marker: Marker, certificate: dict[str, Any]) -> None:
        self.did.append("go")

    def say(self, words: str) -> None:
        self.said.append(words)


def frozen(world: World, timeout: float = 300.0) -> Verdict:
    async def play() -> Verdict:
        return await Freeze(SETTINGS, world, timeout).run()  # made here: it looks at the clock when it begins

    return run(play(), Clock())


def reasons(found: Verdict) -> list[str]:
    return [one.slug for one in found.reasons]


def test_go_comes_after_everything_and_holds_delivery_before_the_last_look() -> None:
    world = Fake()
    found = frozen(world)
    assert found.go and found.certificate == {"verdict": "GO"} and found.marker == Marker("marker", 5_000)
    assert world.did == [
        "freezing", "mark", "past", "late", "compare", "pause", "mark", "past", "late", "go",
    ]  # fmt: skip
    assert world.paused and found.seconds < 15
    assert world.proof.held == [DROPPED] and world.proof.result is world.result
    assert "waits until Kafka has it" in world.said and world.said[-1] == ""


AT_ONCE: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a worker stopped": ({"now": {"problems": [problem("worker_away")]}}, ["workers"]),
    "the connector failed": ({"now": {"problems": [problem("connector_failed")]}}, ["connector_failed"]),
    "a gap in the slot": ({"now": {"problems": [problem("slot_moved")]}}, ["source_faults"]),
    "cidaas away": ({"away": "no answer"}, ["cidaas"]),
    "one in quarantine": ({"held": [REFUSED]}, ["quarantine"]),
    "one parked delete": ({"held": [PARKED]}, ["deletes_parked"]),
    "one set aside": ({"held": [ASIDE]}, ["set_aside"]),
    "somebody has paused": ({"now": {"problems": [problem("paused")]}}, ["delivery_paused"]),
    "several at once": (
        {"held": [REFUSED, PARKED], "away": "no answer", "open": [[OPEN, PREPARED]]},
        ["quarantine", "deletes_parked", "cidaas", "open_transactions", "open_prepared"],
    ),
}


@pytest.mark.parametrize("name", AT_ONCE)
def test_what_a_person_has_to_cure_ends_it_before_anything_was_written(name: str) -> None:
    changes, slugs = AT_ONCE[name]
    world = Fake()
    for attribute, value in changes.items():
        setattr(world, attribute, value)
    found = frozen(world)
    assert reasons(found) == slugs and not found.go
    assert world.did == ["freezing", "no-go"], "no marker, no pause"
    assert found.seconds < 1 and world.why


def test_who_is_signed_off_stands_in_the_proof() -> None:
    world = Fake()
    world.held, world.signed = [REFUSED, PARKED], word(REFUSED) | word(PARKED)
    world.result = result(Case.SIGNED_OFF, Case.QUARANTINED, Case.PARKED)
    found = frozen(world)
    assert found.go and world.proof.held == [REFUSED, PARKED, DROPPED]


def test_the_pause_of_a_killed_freeze_ends_behind_the_first_word() -> None:
    """The first word is refused when the other one was not killed and has said GO: its pause stays."""
    world = Fake()
    world.paused = True
    assert frozen(world).go
    assert world.did[:3] == ["freezing", "resume", "mark"]


# -- transactions -----------------------------------------------------------------------------------------------------


def test_a_transaction_that_just_ends_is_waited_for() -> None:
    world = Fake()
    world.open = [[OPEN], [OPEN]]
    assert frozen(world).go
    assert world.did[:2] == ["freezing", "mark"]


def test_one_that_does_not_end_is_a_no_go() -> None:
    world = Fake()
    world.open = [[OPEN]] * 100
    found = frozen(world)
    assert reasons(found) == ["open_transactions"] and 5 < found.seconds < 7
    assert "mark" not in world.did


def test_a_prepared_one_is_a_no_go_at_once() -> None:
    """It ends by a person only."""
    world = Fake()
    world.open = [[PREPARED]]
    found = frozen(world)
    assert reasons(found) == ["open_prepared"] and found.seconds < 1


def test_a_transaction_across_the_marker_takes_a_new_marker() -> None:
    """It began between the look and the marker, which therefore does not cover it."""
    world = Fake()
    world.open = [[], [OPEN], [OPEN]]
    assert frozen(world).go
    assert world.did.count("mark") == 3, "two for the freeze, one for the last look"


def test_one_that_is_open_at_the_last_look_is_a_no_go_and_delivery_goes_on() -> None:
    world = Fake()
    world.open = [[], [], [OPEN]]
    found = frozen(world)
    assert reasons(found) == ["open_transactions"] and not world.paused and world.did[-2:] == ["no-go", "resume"]


def test_a_database_that_cannot_be_asked_is_a_no_go() -> None:
    world = Fake()

    async def away() -> Any:
        raise AwayError("no answer in time", "Start it.")

    world.opened = away  # type: ignore[method-assign]
    assert reasons(frozen(world)) == ["open_transactions"]
    world = Fake()
    world.mark = away  # type: ignore[method-assign]
    assert reasons(frozen(world)) == ["marker"]


# -- the wait ---------------------------------------------------------------------------------------------------------


def test_who_comes_into_quarantine_during_the_wait_ends_it_at_once() -> None:
    world = Fake()
    world.passing = lambda: asyncio.sleep(250)

    def look() -> None:
        if world.looks == 10:
            world.held = [REFUSED]

    world.before_look = look
    found = frozen(world)
    assert reasons(found) == ["quarantine"] and found.seconds < 15


def test_it_waits_until_nobody_is_pending() -> None:
    world = Fake()

    def look() -> None:
        world.now = {"users": {"pending": max(0, 50 - world.looks), "dropped": 14}, "users_in_flight": 2}
        if world.looks > 55:
            world.now["users_in_flight"] = 0

    world.before_look = look
    found = frozen(world)
    assert found.go and world.looks > 55
    assert any(said.startswith("waits: ") and "users are pending" in said for said in world.said)


def test_what_has_no_end_is_a_no_go_that_says_what_was_waited_for() -> None:
    world = Fake()
    world.now = {"users": {"pending": 7}}
    found = frozen(world, timeout=60.0)
    assert reasons(found) == ["timeout"] and 60 <= found.seconds < 62
    assert "waits: 7 users are pending" in found.reasons[0].what and world.did[-1] == "no-go"


@pytest.mark.parametrize(
    "error", [RefusedError("the connector has not passed"), LegacyAwayError("the database is away")]
)
def test_a_marker_that_does_not_pass_is_a_no_go(error: Exception) -> None:
    world = Fake()

    async def fail() -> None:
        await asyncio.sleep(1)
        raise error

    world.passing = fail
    found = frozen(world)
    assert reasons(found) == ["not_passed"] and str(error) in found.reasons[0].what


def test_workers_that_cannot_all_be_seen_are_a_no_go() -> None:
    world = Fake()

    def look() -> None:
        if world.looks == 2:
            raise RefusedError("2 of 12 partitions have no owner that answers")

    world.before_look = look
    assert reasons(frozen(world)) == ["workers"]


# -- the comparison, and behind it ------------------------------------------------------------------------------------


def test_users_that_differ_are_a_no_go_and_nothing_was_paused() -> None:
    world = Fake()
    world.result = result(Case.STALE)
    assert reasons(frozen(world)) == ["reconcile"] and "pause" not in world.did


def test_a_comparison_that_cannot_be_made_is_a_no_go() -> None:
    world = Fake()

    async def fail() -> Any:
        raise LegacyAwayError("the database is away")

    world.compare = fail  # type: ignore[method-assign]
    assert reasons(frozen(world)) == ["not_compared"]


@pytest.mark.parametrize("when", [0, 1])
def test_a_legacy_write_behind_the_marker_is_a_no_go(when: int) -> None:
    """Before the comparison, or while delivery is held already: then it goes on, and the change is sent as always."""
    world = Fake()
    world.late_ = [Late()] * when + [Late(1, ("7",))]
    found = frozen(world)
    assert reasons(found) == ["late_write"] and not world.paused and world.did[-1] == ("resume" if when else "no-go")


def test_who_becomes_pending_during_the_last_look_is_a_no_go() -> None:
    world = Fake()

    def look() -> None:
        if world.paused:
            world.now = {"users": {"pending": 1}}

    world.before_look = look
    found = frozen(world)
    assert reasons(found) == ["moved"] and not world.paused


def test_users_of_whom_both_sides_say_another_thing_are_a_no_go() -> None:
    world = Fake()
    world.answered_ = []
    assert reasons(frozen(world)) == ["held_moved"]


# -- interrupted ------------------------------------------------------------------------------------------------------


def test_an_interrupted_freeze_leaves_no_pause() -> None:
    world, held = Fake(), asyncio.Event()
    pause = world.pause

    async def and_say() -> None:
        await pause()
        held.set()

    world.pause = and_say  # type: ignore[method-assign]

    async def scenario() -> None:
        task = asyncio.create_task(Freeze(SETTINGS, world, 300.0).run())
        await held.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario(), Clock())
    assert world.did[-2:] == ["no-go", "resume"] and "interrupted" in world.why


def test_a_certificate_that_cannot_be_made_leaves_no_pause() -> None:
    world = Fake()

    def fail(_: Proof) -> Any:
        raise KeyError("a mistake of ours")

    world.certify = fail  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        frozen(world)
    assert not world.paused and world.did[-2:] == ["no-go", "resume"]


def test_half_a_go_there_is_not() -> None:
    """Whoever presses Ctrl-C while it is written waits for its end."""
    written: list[str] = []

    async def go() -> None:
        for part in ("pause", "state"):
            await asyncio.sleep(1)
            written.append(part)

    async def scenario() -> None:
        task = asyncio.create_task(whole(go()))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.sleep(0.8)
        task.cancel()
        await task

    run(scenario(), Clock())
    assert written == ["pause", "state"]


# -- the record -------------------------------------------------------------------------------------------------------


def test_the_record_is_read_as_it_was_written() -> None:
    marker = Marker("m", 1 << 40)
    known = record.Record(record.GO, AT, "anna", "host", marker, {"verdict": "GO"}, "")
    assert record.read({"cutover": known.body()}) == known and known.over
    assert str(known) == "GO at 2027-01-15 08:00:00 UTC, by anna"
    assert record.read({}) is None and not replace(known, state=record.ABORTED).over
    shown = record.shown({"cutover": known.body()})
    assert shown is not None and shown["certificate"] is None and shown["over"] is True


def test_only_a_pause_of_its_own_is_one_of_the_go_live() -> None:
    assert record.paused({"delivery": record.pause("go-live")})
    assert not record.paused({"delivery": {"paused": True, "why": "x"}})
    assert not record.paused({"delivery": record.resume()}) and not record.paused({})
