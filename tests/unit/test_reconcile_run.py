"""`reconcile` finds what differs, all of it and nothing else, while everything moves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from fakes import BCRYPT, SETTINGS, credential_row, failed, user_row
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from reconciling import Moving, play, wrong

from streams.reconcile import repair
from streams.reconcile.cases import Case
from streams.rows import Answer, Word
from streams.settings import Brake

if TYPE_CHECKING:
    from streams.reconcile.run import Result


def counts(result: Result) -> dict[str, int]:
    return {case.value: number for case, number in result.counts.items() if number}


async def repaired(moving: Moving, result: Result, *only: Case) -> None:
    """Send the orders, and let the workers do the rest."""
    for one in repair.chosen(result.wrong, only):
        user, control = repair.order(one, "anna")
        moving.world.put_control(int(user), control)
    await moving.legacy.arrive()
    await moving.legacy.read_again()
    await moving.sync()


def test_of_equal_sides_everybody_is_confirmed_or_deleted() -> None:
    async def scenario(moving: Moving) -> None:
        for number in range(1, 8):
            moving.legacy.sign_up(number, number * 10)
        moving.legacy.change("c", "credentials", credential_row(990, 99))  # of nobody
        await moving.sync()
        moving.legacy.leave(7)
        await moving.sync()
        result = await moving.reconcile()
        assert counts(result) == {"confirmed": 6, "deleted": 1, "credentials_only": 1}
        assert result.differences == 0 and result.read_back == 6
        assert moving.reads == [], "nobody had to be looked at alone"

    play(scenario)


def test_each_difference_is_found_and_repaired() -> None:
    async def scenario(moving: Moving) -> None:
        legacy, tenant = moving.legacy, moving.world.tenant
        for number in range(1, 21):
            legacy.sign_up(number, number * 10)
        legacy.sign_up(30, 300)
        await moving.sync()
        legacy.leave(30)
        await moving.sync()
        sub = moving.world.sub
        deleted = dict(tenant.users[sub(29)]) if sub(29) in tenant.users else {"sub": sub(30), "email": "x@example.org"}

        # behind replication's back
        legacy.change("u", "users", user_row(1, given_name="Neu"), lost=True)
        legacy.change("u", "credentials", credential_row(20, 2, secret=BCRYPT[:-1] + "b"), lost=True)
        legacy.change("c", "credentials", credential_row(31, 3, kind="totp", secret="SEED"), lost=True)
        legacy.change("d", "credentials", legacy.credentials[40], lost=True)
        legacy.hand(50, 6, lost=True)
        legacy.leave(7, lost=True)
        legacy.sign_up(40, 400, lost=True)
        # at cidaas
        del tenant.users[sub(11)]
        tenant.users[sub(12)] |= {"given_name": "Fremd"}
        tenant.users[sub(13)] |= {"customFields": {**tenant.users[sub(13)]["customFields"], "customer_number": "1"}}
        tenant.users[sub(14)] |= {"email": "other@example.org"}
        tenant.users["stranger"] = {"sub": "stranger", "email": "stranger@example.org"}
        tenant.users[sub(30)] = deleted
        # not to be told from the outside, and not compared: cidaas hashes anew
        tenant.users[sub(15)] |= {"password_hash_info": {"algorithmTypeId": "X"}, "lastLoggedInTime": "2026"}

        result = await moving.reconcile()
        assert wrong(result) == {
            **dict.fromkeys(("1", "2", "3", "4", "5", "6"), "stale"),
            "7": "ghost", "40": "lost", "11": "missing", "30": "not_deleted", "stranger": "foreign",
            **dict.fromkeys(("12", "13", "14"), "changed_at_target"),
        }  # fmt: skip
        fields = {one.user: one.fields for one in result.wrong if one.fields}
        assert fields == {"12": ("given_name",), "13": ("customFields.customer_number",), "14": ("email",)}
        assert result.counts[Case.CONFIRMED] == 20 - 7 - 4
        assert result.differences == 14

        await repaired(moving, result)
        after = await moving.reconcile()
        assert wrong(after) == {"stranger": "foreign"}, "who is not ours is left alone"
        assert counts(after) == {"confirmed": 20, "deleted": 2, "foreign": 1}
        legacy.assert_same()
        assert moving.world.calls(7)[-1] == "delete" and sub(7) not in tenant.users
        assert tenant.users[sub(12)]["given_name"] is None and sub(40) in tenant.users

    play(scenario)


def test_only_the_cases_that_were_named_are_repaired() -> None:
    async def scenario(moving: Moving) -> None:
        for number in (1, 2):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        moving.legacy.leave(1, lost=True)
        del moving.world.tenant.users[moving.world.sub(2)]
        result = await moving.reconcile()
        await repaired(moving, result, Case.MISSING)
        assert wrong(await moving.reconcile()) == {"1": "ghost"}

    play(scenario)


def test_what_the_pipeline_knows_itself_is_no_difference() -> None:
    """Pending, set aside, refused, signed off, parked: counted with since when, and not as different."""
    brake = replace(SETTINGS, brake=Brake(floor=1, ceiling=1, share=0.0, window=600.0))

    async def scenario(moving: Moving) -> None:
        legacy, world = moving.legacy, moving.world
        for number in range(1, 9):
            legacy.sign_up(number, number * 10)
        await moving.sync()

        def refuse(entities: list[dict[str, Any]]) -> Any:
            return [failed("INVALID_EMAIL", entity["sub"]) for entity in entities]

        world.tenant.fault = refuse
        for number in (1, 2):
            legacy.change("u", "users", user_row(number, given_name="Neu"))
        await moving.sync()
        world.tenant.fault = None
        world.put_control(2, Answer(Word.DROP, "anna", world.entry(2).version))
        legacy.leave(3)
        legacy.leave(4)
        await moving.legacy.arrive()
        await world.until(lambda: world.partition.counts[_situation("PARKED")] == 2, "parked")
        world.pipeline.control.state["delivery"] = {"paused": True}
        legacy.change("u", "users", user_row(5, given_name="Neu"))
        legacy.change("u", "users", {"id": 6, "status": "active"})  # lacks columns: set aside (M7)
        await moving.legacy.arrive()
        result = await moving.reconcile()
        assert counts(result) == {
            "confirmed": 2, "quarantined": 1, "signed_off": 1, "parked": 2, "pending": 1, "set_aside": 1,
        }  # fmt: skip
        assert result.wrong == [] and set(result.oldest) == {
            Case.QUARANTINED, Case.SIGNED_OFF, Case.PARKED, Case.PENDING, Case.SET_ASIDE,
        }  # fmt: skip
        assert result.examples[Case.PENDING] == ["5"]

    play(scenario, brake)


def _situation(name: str) -> Any:
    from streams.ledger import Situation

    return Situation[name]


def test_a_snapshot_that_was_lost_is_found_by_its_entry() -> None:
    """O4: also of a user whose row is gone; it is read again, and that brings its delete."""

    async def scenario(moving: Moving) -> None:
        for number in (1, 2):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        log = moving.world.broker.logs["cidaas-sync-snapshots-changelog", 0]
        log[:] = [record for record in log if record.key not in (b"1", b"2")]
        moving.legacy.leave(2, lost=True)
        assert wrong(await moving.reconcile()) == {"1": "lost", "2": "stale"}

    play(scenario)


def test_fields_that_the_tenant_does_not_store_are_one_finding_and_not_everybodys() -> None:
    async def scenario(moving: Moving) -> None:
        for number in range(1, 31):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        for user in moving.world.tenant.users.values():
            user["customFields"] = {}
        result = await moving.reconcile()
        assert result.differences == 0 and list(result.not_stored) == ["customFields.legacy_user_id"]

    play(scenario)


@pytest.mark.parametrize("sample", [1, 1_000])
def test_a_sample_is_read_user_by_user_and_tells_of_no_stranger(sample: int) -> None:
    async def scenario(moving: Moving) -> None:
        for number in range(1, 41):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        moving.world.tenant.users["stranger"] = {"sub": "stranger", "email": "s@example.org"}
        del moving.world.tenant.users[moving.world.sub(5)]
        result = await moving.reconcile(sample=sample)
        assert result.sampled and result.read_back is not None
        if sample == 1_000:
            assert wrong(result) == {"5": "missing"} and result.read_back == 40
        else:
            assert result.read_back < 15

    play(scenario)


def test_without_cidaas_nobody_there_is_asked() -> None:
    async def scenario(moving: Moving) -> None:
        moving.legacy.sign_up(1, 10)
        await moving.sync()
        moving.world.tenant.users.clear()
        result = await moving.reconcile(cidaas=False)
        assert counts(result) == {"confirmed": 1} and result.read_back is None

    play(scenario)


# -- while everything moves -------------------------------------------------------------------------------------------


def moves(moving: Moving, *steps: Any) -> None:
    """Between the steps of a run, one change each; what was changed arrives later, or is on its way still."""
    left = list(steps)

    async def meanwhile() -> None:
        if left:
            left.pop(0)()
        else:
            await moving.legacy.arrive()

    moving.meanwhile = meanwhile


RACES = {
    "changed between two looks": lambda legacy: legacy.change("u", "users", user_row(1, given_name="Neu")),
    "password changed": lambda legacy: legacy.change("u", "credentials", credential_row(10, 1, secret="other")),
    "deleted": lambda legacy: legacy.leave(1),
    "a new user": lambda legacy: legacy.sign_up(50, 500),
    "a credential that moved": lambda legacy: legacy.hand(10, 2),
    "a row of one transaction": lambda legacy: legacy.change("c", "credentials", credential_row(11, 1)),
    "there and back": lambda legacy: [
        legacy.change("u", "users", user_row(1, given_name="Neu")), legacy.change("u", "users", user_row(1)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("race", RACES)
def test_what_is_only_late_is_no_difference(race: str, at: int) -> None:
    """The change comes at each place of a run in turn, and is streamed and joined some steps later."""

    async def scenario(moving: Moving) -> None:
        for number in (1, 2, 3, 4):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        moving.legacy.leave(4, lost=True)  # somebody to look at twice
        moves(moving, *[lambda: None] * at, lambda: RACES[race](moving.legacy), *[lambda: None] * 2)
        assert wrong(await moving.reconcile()) == {"4": "ghost"}

    play(scenario)


@examples(max_examples=40)
@given(st.data())
def test_no_change_whenever_it_comes_is_taken_for_a_difference(data: st.DataObject) -> None:
    """Any changes, at any steps of the run, streamed and joined in any order; one difference is real."""

    async def scenario(moving: Moving) -> None:
        legacy = moving.legacy
        for number in range(1, 7):
            legacy.sign_up(number, number * 10)
        await moving.sync()
        legacy.change("u", "users", user_row(6, given_name="verloren"), lost=True)
        left = data.draw(st.integers(0, 25), "changes")
        names = iter(range(1, 1_000))

        def change() -> None:
            number = data.draw(st.integers(1, 5), "user")
            kind = data.draw(st.sampled_from(["row", "password", "leave", "hand"]), "kind")
            if number not in legacy.users:
                legacy.sign_up(number, 1_000 + next(names))
            elif kind == "row":
                legacy.change("u", "users", user_row(number, given_name=f"N{next(names)}"))
            elif kind == "leave":
                legacy.leave(number)
            elif mine := [pk for pk, row in legacy.credentials.items() if row["user_id"] == number]:
                if kind == "password":
                    secret = f"$2b$04${next(names):053d}"
                    legacy.change("u", "credentials", credential_row(mine[0], number, secret=secret))
                elif (other := data.draw(st.integers(1, 5), "other")) in legacy.users and other != number:
                    legacy.hand(mine[0], other)

        async def meanwhile() -> None:
            nonlocal left
            if left > 0:
                left -= 1
                change()
                if data.draw(st.booleans(), "streams"):
                    legacy.stream(data.draw(st.integers(1, 3), "most"))
                if data.draw(st.booleans(), "joins"):
                    await legacy.join(data.draw(st.integers(1, 3), "records"))
            await asyncio.sleep(0.1)

        moving.meanwhile = meanwhile
        result = await moving.reconcile()
        assert wrong(result) == {"6": "stale"}

    play(scenario)


def test_a_user_that_changes_all_the_time_is_not_judged() -> None:
    async def scenario(moving: Moving) -> None:
        moving.legacy.sign_up(1, 10)
        await moving.sync()
        names = iter(range(10_000))

        async def meanwhile() -> None:
            moving.legacy.change("u", "users", user_row(1, given_name=f"N{next(names)}"))
            await moving.legacy.arrive()
            moving.legacy.change("u", "users", user_row(1, given_name=f"N{next(names)}"))

        moving.meanwhile = meanwhile
        result = await moving.reconcile(cidaas=False)
        assert result.wrong == [] and result.counts[Case.CHANGING] + result.counts[Case.PENDING] == 1

    play(scenario)


def test_who_is_put_right_while_the_run_goes_on_is_not_reported() -> None:
    """A sweep, or the user's next change, may have cured it before the end."""

    async def scenario(moving: Moving) -> None:
        for number in (1, 2):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        moving.legacy.change("u", "users", user_row(1, given_name="verloren"), lost=True)
        done = False

        async def meanwhile() -> None:
            nonlocal done
            if moving.reads and not done:  # the source side is over
                done = True
                moving.legacy.change("u", "users", user_row(1, given_name="neu"))
                await moving.sync()

        del moving.world.tenant.users[moving.world.sub(2)]
        moving.meanwhile = meanwhile
        assert wrong(await moving.reconcile()) == {"2": "missing"}

    play(scenario)


