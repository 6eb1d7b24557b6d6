"""Which users leave next: a user twice in flight gets an old password, a user that never leaves is lost."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from fakes import settings_with
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streams.windows import Windows

QUIET, MAX_WAIT = 0.020, 0.250
LIMITS = settings_with(window=3, quiet=QUIET, max_wait=MAX_WAIT).delivery
#: clocks are floats: one tick of them is no rule broken.
TICK = 1e-9


def windows(size: int | None = None) -> Windows:
    return Windows(LIMITS, size)


def test_an_idle_line_takes_a_user_at_once_when_its_rows_are_complete() -> None:
    """Alone and ready: somebody waits for this change."""
    queue = windows()
    queue.add(b"a", 10.0, live=True)
    assert queue.take(10.0 + QUIET / 2, idle=True) == []
    assert queue.due(10.0, idle=True) == pytest.approx(QUIET)
    assert queue.take(10.0 + QUIET, idle=True) == [b"a"]


def test_a_second_row_makes_the_user_wait_again() -> None:
    """C7: a sign-up writes two rows; sent after the first, the user would have no password for a moment."""
    queue = windows()
    queue.add(b"a", 10.0, live=True)
    queue.add(b"a", 10.0 + QUIET * 0.9, live=True)
    assert queue.take(10.0 + QUIET, idle=True) == []
    assert queue.take(10.0 + QUIET * 2, idle=True) == [b"a"]


def test_a_busy_line_gathers_but_not_for_longer_than_max_wait() -> None:
    """Fifty users in a call are fifty times cheaper, but nobody waits longer than `max_wait` for that."""
    queue = windows()
    queue.add(b"a", 0.0, live=True)
    ready = QUIET
    assert queue.take(ready + MAX_WAIT * 0.9, idle=False) == []
    assert queue.due(ready, idle=False) == pytest.approx(MAX_WAIT)
    assert queue.take(ready + MAX_WAIT, idle=False) == [b"a"]


def test_a_full_window_leaves_although_calls_are_in_flight() -> None:
    """There is nothing left to gather for."""
    queue = windows()
    for user in (b"a", b"b", b"c", b"d"):
        queue.add(user, 0.0, live=True)
    assert queue.take(QUIET, idle=False) == [b"a", b"b", b"c"]
    assert queue.take(QUIET, idle=False) == []


def test_changes_people_wait_for_go_before_the_backlog() -> None:
    """While 500,000 users are sent for the first time, a password change must not wait behind them."""
    queue = windows(size=2)
    for user in (b"old1", b"old2", b"old3"):
        queue.add(user, 0.0, live=False)
    queue.add(b"new", 0.0, live=True)
    queue.add(b"old3", 0.0, live=True)
    assert queue.take(QUIET, idle=True) == [b"new", b"old3"]
    assert queue.take(QUIET, idle=True) == [b"old1", b"old2"]


def test_a_user_in_flight_is_not_sent_again_before_its_call_is_over() -> None:
    """Two calls of one user may arrive in the wrong order: the old state would win."""
    queue = windows()
    queue.add(b"a", 0.0, live=True)
    assert queue.take(1.0, idle=True) == [b"a"]
    queue.add(b"a", 1.0, live=True)
    assert queue.take(9.0, idle=True) == []
    assert queue.done(b"a") is True, "the newer version must be looked at afterwards"
    assert queue.done(b"a") is False


def test_a_newer_version_does_not_wait_for_the_retry_of_the_older_one() -> None:
    """A corrected e-mail address must not wait up to an hour because the wrong one was refused."""
    queue = windows()
    queue.wait(b"a", 3_600.0)
    queue.add(b"a", 10.0, live=True)
    assert queue.take(10.0 + QUIET, idle=True) == [b"a"]
    assert queue.due(4_000.0, idle=True) is None


def test_a_scan_does_not_end_a_wait() -> None:
    """Nothing new arrived: the wait is the rule's."""
    queue = windows()
    queue.wait(b"a", 100.0)
    queue.add(b"a", 10.0, live=False)
    assert queue.take(99.0, idle=True) == []
    assert queue.take(100.0, idle=True) == [b"a"]


def test_the_wait_of_a_delete_holds_for_newer_versions_too() -> None:
    """A delete leaves no sooner than 2 s after its record, whatever records follow."""
    queue = Windows(LIMITS, size=1, firm=True)
    queue.wait(b"a", 12.0)
    queue.add(b"a", 10.0, live=True)
    assert queue.take(11.9, idle=True) == []
    assert queue.take(12.0, idle=True) == [b"a"]


def test_of_two_waits_the_longer_one_counts() -> None:
    """C4 and a retry may both ask for a wait."""
    queue = windows()
    queue.wait(b"a", 20.0)
    queue.wait(b"a", 15.0)
    assert queue.take(19.0, idle=True) == []
    assert queue.take(20.0, idle=True) == [b"a"]


