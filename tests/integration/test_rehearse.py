"""`rehearse` on the real stack: what it shows is what happened live, it disturbs nobody, and nothing of it stays."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psutil

from demo.stack.places import ROOT
from streams.offline import read_ends
from streams.settings import load, shadow
from tests.integration.test_reconcile import settled
from tests.integration.topics import topics_of
from tests.integration.waiting import until
from tests.integration.workers import FAUST

if TYPE_CHECKING:
    from tests.integration.pipeline import Pipeline

REFUSED = 24_001


def topics(sync: Pipeline) -> list[str]:
    """Those of rehearsals."""
    return [name for name in topics_of(sync.stack) if name.startswith(shadow.prefix_of(sync.app_id))]


def folders(sync: Pipeline) -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob(f"{shadow.prefix_of(sync.app_id)}*"))


def ends(sync: Pipeline) -> dict[int, int]:
    return asyncio.run(read_ends(load(sync.config_file, sync.env)))


def rehearsed(sync: Pipeline, *words: str, code: int) -> dict[str, Any]:
    said = sync.command("rehearse", *words, "--yes", "--json", seconds=240)
    assert said.code == code, said
    body: dict[str, Any] = orjson.loads(said.out)
    return body


def test_it_shows_what_would_happen_and_leaves_nothing(sync: Pipeline, tmp_path: Path) -> None:
    sync.legacy.sign_up(REFUSED, email=f"test.{REFUSED}@mailinator.com")
    until(lambda: sync.worker.user(REFUSED)["situation"] == "quarantined", "refused")
    settled(sync)
    before, sent = ends(sync), sync.cidaas.counters()["users_in_calls"]
    preview = sync.command("rehearse")
    assert preview.code == 0 and "Repeat with --yes" in preview.out and topics(sync) == [], preview

    body = rehearsed(sync, "--latency", "0.01", "--html", str(tmp_path / "page.html"), code=1)
    live = sync.worker.status()["counts"]
    assert body["users"] == live["users"] and body["differences"] == {}
    assert body["situations"]["in_sync"] == live["in_sync"]
    refused = sync.json("quarantine", "list", "--limit", "1000")
    assert {one["reason"]: one["users"] for one in body["refused"]} == refused["reasons"]
    assert body["night"]["users"] > 0 and body["night"]["changes"] >= body["night"]["users"]
    assert body["freeze_to_go"]["seconds"] > body["freeze_to_go"]["comparing_seconds"] > 0
    assert body["tenant"]["latency"] == 0.01
    page = (tmp_path / "page.html").read_text()
    assert "rehearsal" in page and "@" not in page.replace("@media", "").replace("@page", "")

    assert ends(sync) == before, "nothing was written into the live pipeline's topic"
    assert sync.cidaas.counters()["users_in_calls"] < sent + 20, "nobody was sent but whom the live worker sends"
    assert topics(sync) == [] and folders(sync) == []


def test_a_killed_one_takes_its_processes_along_and_the_next_one_its_topics(sync: Pipeline) -> None:
    with subprocess.Popen(
        [*FAUST, "rehearse", "--latency", "30", "--yes"], cwd=ROOT, env=sync.env,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("loads"):
                break
        children = psutil.Process(process.pid).children()
        assert len(children) == 2, children
        said = sync.command("rehearse", "--yes")
        assert said.code == 2 and "a rehearsal of this pipeline runs already" in said.err, said
        process.kill()
    until(lambda: not any(child.is_running() for child in children), "stand-in and worker have ended", 60)
    assert topics(sync) and folders(sync)
    until(lambda: "runs already" not in sync.command("rehearse", "--yes", seconds=240).err, "the next one runs", 60)
    assert topics(sync) == [] and folders(sync) == []
