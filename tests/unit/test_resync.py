"""`resync`: whom it means, that many take --yes, and that an unknown id is named."""

from __future__ import annotations

import asyncio
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import orjson
import pytest
from aiokafka.errors import KafkaError
from click.testing import CliRunner
from clock import Clock, run
from fakes import SETTINGS
from world import World

from streams.commands import orders, resync
from streams.offline import Known, first_since, partition_of, read_known
from streams.rows import Resync

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aiokafka import TopicPartition

#: user -> (offset of the version, whether the user lives)
USERS = {"41": (10, True), "42": (20, True), "43": (30, True), "44": (40, False), "45": (50, False)}
#: whom the ledger does not know
NEW = {"46": (60, True)}


async def interrupted() -> None:
    """A person presses Ctrl-C."""
    signal.raise_signal(signal.SIGINT)
    await asyncio.Event().wait()


async def broken() -> None:
    """The broker goes away."""
    raise KafkaError("no broker")


class Asked:
    """Changelogs that know some users, and a topic that takes orders."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.users = USERS | NEW
        self.placed: list[str] = []
        self.since: list[float] = []
        self.read: list[int] = []
        self.broken_after = 1_000_000
        self.breaks = interrupted
        monkeypatch.setattr(resync, "read_known", self.read_known)
        monkeypatch.setattr(resync, "first_since", self.first_since)
        monkeypatch.setattr(orders, "Desk", lambda _: self)

    async def read_known(self, settings: Any, number: int) -> dict[bytes, Known]:
        self.read.append(number)
        return {
            user.encode(): Known((1, at), live, user not in NEW)
            for user, (at, live) in self.users.items()
            if partition_of(user.encode(), settings.partitions) == number
        }

    async def first_since(self, settings: Any, moment: float) -> dict[int, int]:
        self.since.append(moment)
        return dict.fromkeys(range(settings.partitions), 20)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        return None

    async def order(self, some: Sequence[tuple[str, Any]]) -> None:
        if len(self.placed) >= self.broken_after:
            await self.breaks()
        assert all(isinstance(control, Resync) for _, control in some)
        self.placed += [user for user, _ in some]

    def say(self, *words: str, typed: str = "") -> Any:
        (command,) = resync.commands(SETTINGS)
        return CliRunner().invoke(command, list(words), input=typed)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Six users are known, one of them was never sent."""
    return Asked(monkeypatch)


def test_one_user_is_sent_again_without_asking(asked: Asked) -> None:
    """As it was before there were many; it is harmless, and one user's partition alone is read."""
    said = asked.say("42")
    assert said.exit_code == 0 and "`user 42` shows" in said.output
    assert asked.placed == ["42"] and asked.read == [partition_of(b"42", SETTINGS.partitions)]


def test_several_take_yes_and_are_sent_once_each(asked: Asked) -> None:
    """A preview first: the shell may have made more of a pattern than was meant."""
    said = asked.say("43", "41", "43")
    assert said.exit_code == 0 and "2 users would be sent again" in said.output and "--yes" in said.output
    assert asked.placed == []
    said = asked.say("43", "41", "43", "--yes")
    assert said.exit_code == 0 and "asked for, of 2 users" in said.output and asked.placed == ["43", "41"]


def test_an_unknown_id_is_named_and_the_others_are_sent(asked: Asked) -> None:
    """Exit code 1, in the preview as well: 500 of 100,000 ids of a file are nobody's."""
    preview = asked.say("42", "77", "78")
    assert preview.exit_code == 1 and "1 user would be sent again" in preview.stdout and asked.placed == []
    said = asked.say("42", "77", "78", "--yes", "--json")
    body = orjson.loads(said.stdout)
    assert (said.exit_code, body["users"], body["unknown"], body["changed"]) == (1, 1, ["77", "78"], True)
    assert "2 users were never seen" in said.stderr and "77\n78" in said.stderr
    asked.placed.clear()
    said = asked.say("77")
    assert said.exit_code == 1 and said.stdout == "" and "user 77 was never seen" in said.stderr
    assert asked.placed == []


def test_a_thousand_unknown_ids_do_not_flood_the_screen(asked: Asked) -> None:
    """--json has them all."""
    ids = [str(number) for number in range(1_000, 2_000)]
    said = asked.say(*ids)
    assert said.exit_code == 1 and "900 more" in said.stderr and said.stderr.count("\n") < 110
    assert orjson.loads(asked.say(*ids, "--json").stdout)["unknown"] == ids


def test_the_ids_of_a_file(asked: Asked, tmp_path: Path) -> None:
    """One a line; empty lines and spaces are nobody."""
    file = tmp_path / "ids"
    file.write_text("41\n\n 42 \n41\n")
    assert asked.say("--from-file", str(file), "--yes").exit_code == 0 and asked.placed == ["41", "42"]
    assert asked.say("--from-file", "-", "--yes", typed="43\n").exit_code == 0 and asked.placed[-1] == "43"


@pytest.mark.parametrize(
    ("content", "said"), [(b"\n \n", "names nobody"), (b"\xff\xfe4\x001\x00", "not text in UTF-8")]
)
def test_a_file_without_ids_is_refused(asked: Asked, tmp_path: Path, content: bytes, said: str) -> None:
    """A table that was saved as UTF-16, and the wrong file."""
    file = tmp_path / "ids"
    file.write_bytes(content)
    found = asked.say("--from-file", str(file), "--yes")
    assert found.exit_code == 2 and said in found.stderr and asked.placed == []
    found = asked.say("--from-file", str(tmp_path / "none"))
    assert found.exit_code == 2 and "cannot be read: No such file" in found.stderr


