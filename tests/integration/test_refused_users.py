"""Refused users in a person's hands, and a tenant that refuses everybody; on a cidaas of this file's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.integration.legacy import email_of
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.pipeline import Pipeline

#: Corrected by the test, and signed off for good; cidaas takes neither's address.
CURED, DROPPED = 19_001, 19_002


def situation(sync: Pipeline, user: int) -> str:
    return str(sync.worker.user(user).get("situation"))


def test_refused_users_are_shown_retried_and_signed_off_and_a_wrong_setting_pauses_everything(
    fresh: Callable[[str], Pipeline],
) -> None:
    sync = fresh("quarantine")
    for user in (CURED, DROPPED):
        sync.legacy.sign_up(user, email=f"test.{user}@example.com")  # a dead domain of the stand-in

    # A wrong setting: everybody is refused, fifty are blamed for it, and then a person has to look.
    sync.cidaas.fault("bulk", "fail-users", share=1.0, message="custom field newsletter: data type mismatch")
    # Everybody is joined before anybody is sent: a newer version further on in the topic would leave the quarantine.
    worker = sync.start(DELIVERY_START="paused")
    until(lambda: worker.count("pending") > 2_900 and worker.status()["lag"] == 0, "everybody is joined", 60)
    assert sync.command("resume").code == 0
    until(lambda: (worker.status()["paused"] or {}).get("limit"), "the pause", 60)
    until(lambda: worker.status()["in_flight"] == 0, "no call is under way")
    assert worker.count("quarantined") == 50
    said = sync.command("status")
    assert said.code == 1
    assert "50 of the last 50 users were refused, more than 20% (bad_field 50)" in said.out
    assert "quarantine list" in said.out
    assert sync.cidaas.users() == 0
    listed = sync.json("quarantine", "list", "--limit", "5")
    assert (listed["total"], listed["reasons"], len(listed["users"])) == (50, {"bad_field": 50}, 5)

    # The setting is put right: those fifty are sent again, and everybody else goes on.
    sync.cidaas.cure()
    asked = sync.command("quarantine", "retry", "--all")
    assert asked.code == 0
    assert "50 users would be sent again: bad_field 50" in asked.out
    assert worker.count("quarantined") == 50, "without --yes nothing happens"
    assert sync.command("quarantine", "retry", "--all", "--yes").code == 0
    until(lambda: worker.count("quarantined") == 0, "none of them is in quarantine")
    assert sync.cidaas.users() == 0, "still paused"
    assert sync.command("resume").code == 0
    until(lambda: worker.count("pending") == 0, lambda: f"everybody is judged: {worker.status()['counts']}", 60)

    # The two whom cidaas takes in no case: shown with the cure, one of them signed off.
    listed = sync.json("quarantine", "list", "--reason", "invalid_email", "--limit", "1000")
    assert {str(CURED), str(DROPPED)} <= {user["user"] for user in listed["users"]}
    assert "@" not in str(listed)
    shown = sync.command("quarantine", "show", str(DROPPED))
    assert shown.code == 0
    assert "remedy: Correct the e-mail address" in shown.out
    for user in (CURED, DROPPED):
        assert sync.command("quarantine", "drop", str(user)).code == 0
        until(lambda user=user: situation(sync, user) == "dropped", "signed off", 10)
    assert worker.count("dropped") == 2
    assert "signed off" in sync.command("status").out
    sync.command("quarantine", "drop", str(CURED)).refused(1, "is not among them")

    # Taken back, refused once more, and signed off while nobody works; a start finds that.
    assert sync.command("quarantine", "retry", str(DROPPED)).code == 0
    until(lambda: situation(sync, DROPPED) == "quarantined", "refused once more", 10)
    before = sync.json("quarantine", "list", "--limit", "1000")
    sync.stop()
    assert sync.json("quarantine", "list", "--limit", "1000") == before, "the topics say what the worker said"
    assert sync.command("quarantine", "drop", str(DROPPED)).code == 0
    worker = sync.start()
    until(lambda: situation(sync, DROPPED) == "dropped", "signed off", 10)
    sync.sentence(DROPPED, "signed this version off .refused by cidaas: invalid_email")

    # A newer version leaves it.
    sync.legacy.run("UPDATE users SET email = %s WHERE id = %s", email_of(CURED), CURED)
    sync.cidaas.await_user(CURED)
    until(lambda: situation(sync, CURED) == "in_sync", "its answer is in the ledger", 10)
    assert worker.count("dropped") == 1
    sync.assert_equal()
