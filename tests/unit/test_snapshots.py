"""A snapshot that is merged wrongly is a wrong password or a lost user; a version too many is a call too many."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from fakes import SETTINGS, credential_change, credential_row, user_row, users_change
from hypothesis import given
from hypothesis import strategies as st

from streams.mapping import status_of
from streams.rows import CREDENTIALS, UNAVAILABLE, USERS, ReadAgain, Removal, RowChange
from streams.snapshots import Flag, Merge, Merger, Snapshot, decode, head

LIVE = user_row(1)
SECRET = credential_row(7, 1)
MERGER = Merger(SETTINGS.source.users.lazy, lambda row: status_of(row, SETTINGS) == "live")


class User:
    """One user's snapshot, with a log of the records that were read into it."""

    def __init__(self) -> None:
        self.snap = Snapshot()
        self.offset = 0
        self.epoch = 1

    def read(self, record: Any, at: int | None = None) -> Merge:
        """Merge one record as the join does, at the next offset."""
        self.offset = at if at is not None else self.offset + 1
        where = (1, self.offset)
        if where <= self.snap.applied:
            return Merge.NOTHING
        if isinstance(record, RowChange):
            return MERGER.change(self.snap, record, where, self.epoch)
        if isinstance(record, Removal):
            return MERGER.removal(self.snap, record, where)
        if isinstance(record, ReadAgain):
            return MERGER.read_again(self.snap, record, where, self.epoch)
        return MERGER.set_aside(self.snap, record, where)

    @property
    def row(self) -> dict[str, Any] | None:
        return self.snap.user.values if self.snap.user is not None else None

    def values(self) -> Any:
        """What the mapping would see."""
        return self.row, self.snap.live_credentials(), self.snap.aside is not None


def user(*records: Any) -> User:
    it = User()
    for record in records:
        it.read(record)
    return it


# -- versions -------------------------------------------------------------------------------------------------------


def test_a_log_in_is_not_a_call() -> None:
    """Lazy fields alone make no version, but they are kept for the next real change."""
    it = user(users_change("c", 10, LIVE))
    version = it.snap.version
    assert it.read(users_change("u", 20, LIVE | {"last_login_at": "2026-01-01T00:00:00Z"})) is Merge.APPLIED
    assert it.snap.version == version and it.snap.applied == (1, 2)
    assert (
        it.read(users_change("u", 30, LIVE | {"last_login_at": "2026-01-02T00:00:00Z", "city": "Ulm"})) is Merge.VERSION
    )
    assert it.row is not None and it.row["last_login_at"] == "2026-01-02T00:00:00Z"


def test_a_lazy_change_and_a_real_change_in_one_batch_are_two_judgements() -> None:
    """Versions are judged record by record: A to B and back to A is a new version although the end looks the same."""
    it = user(users_change("c", 10, LIVE))
    it.read(users_change("u", 20, LIVE | {"city": "Ulm"}))
    assert it.read(users_change("u", 30, LIVE)) is Merge.VERSION


def test_a_repeated_initial_snapshot_costs_no_call() -> None:
    """An unchanged row makes no version, so a second snapshot of 500,000 users sends nothing."""
    it = user(credential_change("r", 5, SECRET), users_change("r", 5, LIVE))
    version = it.snap.version
    assert it.read(credential_change("r", 50, SECRET)) is not Merge.VERSION
    assert it.read(users_change("r", 50, LIVE)) is Merge.APPLIED
    assert it.snap.version == version


@pytest.mark.parametrize("op", ["c", "r"])
def test_an_insert_or_a_snapshot_read_keeps_a_sweeps_removal_void(op: str) -> None:
    """D1: the row was there a moment ago; a removal that was decided before that would delete a living user."""
    it = user(users_change("c", 10, LIVE))
    decided = Removal(USERS, "1", 1, None, it.snap.applied)
    it.read(users_change(op, 10, LIVE))
    assert it.read(decided) is Merge.NOTHING
    assert it.row is not None


# -- M1 ---------------------------------------------------------------------------------------------------------------


