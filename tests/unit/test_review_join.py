"""Records that nobody expects: odd keys, repeated deletes, moves in the middle of a transaction."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
import pytest
from clock import Clock, run
from fakes import SETTINGS, credential_change, credential_row, new_partition, user_row, users_change
from world import IDENTITY, World

from streams.rows import CREDENTIALS, ReadAgain, Removal, Resync, RowReader, UnreadableError, write_control
from streams.snapshots import Merge, Merger, Snapshot

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"\x00owner", b"\x00settled", b"4\x002"])
@pytest.mark.parametrize("value", [b"{", write_control(Resync("me")), orjson.dumps({"__op": "d"})])
def test_a_record_with_an_odd_key_neither_ends_the_worker_nor_touches_our_own_records(
    tmp_path: Path, key: bytes | None, value: bytes
) -> None:
    """M7: its position is kept. As a user, `\\0owner` would overwrite the take-over record of its partition."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.broker.append(IDENTITY, 0, key, value)
        await world.joined()
        assert world.partition.unreadable == 1
        await world.sign_up(1)
        await world.partition.close()
        again = new_partition(world.broker, tmp_path)
        await again.take_over("again")
        assert again.unreadable == 1 and again.ledger.owner > 0
        await again.close()

    run(scenario(), clock)


def test_a_repeated_delete_leaves_the_credentials_of_a_new_sign_up_alone() -> None:
    """M2: Connect sends a delete again after the new user's credential has come."""
    merger, snap = Merger(frozenset(), lambda row: True), Snapshot()
    merger.change(snap, users_change("c", 10, user_row(1)), (1, 1), 1)
    merger.change(snap, users_change("d", 20, None), (1, 2), 1)
    merger.change(snap, credential_change("c", 30, credential_row(7, 1)), (1, 3), 1)
    assert merger.change(snap, users_change("d", 20, None), (1, 4), 1) is Merge.NOTHING
    assert len(snap.live_credentials()) == 1


def test_a_removal_knows_the_transaction_of_its_move() -> None:
    """C7: by the LSN of the row alone, a heartbeat before a long transaction's end looks like one after it."""
    removal = Removal(CREDENTIALS, "7", 1, 100, None, 40)
    assert RowReader(SETTINGS.source).read(b"1", write_control(removal)) == removal
    merger, snap = Merger(frozenset(), lambda row: True), Snapshot()
    merger.change(snap, users_change("c", 10, user_row(1), after_commit=9), (1, 1), 1)
    merger.change(snap, credential_change("c", 11, credential_row(7, 1), after_commit=9), (1, 2), 1)
    merger.removal(snap, removal, (1, 3))
    assert (snap.lsn, snap.after_commit, snap.streamed) == (100, 40, True)


def test_who_was_sent_as_live_under_this_mapping_is_deleted_although_the_ledger_knows_nothing(tmp_path: Path) -> None:
    """C1: the row counted as deleted when it was read; a new mapping made it live; the call's answer was lost."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        live, world.join._live = world.join._live, lambda row: False
        world.join._merger._live = world.join._live
        await world.sign_up(1)
        world.join._live = world.join._merger._live = live
        world.tenant.users[world.sub(1)] = {"email": "user1@example.org"}
        await world.remove(1)
        world.go()
        await world.until(lambda: world.at_cidaas(1) is None, "deleted at cidaas", 60)
        await asyncio.sleep(1)
        await world.stop()

    run(scenario(), clock)


def test_a_key_is_text_of_postgresql() -> None:
    """No user id holds a zero byte: PostgreSQL refuses it."""
    with pytest.raises(UnreadableError, match="zero byte"):
        RowReader(SETTINGS.source).read(b"\x00deletes", write_control(Resync("me")))


def test_the_last_change_repeated_after_a_reading_brings_nothing_old_back() -> None:
    """M1: Connect repeats the change before the unreadable one; the row was read since, and is newer."""
    merger, snap = Merger(frozenset(), lambda row: True), Snapshot()
    merger.change(snap, users_change("c", 10, user_row(1, city="old")), (1, 1), 1)
    merger.change(snap, credential_change("c", 11, credential_row(7, 1, secret="old")), (1, 2), 1)
    merger.set_aside(snap, "unreadable", (1, 3))
    again = ReadAgain(3, (1, 3), user_row(1, city="new"), {"7": credential_row(7, 1, secret="new")})
    merger.read_again(snap, again, (1, 4), 1)
    merger.change(snap, users_change("c", 10, user_row(1, city="old")), (1, 5), 1)
    merger.change(snap, credential_change("c", 11, credential_row(7, 1, secret="old")), (1, 6), 1)
    assert snap.user is not None and snap.user.values is not None and snap.user.values["city"] == "new"
    assert [row["secret"] for row in snap.live_credentials().values()] == ["new"]
    merger.change(snap, users_change("u", 12, user_row(1, city="newer")), (1, 7), 1)
    assert snap.user.values["city"] == "newer"