def test_who_is_woken_leaves_at_once() -> None:
    """The address that a user waited for is free: the swap goes on."""
    queue = windows()
    queue.wait(b"a", 60.0)
    queue.wake(b"a", 5.0)
    assert queue.take(5.0, idle=True) == [b"a"]
    queue.wake(b"b", 5.0)
    assert b"b" not in queue


def test_after_a_revoke_nothing_is_left() -> None:
    """What another worker owns now must not leave from here."""
    queue = windows()
    queue.add(b"a", 0.0, live=True)
    queue.add(b"b", 0.0, live=False)
    queue.wait(b"c", 5.0)
    queue.take(0.0, idle=True)
    queue.clear()
    assert len(queue) == 0 and queue.take(99.0, idle=True) == [] and queue.due(99.0, idle=True) is None


USERS = st.sampled_from([bytes([97 + number]) for number in range(8)])


class Model(RuleBasedStateMachine):
    """Any order of arrivals, answers, waits and clock ticks, against what may be said of each user."""

    @initialize(firm=st.booleans())
    def start(self, firm: bool) -> None:
        self.now = 1_000.0
        self.firm = firm
        self.queue = Windows(LIMITS, firm=firm)
        self.flying: dict[bytes, bool] = {}
        #: user -> time before which it must not leave, and after which a free line must take it.
        self.queued: dict[bytes, float] = {}
        self.waits: dict[bytes, float] = {}
        self.backlog: set[bytes] = set()

    @rule(user=USERS, live=st.booleans())
    def arrives(self, user: bytes, live: bool) -> None:
        self.queue.add(user, self.now, live=live)
        if user in self.flying:
            self.flying[user] = True
        elif user in self.waits:
            if live and not self.firm:
                del self.waits[user]
                self.queued[user] = self.now + QUIET
        elif live:
            self.queued[user] = self.now + QUIET
            self.backlog.discard(user)
        elif user not in self.queued:
            self.queued[user] = self.now
            self.backlog.add(user)

    @rule(idle=st.booleans())
    def leave(self, idle: bool) -> None:
        self._rung()
        window = self.queue.take(self.now, idle=idle)
        assert len(window) <= LIMITS.window and len(set(window)) == len(window)
        for user in window:
            assert user not in self.flying, "twice in flight"
            assert user not in self.waits, "before its wait was over"
            assert self.queued[user] <= self.now + TICK, "before it was quiet"
        ready = [user for user, at in self.queued.items() if at < self.now - QUIET - TICK]
        if idle and ready:
            assert window, "an idle line leaves nobody who is ready"
        if not idle and window and len(window) < LIMITS.window:
            assert min(self.queued[user] for user in window) <= self.now - MAX_WAIT + TICK, "it had to gather"
        if not idle and [user for user in ready if self.queued[user] < self.now - MAX_WAIT - QUIET - TICK]:
            assert window, "longer than max_wait"
        for user in window:
            del self.queued[user]
            self.backlog.discard(user)
            self.flying[user] = False

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def answered(self, data: st.DataObject) -> None:
        user = data.draw(st.sampled_from(sorted(self.flying)))
        assert self.queue.done(user) is self.flying.pop(user)

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 0.1, 2.0]))
    def must_wait(self, data: st.DataObject, seconds: float) -> None:
        user = data.draw(st.sampled_from(sorted(self.flying)))
        self.queue.done(user)
        del self.flying[user]
        self.queue.wait(user, self.now + seconds)
        self.waits[user] = self.now + seconds

    @rule(user=USERS)
    def woken(self, user: bytes) -> None:
        self.queue.wake(user, self.now)
        if self.waits.pop(user, None) is not None:
            self.queued[user] = self.now

    @rule(user=USERS)
    def settled(self, user: bytes) -> None:
        self.queue.discard(user)
        if user in self.flying:  # set aside while its call is under way: the answer is about what is believed no more
            self.flying[user] = True
        self.waits.pop(user, None)
        self.queued.pop(user, None)
        self.backlog.discard(user)

    @rule(seconds=st.sampled_from([0.001, QUIET, 0.1, MAX_WAIT, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    def _rung(self) -> None:
        for user in [user for user, until in self.waits.items() if until <= self.now]:
            del self.waits[user]
            self.queued[user] = self.now

    @invariant()
    def knows_whom_it_has(self) -> None:
        if not hasattr(self, "queue"):
            return
        known = {*self.flying, *self.queued, *self.waits}
        assert {user for user in [bytes([97 + n]) for n in range(8)] if user in self.queue} == known
        assert len(self.queue) == len(known)

    def teardown(self) -> None:
        """Nobody starves: when the calls end and time passes, all who were added have left."""
        if not hasattr(self, "queue"):
            return
        for user in list(self.flying):
            self.queue.done(user)
        left: Counter[Any] = Counter()
        for _ in range(100):
            due = self.queue.due(self.now, idle=False)
            if due is None:
                break
            self.now += due + TICK
            for user in self.queue.take(self.now, idle=False):
                left[user] += 1
                self.queue.done(user)
        assert set(left) == {*self.queued, *self.waits} and set(left.values()) <= {1}
        assert len(self.queue) == 0


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30)
