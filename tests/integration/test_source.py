"""The source guard names lost changes, and `source repair` brings every user back, on the real slot."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.integration.pipeline import Pipeline


@pytest.mark.oldest
def test_a_slot_that_was_dropped_is_named_and_repaired(sync: Pipeline) -> None:
    gone, changed, new, after = range(18_301, 18_305)
    connector = f"{sync.env['CONNECT_URL']}/connectors/cidaas_sync"
    sync.legacy.sign_up(gone, changed)
    for user in (gone, changed):
        sync.cidaas.await_user(user)

    httpx.put(f"{connector}/stop", trust_env=False).raise_for_status()
    until(lambda: not httpx.get(f"{connector}/status", trust_env=False).json()["tasks"], "the connector stopped")
    with sync.legacy.transaction() as connection:
        connection.execute("SELECT pg_drop_replication_slot('cidaas_sync')")
    sync.legacy.delete(gone)
    sync.legacy.name(changed, "Luecke")
    sync.legacy.sign_up(new, word="new")

    fault = 'cidaas_sync_source_fault{slug="slot_dropped"} 1.0'
    until(lambda: fault in sync.worker.get("/metrics").text, "the worker has seen it", 30)
    said = sync.command("status")
    assert said.code == 1
    assert "the replication slot is gone" in said.out and "source repair" in said.out
    sync.command("connector", "apply", "--yes").refused(1, "not started", "source repair")
    sync.command("source", "check").refused(1, "slot is gone", lines=8)
    preview = sync.command("source", "repair")
    assert preview.code == 0 and "Repeat with --yes" in preview.out
    assert sync.cidaas.entity(gone), "nothing is done without --yes"

    done = sync.command("source", "repair", "--yes")
    assert done.code == 0, done
    steps = re.findall(r"^(\w+):", done.out, re.MULTILINE)
    assert list(dict.fromkeys(steps)) == ["stop", "offsets", "slot", "epoch", "resume", "snapshot", "sweep", "clear"]
    assert "1 users gone, 0 missing" in done.out
    sync.cidaas.await_gone(gone)
    sync.cidaas.await_user(changed, lambda entity: entity["given_name"] == "Luecke")
    sync.cidaas.await_user(new)
    assert len(sync.cidaas.states(new)) == 1
    sync.legacy.sign_up(after)
    sync.cidaas.await_user(after)
    said = sync.command("status")
    assert said.code == 0, said
    assert "source_fault{" not in sync.worker.get("/metrics").text
