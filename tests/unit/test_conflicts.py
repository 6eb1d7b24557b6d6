"""Rings of addresses whose users belong to several workers: each one sees the whole ring, and one user breaks it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from fakes import SETTINGS, Control, Pipeline

from streams.conflicts import Conflicts
from streams.delivery import pack


class Worker:
    """The conflicts of one worker that owns some partitions; all workers share the control topic."""

    def __init__(self, control: Control, *numbers: int) -> None:
        self.pipeline = Pipeline(SETTINGS)
        self.pipeline.control = control
        for number in numbers:
            owned = asyncio.Event()
            owned.set()
            partition = SimpleNamespace(number=number, closing=False, owned=owned, readable=True)
            self.pipeline.own(partition)  # type: ignore[arg-type]
        self.woken: list[bytes] = []
        self.conflicts = Conflicts(self.pipeline, self.woken.append)  # type: ignore[arg-type]


def user(number: int, name: str) -> bytes:
    partition: Any = SimpleNamespace(number=number)
    return pack(partition, name.encode())


A, B, C = user(0, "a"), user(1, "b"), user(2, "c")


async def exchanged(*workers: Worker) -> None:
    """Everybody publishes, everybody reads."""
    for _ in range(2):
        for worker in workers:
            await worker.conflicts.exchange()


async def test_a_ring_over_two_workers_is_seen_by_both_and_one_user_goes() -> None:
    control = Control()
    one, two = Worker(control, 0, 2), Worker(control, 1)
    one.conflicts.found(A, "b's", "a's", 2)
    one.conflicts.found(C, "a's", "c's", 2)
    await exchanged(one, two)
    assert not one.conflicts.in_ring(A), "the ring is open still"
    two.conflicts.found(B, "c's", "b's", 2)
    await exchanged(one, two)
    assert one.conflicts.in_ring(A) and two.conflicts.in_ring(B) and one.conflicts.in_ring(C)
    assert one.woken + two.woken == [A], "one temporary address is enough"
    await exchanged(one, two)
    assert one.woken == [A], "not again for the same refusal"


async def test_who_waits_is_woken_when_another_worker_s_user_frees_the_address() -> None:
    control = Control()
    one, two = Worker(control, 0), Worker(control, 1)
    one.conflicts.found(A, "b's", "a's", 2)
    two.conflicts.found(B, "new", "b's", 2)
    await exchanged(one, two)
    assert not one.woken
    two.conflicts.over(B, "b's")
    await exchanged(one, two)
    assert one.woken == [A]
    one.conflicts.over(A, "a's")
    await exchanged(one, two)
    assert all(body["users"] == {} for body in control.state.values()), "nothing is left of it"


async def test_what_the_owner_before_published_is_taken_back() -> None:
    control = Control()
    one = Worker(control, 0)
    one.conflicts.found(A, "b's", "a's", 2)
    await one.conflicts.exchange()
    assert control.state["conflicts/0"]["users"] == {"a": ["b's", "a's"]}
    two = Worker(control, 0, 1)
    two.conflicts.found(B, "a's", "b's", 2)
    assert not two.conflicts.in_ring(B)
    await two.conflicts.exchange()
    assert control.state["conflicts/0"]["users"] == {}
    assert not two.conflicts.in_ring(B), "what was said of our own partition by somebody else counts for nothing"


async def test_only_what_may_be_part_of_a_ring_is_published_and_only_when_it_lasts() -> None:
    control = Control()
    one = Worker(control, 0)
    one.conflicts.found(A, "b's", "", 5)  # holds nothing: at the initial load that may be everybody
    one.conflicts.found(user(0, "d"), "e's", "d's", 1)
    await one.conflicts.exchange()
    assert control.puts == []
    one.conflicts.over(user(0, "x"), "b's")
    assert one.woken == [A], "it waits all the same"