def test_who_is_sent_while_cidaas_is_read_is_judged_by_its_newest_state() -> None:
    async def scenario(moving: Moving) -> None:
        for number in range(1, 10):
            moving.legacy.sign_up(number, number * 10)
        await moving.sync()
        steps = iter(range(1, 8))

        async def meanwhile() -> None:
            if (number := next(steps, None)) is not None:
                moving.legacy.change("u", "users", user_row(number, given_name="Neu"))
                if number % 2:
                    moving.legacy.leave(number + 1)
                moving.legacy.sign_up(number + 50, (number + 50) * 10)
            await moving.sync()

        moving.meanwhile = meanwhile
        result = await moving.reconcile()
        assert result.wrong == [] and result.differences == 0

    play(scenario)


def test_who_is_sent_right_behind_the_look_at_it_alone_is_looked_at_once_more() -> None:
    async def scenario(moving: Moving) -> None:
        moving.legacy.sign_up(1, 10)
        await moving.sync()
        sub, seen = moving.world.sub(1), 0
        moving.world.tenant.users[sub] |= {"given_name": "Fremd"}

        async def meanwhile() -> None:
            nonlocal seen
            if len(moving.reads) > seen and seen < 3:
                seen = len(moving.reads)
                moving.legacy.change("u", "users", user_row(1, given_name=f"N{seen}"))
                await moving.sync()

        moving.meanwhile = meanwhile
        result = await moving.reconcile()
        assert (wrong(result), moving.reads) == ({}, [sub] * 4), "our next call overwrote what somebody had changed"

    play(scenario)
