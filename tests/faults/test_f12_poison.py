"""F12: users whose presence fails the whole call: they are found by halving and set aside, all others arrive (C6)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F12")

RATE = 30.0  # changes a second

#: (status, how many of 50): refusals, which are halved at once.
REFUSED = ((400, 1), (417, 2), (413, 5))
#: Calls that follow the first failed one, at most, for one guilty user among 50: two for each halving.
MOST = 2 * math.ceil(math.log2(50))


def poisoned(arena: Arena, own: list[int], status: int, count: int, word: str) -> int:
    """Let `count` of these users fail each call they are in: they alone go aside. Returns how many calls failed."""
    cidaas, poison = arena.sync.cidaas, sorted(arena.rng.sample(own, count))
    before = arena.calls()[str(status)]
    cidaas.switch(poison={cidaas.sub(user): status for user in poison})
    arena.strike(lambda: arena.rename(own, word))
    others = [user for user in own if user not in poison]
    arena.arrived(others, word, 150)
    for user in poison:
        arena.sync.sentence(user, "refused by cidaas", 150)
    arena.in_sync(others)
    failed = arena.calls()[str(status)] - before
    assert failed > count, "it was halved, or the test has shown nothing"
    cidaas.switch(poison={})
    arena.rename(poison, f"{word} geheilt")  # a newer version leaves quarantine
    arena.arrived(poison, f"{word} geheilt")
    return failed


@pytest.mark.smoke
def test_one_two_and_five_of_50_refused_by_400_417_413(arena: Arena) -> None:
    own = arena.own(50)
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            status, count = REFUSED[number]
            failed = poisoned(arena, own, status, count, f"Gift-{number}")
            # Each failed call of more than one user makes two more; each guilty user fails once more, alone.
            extra = 2 * (failed - count)
            arena.figure(f"extra calls for {count} of 50", extra)
            if count == 1:
                assert extra <= MOST, f"{failed} calls failed"
            arena.recovered()
    assert arena.sync.worker.status()["outcomes"].get("quarantined", 0) >= 1
    arena.judge()


def test_one_of_50_refused_by_500(arena: Arena) -> None:
    """A 500 may be anybody's: the window rests (C4), and is halved only when it fails again while others pass."""
    own = arena.own(50)
    with arena.load(rate=RATE) as load:
        load.more(60)
        failed = poisoned(arena, own, 500, 1, "Gift-500")
        arena.figure("calls that failed by 500 for one of 50", failed)
        assert failed <= 2 + MOST // 2, "once whole, once again, then one for each halving"
        arena.recovered()
    arena.judge()