def test_a_snapshot_read_overwrites_and_keeps_the_lsn() -> None:
    """M1: it shows a later state of the row, but the changes that are still on their way are not stale by it."""
    it = user(users_change("u", 100, LIVE))
    it.read(users_change("r", 500, LIVE | {"city": "Ulm"}))
    assert it.row is not None and it.row["city"] == "Ulm"
    assert it.snap.user is not None and it.snap.user.lsn == 100
    it.read(users_change("u", 400, LIVE | {"city": "Bonn"}))
    assert it.row is not None and it.row["city"] == "Bonn"


def test_what_connect_sends_again_changes_nothing() -> None:
    """M1: after its restart Connect repeats old changes; the old password must not come back for a moment."""
    it = user(users_change("c", 10, LIVE), credential_change("c", 20, SECRET))
    it.read(credential_change("u", 30, SECRET | {"secret": "$2b$new"}))
    before = it.values(), it.snap.version
    for again in (users_change("c", 10, LIVE), credential_change("c", 20, SECRET)):
        assert it.read(again) is not Merge.VERSION
    assert (it.values(), it.snap.version) == before


def test_a_repeated_insert_does_not_make_an_open_transaction_look_complete() -> None:
    """C7: the repeated insert is of an old transaction; taken for the last change, it would let a user leave between
    the two rows of a password change, without any password."""
    it = user(users_change("c", 10, LIVE), credential_change("c", 20, SECRET))
    it.read(credential_change("d", 200, None, after_commit=150))
    assert it.read(users_change("c", 10, LIVE)) is Merge.APPLIED
    assert (it.snap.after_commit, it.snap.lsn, it.snap.streamed) == (150, 200, True)


# -- M2 ---------------------------------------------------------------------------------------------------------------


def test_a_late_older_update_never_brings_a_deleted_user_back() -> None:
    """M2: somebody who was deleted must not get an account again because Connect repeats itself."""
    it = user(users_change("c", 10, LIVE), users_change("u", 20, LIVE), users_change("d", 30, None))
    for late in (users_change("c", 10, LIVE), users_change("u", 20, LIVE)):
        it.read(late)
        assert it.row is None and it.snap.flags & Flag.GONE


def test_a_late_older_update_never_brings_a_deleted_credential_back() -> None:
    """M2: an old password must not work again."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET), credential_change("d", 30, None))
    it.read(credential_change("u", 20, SECRET))
    assert it.snap.live_credentials() == {}


def test_a_credential_that_was_never_seen_leaves_a_marker_too() -> None:
    """M2: the delete may come before the older update, which then has nothing to be compared with."""
    it = user(users_change("c", 5, LIVE), credential_change("d", 30, None))
    it.read(credential_change("u", 20, SECRET))
    assert it.snap.live_credentials() == {}


def test_deleting_a_user_drops_its_credentials() -> None:
    """M2: a user who signs up again under the same id must not inherit the password of the one before."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET), users_change("d", 30, None))
    it.read(credential_change("u", 20, SECRET))
    it.read(users_change("c", 40, LIVE))
    assert it.snap.live_credentials() == {}


def test_after_a_delete_only_ids_and_markers_are_kept() -> None:
    """A deleted user's data must not stay in Kafka and on disk."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET), users_change("d", 30, None))
    assert b"example.org" not in it.snap.encode(1) and b"2b$04" not in it.snap.encode(1)


def test_a_user_who_signs_up_again_is_there() -> None:
    """A newer insert wins over the marker, or a returning customer could never log in."""
    it = user(users_change("c", 5, LIVE), users_change("d", 30, None), users_change("c", 40, LIVE))
    assert it.row == LIVE and it.snap.flags & Flag.ROW and not it.snap.flags & Flag.GONE


@pytest.mark.parametrize("times", [1, 2])
def test_a_row_that_is_replaced_leaves_nobody_without_the_password_that_is_still_there(times: int) -> None:
    """M2: without a foreign key, DELETE and INSERT of the user leave the credential rows, and nobody tells of them."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET))
    for lsn in range(20, 20 + 20 * times, 20):
        it.read(users_change("d", lsn, None))
        it.read(users_change("c", lsn + 10, LIVE | {"city": "Ulm"}))
    assert it.snap.aside is not None
    it.read(ReadAgain(it.snap.aside[0], it.snap.applied, LIVE, {"7": SECRET}))
    assert it.values() == (LIVE, {"7": SECRET}, False)
    for again in (users_change("d", 20, None), users_change("c", 30, LIVE | {"city": "Ulm"})):
        assert it.read(again) is not Merge.VERSION, "what Connect repeats sets nobody aside again"


