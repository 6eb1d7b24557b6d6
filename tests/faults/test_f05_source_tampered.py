"""F5: PostgreSQL restarts; somebody drops, loses or moves the slot, or makes the publication anew.

Changes are lost by the last four, and the connector says nothing. The worker does, within 30 s, and one command
repairs it, users deleted in the gap included.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from demo.stack import postgres
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.kit.arena import Arena
    from tests.faults.kit.load import Load

pytestmark = pytest.mark.fault("F5")

NAME = "cidaas_sync"  # of slot and publication


def test_postgresql_restarted(arena: Arena) -> None:
    with arena.load() as load:
        for strike in arena.strikes(load):
            arena.strike(lambda how=strike: restart(arena, killed=how % 2 == 0))
            arena.recovered()
    arena.judge()


def restart(arena: Arena, *, killed: bool) -> None:
    (arena.stack.kill if killed else arena.stack.stop)("postgres")
    arena.stack.start("postgres")


def test_slot_dropped(arena: Arena) -> None:
    tampered(arena, "slot_dropped", drop_slot)


def test_slot_lost(arena: Arena) -> None:
    tampered(arena, "slot_lost", lose_slot)


def test_slot_moved_over_a_gap(arena: Arena) -> None:
    tampered(arena, "slot_(ahead|moved)", move_slot)


def test_publication_dropped_and_made_again(arena: Arena) -> None:
    tampered(arena, "publication_(missing|remade|incomplete)", remake_publication, away=False)


def tampered(arena: Arena, slug: str, tamper: Callable[[Arena, Load], None], *, away: bool = True) -> None:
    """Tamper (`away`: while Connect is down), lose changes, be told of it, repair; three times in one load."""
    with arena.load() as load:
        for _ in arena.strikes(load):
            if away:
                arena.strike(lambda: arena.stack.kill("connect"))
                load.more(40)
                began = time.monotonic()
                tamper(arena, load)
            else:
                began = time.monotonic()
                arena.strike(lambda: tamper(arena, load))
            arena.named(slug, began, 30)
            load.more(40)
            if away:
                arena.stack.start("connect")
            arena.named(slug, time.monotonic(), 30)  # it stands also when the connector runs again and shows nothing
            began = time.monotonic()
            said = arena.sync.command("source", "repair", "--yes", seconds=180)
            assert said.code == 0, said
            arena.recovered(since=began)
            assert "nothing is wrong" in arena.sync.command("source", "check").text
    arena.judge()


def run(arena: Arena, *statements: str) -> None:
    with postgres.connect(arena.stack.layout) as admin:
        for statement in statements:
            admin.execute(statement.encode())


def free_slot(arena: Arena) -> None:
    """Wait until the killed connector's connection is gone."""

    def free() -> bool:
        return not arena.sync.legacy.value("SELECT active FROM pg_replication_slots WHERE slot_name = %s", NAME)

    until(free, "nobody reads the slot", 60)


def drop_slot(arena: Arena, load: Load) -> None:
    free_slot(arena)
    run(arena, f"SELECT pg_drop_replication_slot('{NAME}')")


def lose_slot(arena: Arena, load: Load) -> None:
    """Let WAL be removed that the slot needs, as `max_slot_wal_keep_size` does on a full disk."""
    free_slot(arena)
    with postgres.connect(arena.stack.layout) as admin:
        admin.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        admin.execute("SELECT pg_reload_conf()")

        def lost() -> bool:
            for _ in range(3):
                admin.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 100000))")
                admin.execute("SELECT pg_switch_wal()")
            admin.execute("CHECKPOINT")
            row = admin.execute("SELECT wal_status FROM pg_replication_slots WHERE slot_name = %s", (NAME,)).fetchone()
            return row is not None and row[0] == "lost"

        until(lost, "the slot's WAL is gone", 60)
        admin.execute("ALTER SYSTEM RESET max_slot_wal_keep_size")
        admin.execute("SELECT pg_reload_conf()")


def move_slot(arena: Arena, load: Load) -> None:
    free_slot(arena)
    run(arena, f"SELECT pg_replication_slot_advance('{NAME}', pg_current_wal_lsn())")


def remake_publication(arena: Arena, load: Load) -> None:
    """Dropped, and made again as it was: what was changed in between nobody decodes."""
    with postgres.connect(arena.stack.layout) as admin:
        lists = ", ".join(
            f"{table} ({', '.join(columns)})"
            for table, columns in admin.execute(
                "SELECT tablename, attnames::text[] FROM pg_publication_tables WHERE pubname = %s", (NAME,)
            ).fetchall()
        )
        admin.execute(f"DROP PUBLICATION {NAME}".encode())
        load.more(40)
        publish = "WITH (publish = 'insert, update, delete')"
        admin.execute(f"CREATE PUBLICATION {NAME} FOR TABLE {lists} {publish}".encode())
