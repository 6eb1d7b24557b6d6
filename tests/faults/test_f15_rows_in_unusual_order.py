"""F15: rows that come in an unusual order, and credentials that change hands, cut by restarts of worker and Connect.

Every group of users goes through the same steps; only where the restart cuts them differs. So each group has to end
like every other one.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.faults.kit.load import OWN
from tests.integration.legacy import add_password, email_of, hashed, insert
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import psycopg

    from tests.faults.kit.arena import Arena

    Step = Callable[[psycopg.Connection, "Group"], None]

pytestmark = pytest.mark.fault("F15")

#: Places where a restart cuts a group, in each strike.
CUTS = 8
#: Ids that never have a row in the users table.
ROWLESS = 970_000


class Group(NamedTuple):
    """The users of one group, by what becomes of them."""

    wanders: int  # his password comes before his row, goes to `host` and back, and does so once more
    host: int
    bare: int  # has no credential, gets the one of `nobody`, and loses it
    nobody: int  # a credential names him, his row never comes
    ghost: int  # the same, and the credential is deleted
    leaver: int  # his row goes before his credential


def group(number: int) -> Group:
    """The users of one group; no load touches them."""
    wanders, host, bare, leaver = OWN[number * 4 : number * 4 + 4]
    nobody = ROWLESS + 2 * number
    return Group(wanders, host, bare, nobody, nobody + 1, leaver)


# -- the steps, a transaction each ----------------------------------------------------------------------------------


def credential_first(connection: psycopg.Connection, users: Group) -> None:
    unchecked(connection)
    add_password(connection, users.wanders, "wandert")


def rows(connection: psycopg.Connection, users: Group) -> None:
    for user in (users.wanders, users.bare, users.host, users.leaver):
        insert(connection, user)
    for user in (users.host, users.leaver):
        add_password(connection, user, "eigen")


def of_nobody(connection: psycopg.Connection, users: Group) -> None:
    unchecked(connection)
    for user in (users.nobody, users.ghost):
        add_password(connection, user, "niemand")


def there(connection: psycopg.Connection, users: Group) -> None:
    move(connection, users.wanders, users.host, "wandert")


def back(connection: psycopg.Connection, users: Group) -> None:
    move(connection, users.host, users.wanders, "wandert")


def to_the_bare(connection: psycopg.Connection, users: Group) -> None:
    move(connection, users.nobody, users.bare, "niemand")


def ghost_ends(connection: psycopg.Connection, users: Group) -> None:
    forget(connection, users.ghost)


def bare_again(connection: psycopg.Connection, users: Group) -> None:
    forget(connection, users.bare)


def leaver_leaves(connection: psycopg.Connection, users: Group) -> None:
    unchecked(connection)  # or his credential would go with him
    connection.execute("DELETE FROM users WHERE id = %s", (users.leaver,))


def leaver_ends(connection: psycopg.Connection, users: Group) -> None:
    forget(connection, users.leaver)


STEPS: list[Step] = [
    credential_first, rows, of_nobody, there, back, to_the_bare, ghost_ends, there, bare_again, leaver_leaves, back,
    leaver_ends,
]  # fmt: skip


def unchecked(connection: psycopg.Connection) -> None:
    """Many legacy databases have no foreign keys; in this one they are not looked at until the transaction ends."""
    connection.execute("SET LOCAL session_replication_role = replica")


def move(connection: psycopg.Connection, giver: int, taker: int, word: str) -> None:
    done = connection.execute(
        "UPDATE credentials SET user_id = %s, updated_at = clock_timestamp() WHERE user_id = %s AND secret = %s",
        (taker, giver, hashed(word)),
    )
    assert done.rowcount == 1, "the credential is where the steps have put it"


def forget(connection: psycopg.Connection, user: int) -> None:
    assert connection.execute("DELETE FROM credentials WHERE user_id = %s", (user,)).rowcount == 1


# -- the test --------------------------------------------------------------------------------------------------------


def test_cut_by_restarts(arena: Arena) -> None:
    arena.sync.legacy.run("DELETE FROM users WHERE id = ANY(%s)", list(OWN))
    with arena.sync.legacy.transaction() as connection:
        ((former,),) = connection.execute("SELECT nextval(pg_get_serial_sequence('credentials', 'id'))").fetchall()
    for user in OWN:
        until(lambda user=user: arena.sync.cidaas.entity(user) is None, f"user {user} of a test before is gone")
    groups: list[Group] = []
    with arena.load() as load:
        for number in arena.strikes(load):
            cuts = sorted(arena.rng.sample(range(len(STEPS) + 1), CUTS))
            cut = {group(number * CUTS + at): done for at, done in enumerate(cuts)}
            groups += cut
            walk(arena, cut, lambda done: range(done))
            arena.strike(lambda: restart_begins(arena))
            walk(arena, cut, lambda done: range(done, done + 2))
            began = time.monotonic()
            arena.stack.start("connect")
            arena.sync.launch()
            walk(arena, cut, lambda done: range(done + 2, len(STEPS)))
            arena.recovered(since=began)
    arena.sync.cidaas.cure()
    ends = {outcome(arena, users, former) for users in groups}
    assert len(ends) == 1, f"{len(ends)} ways to end: {ends}"
    arena.figure("users in unusual order", len(groups) * len(Group._fields))
    arena.judge()


def restart_begins(arena: Arena) -> None:
    """Connect and the worker go, in a random order; the worker now and then kindly."""
    worker = arena.sync.worker
    kindly = arena.rng.random() < 0.4
    goes: list[Callable[[], object]] = [
        lambda: arena.stack.kill("connect"),
        lambda: worker.end() if kindly else worker.kill(signal.SIGKILL),
    ]
    arena.rng.shuffle(goes)
    for go in goes:
        go()


def walk(arena: Arena, cut: dict[Group, int], steps: Callable[[int], Iterable[int]]) -> None:
    """Let each group do its `steps`, by where it is cut; all do the same step one after the other."""
    for at, step in enumerate(STEPS):
        for users, done in cut.items():
            if at in steps(done):
                with arena.sync.legacy.transaction() as connection:
                    step(connection, users)


def outcome(arena: Arena, users: Group, former: int) -> Any:
    """How the group ended, without names and positions; asserts that it is right.

    Credentials up to the key `former` are of lives before this test, and may have left markers (M2).
    """
    cidaas = arena.sync.cidaas
    for user, word in ((users.wanders, "wandert"), (users.host, "eigen")):
        until(lambda user=user, word=word: cidaas.login(email_of(user), word), f"{word!r} lets {user} in", 60)
    cidaas.await_user(users.bare, lambda entity: not entity.get("password_hash_info"), 60)
    assert not cidaas.login(email_of(users.host), "wandert"), "the host kept what was taken from him"
    assert not cidaas.states(users.nobody) + cidaas.states(users.ghost), "somebody without a row was sent"
    until(lambda: cidaas.entity(users.leaver) is None, "the leaver is gone")
    return tuple((name, *page(arena, user, former)) for name, user in zip(Group._fields, users, strict=True))


def page(arena: Arena, user: int, former: int) -> tuple[Any, ...]:
    body = until(lambda: _settled(arena.sync.worker.user(user)), f"user {user} is not pending any more")
    snapshot = body["snapshot"]
    ours = [credential for credential in snapshot["credentials"] if int(credential["id"]) > former]
    held = tuple(sorted(credential["there"] for credential in ours))
    return body["situation"], snapshot["row"], held


def _settled(body: dict[str, Any]) -> dict[str, Any]:
    return {} if body.get("situation") == "pending" else body
