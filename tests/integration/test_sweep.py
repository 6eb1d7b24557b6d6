"""Changes that nobody captured are found by a sweep (M9): by keys, both ways, on the real tables."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.integration.legacy import add_password, email_of, insert
from tests.integration.test_rereads import produce
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from tests.integration.pipeline import Pipeline


@contextmanager
def uncaptured(sync: Pipeline) -> Iterator[psycopg.Connection]:
    """A transaction whose changes are lost: nothing of the tables is published while they are made.

    From the outside the publication is whole at any moment, and the source guard has nothing to see.
    """
    with sync.legacy.transaction() as connection:
        connection.execute("ALTER PUBLICATION cidaas_sync SET (publish = 'truncate')")
        yield connection
        connection.execute("ALTER PUBLICATION cidaas_sync SET (publish = 'insert, update, delete')")


def test_what_nobody_captured_is_found_by_a_sweep(sync: Pipeline) -> None:
    gone, giving, taking, bare, again, new, after = range(18_201, 18_208)
    sync.legacy.sign_up(gone, giving, taking, bare, again, word="own")
    with sync.legacy.transaction() as connection:
        moving = add_password(connection, giving, "moving")
    for user in (gone, taking, bare, again):
        sync.cidaas.await_user(user)
    until(lambda: sync.cidaas.login(email_of(giving), "moving"), "the newer password")
    done = sync.worker.status()["rereads"]["done"]

    with uncaptured(sync) as connection:
        connection.execute("DELETE FROM users WHERE id = ANY(%s)", ([gone, again],))
        connection.execute(
            "UPDATE credentials SET user_id = %s, updated_at = clock_timestamp() WHERE id = %s", (taking, moving)
        )
        connection.execute("DELETE FROM credentials WHERE user_id = %s", (bare,))
        for user, name in ((again, "Wieder"), (new, "Neu")):
            insert(connection, user, given_name=name)
            add_password(connection, user, name)

    produce(sync, None, b"not json", 5)  # M7: a comparison answers it
    sync.legacy.sign_up(after)
    sync.cidaas.await_user(after)  # the source has passed them
    assert sync.cidaas.entity(gone) and not sync.cidaas.states(new), "they were lost"

    said = sync.command("source", "sweep", "--wait", "--yes", "--why", "a test")
    assert said.code == 0, said
    assert "done; 1 gone, 1 missing, 4 with other credentials" in said.out
    status = sync.command("status").out
    assert "done; 1 gone, 1 missing, 4 with other credentials" in status
    assert "without a readable key" not in status
    sync.cidaas.await_gone(gone)
    assert sync.cidaas.await_user(new)["given_name"] == "Neu"
    sync.cidaas.await_user(again, lambda entity: entity["given_name"] == "Wieder")
    sync.cidaas.await_user(bare, lambda entity: not entity.get("password_hash_info"))
    for user, word in ((new, "Neu"), (again, "Wieder"), (giving, "own"), (taking, "moving")):
        until(lambda user=user, word=word: sync.cidaas.login(email_of(user), word), f"{user} has {word}")
    assert sync.worker.status()["rereads"]["done"] == done + 5, "nobody else was read again"
