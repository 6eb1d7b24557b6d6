"""A user that wrongly counts as confirmed is lost; one that wrongly counts as pending costs a call."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import ledger
from streams.ledger import Entry, Situation, State, situation
from streams.snapshots import Flag
from streams.snapshots import Head as Snap

OURS, OLD = "00112233445566aa", "ffeeddccbbaa9988"
VERSION = (1, 100)
LIVE = Flag.ROW | Flag.SEEN_LIVE
GONE = Flag.GONE | Flag.SEEN_LIVE


def snap(flags: int = LIVE, version: tuple[int, int] = VERSION) -> Snap:
    return Snap(7, version, version, flags)


def entry(state: State = State.CONFIRMED, version: tuple[int, int] = VERSION, mapping: str = OURS) -> ledger.Head:
    return ledger.head(Entry(version=version, mapping_id=mapping, state=state).encode(7, 1))


def where(snapshot: Snap, known: ledger.Head | None) -> Situation:
    return situation(snapshot, known, bytes.fromhex(OURS))


_TIMES = st.floats(0, 2e9)
_ENTRIES = st.builds(
    Entry,
    version=st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 63) - 1)),
    mapping_id=st.sampled_from([OURS, OLD]),
    state=st.sampled_from(State),
    sub=st.text(max_size=5),
    deleted=st.booleans(),
    fingerprint=st.text(max_size=5),
    process_state=st.text(max_size=5),
    reason=st.text(max_size=5),
    message=st.text(max_size=5),
    attempts=st.integers(0, 99),
    at=_TIMES,
    first_try=_TIMES,
    next_try=_TIMES,
    notes=st.lists(st.text(max_size=3), max_size=2).map(tuple),
    latency=_TIMES,
    extra=st.dictionaries(st.text(max_size=3), st.booleans(), max_size=2),
)


@given(_ENTRIES, st.integers(0, 1 << 63), st.integers(0, 1 << 63))
def test_an_entry_is_decoded_as_it_was_encoded_and_its_header_says_the_same(it: Entry, owner: int, count: int) -> None:
    """Scans believe the header alone: a header that says *confirmed* of an entry that is not would lose the user."""
    value = it.encode(owner, count)
    it.owner, it.count = owner, count
    assert ledger.decode(value) == it
    head = ledger.head(value)
    assert (head.owner, head.nth, head.version) == (owner, count, it.version)
    assert (head.mapping_id.hex(), head.state) == (it.mapping_id, it.state)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.CONFIRMED, Situation.IN_SYNC),
        (State.QUARANTINED, Situation.QUARANTINED),
        (State.DROPPED, Situation.DROPPED),
        (State.PARKED, Situation.PARKED),
        (State.REJECTED, Situation.REJECTED),
        (State.IN_DOUBT, Situation.PENDING),
        (State.RETRYING, Situation.PENDING),
        (State.FORGOTTEN, Situation.PENDING),
    ],
)
def test_an_entry_of_this_version_says_where_the_user_stands(state: State, expected: Situation) -> None:
    """Only what the ledger settles is settled; doubt and retries stay pending."""
    assert where(snap(), entry(state)) is expected


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("change", [{"version": (1, 99)}, {"version": (0, 100)}, {"mapping": OLD}])
def test_any_other_version_or_mapping_makes_the_user_pending(state: State, change: dict[str, Any]) -> None:
    """A newer version leaves quarantine, the brake and a rejection; a new mapping looks at everybody again."""
    assert where(snap(), entry(state, **change)) is Situation.PENDING


@pytest.mark.parametrize("known", [None, entry(), entry(State.IN_DOUBT)])
@pytest.mark.parametrize("flags", [LIVE, GONE, Flag(0)])
def test_nothing_is_sent_for_a_user_who_is_set_aside(known: ledger.Head | None, flags: Flag) -> None:
    """M7: neither an update nor a delete, until the user was read again."""
    assert where(snap(flags | Flag.ASIDE), known) is Situation.SET_ASIDE


def test_credentials_alone_are_no_user() -> None:
    """M6: the user's row has never been seen, so there is nothing to be sent."""
    assert where(snap(Flag(0)), None) is Situation.CREDENTIALS_ONLY


@pytest.mark.parametrize(
    ("flags", "known", "expected"),
    [
        (GONE, None, Situation.PENDING),
        (GONE, entry(State.FORGOTTEN), Situation.PENDING),
        (GONE, entry(version=(1, 50)), Situation.PENDING),
        (GONE, entry(), Situation.IN_SYNC),
        (Flag.GONE, None, Situation.NOTHING_TO_DO),
        (Flag.GONE, entry(State.FORGOTTEN), Situation.NOTHING_TO_DO),
        (Flag.GONE, entry(version=(1, 50)), Situation.PENDING),
        (Flag.GONE, entry(State.IN_DOUBT), Situation.PENDING),
    ],
)
def test_a_deleted_user_is_owed_a_delete_unless_nobody_ever_saw_it_live(
    flags: Flag, known: ledger.Head | None, expected: Situation
) -> None:
    """C1: an upsert may have been applied just before a crash, and then nobody but this rule would delete the user."""
    assert where(snap(flags), known) is expected


def test_an_entry_ahead_of_its_snapshot_is_noticed() -> None:
    """O4: the ledger proves that the snapshot is stale; sent from it, an old state would win."""
    assert ledger.ahead(snap(version=(1, 99)), entry())
    assert ledger.ahead(None, entry())
    assert not ledger.ahead(snap(), entry())
    assert not ledger.ahead(None, entry(State.IN_DOUBT, version=(0, 0)))
