"""A record that is misread changes the wrong user, or stops the worker for everybody."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from fakes import SETTINGS, credential_row, envelope, user_row
from hypothesis import given
from hypothesis import strategies as st

from streams.rows import (
    CREDENTIALS,
    UNAVAILABLE,
    USERS,
    Answer,
    Epoch,
    ReadAgain,
    Removal,
    Resync,
    RowChange,
    RowReader,
    SetAside,
    UnreadableError,
    Word,
    after_commit,
    write_control,
)

READER = RowReader(SETTINGS.source)


def change(key: bytes, value: bytes) -> RowChange:
    read = READER.read(key, value)
    assert isinstance(read, RowChange)
    return read


def test_an_update_is_read_with_all_mapped_columns_and_its_place_in_the_stream() -> None:
    """The columns, the LSN and the transaction are what every later rule rests on."""
    read = change(b"42", envelope("u", "users", 900, user_row(42, email="a@b.c"), tx=7, after_commit=880))
    assert (read.table, read.pk, read.user_id, read.op) == (USERS, "42", "42", "u")
    assert (read.lsn, read.tx, read.after_commit, read.missing) == (900, 7, 880, ())
    assert read.row is not None and read.row["email"] == "a@b.c"
    assert set(read.row) == set(SETTINGS.source.users.columns)


def test_a_delete_carries_no_values() -> None:
    """M3: all but the identity of a delete record is made up by the decoder and must reach nobody."""
    made_up = user_row(42, email="", created_at="1970-01-01T00:00:00Z")
    assert change(b"42", envelope("d", "users", 901, made_up)).row is None


def test_a_delete_is_read_although_columns_are_absent() -> None:
    """M3: a delete that lacks columns is a delete all the same, and no reason to set the user aside."""
    read = change(b"42", envelope("d", "users", 901, {"id": 42}))
    assert (read.op, read.missing) == ("d", ())


def test_an_absent_column_is_named_and_is_not_null() -> None:
    """M7: a renamed column read as NULL would wipe the field of every user at cidaas."""
    row = user_row(42, email=None)
    del row["phone"]
    read = change(b"42", envelope("u", "users", 900, row))
    assert read.missing == ("phone",)
    assert read.row is not None and "phone" not in read.row and read.row["email"] is None


@pytest.mark.parametrize(
    "shape",
    [
        [UNAVAILABLE],
        list(UNAVAILABLE.encode()),
        "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==",
        ["X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="],
        f'{{"{UNAVAILABLE}":"{UNAVAILABLE}"}}',
        ["b68a35a7-17ad-35b3-af2a-ae46edb4545a"],
    ],
    ids=["text[]", "int4[]", "bytea", "bytea[]", "hstore", "uuid[]"],
)
def test_a_value_that_was_not_changed_is_known_in_all_its_shapes(shape: Any) -> None:
    """M4: a column that is no text has the placeholder in a shape of its own, which would be sent as a value."""
    read = change(b"42", envelope("u", "users", 900, user_row(42, phone=shape)))
    assert read.row is not None and read.row["phone"] == UNAVAILABLE and read.row["email"] == "user42@example.org"


@pytest.mark.parametrize("value", [[], ["a"], [UNAVAILABLE, "a"], [95, 95], "X19kZWJl", '{"a":"b"}'])
def test_what_only_looks_like_a_placeholder_is_a_value(value: Any) -> None:
    read = change(b"42", envelope("u", "users", 900, user_row(42, phone=value)))
    assert read.row is not None and read.row["phone"] == value


def test_a_moved_credential_names_its_former_user() -> None:
    """M5: without the former id the password stays with a user who does not have it any more."""
    moved = envelope("u", "credentials", 900, credential_row(7, 2), __before_user_id=1)
    read = change(b"2", moved)
    assert (read.table, read.pk, read.user_id, read.moved_from) == (CREDENTIALS, "7", "2", "1")


@pytest.mark.parametrize("before", [None, 2])
def test_a_credential_that_did_not_move_names_nobody(before: int | None) -> None:
    """A removal sent to the user itself would take its password away."""
    read = change(b"2", envelope("u", "credentials", 900, credential_row(7, 2), __before_user_id=before))
    assert read.moved_from is None


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (b"42", None, "no value"),
        (b"42", b"{", "not JSON"),
        (b"42", b"[1]", "not a JSON object"),
        (None, envelope("u", "users", 1, user_row(42)), "no key"),
        (b"", envelope("u", "users", 1, user_row(42)), "no key"),
        (b"\xff", envelope("u", "users", 1, user_row(42)), "not UTF-8"),
        (b"42", envelope("t", "users", 1, user_row(42)), "no operation"),
        (b"42", envelope("u", "orders", 1, user_row(42)), "pipeline.toml does not name"),
        (b"42", envelope("u", "users", 1, user_row(42) | {"id": None}), "the key of its row"),
        (b"42", envelope("u", "users", 1, user_row(43)), "not the user of its key"),
        (b"42", envelope("u", "credentials", 1, credential_row(7, 43)), "not the user of its key"),
        (b"42", b'{"__sync": "spell"}', "unknown kind"),
        (b"42", b'{"__sync": "removal", "table": "users"}', "lacks a field"),
        (b"42", b'{"__sync": "read_again", "number": null}', "lacks a field"),
    ],
)
def test_what_cannot_be_read_says_why(key: bytes | None, value: bytes | None, why: str) -> None:
    """M7: an unreadable record sets its user aside; anything else would lose the change or stop the worker."""
    with pytest.raises(UnreadableError, match=why):
        READER.read(key, value)


def test_no_value_of_a_user_stands_in_an_error() -> None:
    """The reason goes to the log and to `user`: neither may show an e-mail address."""
    with pytest.raises(UnreadableError) as caught:
        READER.read(b"42", envelope("u", "users", 1, user_row(43, email="secret@example.org")))
    assert "secret" not in str(caught.value) and "43" not in str(caught.value)


@pytest.mark.parametrize(
    "field",
    [
        {"__source_sequence": "no json"},
        {"__source_sequence": "[]"},
        {"__source_sequence": '["x","1"]'},
        {"__source_sequence": "7"},
        {"__source_lsn": "x"},
        {"__source_ts_us": "x"},
        {"__source_lsn": [1]},
        {"__source_table": ["users"]},
        {"__source_table": {}},
    ],
)
def test_a_damaged_source_field_sets_one_user_aside_and_does_not_stop_the_worker(field: dict[str, Any]) -> None:
    """M7: one odd record must not crash the worker at every start, for all users of its partition."""
    with pytest.raises(UnreadableError):
        READER.read(b"42", envelope("u", "users", 900, user_row(42))[:-1] + b"," + orjson.dumps(field)[1:])


@given(key=st.none() | st.binary(max_size=4), value=st.none() | st.binary(max_size=40))
def test_no_bytes_whatsoever_raise_anything_else(key: bytes | None, value: bytes | None) -> None:
    """M7: whatever stands in the topic, the join goes on."""
    with contextlib.suppress(UnreadableError):
        READER.read(key, value)


_ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "__op",
                "__source_table",
                "__source_lsn",
                "__source_txId",
                "__source_sequence",
                "__source_ts_us",
                "__before_user_id",
                "id",
                "user_id",
                "__sync",
                "number",
                "epoch",
                "topic",
                "table",
                "pk",
                "lsn",
                "applied",
                "reason",
                "who",
            ]
        ),
        _ODD | st.sampled_from(["c", "u", "d", "r", "users", "credentials", "42", "removal", "epoch", "read_again"]),
    )
)
def test_no_record_whatsoever_raises_anything_else(record: dict[str, Any]) -> None:
    """M7: fields of an unexpected type are unreadable, never a crash."""
    with contextlib.suppress(UnreadableError):
        READER.read(b"42", orjson.dumps(record))


@given(
    st.one_of(
        st.builds(
            Removal,
            st.sampled_from([USERS, CREDENTIALS]),
            st.text(),
            st.integers(1, 9),
            st.none() | st.integers(0, 1 << 62),
            st.none() | st.tuples(st.integers(0, 9), st.integers(0, 1 << 62)),
        ),
        st.builds(
            ReadAgain,
            st.integers(0, 1 << 62),
            st.tuples(st.integers(0, 9), st.integers(0, 1 << 62)),
            st.none() | st.dictionaries(st.text(), st.text()),
            st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers(0, 9))),
        ),
        st.builds(SetAside, st.text()),
        st.builds(Resync, st.text(), st.text()),
        st.builds(Answer, st.sampled_from(Word), st.text(), st.tuples(st.integers(0, 9), st.integers(0, 1 << 62))),
        st.builds(Epoch, st.integers(0, 1 << 31), st.text()),
    )
)
def test_a_control_record_is_read_as_it_was_written(control: Any) -> None:
    """A removal or a read-again that changes on the way does the wrong thing to a user."""
    assert READER.read(b"42", write_control(control)) == control


def test_the_commit_before_a_transaction_is_read_from_the_sequence() -> None:
    """C7: it tells two rows of one transaction from two transactions; the first one of all has none before it."""
    assert after_commit('["880","900"]') == 880
    assert after_commit('[null,"900"]') is None
    assert after_commit(None) is None
