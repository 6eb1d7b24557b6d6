"""F11: answers that name failures, leave users out, tell of strangers, in another order, under other words (C3).

Only users that cidaas names as done are confirmed. The faults are for users of the test's own, so that it is known whom
an answer named; the load goes through the same calls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F11")

RATE = 30.0  # changes a second

#: how many of 50 fail
FAILING = (10, 1, 49)
#: Answers that do not say of some users that they are done. Everything is applied all the same.
SILENT = (("missing", "not-json"), ("anonymous", "unknown"), ("other-sub", "empty"))
#: Answers that prove something, though they look different.
READABLE = (
    ("answers", {"mode": "shuffled"}),
    ("answers", {"mode": "extra"}),
    ("wrapped", {}),
    ("keys", {"keys": {"process_states": "states", "process_state": "status"}}),
    ("keys", {"keys": {"sub": "userId"}}),  # found by its address
)
#: Answers under words that nobody has heard of: they prove nothing.
UNREADABLE = ({"process_states": "results"}, {"process_state": "outcome"}, {"sub": "identifier", "identifier": "sub"})


def unconfirmed(arena: Arena, users: Iterable[int]) -> None:
    """Fail when the ledger counts one of these users as confirmed."""
    for user in users:
        said = arena.sync.worker.user(user)
        assert said["situation"] == "pending", f"cidaas did not name user {user} as done, but: {said['sentence']}"


def counted(arena: Arena, users: Iterable[int], seconds: float = 30.0) -> None:
    """Wait until the ledger knows of a try of these users' latest versions."""

    def tried(user: int) -> bool:
        said = arena.sync.worker.user(user)
        return bool(said["ledger"]["version"] == said["snapshot"]["version"] and said["ledger"]["attempts"])

    for user in users:
        until(lambda user=user: tried(user), f"user {user} was tried", seconds)


@pytest.mark.smoke
def test_10_1_and_49_of_50_fail(arena: Arena) -> None:
    own, cidaas = arena.own(50), arena.sync.cidaas
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            failing, word = own[: FAILING[number]], f"Absage-{number}"
            fault = cidaas.fault("bulk", "fail-users", subs=[cidaas.sub(user) for user in failing])
            arena.strike(lambda word=word: arena.rename(own, word))
            done = own[FAILING[number] :]
            arena.arrived(done, word)
            arena.in_sync(done)
            counted(arena, failing)
            unconfirmed(arena, failing)
            assert not any((cidaas.entity(user) or {}).get("given_name") == word for user in failing)
            cidaas.end_fault(fault)
            arena.recovered()
    arena.in_sync(own)
    arena.judge()


def test_answers_that_leave_users_out(arena: Arena) -> None:
    own, cidaas = arena.own(36), arena.sync.cidaas
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            for half, mode in enumerate(SILENT[number]):
                mine = own[number * 12 + half * 6 :][:6]
                silent, word = mine[:3], f"Stumm-{number}"
                fault = cidaas.fault("bulk", "answers", mode=mode, subs=[cidaas.sub(user) for user in silent])
                arena.strike(lambda word=word, mine=mine: arena.rename(mine, word))
                arena.arrived(mine, word)  # it is there, but nobody said so
                if mode not in ("not-json", "empty"):
                    counted(arena, silent)
                    arena.in_sync(mine[3:])
                unconfirmed(arena, silent)
                assert cidaas.fired(fault) > 0
                cidaas.end_fault(fault)
            arena.recovered()
    arena.in_sync(own)
    arena.judge()


def test_answers_in_other_words(arena: Arena) -> None:
    """What can be read is believed without another call; what cannot be read confirms nobody."""
    own, cidaas = arena.own(12), arena.sync.cidaas
    with arena.load(rate=RATE) as load:
        for number, (action, keys) in enumerate(READABLE):
            fault = cidaas.fault("bulk", action, **keys)
            arena.rename(own, f"Anders-{number}")
            arena.arrived(own, f"Anders-{number}")
            arena.in_sync(own)
            assert cidaas.fired(fault) > 0
            cidaas.end_fault(fault)
        states = sum(len(cidaas.states(user)) for user in own)
        assert states == len(own) * (len(READABLE) + 1), "users whose answer could be read were sent again"
        for number in arena.strikes(load):
            word = f"Fremd-{number}"
            fault = cidaas.fault("bulk", "keys", keys=UNREADABLE[number])
            arena.strike(lambda word=word: arena.rename(own, word))
            arena.arrived(own, word)
            unconfirmed(arena, own)
            cidaas.end_fault(fault)
            arena.recovered()
            arena.in_sync(own)
    arena.judge()
