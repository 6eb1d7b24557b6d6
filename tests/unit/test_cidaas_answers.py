"""A bulk answer is believed per user (C3): every shape of facts/cidaas-api.md §1.4, and anything else."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cidaas import ANONYMOUS, Outcome, OutcomeKind, Reason, UnreadableAnswer, read_bulk

DONE, FAILED, UNCLEAR = OutcomeKind.DONE, OutcomeKind.FAILED, OutcomeKind.UNCLEAR
SUBS = [f"0b9f6c1e-7a52-5f0e-9a31-5d3c7e1f2a4{n}" for n in range(6)]
FOREIGN = "99999999-7a52-5f0e-9a31-5d3c7e1f2a44"


def user(n: int, **more: Any) -> dict[str, Any]:
    return {"sub": SUBS[n], "email": f"user{n}@example.org", "username": f"u-{n}", **more}


def item(n: int, state: str = "UPDATED", /, **more: Any) -> dict[str, Any]:
    failed = state == "FAILED"
    return {
        "identifier": {"email": f"user{n}@example.org", "provider": "self"},
        "sub": ANONYMOUS if failed else SUBS[n],
        "process_state": state,
        **({"message": "invalid email passed"} if failed else {}),
        **more,
    }


def read(items: list[Any], *users: dict[str, Any]) -> list[Outcome]:
    return read_bulk(orjson.dumps({"process_states": items}), users)


def kinds(outcomes: list[Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for outcome in outcomes]


def test_the_documented_shape() -> None:
    created, failed = read([item(0, "CREATED"), item(1, "FAILED")], user(0), user(1))
    assert created == Outcome(DONE, "CREATED", SUBS[0])
    assert failed == Outcome(FAILED, "FAILED", "", "invalid email passed", Reason.INVALID_EMAIL)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda items: {"process_states": items},
        lambda items: {"processStates": items},
        lambda items: {"success": True, "status": 200, "data": {"process_states": items}},
        lambda items: {"success": True, "data": items},
        lambda items: {"data": {"states": items}},
        lambda items: items,
    ],
)
@pytest.mark.parametrize("key", ["process_state", "processState", "state", "status"])
def test_wrappers_and_keys_of_the_state(wrap: Any, key: str) -> None:
    items = [{"sub": SUBS[0], key: "updated"}, {"sub": ANONYMOUS, "identifier": "USER1@example.org", key: "FAILED"}]
    outcomes = read_bulk(orjson.dumps(wrap(items)), [user(0), user(1)])
    assert kinds(outcomes) == [DONE, FAILED]


def test_a_number_beside_the_state_is_not_the_state() -> None:
    assert kinds(read([item(0, status=200, state="UPDATED", process_state=7)], user(0))) == [DONE]


def test_two_states_that_disagree_are_none() -> None:
    (outcome,) = read([item(0, "UPDATED", state="FAILED")], user(0))
    assert (outcome.kind, outcome.reason) == (UNCLEAR, Reason.UNREADABLE)


@given(st.permutations([item(0), item(1, "FAILED"), item(2, "CREATED"), item(3, "FAILED"), item(4)]))
def test_order_does_not_matter(items: list[Any]) -> None:
    outcomes = read(items, *map(user, range(5)))
    assert kinds(outcomes) == [DONE, FAILED, DONE, FAILED, DONE]


def test_a_missing_user_is_unmatched() -> None:
    outcomes = read([item(0), item(2)], user(0), user(1), user(2))
    assert kinds(outcomes) == [DONE, UNCLEAR, DONE]
    assert outcomes[1].reason is Reason.UNMATCHED


def test_an_unknown_user_confirms_nobody() -> None:
    stranger = {"sub": FOREIGN, "identifier": {"email": "who@example.org"}, "process_state": "UPDATED"}
    assert kinds(read([item(0), stranger], user(0), user(1))) == [DONE, UNCLEAR]


def test_all_anonymous_failures_are_told_apart_by_their_identifiers() -> None:
    outcomes = read([item(2, "FAILED"), item(0, "FAILED", message="boom"), item(1, "FAILED")], *map(user, range(3)))
    assert [outcome.reason for outcome in outcomes] == [Reason.UNKNOWN, Reason.INVALID_EMAIL, Reason.INVALID_EMAIL]
    assert all(outcome.sub_seen == "" for outcome in outcomes)


def test_stored_but_anonymous_is_no_confirmation() -> None:
    (outcome,) = read([item(0, sub=ANONYMOUS)], user(0))
    assert (outcome.kind, outcome.reason, outcome.sub_seen) == (UNCLEAR, Reason.UNREADABLE, "")


def test_another_sub_for_our_address_is_no_confirmation() -> None:
    (outcome,) = read([item(0, sub=FOREIGN)], user(0))
    assert (outcome.kind, outcome.reason, outcome.sub_seen) == (UNCLEAR, Reason.FOREIGN_SUB, FOREIGN)


@pytest.mark.parametrize("named", [{"email": "user0@example.org"}, {"email": "who@example.org"}, {}])
def test_another_sub_in_the_answer_for_one_user_is_the_one_that_was_written_to(named: dict[str, str]) -> None:
    """C3: nobody else was sent, whatever the item says beside the sub."""
    (outcome,) = read([{"sub": FOREIGN, "identifier": named, "process_state": "UPDATED"}], user(0))
    assert (outcome.kind, outcome.reason, outcome.sub_seen) == (UNCLEAR, Reason.FOREIGN_SUB, FOREIGN)
    assert outcome.others == (FOREIGN,)


def test_each_sub_that_was_not_sent_is_handed_on() -> None:
    """C3: whoever it belongs to is in doubt, also when everybody of the call has an answer of their own."""
    stranger = {"sub": FOREIGN.upper(), "process_state": "UPDATED"}
    outcomes = read([item(0), item(1), stranger], user(0), user(1))
    assert kinds(outcomes) == [DONE, DONE]
    assert {outcome.others for outcome in outcomes} == {(FOREIGN,)}


@pytest.mark.parametrize("more", [{"process_state": "FAILED"}, {"sub": ANONYMOUS}, {"sub": "a@b.c"}, {"sub": "x" * 41}])
def test_what_was_not_stored_or_is_no_id_is_not_handed_on(more: dict[str, str]) -> None:
    """A failure overwrites nobody, and a text that is no id may be anything, a secret too."""
    outcomes = read([item(0), {"sub": FOREIGN, "process_state": "UPDATED"} | more], user(0), user(1))
    assert {outcome.others for outcome in outcomes} == {()}


def test_another_users_sub_of_the_same_call_leaves_both_unconfirmed() -> None:
    """C3: user 1's data may stand under user 0's sub now, so neither is confirmed."""
    for answer in ([item(0), item(1, sub=SUBS[0])], [item(0), {"sub": SUBS[0], "process_state": "UPDATED"}]):
        assert kinds(read(answer, user(0), user(1))) == [UNCLEAR, UNCLEAR]
    twice = [item(0), item(0, identifier={"username": "u-0"}), item(1)]
    assert kinds(read(twice, user(0), user(1))) == [DONE, DONE], "one item for each identity is no other user's"


def test_a_failure_that_names_the_other_user_stays_a_failure() -> None:
    (outcome,) = read([item(0, "FAILED", sub=FOREIGN, message="email already exists")], user(0))
    assert (outcome.kind, outcome.reason, outcome.sub_seen) == (FAILED, Reason.EMAIL_CONFLICT, FOREIGN)


def test_the_letters_of_a_uuid_and_of_an_address_may_change_case() -> None:
    answer = {"sub": SUBS[0].upper(), "identifier": {"email": "USER0@EXAMPLE.ORG"}, "process_state": "UPDATED"}
    assert kinds(read([answer], user(0))) == [DONE]


@pytest.mark.parametrize(
    "identifier",
    [
        {"username": "u-1"},
        {"mobile_number": "+491701234567"},
        {"legacy_user_id": "4711"},
        {"user_name": {"username": "U-1"}},
        "u-1",
        ["user1@example.org"],
    ],
)
def test_identifiers_of_any_kind_match(identifier: Any) -> None:
    users = [user(0), user(1, mobile_number="+491701234567", customFields={"legacy_user_id": "4711"})]
    refused = {"identifier": identifier, "sub": ANONYMOUS, "process_state": "FAILED", "message": "x"}
    assert kinds(read([refused, item(0)], *users)) == [DONE, FAILED]


def test_an_identity_inside_identities_matches() -> None:
    account = {"sub": SUBS[1], "identities": [{"provider": "self", "email": "user1@example.org"}]}
    assert kinds(read([item(1, "FAILED")], account)) == [FAILED]


def test_a_swapped_address_puts_both_users_in_doubt() -> None:
    """The item carries one user's sub and the other's address: neither is proved."""
    crossed = [item(0, identifier={"email": "user1@example.org"}), item(1, identifier={"email": "user0@example.org"})]
    assert kinds(read(crossed, user(0), user(1))) == [UNCLEAR, UNCLEAR]


def test_an_address_that_nobody_sent_does_not_outweigh_the_sub() -> None:
    assert kinds(read([item(0, identifier={"email": "old@example.org"})], user(0), user(1))) == [DONE, UNCLEAR]


def test_two_users_with_one_address() -> None:
    """It must not happen (C3), and if it does, nobody may be confirmed by the address alone."""
    users = [user(0), user(1, email="user0@example.org", username="other")]
    assert kinds(read([item(0), item(0, "FAILED")], *users)) == [DONE, FAILED]
    unnamed = {"identifier": {"email": "user0@example.org"}, "process_state": "CREATED"}
    assert kinds(read([unnamed, item(0, "FAILED")], *users)) == [UNCLEAR, UNCLEAR]


def test_several_items_of_one_user_count_as_the_worst() -> None:
    assert kinds(read([item(0), item(0, "FAILED")], user(0))) == [FAILED]
    assert kinds(read([item(0), item(0, "LATER")], user(0))) == [UNCLEAR]


def test_nameless_items_count_only_when_all_say_the_same() -> None:
    nobody = {"sub": ANONYMOUS, "process_state": "FAILED", "message": "migrationMode is off"}
    assert kinds(read([nobody, item(1), nobody], *map(user, range(3)))) == [FAILED, DONE, FAILED]
    other = {**nobody, "message": "invalid email passed"}
    assert kinds(read([nobody, item(1), other], *map(user, range(3)))) == [UNCLEAR, DONE, UNCLEAR]
    assert kinds(read([nobody, item(1)], *map(user, range(3)))) == [UNCLEAR, DONE, UNCLEAR]
    stranger = {"identifier": {"email": "who@example.org"}, "process_state": "UPDATED"}
    assert kinds(read([nobody, stranger], user(0), user(1))) == [UNCLEAR, UNCLEAR]


def test_alone_a_nameless_item_decides() -> None:
    assert kinds(read([{"process_state": "CREATED"}], user(0))) == [DONE]
    assert kinds(read([{"sub": ANONYMOUS, "process_state": "CREATED"}], user(0))) == [UNCLEAR]


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"null", b"7", b'{"process_states":{}}', b'{"success":true}'])
def test_no_list_of_states_is_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableAnswer):
        read_bulk(body, [user(0)])


def test_an_unreadable_answer_carries_its_error() -> None:
    body = orjson.dumps({"success": False, "status": 417, "code": "01230", "error": "missing required fields"})
    with pytest.raises(UnreadableAnswer) as caught:
        read_bulk(body, [user(0)])
    envelope = caught.value.envelope
    assert (envelope.status, envelope.code, envelope.text) == (417, "01230", "missing required fields")


def test_messages_repeat_nothing_that_was_sent() -> None:
    refused = item(0, "FAILED", message="Ünal (user0@example.org) has invalid birthdate 1980-13-01")
    (outcome,) = read([refused], user(0, given_name="Ünal"))
    assert outcome.message == "<value> (<e-mail>) has invalid birthdate <number>"


# -- properties ---------------------------------------------------------------------------------------------------

TEXT = st.one_of(
    st.sampled_from([*SUBS[:4], FOREIGN, ANONYMOUS, *(f"user{n}@example.org" for n in range(4)), "u-1", "CREATED"]),
    st.text(max_size=5),
)
KEYS = st.sampled_from(
    [
        "process_states",
        "data",
        "states",
        "process_state",
        "state",
        "status",
        "sub",
        "identifier",
        "email",
        "username",
        "message",
        "error",
        "code",
    ]
)
STATE = st.sampled_from(["CREATED", "UPDATED", "FAILED", "created", "x", ""])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=25,
)
ITEM = st.fixed_dictionaries(
    {},
    optional={
        "sub": TEXT,
        "process_state": STATE,
        "status": STATE | st.integers(0, 600),
        "identifier": JSON | st.fixed_dictionaries({}, optional={"email": TEXT, "username": TEXT}),
        "email": TEXT,
        "message": JSON,
    },
)


def leaves(document: Any) -> list[str]:
    if isinstance(document, dict):
        return [text for value in document.values() for text in leaves(value)]
    if isinstance(document, list):
        return [text for value in document for text in leaves(value)]
    return [document.strip().casefold()] if isinstance(document, str) else []


def names_somebody(item: dict[str, Any]) -> bool:
    identity = {key: item.get(key) for key in ("sub", "identifier", "email", "username")}
    return any(text not in ("", ANONYMOUS.casefold(), "self") for text in leaves(identity))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_else(body: bytes) -> None:
    try:
        outcomes = read_bulk(body, [user(0), user(1)])
    except UnreadableAnswer:
        return
    assert len(outcomes) == 2


@given(JSON, st.integers(0, 4))
def test_arbitrary_json_raises_nothing_else(document: Any, count: int) -> None:
    try:
        outcomes = read_bulk(orjson.dumps(document), [user(n) for n in range(count)])
    except UnreadableAnswer:
        return
    assert len(outcomes) == count


@given(st.lists(ITEM | JSON, max_size=5), st.integers(1, 4))
def test_nobody_is_done_whom_the_answer_does_not_name(items: list[Any], count: int) -> None:
    """DONE needs an item that names the user, or as many items as users of which some name nobody at all."""
    users = [user(n) for n in range(count)]
    for sent, outcome in zip(users, read(items, *users), strict=True):
        if outcome.kind is not DONE:
            continue
        assert outcome.process_state in ("CREATED", "UPDATED")
        mine = {str(sent[key]).casefold() for key in ("sub", "email", "username")}
        named = any(mine & set(leaves({**each, "message": None})) for each in items if isinstance(each, dict))
        nameless = [each for each in items if isinstance(each, dict) and not names_somebody(each)]
        assert named or (len(items) == count and nameless)


@given(st.lists(st.sampled_from(["CREATED", "UPDATED", "FAILED", "?"]), min_size=1, max_size=6), st.randoms())
def test_a_faithful_answer_is_read_rightly(states: list[str], random: Any) -> None:
    users = [user(n) for n in range(len(states))]
    items = [item(n, state) for n, state in enumerate(states)]
    random.shuffle(items)
    expected = {"CREATED": DONE, "UPDATED": DONE, "FAILED": FAILED, "?": UNCLEAR}
    assert kinds(read(items, *users)) == [expected[state] for state in states]
