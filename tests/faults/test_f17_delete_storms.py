"""F17: many users vanish at once. An upsert can be repeated, a delete cannot be taken back: a person is asked first."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from streams.offline import partition_of
from tests.faults.kit.load import MIX
from tests.integration.legacy import add_many
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from demo.stack import Stack
    from tests.faults.kit.arena import Arena

pytestmark = pytest.mark.fault("F17")

#: Nobody is deleted but by the storm itself: its deletes are counted.
GENTLE = {kind: number for kind, number in MIX.items() if "delete" not in kind and kind != "primary key"}
LIMITS = {"brake__floor": "20", "brake__ceiling": "500", "brake__share": "0.05"}
STORM = range(2_001, 12_001)


def deletes(arena: Arena) -> int:
    """Delete calls that cidaas has seen."""
    return arena.sync.cidaas.calls("purge")


def all_parked(arena: Arena, count: int) -> None:
    until(lambda: arena.sync.worker.count("parked") >= count, f"{count} deletes parked", 180)


def allow(arena: Arena) -> None:
    """A person looks, and allows."""
    listed = arena.sync.command("deletes", "list")
    assert listed.code == 1, listed
    assert "parked" in listed.text
    said = arena.sync.command("deletes", "allow", "--yes")
    assert said.code == 0, said


@pytest.mark.smoke
def test_10000_rows_in_one_transaction(ruins: Callable[..., Arena], pytestconfig: pytest.Config) -> None:
    storm = STORM[:1_000] if pytestconfig.getoption("--smoke") else STORM
    arena = ruins(examples=300, plain=storm, **LIMITS)
    with arena.load(mix=GENTLE) as load:
        load.more(30)
        arena.strike(lambda: arena.sync.legacy.delete(*storm))
        all_parked(arena, len(storm))
        arena.recovered()  # updates go on
        load.more(60)
        assert deletes(arena) == 0, "a delete left before anybody allowed it"
        assert "deletes are parked" in arena.sync.command("status").text
        allow(arena)
    arena.judge(240)
    assert arena.sync.cidaas.words(storm[0])[-1] == "DELETED"


def test_single_commits(ruins: Callable[..., Arena]) -> None:
    arena = ruins(examples=300, plain=STORM, **LIMITS)
    limit = arena.sync.worker.status()["brake"]["limit"]
    assert limit == 500, "the ceiling: 5 % of 10,300 users are more"
    with arena.load(mix=GENTLE) as load:
        load.more(30)
        arena.strike(lambda: one_by_one(arena.sync.legacy.url, STORM[: 3 * limit]))
        until(lambda: arena.sync.worker.status()["brake"]["tripped"], "the brake holds", 60)
        until(lambda: arena.sync.worker.count("parked") + deletes(arena) >= 3 * limit, "all of them joined", 180)
        arena.recovered()
        sent = deletes(arena)
        arena.figure("deletes before the brake, of 3 x its limit", sent)
        assert sent <= limit, f"{sent} deletes left, the limit is {limit}"
        allow(arena)
    arena.judge(240)


def one_by_one(url: str, users: range) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for user in users:
            connection.execute("DELETE FROM users WHERE id = %s", (user,))


def test_a_storm_of_the_night_is_read_together_with_the_morning(ruins: Callable[..., Arena]) -> None:
    """The worker was down. Behind its share of the storm each partition has an ordinary delete, past the window."""
    window, users = 5.0, range(2_001, 3_001)
    arena = ruins(examples=300, plain=users, **LIMITS, brake__window=str(window))
    storm, others = users[:300], users[300:]
    partitions = arena.sync.worker.status()["owned"]
    ordinary = {partition_of(b"%d" % user, partitions): user for user in others}
    assert len(ordinary) == partitions
    with arena.load(mix=GENTLE) as load:
        load.more(30)
        arena.strike(arena.sync.worker.kill)
        arena.sync.legacy.delete(*storm)
        over = time.monotonic() + window + 15  # decisions are counted in steps of 10 s
        load.more(60)
        until(lambda: time.monotonic() > over, "the window is over", window + 20)
        arena.sync.legacy.delete(*ordinary.values())
        load.more(60)
        arena.sync.launch()
        all_parked(arena, len(storm) + partitions)
        arena.recovered()
        assert deletes(arena) == 0, "a delete left before anybody allowed it"
        allow(arena)
    arena.judge(180)


def test_truncate(ruins: Callable[..., Arena]) -> None:
    """A TRUNCATE is not published: it is named, nobody is deleted by it, and a sweep finds who is gone."""
    arena = ruins(examples=300, plain=range(2_001, 3_001), **LIMITS)
    with arena.load(mix=GENTLE) as load:
        load.more(60)
        arena.strike(lambda: arena.sync.legacy.run("TRUNCATE users CASCADE"))
    began = time.monotonic()
    arena.named("truncated", began, 60)
    assert deletes(arena) == 0
    said = arena.sync.command("source", "sweep", "--wait", "--yes")
    assert said.code in (0, 1), said
    all_parked(arena, 1_000)
    assert deletes(arena) == 0, "a sweep's removals are held by the brake, too"
    allow(arena)
    arena.judge(180)


def test_a_restore_that_makes_half_of_the_users_disappear(ruins: Callable[..., Arena]) -> None:
    """The files of an older moment: half of the table is gone, and LSNs begin again below what was seen."""
    arena = ruins(examples=300, plain=range(2_001, 3_001), **LIMITS)
    with arena.load(mix=GENTLE) as load:
        load.more(30)
    kept = backed_up(arena.stack)
    newest = arena.sync.legacy.value("SELECT max(id) FROM users")
    second = range(newest + 1, newest + 1_001)
    with psycopg.connect(arena.sync.legacy.url) as connection:
        add_many(connection, second)
    with arena.load(mix=GENTLE) as load:
        load.more(60)
        arena.recovered(since=time.monotonic())
        arena.strike(lambda: restored(arena.stack, kept))
        began = time.monotonic()
        arena.named("database_restored", began, 60)
        load.more(60)
        assert deletes(arena) == 0
    said = arena.sync.command("source", "repair", "--yes", seconds=180.0)
    assert said.code in (0, 1), said
    all_parked(arena, len(second) // 2)  # some of their ids have been given to others since the restore
    assert deletes(arena) == 0
    with arena.load(mix=GENTLE) as load:
        load.more(30)
        arena.recovered(since=time.monotonic())  # updates go on
        allow(arena)
    arena.judge(180, order=False)


def backed_up(stack: Stack) -> Path:
    """Copy the database's files while it is down, as an offline backup does."""
    stack.stop("postgres")
    here = stack.layout.data("postgres")
    there = here.with_name("postgres.backup")
    copied(here, there)
    stack.start("postgres")
    return there


def restored(stack: Stack, kept: Path) -> None:
    """Put the older files in the place of the newer ones."""
    stack.stop("postgres")
    here = stack.layout.data("postgres")
    shutil.rmtree(here)
    copied(kept, here)
    stack.start("postgres")


def copied(one: Path, other: Path) -> None:
    """Copy the files with their owner, who is not us."""
    subprocess.run(["cp", "-a", str(one), str(other)], check=True)
