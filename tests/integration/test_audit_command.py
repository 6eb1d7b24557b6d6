"""Who did what, and under which configuration a worker started, by the real command line."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING, Any

import orjson

from demo.stack.places import ROOT
from tests.integration.waiting import until
from tests.integration.workers import FAUST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.pipeline import Pipeline


def audited(pipeline: Pipeline, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pipeline.json("audit", *words)["entries"]
    return found


def written(pipeline: Pipeline, many: int) -> bool:
    """Whether so many records of workers stand there."""
    return len(audited(pipeline, "--command", "worker")) == many


def test_from_the_first_command_to_a_worker_that_was_killed(fresh: Callable[[str], Pipeline]) -> None:
    sync = fresh("audited")
    sync.command("audit").refused(2, "there is no topic audited-audit yet", "topics --yes")
    said = sync.command("cdc", "enable", "--yes", KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert said.code == 0 and "is enabled" in said.out, said
    assert said.err == "this is not in the audit: Kafka did not take it (nobody lets us in there)\n"
    said = sync.command("cdc", "enable", "--yes")
    assert (
        said.code == 0
        and said.err == "this is not in the audit: there is no topic audited-audit yet, `topics` makes it\n"
    )

    assert sync.json("topics", "--yes")["changed"] is True
    (made,) = audited(sync)
    assert (made["command"], made["code"], made["changed"], made["late"]) == ("topics", 0, True, True)
    assert "audited-audit" in made["said"]

    sync.json("topics")
    sync.command("connector", "remove")
    assert len(audited(sync)) == 1, "a preview is nothing that anybody did"
    secret = sync.env["CIDAAS_CLIENT_SECRET"]
    said = sync.command("pause", "--why", f"tenant {secret} of ada@example.org", SYNC_OPERATOR="Anna")
    assert said.code == 0
    sync.command("resync", "4711004711").refused(1, "never seen")
    sync.command("quarantine", "drop", "4711004711").refused(1, "is not among them")
    pause, resync, drop = audited(sync, "--since", "1h")[1:]
    assert (pause["command"], pause["person"], pause["code"]) == ("pause", "Anna", 0)
    assert pause["arguments"] == ["--why", "tenant *** of <e-mail>"]
    assert (resync["arguments"], resync["code"], resync["changed"]) == (["4711004711"], 1, False)
    assert drop["code"] == 1 and "is not among them" in drop["said"]
    assert [one["command"] for one in audited(sync, "--command", "quarantine drop")] == ["quarantine drop"]

    worker = sync.start(DELIVERY_START="paused")
    until(lambda: written(sync, 1), "its first start stands there", 60)
    assert worker.end() == 0
    sync.configure(delivery__window="7")
    worker.env["DELIVERY_START"] = "running"
    worker.start()
    until(lambda: written(sync, 3), "its second start stands there", 60)
    worker.kill(signal.SIGKILL)
    worker.start()
    until(lambda: written(sync, 4), "its third start stands there", 60)
    worker.await_ready()
    starts = audited(sync, "--command", "worker")
    assert [one["phase"] for one in starts] == ["began", "ended", "began", "began"]
    first, ended, second, third = starts
    assert first["differs"] is None and first["versions"]["debezium"] == "3.7.0.Final"
    assert (ended["code"], ended["said"]) == (0, "stopped")
    assert second["differs"]["keys"] == ["delivery.start", "delivery.window"] and not second["unended"]
    assert third["differs"]["keys"] == [] and third["unended"]

    lines = sync.command("audit").out.splitlines()
    assert len(lines) == 8
    assert "changed since the start before: delivery.start, delivery.window" in lines[6]
    assert "it had not said that it ended" in lines[7]
    secrets = [sync.env[name] for name in ("CIDAAS_CLIENT_SECRET", "CDC_DEBEZIUM_PASSWORD", "LEGACY_ADMIN_URL")]
    everything = orjson.dumps(audited(sync)).decode()
    assert [one for one in secrets if one in everything] == []


def test_a_command_that_is_killed_or_interrupted_stands_there(fresh: Callable[[str], Pipeline]) -> None:
    """A sweep without a worker waits for ever."""
    sync = fresh("interrupted")
    assert sync.command("topics", "--yes").code == 0
    for number, codes in ((signal.SIGINT, (130,)), (signal.SIGKILL, (-9,))):
        # A shell starts what runs in the background with interrupts ignored, pytest as well.
        words = ["env", "--default-signal=INT", *FAUST, "source", "sweep", "--wait", "--yes"]
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(words, cwd=ROOT, env=sync.env, **silent)
        try:
            until(
                lambda: audited(sync)[-1]["phase"] == "began" and audited(sync)[-1]["command"] == "source sweep",
                "asked",
            )
            process.send_signal(number)
            assert process.wait(30) in codes
        finally:
            process.kill()
    interrupted, killed = audited(sync, "--command", "source")
    assert (interrupted["phase"], interrupted["code"]) == ("ended", 130) and "interrupted" in interrupted["said"]
    assert killed["phase"] == "began"
    assert "nobody wrote how it ended" in sync.command("audit").out.splitlines()[-1]
