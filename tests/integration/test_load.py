"""The initial load: everybody arrives, whoever cidaas refuses is named, and a crash in the middle loses nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.pipeline import Pipeline
    from tests.integration.workers import Worker


@pytest.mark.oldest
def test_everybody_arrives_and_the_refused_are_named_with_reasons(sync: Pipeline) -> None:
    report = sync.assert_equal(90)
    assert report.equal > 2900, report.lines()
    assert report.set_aside >= 4, "the example users have addresses that cidaas refuses"
    until(lambda: sync.worker.count("quarantined") == report.set_aside, "each refused user in quarantine, no other")

    refused = next(finding.user for finding in report.findings["set aside"] if int(finding.user) < 1000)
    body = sync.json("user", refused)
    assert body["situation"] == "quarantined"
    assert body["ledger"]["reason"], body["ledger"]
    assert body["ledger"]["reason"] in body["sentence"]
    said = sync.command("user", refused)
    address = sync.legacy.value("SELECT email FROM users WHERE id = %s", int(refused))
    assert address not in said.text, "an e-mail address was shown"


def test_a_restart_makes_no_call(sync: Pipeline) -> None:
    sync.stop()
    sync.cidaas.reset()
    sync.ensure()
    sync.legacy.sign_up(10_001)
    sync.cidaas.await_user(10_001)
    assert sync.cidaas.counters()["users_in_calls"] == 1, "nobody but the new user was sent"


def test_a_worker_killed_in_the_middle_of_the_load(fresh: Callable[[str], Pipeline]) -> None:
    sync = fresh("killed-load")
    sync.cidaas.fault("bulk", "latency", seconds=0.2)
    worker = sync.launch()
    for _ in range(2):
        share = sync.cidaas.users() + 300

        def in_the_middle(worker: Worker = worker, share: int = share) -> bool:
            left = worker.count("pending") if worker.is_ready() else worker.status().get("queued", 0)
            return left > 100 and sync.cidaas.users() >= share

        until(in_the_middle, f"{share} users loaded, and some left to do: else the kill proves nothing")
        worker.kill()
        assert sync.cidaas.users() < 2800
        worker = sync.launch()
    sync.cidaas.cure()
    worker.await_ready()
    sync.assert_equal(90)
    assert sync.cidaas.counters()["users_in_calls"] < 2 * sync.cidaas.users(), "what was confirmed went again"
