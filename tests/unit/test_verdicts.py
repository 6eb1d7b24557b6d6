"""What an answer makes of a ledger entry: patience where repeating helps, quarantine where it does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from clock import BEGIN

from streams.cidaas.answers import Outcome, OutcomeKind
from streams.cidaas.refusals import CURE, Cure, Reason
from streams.jobs import Do, Job
from streams.ledger import Entry, State
from streams.mapping import Mapped
from streams.snapshots import Snapshot
from streams.verdicts import UNKNOWN_TRIES, confirmed, email_mark, judged, quarantined, refused

VERSION = (1, 5)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: BEGIN)


def job(entry: Entry | None = None) -> Job:
    partition = cast("Any", SimpleNamespace(mapping_id="00112233445566aa"))
    mapped = Mapped("live", {"sub": "s"}, "s", "a@example.org", True, ("a_note",))
    return Job(b"\0\0" + b"1", b"1", partition, Do.UPSERT, snap=Snapshot(version=VERSION), entry=entry, mapped=mapped)


def tried(reason: Reason, times: int, max_wait: float = 60.0) -> Entry:
    """The entry after so many refusals in a row."""
    it = job()
    for _ in range(times):
        it.entry = refused(it, reason, "", max_wait)
    assert it.entry is not None
    return it.entry


def test_a_stored_user_is_confirmed_for_this_version_and_mapping() -> None:
    """Confirmed for anything else, a newer version would count as delivered."""
    entry = judged(job(), Outcome(OutcomeKind.DONE, "UPDATED", "s"), 60.0)
    assert (entry.state, entry.version, entry.mapping_id) == (State.CONFIRMED, VERSION, "00112233445566aa")
    assert (entry.process_state, entry.sub, entry.deleted, entry.notes) == ("UPDATED", "s", False, ("a_note",))
    assert entry.extra == {"mail": email_mark("a@example.org")} and "example" not in str(entry)


def test_a_deleted_user_holds_no_address_any_more() -> None:
    """Who waits for it must not take it for held."""
    entry = confirmed(job(Entry(extra={"mail": "x", "purged_at": 1.0})), "DELETED")
    assert entry.deleted and entry.extra == {}


def test_a_confirmation_forgets_what_was_tried_before() -> None:
    """A mark of a swap or a purge that outlives it would misdirect the next version."""
    entry = confirmed(job(Entry(version=VERSION, extra={"swap": True, "purged_first": 1.0})), "UPDATED")
    assert set(entry.extra) == {"mail"}


@pytest.mark.parametrize("kind", [OutcomeKind.FAILED, OutcomeKind.UNCLEAR])
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.NONE])
def test_nothing_but_done_is_ever_confirmed(kind: OutcomeKind, reason: Reason) -> None:
    """C3: whatever word comes with it."""
    entry = judged(job(), Outcome(kind, "UPDATED", "s", "", reason), 60.0)
    assert entry.state in (State.RETRYING, State.QUARANTINED) and entry.reason == reason.value


@pytest.mark.parametrize("reason", [reason for reason, cure in CURE.items() if cure is Cure.PERMANENT])
def test_a_known_permanent_reason_is_quarantined_at_once(reason: Reason) -> None:
    """Repeating does not cure it, and a person should see it today."""
    assert tried(reason, 1).state is State.QUARANTINED


def test_an_unknown_reason_is_tried_ten_times_over_about_an_hour() -> None:
    """A message that we misread costs time and not a user."""
    waits = [tried(Reason.UNKNOWN, times).next_try - BEGIN for times in range(1, UNKNOWN_TRIES)]
    assert waits == sorted(waits) and 0.8 * 3_600 < sum(waits) < 1.2 * 3_600
    assert tried(Reason.UNKNOWN, UNKNOWN_TRIES).state is State.QUARANTINED


@pytest.mark.parametrize("reason", [reason for reason, cure in CURE.items() if cure is Cure.CONFLICT])
def test_a_conflict_is_tried_for_ever_with_capped_waits(reason: Reason) -> None:
    """The other user may free it at any time; nobody waits longer than the cap."""
    entry = tried(reason, 200, max_wait=60.0)
    assert entry.state is State.RETRYING and 50 < entry.next_try - BEGIN <= 66
    assert tried(reason, 1).next_try - BEGIN < 1.2


@pytest.mark.parametrize("reason", [Reason.UNMATCHED, Reason.UNREADABLE])
def test_who_is_not_in_the_answer_goes_again_at_once_and_then_with_patience(reason: Reason) -> None:
    """C3: alone the answer is clear; if it still is not, it must not be asked in a loop."""
    assert tried(reason, 1).next_try == 0.0
    assert tried(reason, 2).next_try > BEGIN + 10
    assert tried(reason, UNKNOWN_TRIES).state is State.QUARANTINED


def test_the_guilty_user_of_a_call_is_quarantined_with_its_reason() -> None:
    """C6: a person has to see what cidaas said."""
    entry = quarantined(job(), Reason.REFUSED_CALL, "cidaas answered 400")
    assert (entry.state, entry.reason, entry.message) == (State.QUARANTINED, "refused_call", "cidaas answered 400")
    assert entry.version == VERSION
