"""Whatever makes a freeze a NO-GO yields exactly its reason; an evening on which everything has come yields none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from broken import Broken
from evening import LOOK, OPEN, PREPARED, SWEEP, problem
from fakes import SETTINGS, credential_change, users_change

from streams.cutover import gate, record
from streams.cutover.gate import Late, Sight
from streams.cutover.held import Held, SignOff, held, record_name, sign_off, sign_offs, unsigned
from streams.doctor.checks import Check, State
from streams.ledger import Situation
from streams.reconcile.cases import Case
from streams.reconcile.run import Result
from streams.rows import Resync

AT = 1_800_000_000.0
FAULT, UNKNOWN = State.FAULT, State.UNKNOWN
REFUSED = Held("42", Situation.QUARANTINED, (1, 40), "invalid_email", AT)
PARKED = Held("43", Situation.PARKED, (1, 41), "the delete brake holds", AT)
ASIDE = Held("44", Situation.SET_ASIDE, (1, 42), "column city is missing in the change", AT)
DROPPED = Held("45", Situation.DROPPED, (1, 43), "bad_field", AT, "anna")


def status(**now: Any) -> dict[str, Any]:
    """What `status` shows when everything has come; 14 users are signed off by `quarantine drop`."""
    users = {"users": 612_340, "in_sync": 612_326, "dropped": 14}
    return LOOK | {"users": users, "users_in_flight": 0, "records_behind": 0} | now


def judged(*found: Held, signed: dict[str, SignOff] | None = None, **now: Any) -> list[Check]:
    return gate.judge(SETTINGS, Sight(status(**now), found, signed or {}))


def word(one: Held, version: tuple[int, int] | None = None) -> dict[str, SignOff]:
    return {one.user: SignOff(version or one.version, "the help desk calls", "anna", AT)}


def result(*others: Case, confirmed: int = 5) -> Result:
    found = Result(AT, 3.0)
    for number in range(confirmed):
        found.add(Case.CONFIRMED, str(100 + number))
    for number, case in enumerate(others, 42):
        found.add(case, str(number))
    return found


def last(*found: Held, compared: Result | None = None, **now: Any) -> list[Check]:
    held_by_us = {"paused": record.pause("go-live")}
    return gate.judge_last(status(**held_by_us | now), compared or result(), found)


BROKEN = {
    # workers, cidaas, source: whatever `status` finds
    "a worker was stopped": Broken(
        judged(problems=[problem("worker_away", "worker c does not answer")]), "workers", FAULT, "worker c", "Cure"
    ),
    "a partition without an owner": Broken(
        judged(workers=[LOOK["workers"][0], {"worker": "b:6066", "owned": None}]),
        "partitions",
        FAULT,
        "7 of 12",
        "Start",
    ),
    "a worker gets nothing through to cidaas": Broken(
        judged(problems=[problem("cidaas", "worker a: cidaas is away")]), "cidaas", FAULT, "cidaas is away", "Cure"
    ),
    "cidaas is away, and nobody has asked it": Broken(
        gate.judge_cidaas("no answer to the probe"), "cidaas", FAULT, "no answer to the probe", "Then freeze again"
    ),
    "the connector failed": Broken(
        judged(problems=[problem("connector_failed", "the connector failed: no space")]),
        "connector_failed",
        FAULT,
        "no space",
        "Cure",
    ),
    "the connector was stopped": Broken(
        judged(problems=[problem("connector_stopped", "the connector is STOPPED")]),
        "connector_stopped",
        FAULT,
        "STOPPED",
        "Cure",
    ),
    "nobody reads the slot": Broken(
        judged(problems=[problem("slot_inactive", "nobody reads the replication slot")]),
        "slot_inactive",
        FAULT,
        "nobody",
        "Cure",
    ),
    "a gap in the slot": Broken(
        judged(problems=[problem("slot_moved", "the slot begins after the position", "Run `source repair`.")]),
        "source_faults",
        FAULT,
        "begins after",
        "`source repair`",
    ),
    "the slot was lost": Broken(
        judged(problems=[problem("slot_lost", "the slot lost its WAL")]), "source_faults", FAULT, "lost its", "Cure"
    ),
    "no heartbeat comes": Broken(
        judged(problems=[problem("no_heartbeat", "the last one came 90 s ago")]), "no_heartbeat", FAULT, "90 s", "Cure"
    ),
    "the database is away": Broken(
        judged(problems=[problem("database_away", "it does not answer")]), "database_away", FAULT, "not answer", "Cure"
    ),
    "a record without a key": Broken(
        judged(problems=[problem("unreadable", "1 records without a readable key")]), "unreadable", FAULT, "key", "Cure"
    ),
    "the initial snapshot runs": Broken(
        judged(snapshot="running public.users"), "initial_snapshot", FAULT, "running", "`status`"
    ),
    "a sweep failed": Broken(
        judged(sweep=SWEEP | {"state": "failed", "why": "it is away"}), "sweep", FAULT, "it is away", "tried again"
    ),
    "somebody has paused": Broken(
        judged(problems=[problem("paused", "delivery is paused: look (anna)")], paused={"paused": True}),
        "delivery_paused",
        FAULT,
        "look (anna)",
        "Cure",
    ),
    "deletes are paused": Broken(
        judged(problems=[problem("deletes_paused", "deletes are paused")]), "deletes_paused", FAULT, "deletes", "Cure"
    ),
    "only some are sent": Broken(judged(only=["42"]), "delivery_only", FAULT, "only 1 named users", "DELIVERY_ONLY"),
    # users
    "one user in quarantine": Broken(
        judged(REFUSED), "quarantine", FAULT, "1 user is refused by cidaas, and not signed off: 42 (invalid", "sign-off"
    ),
    "one parked delete": Broken(
        judged(PARKED), "deletes_parked", FAULT, "1 user is to be deleted, parked by the brake", "`deletes allow`"
    ),
    "one set aside": Broken(
        judged(ASIDE), "set_aside", FAULT, "44 (column city is missing in the change)", "read again by themselves"
    ),
    "another version was signed off": Broken(
        judged(REFUSED, signed=word(REFUSED, (1, 39))), "quarantine", FAULT, "an older version is signed", "sign-off"
    ),
    "of two one is signed off": Broken(
        judged(REFUSED, REFUSED._replace(user="46"), signed=word(REFUSED)), "quarantine", FAULT, "1 user is", "retry"
    ),
    # transactions
    "an open transaction": Broken(
        gate.judge_open([OPEN]), "open_transactions", FAULT, "pid 4711 (shop-admin as shop_rw)", "pg_terminate_backend"
    ),
    "an open transaction of unknown age": Broken(
        gate.judge_open([replace(OPEN, seconds=None)]), "open_transactions", FAULT, "as shop_rw)", "Have it ended"
    ),
    "a prepared transaction": Broken(
        gate.judge_open([PREPARED]), "open_prepared", FAULT, "gid-7 (prepared by shop_rw)", "ROLLBACK PREPARED"
    ),
    # late writes
    "a legacy write during the freeze": Broken(
        gate.judge_late(Late(3, ("7", "8"))), "late_write", FAULT, "3 row changes of 7, 8", "maintenance"
    ),
    "a legacy write after the GO": Broken(
        gate.judge_after(Late(1, ("7",)), AT), "late_write", FAULT, "after the GO of 2027-01-15", "`cutover abort`"
    ),
    # the comparison
    "users differ": Broken(
        gate.judge_compared(result(Case.LOST, Case.GHOST)),
        "reconcile",
        FAULT,
        "2 users differ: lost 1, for example 42; ghost 1, for example 43",
        "reconcile --repair",
    ),
    "a user changes all the time": Broken(
        gate.judge_compared(result(Case.CHANGING)), "reconcile_changing", FAULT, "1 user is changed", "still writes"
    ),
    "another configuration": Broken(
        gate.judge_compared(result(Case.PENDING)), "reconcile_pending", FAULT, "by this configuration", "of the workers"
    ),
    # the last look
    "somebody is pending again": Broken(
        last(users={"pending": 1}), "moved", FAULT, "1 user is pending", "`audit`"
    ),
    "somebody was signed off meanwhile": Broken(
        last(DROPPED), "held_moved", FAULT, "signed off 1 instead of 0", "answered"
    ),
    "somebody was sent meanwhile": Broken(
        last(compared=result(Case.QUARANTINED)), "held_moved", FAULT, "quarantined 0 instead of 1", "answered"
    ),
    "the workers do not hold": Broken(last(paused=None), "not_held", FAULT, "not all workers have heard", "`status`"),
    # the time
    "it takes too long": Broken(
        [gate.judge_time(300.0, "waits: 3 users are pending")], "timeout", FAULT, "within 5 min: waits: 3", "--timeout"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_makes_it_a_no_go_yields_exactly_its_reason(name: str) -> None:
    BROKEN[name].assert_named(BROKEN[name].checks)


def test_an_evening_on_which_everything_has_come_is_a_go() -> None:
    assert judged() == [] == gate.judge_open([]) == gate.judge_cidaas("") == gate.judge_late(Late())
    assert gate.judge_compared(result(Case.SIGNED_OFF)) == [] == last(DROPPED, compared=result(Case.SIGNED_OFF))
    assert gate.waits(status()) == []


def test_a_worker_that_is_gone_is_named_with_what_it_owned() -> None:
    gone = judged(workers=[], users={}, problems=[problem("no_worker", "no worker answers")])
    assert [one.slug for one in gone] == ["workers", "partitions"]


def test_what_nobody_says_is_a_no_go() -> None:
    """Neither a worker nor Kafka: that nothing is paused or lost cannot be said."""
    slugs = {one.slug for one in judged(control_away="Kafka is away", snapshot="not known")}
    assert slugs >= {"initial_snapshot", "source_faults", "delivery_paused"}


@pytest.mark.parametrize("one", [REFUSED, PARKED, ASIDE], ids=lambda one: one.situation.value)
def test_a_signed_off_user_is_in_nobodys_way(one: Held) -> None:
    assert judged(one, signed=word(one)) == []
    assert unsigned([one], {}) == [one] and unsigned([one], word(one, (2, 40))) == [one]


def test_what_comes_to_an_end_by_itself_is_waited_for_and_is_no_reason() -> None:
    now = {
        "users": {"pending": 3}, "users_in_flight": 2, "foreign_subs": 1, "records_behind": 90_000,
        "sweep": SWEEP | {"state": "running"},
        "problems": [problem(one) for one in ("differences", "foreign_subs", "delete_brake", "pause_unheard")],
    }  # fmt: skip
    assert judged(**now) == []
    said = gate.waits(status(**now))
    assert len(said) == 5
    assert said[:2] == ["3 users are pending", "2 users are in a call"]


def test_the_pause_of_the_freeze_itself_is_no_reason() -> None:
    ours = {"problems": [problem("paused")], "paused": record.pause("go-live")}
    assert judged(**ours) == []
    assert [one.slug for one in judged(**ours, only=["1"])] == ["delivery_only"]


def test_users_whom_only_cidaas_knows_are_none_of_ours() -> None:
    assert gate.judge_compared(result(Case.FOREIGN)) == []


# -- late -------------------------------------------------------------------------------------------------------------

MARKER = 5_000


def test_the_order_of_the_stream_tells_what_is_late() -> None:
    """A row that was written before the marker, and committed after it, has a lower LSN than the marker."""
    row = {"id": 1}
    assert gate.is_late(users_change("u", MARKER - 100, row, after_commit=MARKER + 20), MARKER)
    assert gate.is_late(credential_change("d", MARKER + 50, None, after_commit=MARKER + 20), MARKER)
    assert not gate.is_late(users_change("u", MARKER - 10, row, after_commit=MARKER - 20), MARKER)
    assert not gate.is_late(users_change("r", MARKER + 50, row, after_commit=MARKER + 20), MARKER), "no change"
    assert not gate.is_late(Resync("anna"), MARKER), "an order is no write"


# -- sign-offs --------------------------------------------------------------------------------------------------------


def test_a_sign_off_is_read_as_it_was_written_and_holds_for_one_version() -> None:
    body = word(REFUSED)["42"].body() | {"version": [1, 40]}
    known = sign_offs({record_name("42"): body, "cutover": {}, "delivery": {}})
    assert known == word(REFUSED)
    assert sign_off(REFUSED, known) == known["42"]
    assert sign_off(REFUSED._replace(version=(1, 41)), known) is None
    assert sign_off(PARKED, known) is None


def test_what_a_worker_says_of_a_user_becomes_one_who_is_held() -> None:
    """A worker of an older version does not say by whom."""
    body = {"user": "42", "version": [1, 40], "reason": "invalid_email", "since": AT}
    assert held(Situation.QUARANTINED, body) == REFUSED
    dropped = {"user": "45", "version": [1, 43], "reason": "bad_field", "since": AT, "by": "anna"}
    assert held(Situation.DROPPED, dropped) == DROPPED