@pytest.mark.parametrize("cascade", [True, False], ids=["ON DELETE CASCADE", "deleted before the user"])
def test_a_new_sign_up_under_an_id_that_was_in_use_needs_no_reading(cascade: bool) -> None:
    """M2: the credential's own delete has come, on whichever side of the user's."""
    gone = [users_change("d", 20, None), credential_change("d", 21 if cascade else 19, None)]
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET), *(gone if cascade else reversed(gone)))
    it.read(users_change("c", 40, LIVE))
    assert it.values() == (LIVE, {}, False)


# -- M4 ---------------------------------------------------------------------------------------------------------------


def test_a_placeholder_means_unchanged() -> None:
    """M4: a large hash that was not touched is not in the record; the known one stays."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET))
    it.read(credential_change("u", 20, SECRET | {"secret": UNAVAILABLE, "kind": "password"}))
    assert it.snap.live_credentials() == {"7": SECRET} and it.snap.aside is None


def test_a_placeholder_that_nobody_can_resolve_sets_the_user_aside() -> None:
    """M4: a moved credential arrives without its hash; sent like that the user could not log in."""
    it = user(users_change("c", 5, LIVE))
    it.read(credential_change("u", 20, SECRET | {"secret": UNAVAILABLE}, moved_from="2"))
    assert it.snap.flags & Flag.ASIDE
    assert "secret" not in it.snap.live_credentials()["7"]


def test_a_placeholder_after_a_delete_is_not_the_old_value() -> None:
    """M4: the marker has no value to fall back on; another row's hash must not be invented."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 10, SECRET), credential_change("d", 20, None))
    it.read(credential_change("u", 30, SECRET | {"secret": UNAVAILABLE}))
    assert it.snap.aside is not None


# -- M7 ---------------------------------------------------------------------------------------------------------------


def test_a_missing_column_sets_aside_and_does_not_become_null() -> None:
    """M7: after a column was renamed nothing of it may be wiped at cidaas."""
    row = {name: value for name, value in LIVE.items() if name != "phone"}
    it = user(users_change("c", 5, LIVE), users_change("u", 10, row, missing=("phone",)))
    assert it.snap.flags & Flag.ASIDE and "phone" not in (it.row or {})
    assert it.snap.aside is not None and "phone" in it.snap.aside[1]


def test_only_a_read_again_of_the_newest_cause_clears_the_mark() -> None:
    """M7: what happened after the reading is not covered by it."""
    it = user(users_change("c", 5, LIVE), "first cause", "second cause")
    assert it.snap.aside is not None
    second = it.snap.aside[0]
    applied, version = it.snap.applied, it.snap.version
    assert it.read(ReadAgain(second - 1, applied, LIVE, {})) is Merge.NOTHING and it.snap.aside is not None
    assert it.read(ReadAgain(second, applied, LIVE | {"city": "Bonn"}, {})) is Merge.VERSION
    assert it.snap.aside is None and it.snap.version > version and (it.row or {})["city"] == "Bonn"


def test_a_reading_that_may_be_older_than_what_was_joined_since_is_void() -> None:
    """M7: it would put an old state over a newer change, for good."""
    it = user(users_change("c", 5, LIVE), "a cause")
    asked = it.snap.applied
    it.read(users_change("u", 10, LIVE | {"city": "Ulm"}))
    assert it.snap.aside is not None
    assert it.read(ReadAgain(it.snap.aside[0], asked, LIVE, {})) is Merge.NOTHING
    assert it.snap.aside is not None and (it.row or {})["city"] == "Ulm"


def test_what_a_reading_does_not_find_is_gone_and_what_it_finds_is_there() -> None:
    """M7: all rows of the user are taken as of one moment; a repeated older change brings none of them back (M2)."""
    it = user(users_change("c", 5, LIVE), "a cause")
    assert it.snap.aside is not None
    it.read(ReadAgain(it.snap.aside[0], it.snap.applied, None, {}))
    assert it.row is None and it.snap.flags & Flag.GONE
    it.read(users_change("c", 5, LIVE))
    assert it.row is None


def test_a_later_good_record_does_not_clear_the_mark() -> None:
    """M7: the record that was lost may have been of another row."""
    it = user(users_change("c", 5, LIVE), "unreadable record", users_change("u", 10, LIVE | {"city": "Ulm"}))
    assert it.snap.aside is not None