def test_all_are_those_who_live(asked: Asked) -> None:
    """To send a delete once more is for a person who names the user; that they are left out is said."""
    said = asked.say("--all")
    assert (
        said.exit_code == 0
        and "3 users would be sent again" in said.output
        and "Left out: 2 deleted, not selected" in said.output
    )
    assert "1 never sent, waiting for that anyway" in said.output
    assert asked.say("--all", "--yes").exit_code == 0 and sorted(asked.placed) == ["41", "42", "43"]
    assert asked.say("44").exit_code == 0 and asked.placed[-1] == "44"


def test_who_was_never_sent_gets_no_order(asked: Asked) -> None:
    """It would have an entry in the ledger then, and so be one of the first 50 of a canary, with all others."""
    said = asked.say("46")
    assert said.exit_code == 0 and said.output.startswith("nobody is sent again. Left out: 1 never sent")
    body = orjson.loads(asked.say("46", "42", "--yes", "--json").output)
    assert asked.placed == ["42"] and body["left_out"] == {"not_live": 0, "never_sent": 1}


def test_who_changed_since_a_time(asked: Asked) -> None:
    """The record that made the last version stands behind the first one of that time."""
    said = asked.say("--changed-since", "2026-01-02T03:04+01:00", "--yes")
    assert said.exit_code == 0, said.output
    assert sorted(asked.placed) == ["42", "43"]
    asked.users = {"42": (20, True)}
    said = asked.say("--changed-since", "2026-01-02T02:04")
    assert "1 user would be sent again" in said.output and len(asked.placed) == 2, "nobody was named"
    assert asked.since == [1767319440.0, 1767319440.0], "UTC, unless it says otherwise"


@pytest.mark.parametrize(
    ("time", "says"),
    [("yesterday", "is no time"), ("", "is no time"), ("2999-01-01", "+01:00"), ("0001-01-01", "1970")],
)
def test_a_time_that_is_none_or_has_not_come_is_refused(asked: Asked, time: str, says: str) -> None:
    """Nobody would be sent, and it would look like success."""
    said = asked.say("--changed-since", time)
    assert said.exit_code == 2 and says in said.stderr and asked.read == []


@pytest.mark.parametrize("words", [[], ["42", "--all"], ["--all", "--changed-since", "2026-01-01"]])
def test_whom_it_is_about_is_said_in_one_way(asked: Asked, words: list[str]) -> None:
    """`resync` alone must not mean everybody."""
    said = asked.say(*words, "--yes")
    assert said.exit_code == 2 and "one of the four" in said.stderr and asked.placed == []


def test_nobody_is_no_mistake(asked: Asked) -> None:
    """Nobody changed since: a script goes on."""
    asked.users = {"41": (10, True)}
    said = asked.say("--changed-since", "2026-01-01", "--json")
    body = orjson.loads(said.stdout)
    assert (said.exit_code, body["changed"], body["users"], body["unknown"]) == (0, False, 0, [])


@pytest.mark.parametrize(("breaks", "code"), [(interrupted, 130), (broken, 2)])
def test_an_interruption_says_how_far_it_came(asked: Asked, breaks: Any, code: int) -> None:
    """In batches, so that half a million orders are not on their way at a time; to repeat it is harmless."""
    asked.users = {str(number): (1, True) for number in range(1_000, 3_500)}
    asked.broken_after, asked.breaks = 2_000, breaks
    said = asked.say("--all", "--yes")
    assert said.exit_code == code and "2,000 of 2,500 users were asked for" in said.stderr
    assert len(asked.placed) == 2_000


# -- what the topics say ----------------------------------------------------------------------------------------------


def test_the_topics_tell_who_lives_and_since_when(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that says deleted, a row that is gone, and one that is there; the mapping decides."""
    clock = Clock()

    async def scenario() -> None:
        world = await World.start(tmp_path, clock)
        world.go()
        await world.sign_up(1, 2, 3)
        await world.in_sync(1, 2, 3)
        await world.remove(2)
        await world.change(3, status="deleted")
        await world.joined()
        monkeypatch.setattr("streams.offline.kafka.consumer", lambda _: world.broker.consumer())
        world.tenant.going.clear()
        await world.sign_up(4)
        known = await read_known(SETTINGS, 0)
        assert {key: one.live for key, one in known.items()} == {b"1": True, b"2": False, b"3": False, b"4": True}
        assert {key for key, one in known.items() if not one.sent} == {b"4"}
        assert known[b"3"].version > known[b"2"].version > known[b"1"].version
        world.tenant.going.set()
        await world.stop()

    run(scenario(), clock)


async def test_a_moment_is_asked_for_in_every_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    """A partition in which nothing was written since is left out; the client is closed."""

    class Consumer:
        stopped = False

        async def start(self) -> None:
            return None

        async def stop(self) -> None:
            self.stopped = True

        async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
            assert len(times) == SETTINGS.partitions and set(times.values()) == {1_500}
            return {tp: SimpleNamespace(offset=tp.partition) if tp.partition < 2 else None for tp in times}

    consumer = Consumer()
    monkeypatch.setattr("streams.offline.kafka.consumer", lambda _: consumer)
    assert await first_since(SETTINGS, 1.5) == {0: 0, 1: 1} and consumer.stopped
