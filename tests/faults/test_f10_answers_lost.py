"""F10: a call was applied and its answer lost, or it is applied long after its worker is dead (C1, C2, C4, C5, C8)."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.conftest import ADDRESS
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.faults.kit.arena import Arena
    from tests.integration.workers import Worker

pytestmark = pytest.mark.fault("F10")

RATE = 30.0  # changes a second

#: Seconds after which a request arrives that its worker has given up, and a cidaas.timeout whose rule covers that (C4).
LATE, TIMEOUT = 11.0, "10.0"


@pytest.mark.smoke
def test_applied_and_the_answer_lost(arena: Arena) -> None:
    """Of every kind of call; one user is deleted right after, one is put back to what it was before."""
    cidaas, own = arena.sync.cidaas, arena.own(30)
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            mine = own[number * 10 :][:10]
            arena.rename(mine, f"Vorher-{number}")
            arena.arrived(mine, f"Vorher-{number}")
            faults = [
                cidaas.fault("bulk", "drop-after", user=mine[0], count=1),
                cidaas.fault("bulk", "drop-after", probability=0.3, reset=True),
                cidaas.fault("purge", "drop-after", probability=0.3),
            ]
            arena.strike(lambda mine=mine, number=number: arena.rename(mine, f"Verloren-{number}"))
            until(lambda faults=faults: cidaas.fired(faults[0]), "the answer was lost")
            arena.sync.legacy.delete(mine[0])
            arena.rename(mine[1:3], f"Vorher-{number}")  # C2: as it was confirmed before, and not as it is there
            load.more(120)
            for fault in faults[1:]:
                cidaas.end_fault(fault)
            arena.recovered(since=time.monotonic())
            cidaas.await_gone(mine[0], 60)
            arena.arrived(mine[1:3], f"Vorher-{number}")
    arena.judge()


def test_killed_after_the_call_before_the_ledger(arena: Arena) -> None:
    """The last call before a kill is applied and answered, and nobody has written that down."""
    sync, own = arena.sync, arena.own(50)
    hit = 0
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            word = f"Zuletzt-{number}"
            sync.stop()
            arena.rename(own, word)
            worker = sync.launch(SYNC_FAILPOINTS=f"after-call=kill@{arena.rng.randint(1, 4)}")
            arena.strike(lambda worker=worker: killed(worker), pending=len(own))
            there = [user for user in own if (sync.cidaas.entity(user) or {}).get("given_name") == word]
            hit += len(there)
            some = there[:4] or own[:4]
            sync.legacy.delete(*some[:2])
            arena.rename(some[2:], f"Danach-{number}")
            began = time.monotonic()
            sync.launch()
            arena.recovered(since=began)
            arena.arrived(some[2:], f"Danach-{number}")
            for user in some[:2]:
                if user in there:
                    sync.cidaas.await_gone(user, 60)
            sync.legacy.sign_up(*some[:2])
    assert hit, "no user was in the calls before the kills"
    arena.figure("users of the last calls before a kill, changed or deleted since", hit)
    arena.judge()


def killed(worker: Worker) -> None:
    assert worker.wait(60) == -signal.SIGKILL, worker.last_lines()


def test_applied_10_s_after_its_worker_was_killed(arena: Arena) -> None:
    """Upserts and a purge that land late; in between a newer change, a delete, and a new life with the same id."""
    sync, cidaas = arena.sync, arena.sync.cidaas
    sync.ensure(delivery__temporary_email=ADDRESS, cidaas__timeout=TIMEOUT)
    cidaas.switch(token_lifetime=86_400)  # a late request is not refused because its token has ended meanwhile
    cidaas.revoke_tokens()
    own = arena.own(30)
    with arena.load(rate=RATE) as load:
        for number in arena.strikes(load):
            gone, newer, again, still = own[number * 10 :][:4]
            old, new = f"Alt-{number}", f"Neu-{number}"
            sync.legacy.delete(again)
            late = [
                cidaas.fault("purge", "apply-later", seconds=LATE, user=again, count=1),
                cidaas.fault("bulk", "apply-later", seconds=LATE, user=gone, count=1),
                cidaas.fault("bulk", "apply-later", seconds=LATE, user=newer, count=1),
            ]
            until(lambda late=late: cidaas.fired(late[0]), "the purge is on its way")
            arena.rename([gone], old)
            until(lambda late=late: cidaas.fired(late[1]), "a call is on its way that another worker will not see")
            arena.rename([newer, still], old)
            until(lambda late=late: cidaas.fired(late[2]), "and one more")
            anybody = cidaas.fault("bulk", "apply-later", seconds=LATE, count=2)
            until(lambda anybody=anybody: cidaas.fired(anybody), "and one of whoever was changed just now")
            arena.strike(sync.worker.kill)
            struck = time.time()
            sync.legacy.delete(gone)
            arena.rename([newer, still], new)
            sync.legacy.sign_up(again)
            began = time.monotonic()
            sync.launch()
            arena.arrived([newer, still], new, 90)
            cidaas.await_gone(gone, 90)
            until(lambda again=again: cidaas.words(again)[-2:] == ["DELETED", "CREATED"], "the new life is there", 90)
            arena.recovered(since=began)
            landed = [state for state in cidaas.states(gone) if (state.get("full") or {}).get("given_name") == old]
            assert landed, "the late call never landed: nothing was shown"
            arena.figure("at least s from a kill to the landing of its call", landed[-1]["at_us"] / 1e6 - struck)
            sync.legacy.sign_up(gone)
    arena.judge()