def test_a_repeated_delete_does_not_clear_what_a_later_unreadable_record_marked() -> None:
    """M7: the unreadable record may be the new sign-up of this very user; forgotten, the user would be lost."""
    it = user(users_change("c", 5, LIVE), users_change("d", 10, None), "an unreadable record")
    it.read(users_change("d", 10, None))
    assert it.snap.aside is not None


def test_a_delete_needs_no_second_reading() -> None:
    """A user whose row is deleted has nothing left to be read, and must be deleted at cidaas."""
    it = user(users_change("c", 5, LIVE), "an unreadable record", users_change("d", 10, None))
    assert it.snap.aside is None and it.snap.flags & Flag.GONE


# -- M8, M9 -----------------------------------------------------------------------------------------------------------


def test_lsns_that_begin_again_are_not_stale() -> None:
    """M8: after a restore all LSNs are lower; without epochs every change would be ignored from then on."""
    it = user(users_change("c", 9_000, LIVE))
    it.epoch = 2
    assert it.read(users_change("u", 10, LIVE | {"city": "Ulm"})) is Merge.VERSION
    assert it.snap.user is not None and (it.snap.user.epoch, it.snap.user.lsn) == (2, 10)


def test_a_snapshot_read_in_a_new_epoch_lets_all_its_lsns_in() -> None:
    """M8: the repair reads every row again before streaming goes on with low LSNs."""
    it = user(users_change("c", 9_000, LIVE))
    it.epoch = 2
    it.read(users_change("r", 50, LIVE))
    assert it.read(users_change("u", 10, LIVE | {"city": "Ulm"})) is Merge.VERSION


def test_a_reading_in_a_new_epoch_ends_the_wait_for_a_later_transaction() -> None:
    """C7, M8: no heartbeat of a restored database reaches the LSN that the user waited for."""
    it = user(users_change("c", 9_000, LIVE))
    it.read(users_change("r", 9_500, LIVE))
    assert it.snap.streamed, "in the same epoch an open transaction may go on"
    it.epoch = 2
    it.read(users_change("r", 50, LIVE))
    assert not it.snap.streamed


def test_a_move_of_an_old_epoch_that_is_joined_late_makes_nobody_wait_for_its_lsn() -> None:
    """C7, M8: the move was joined after the tables were read again; nothing in the new database reaches its LSN."""
    it = user(users_change("c", 9_000, LIVE), credential_change("c", 9_010, SECRET))
    it.epoch = 2
    it.read(users_change("r", 50, LIVE))
    assert it.read(Removal(CREDENTIALS, "7", 1, 9_500, None, 9_490)) is Merge.VERSION
    assert not it.snap.live_credentials() and not it.snap.streamed


def test_a_removal_of_an_old_epoch_is_void() -> None:
    """M8: epochs are compared before LSNs, or a move of before the restore takes the password away."""
    it = user(users_change("c", 9_000, LIVE))
    it.epoch = 2
    it.read(credential_change("c", 10, SECRET))
    assert it.read(Removal(CREDENTIALS, "7", 1, 9_500, None)) is Merge.NOTHING
    assert it.snap.live_credentials() == {"7": SECRET}


def test_a_removal_of_an_older_move_is_void_and_of_a_newer_one_applies() -> None:
    """M5: A to B to A; the removal of the first move arrives at any time and must not take the credential away."""
    it = user(users_change("c", 5, LIVE), credential_change("u", 120, SECRET, moved_from="2"))
    assert it.read(Removal(CREDENTIALS, "7", 1, 100, None)) is Merge.NOTHING
    assert it.read(Removal(CREDENTIALS, "7", 1, 130, None)) is Merge.VERSION
    assert it.snap.live_credentials() == {}


def test_a_removed_credential_does_not_return_with_a_repeated_change() -> None:
    """M2, M5: what Connect repeats of before the move belongs to the other user now."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 50, SECRET))
    it.read(Removal(CREDENTIALS, "7", 1, 100, None))
    it.read(credential_change("c", 50, SECRET))
    assert it.snap.live_credentials() == {}


@pytest.mark.parametrize("table", [USERS, CREDENTIALS])
def test_a_swept_row_does_not_return_with_a_repeated_change(table: str) -> None:
    """M2, M9: the sweep proved that the row is gone; the last change of it, sent again by Connect, proves nothing."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 50, SECRET))
    assert it.read(Removal(table, "1" if table == USERS else "7", 1, None, it.snap.applied)) is Merge.VERSION
    it.read(users_change("c", 5, LIVE) if table == USERS else credential_change("c", 50, SECRET))
    assert (it.row is None) if table == USERS else it.snap.live_credentials() == {}


