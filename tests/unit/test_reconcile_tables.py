"""Both changelogs, read by what counts in them (O3), and kept small."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fakes import LEDGER, MAPPING, SETTINGS, SNAPSHOTS, Record, credential_row, user_row
from reconciling import KEY, catalog

from streams.ledger import Entry, State
from streams.reconcile.cases import Case, standing
from streams.reconcile.marks import Marker
from streams.reconcile.tables import Desired, Noted, Tables
from streams.reconcile.traits import Traits
from streams.snapshots import NEVER, Row, Snapshot
from streams.state import TableKind, records

if TYPE_CHECKING:
    from streams.snapshots import Position

MS = 1_800_000_000_000


def tables(*, traits: bool = False) -> Tables:
    made = Tables(SETTINGS)
    made.begin(Marker(SETTINGS, catalog(), KEY), Traits(SETTINGS) if traits else None, lambda _: True)
    return made


def snap(applied: int, version: int, **row: Any) -> Snapshot:
    return Snapshot((1, applied), (1, version), Row(1, 10, user_row(1, **row)), seen_live=True)


def record(topic: str, key: bytes, value: bytes, offset: int = 0) -> Record:
    return Record(topic, 3, offset, MS, key, value)


def snaps(made: Tables, *values: bytes, key: bytes = b"1") -> None:
    made.take(TableKind.SNAPSHOTS, [record(SNAPSHOTS, key, value) for value in values])  # type: ignore[misc]


def entries(made: Tables, *values: bytes, key: bytes = b"1") -> None:
    made.take(TableKind.LEDGER, [record(LEDGER, key, value) for value in values])  # type: ignore[misc]


def confirmed(version: Position = (1, 5), **more: Any) -> Entry:
    return Entry(version=version, mapping_id=MAPPING, state=State.CONFIRMED, **more)


def case_of(made: Tables) -> Case | None:
    return standing(made.desired(b"1"), made.noted(b"1"), bytes.fromhex(MAPPING), leaves=False)


def test_of_two_records_the_higher_ranked_one_counts_not_the_later_one() -> None:
    """Also across readings; and a late writer, whose owner's number is lower, changes nothing."""
    made = tables()
    snaps(made, snap(7, 7, given_name="neu").encode(9), snap(5, 5).encode(9))
    snaps(made, snap(6, 6).encode(9), snap(7, 7, given_name="spät").encode(8))
    desired = made.desired(b"1")
    assert desired is not None and (desired.version, desired.applied) == ((1, 7), (1, 7))
    assert desired.mark == Marker(SETTINGS, catalog(), KEY).of(user_row(1, given_name="neu"), {})
    entries(made, confirmed().encode(9, 2), Entry(state=State.FORGOTTEN).encode(9, 1))
    entries(made, Entry(state=State.FORGOTTEN).encode(8, 99))
    noted = made.noted(b"1")
    assert noted is not None and noted.state == State.CONFIRMED


def test_what_is_kept_is_what_was_packed() -> None:
    desired = Desired(bytes(20), (1, 5), 9, "not_selected", 1.5, (1 << 129) - 1, b"traits")
    noted = Noted(bytes(16), (1, 5), bytes(8), 4, True, False, 2.5)
    assert (Desired.unpack(desired.pack()), Noted.unpack(noted.pack())) == (desired, noted)


def test_of_a_user_some_hundred_bytes_are_kept_and_no_value() -> None:
    made = tables(traits=True)
    large = snap(5, 5, given_name="Ada", street_address="x" * 5_000)
    large.credentials["7"] = Row(1, 10, credential_row(7, 1, secret="geheim" * 100))
    snaps(made, large.encode(1))
    entries(made, confirmed().encode(1, 1))
    kept = [made._desired[b"1"], made._noted[b"1"]]
    assert sum(map(sys.getsizeof, kept)) < 400
    assert not any(word in value for value in kept for word in (b"Ada", b"geheim", b"example"))


def test_reserved_records_are_no_users_and_tell_the_epoch_and_the_owner() -> None:
    made = tables()
    epochs = [
        records.pack(5, {"epochs": [[0, 1], [90, 3]], "topic": "t"}),
        records.pack(4, {"epochs": [[0, 1]], "topic": "t"}),  # a late writer's
    ]
    snaps(made, *epochs, key=records.EPOCHS)
    entries(made, records.pack(0, {"mapping": MAPPING}), key=records.OWNER)
    assert list(made.users()) == []
    assert made._epochs == {3: (5, 3)} and list(made._taken) == [3]
    assert {made.epoch(b"%d" % number) for number in range(100)} == {1, 3}


def test_where_a_user_stands_by_its_headers() -> None:
    made = tables()
    snaps(made, snap(5, 5).encode(1))
    assert case_of(made) is Case.PENDING
    entries(made, confirmed().encode(1, 1))
    assert case_of(made) is Case.CONFIRMED
    entries(made, confirmed(process_state="NOT_SELECTED").encode(1, 2))
    assert case_of(made) is Case.NOT_SELECTED
    entries(made, confirmed(deleted=True).encode(1, 3))
    assert case_of(made) is Case.MISSING, "the entry does not fit its own version"
    snaps(made, Snapshot((1, 6), (1, 5), Row(1, 10, None), seen_live=True).encode(1))
    assert case_of(made) is Case.DELETED
    entries(made, confirmed().encode(1, 4))
    assert case_of(made) is Case.NOT_DELETED
    entries(made, confirmed((1, 7)).encode(1, 5))
    assert case_of(made) is Case.STALE, "O4: the ledger is ahead of the snapshot"
    entries(made, Entry(version=(1, 7), state=State.FORGOTTEN).encode(1, 6))
    assert case_of(made) is Case.PENDING
    snaps(made, Snapshot((1, 9), (1, 9), Row(1, 10, user_row(1)), aside=(9, "why")).encode(1))
    assert case_of(made) is Case.SET_ASIDE


def test_who_was_never_live_and_whom_nobody_knows() -> None:
    made = tables()
    assert case_of(made) is None
    entries(made, Entry(version=NEVER, state=State.IN_DOUBT).encode(1, 1))
    assert case_of(made) is None, "somebody ordered it of an id that nobody knows"
    entries(made, Entry(state=State.FORGOTTEN).encode(1, 2))
    snaps(made, Snapshot((1, 5), (1, 5), Row(1, 10, user_row(1, status="deleted"))).encode(1))
    assert case_of(made) is Case.NEVER_LIVE
    snaps(made, Snapshot((1, 6), (1, 6), Row(1, 10, user_row(1, status="deleted")), seen_live=True).encode(1))
    assert case_of(made) is Case.PENDING, "its delete is owed (C1)"
