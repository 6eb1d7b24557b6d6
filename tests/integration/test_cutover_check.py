"""`cutover check` against the real stack: nothing in the way, then four things at once, each of which it names.

On a pipeline of this file's own, whose brake holds the first delete: what the other tests leave is not in its way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from tests.integration.legacy import email_of
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.pipeline import Pipeline

HERE, GONE, REFUSED, LOCKED = range(22_001, 22_005)


def checked(sync: Pipeline, *words: str) -> dict[str, dict[str, Any]]:
    """Every check by its slug; the exit code is that of the faults among them."""
    said = sync.command("cutover", "check", "--json", *words)
    body = orjson.loads(said.out)
    found = {check["slug"]: check for place in body["places"] for check in place["checks"]}
    assert sum(len(place["checks"]) for place in body["places"]) == len(found), "each slug stands once"
    assert said.code == (1 if faults(found) else 0), said
    return found


def faults(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What is in the way, and its remedy."""
    return {slug: check["remedy"] for slug, check in found.items() if check["state"] == "fault"}


def test_a_clean_evening_and_one_with_four_things_in_the_way(fresh: Callable[[str], Pipeline]) -> None:
    sync = fresh("evening")
    # Any delete trips it, and none of before the last second.
    sync.configure(brake__floor="0", brake__ceiling="0", brake__window="1.0")
    sync.env["SYNC_CERTIFICATE_KEY"] = "a key for the tests of the check"
    assert sync.command("topics", "--yes").code == 0
    sync.legacy.sign_up(HERE, GONE, LOCKED)
    worker = sync.start()
    until(lambda: worker.count("pending") == 0 and worker.status()["lag"] == 0, "everybody is judged", 90)
    sync.cidaas.await_user(HERE)
    if worker.count("parked"):  # deletes of other tests, which this pipeline reads, too
        assert sync.command("deletes", "allow", "--yes").code == 0
        until(lambda: worker.count("parked") == worker.count("pending") == 0, "they are deleted", 60)
    # Some of the example users are refused: a person signs them off.
    assert list(faults(checked(sync))) == ["quarantine"]
    assert sync.command("quarantine", "drop", "--all", "--yes").code == 0
    until(lambda: worker.count("quarantined") == 0, "all of them are signed off")
    sync.legacy.name(HERE, "Gemessen")
    sync.cidaas.await_user(HERE, lambda entity: entity["given_name"] == "Gemessen")

    clean = checked(sync, "--census")
    assert faults(clean) == {}
    assert clean["partitions"]["what"] == "all 12 partitions have an owner"
    assert clean["open_transactions"]["state"] == clean["slot_lag"]["state"] == "ok"
    assert "from freeze to GO: the slot" in clean["freeze_to_go"]["what"]
    assert "log in unchanged" in clean["first_day"]["what"]
    assert "bcrypt, cost" in clean["first_day_hashes"]["what"]
    assert "domain_name" in clean and clean["domain_name"]["state"] == "unknown", "nobody has said which name it is"
    assert "long_transactions" not in clean, "it stands there more exactly"

    with sync.legacy.transaction() as open_one:
        open_one.execute("SET application_name = 'shop-admin'")
        open_one.execute("UPDATE users SET updated_at = now() WHERE id = %s", (LOCKED,))
        sync.legacy.sign_up(REFUSED, email=f"test.{REFUSED}@example.com")  # a dead domain of the stand-in
        sync.legacy.delete(GONE)
        until(lambda: worker.count("quarantined") == worker.count("parked") == 1, "one refused, one delete parked")
        assert sync.command("pause", "--why", "Ansage 4711").code == 0
        found = checked(sync)
        assert set(faults(found)) == {"open_transactions", "quarantine", "deletes_parked", "delivery_paused"}
        pid = open_one.info.backend_pid
        assert f"pid {pid} (shop-admin as " in found["open_transactions"]["what"]
        assert found["quarantine"]["what"].startswith("1 user is refused by cidaas, and not signed off; ")
        assert found["deletes_parked"]["what"].startswith("1 delete is parked: ")
        assert "Ansage 4711" in found["delivery_paused"]["what"]
        said = sync.command("cutover", "check")
        assert (
            said.code == 1 and "\nNOT YET: " in said.out and "`resume`" in said.out and f"{REFUSED}@" not in said.text
        )

    assert sync.command("resume").code == 0
    assert sync.command("deletes", "allow", "--yes").code == 0
    sync.cidaas.await_gone(GONE)
    sync.legacy.run("UPDATE users SET email = %s WHERE id = %s", email_of(REFUSED), REFUSED)
    sync.cidaas.await_user(REFUSED)
    until(lambda: worker.count("pending") == worker.count("parked") == 0, "nobody waits")
    assert faults(checked(sync)) == {}
    sync.assert_equal()


def test_without_a_worker_it_says_what_is_known_and_what_is_not(fresh: Callable[[str], Pipeline]) -> None:
    sync = fresh("evening-alone")
    sync.env["SYNC_CERTIFICATE_KEY"] = "a key for the tests of the check"
    assert sync.command("topics", "--yes").code == 0
    found = checked(sync)
    assert {"workers", "partitions"} <= set(faults(found))
    assert found["pending"]["state"] == found["freeze_to_go"]["state"] == "unknown"
    assert found["initial_snapshot"]["state"] == found["slot_lag"]["state"] == "ok", "Kafka and the database know"