def test_a_sweep_finds_a_credential_gone() -> None:
    """M9: only the row that was looked up goes; the user stays."""
    it = user(users_change("c", 5, LIVE), credential_change("c", 50, SECRET))
    it.read(Removal(CREDENTIALS, "7", 1, None, it.snap.applied))
    assert it.row == LIVE and it.snap.live_credentials() == {}


def test_a_new_change_after_a_sweep_counts() -> None:
    """A row that is inserted again after a sweep removed it is there again."""
    it = user(users_change("c", 5, LIVE))
    it.read(Removal(USERS, "1", 1, None, it.snap.applied))
    it.read(users_change("c", 500, LIVE))
    assert it.row == LIVE


def test_soft_deleted_users_that_were_never_live_are_known_as_such() -> None:
    """C1: cidaas never heard of them, so no delete is owed."""
    it = user(users_change("r", None, LIVE | {"status": "deleted"}))
    assert not it.snap.flags & Flag.SEEN_LIVE
    it.read(users_change("u", 10, LIVE))
    assert it.snap.flags & Flag.SEEN_LIVE
    it.read(users_change("d", 20, None))
    assert it.snap.flags & Flag.SEEN_LIVE, "the mark is what makes the delete owed"


# -- any records ------------------------------------------------------------------------------------------------------

#: Names of credential rows: two keys, and one of them in another table.
_NAMES = ["7", "8", "public.old_logins\x007"]
_SECRETS = st.sampled_from(["$a", "$b", UNAVAILABLE])
_LSN = st.integers(1, 12)


def _credential(name: str, secret: str) -> dict[str, Any]:
    return credential_row(int(name.rpartition("\0")[2]), 1, secret=secret)


_RECORDS = st.one_of(
    st.builds(
        lambda op, lsn, city, login, missing: users_change(
            op, lsn, user_row(1, city=city, last_login_at=login), missing=missing if op != "d" else ()
        ),
        st.sampled_from("cuudr"),
        _LSN,
        st.sampled_from(["Ulm", "Bonn"]),
        st.sampled_from([None, "x"]),
        st.sampled_from([(), (), (), ("phone",)]),
    ),
    st.builds(
        lambda op, lsn, secret, pk: credential_change(op, lsn, _credential(pk, secret), pk),
        st.sampled_from("cuudr"),
        _LSN,
        _SECRETS,
        st.sampled_from(_NAMES),
    ),
    st.builds(Removal, st.just(CREDENTIALS), st.sampled_from(_NAMES), st.just(1), _LSN, st.none()),
    st.builds(
        Removal,
        st.sampled_from([USERS, CREDENTIALS]),
        st.sampled_from(["1", *_NAMES]),
        st.just(1),
        st.none(),
        st.tuples(st.just(1), st.integers(0, 20)),
    ),
    st.integers(0, 25),  # read again
    st.sampled_from(["a cause"]),  # set aside
)


@given(st.lists(_RECORDS, max_size=20))
def test_a_record_that_writes_nothing_changes_nothing(records: list[Any]) -> None:
    """What is changed but not written differs from worker to worker, and from batch to batch."""
    it = User()
    for record in records:
        before = copy.deepcopy(it.snap)
        result = it.read(copy.deepcopy(record))
        if result is Merge.NOTHING:
            assert it.snap == before
        assert it.snap.applied == ((1, it.offset) if result is not Merge.NOTHING else before.applied)
        assert it.snap.version == ((1, it.offset) if result is Merge.VERSION else before.version)


@given(st.lists(_RECORDS, max_size=20), st.data())
def test_reading_again_from_any_offset_changes_nothing(records: list[Any], data: st.DataObject) -> None:
    """After a crash the records since the last commit are read again: same values, same version, no call."""
    once = user(*copy.deepcopy(records))
    again = User()
    end = data.draw(st.integers(0, len(records)), "read until")
    for at, record in enumerate(records[:end], 1):
        again.read(copy.deepcopy(record), at)
    again.snap = decode(again.snap.encode(1))
    start = data.draw(st.integers(0, end), "then again from")
    for at, record in enumerate(records[start:], start + 1):
        again.read(copy.deepcopy(record), at)
    assert again.snap == once.snap


@given(st.lists(_RECORDS, max_size=20))
def test_a_snapshot_is_decoded_as_it_was_encoded_and_its_header_says_the_same(records: list[Any]) -> None:
    """Scans believe the header alone: it must never tell another story than the body."""
    snap = user(*copy.deepcopy(records)).snap
    value = snap.encode(77)
    assert decode(value) == snap
    top = head(value)
    assert (top.owner, top.applied, top.version, top.flags) == (77, snap.applied, snap.version, snap.flags)
    assert bool(top.flags & Flag.ROW) == (snap.user is not None and snap.user.values is not None)
    assert bool(top.flags & Flag.GONE) == (snap.user is not None and snap.user.values is None)
    assert bool(top.flags & Flag.ASIDE) == (snap.aside is not None)


@given(st.lists(_RECORDS, max_size=20))
def test_a_placeholder_never_stands_in_a_snapshot(records: list[Any]) -> None:
    """M4: it would be sent as somebody's password hash."""
    assert UNAVAILABLE.encode() not in user(*copy.deepcopy(records)).snap.encode(1)


# -- one history, many ways to arrive -----------------------------------------------------------------------------


@st.composite
def _histories(draw: st.DrawFn) -> list[RowChange]:
    """Changes of one user's rows in the order of their LSNs: what PostgreSQL really writes."""
    changes: list[RowChange] = []
    there: set[str] = set()
    for lsn in range(10, 10 + 10 * draw(st.integers(1, 10)), 10):
        pk = draw(st.sampled_from(["1", *_NAMES]))
        op = draw(st.sampled_from("uud")) if pk in there else "c"
        (there.discard if op == "d" else there.add)(pk)
        text = draw(st.sampled_from(["a", "b", "c"]))
        if pk == "1":
            changes.append(users_change("u" if op == "d" else op, lsn, user_row(1, city=text)))
            there.add("1")
        else:
            changes.append(credential_change(op, lsn, _credential(pk, text), pk))
    return changes


@given(_histories(), st.data())
def test_the_order_between_rows_does_not_matter(history: list[RowChange], data: st.DataObject) -> None:
    """Rows of a user may come in any order between each other (tables one after the other, a move): same values."""
    queues = {pk: [change for change in history if change.pk == pk] for pk in ("1", *_NAMES)}
    mixed = User()
    while any(queues.values()):
        pk = data.draw(st.sampled_from([pk for pk, queue in queues.items() if queue]))
        mixed.read(queues[pk].pop(0))
    assert mixed.values() == user(*history).values()


@given(_histories(), st.data())
def test_whatever_connect_repeats_changes_nothing(history: list[RowChange], data: st.DataObject) -> None:
    """M1: Connect goes back to an older position, again and again; no repeated record makes a version."""
    plain, repeated = User(), User()
    for number, change in enumerate(history):
        plain.read(change)
        repeated.read(change)
        for again in history[data.draw(st.integers(0, number + 1)) : number + 1]:
            before = repeated.values()
            assert repeated.read(again) is not Merge.VERSION
            assert repeated.values() == before
        assert repeated.values() == plain.values()
        rows = [(row.epoch, row.lsn) for row in repeated.snap.credentials.values()]
        assert rows == [(row.epoch, row.lsn) for row in plain.snap.credentials.values()]


@given(_histories(), st.data())
def test_a_snapshot_read_in_the_middle_ends_right(history: list[RowChange], data: st.DataObject) -> None:
    """M1: a user is read again while changes are on their way; at the end the newest state stands."""
    it = User()
    cut = data.draw(st.integers(0, len(history)))
    ahead = data.draw(st.integers(cut, len(history)))
    for change in history[:cut]:
        it.read(change)
    state: dict[str, RowChange] = {}
    for change in history[:ahead]:
        state[change.pk] = change
    for change in state.values():
        if change.op != "d":
            it.read(change._replace(op="r"))
    for change in history[cut:]:
        it.read(change)
    assert it.values() == user(*history).values()
