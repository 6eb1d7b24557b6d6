"""`reconcile --every`: when a run is due, who does it, how it ends, and what is said of it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fakes import SETTINGS, Pipeline
from test_reconcile_command import stage  # noqa: F401  a fixture

from streams import recurring
from streams.audit.records import Actor
from streams.control import CUTOVER, RECONCILE_PLAN, RECONCILE_RAN
from streams.cutover.record import GO
from streams.reconcile import plan
from streams.reconcile.plan import Plan, Ran
from streams.recurring import Recurring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from test_reconcile_command import Stage

NOW = 1_800_000_000.0
PLAN = Plan(21_600.0, 500, 10.0, True, "dba", NOW)
DEADLINE = 20.0


# -- the plan ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ran", "when"),
    [
        (None, NOW),
        (Ran(NOW + 5), NOW + 21_605),
        (Ran(NOW + 5, "the connector stands still"), NOW + 605),
    ],
)
def test_the_first_run_is_due_at_once_and_one_without_an_end_soon_again(ran: Ran | None, when: float) -> None:
    assert plan.due(PLAN, ran) == when


def test_what_became_of_the_plan_before_says_nothing_of_this_one() -> None:
    state = {RECONCILE_PLAN: PLAN.body(), RECONCILE_RAN: Ran(NOW - 60, "no worker joins").body()}
    assert plan.last(state, PLAN) is None
    shown = plan.shown(state)
    assert shown is not None and shown["due"] == NOW and not plan.late(shown, NOW + 60)


def test_a_short_plan_is_not_held_up_by_a_failure() -> None:
    assert plan.due(replace(PLAN, every=60.0), Ran(NOW, "away")) == NOW + 60


@pytest.mark.parametrize(
    ("text", "number"), [("30min", 1_800.0), ("6h", 21_600.0), ("1d", 86_400.0), (" 2 h ", 7_200.0), ("never", None)]
)
def test_a_time_is_read_as_a_person_writes_it(text: str, number: float | None) -> None:
    assert plan.seconds(text) == number


@pytest.mark.parametrize("text", ["6", "6 hours", "-1h", "0min", "31d", "", "1h30min"])
def test_a_time_that_is_none_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(ValueError, match=r"30min, 6h, 1d|is not between 1 min and 30 days"):
        plan.seconds(text)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (PLAN, ["--rate", "10.0", "--sample", "500", "--accept-foreign"]),
        (Plan(60.0, None, None, False, "dba", NOW), ["--without-cidaas"]),
        (Plan(60.0, None, 2.5, False, "dba", NOW), ["--rate", "2.5"]),
    ],
)
def test_the_plan_is_the_command_that_a_person_would_run(wanted: Plan, words: list[str]) -> None:
    assert wanted.words() == words


def test_what_is_said_of_a_plan() -> None:
    state = {RECONCILE_PLAN: PLAN.body(), RECONCILE_RAN: Ran(NOW + 100).body()}
    shown = plan.shown(state)
    assert shown is not None
    assert plan.words(shown, NOW + 100 + 3_600) == "every 6 h, by dba, next in 5 h"
    assert not plan.late(shown, NOW + 100 + 21_600)  # it runs just now
    assert not plan.late(shown, NOW + 100 + 21_600 + 1_200), "to read everybody back at cidaas may take that long"
    assert "due for 1 h 10 min" in plan.late(shown, NOW + 100 + 21_600 + 4_200)
    failed = plan.shown(state | {RECONCILE_RAN: Ran(NOW + 100, "no worker joins").body()})
    assert failed is not None and plan.late(failed, NOW + 101).endswith("came to no end: no worker joins")
    assert failed["due"] == NOW + 100, "what is tried again and again counts as late since it was due"
    assert plan.shown({RECONCILE_RAN: Ran(NOW).body()}) is None


# -- the worker that does it ------------------------------------------------------------------------------------------


class Worker:
    """A pipeline that owns partition 0, and a command that is a little program."""

    def __init__(self, path: Path, program: str) -> None:
        self.pipeline: Any = Pipeline(SETTINGS)
        self.pipeline.runners[0] = SimpleNamespace(partition=SimpleNamespace(number=0, readable=True))
        self.told = path / "told"
        script = path / "program.py"
        noted = f"pathlib.Path({str(self.told)!r}).write_text(' '.join(sys.argv[1:]))"
        script.write_text(f"import pathlib, sys, time\n{noted}\n{program}\n")
        self.recurring = Recurring(self.pipeline, (sys.executable, str(script)))

    @property
    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.pipeline.control.state
        return state

    async def until(self, what: Callable[[], Any]) -> None:
        """Let it run until something holds."""
        task = asyncio.create_task(self.recurring.run())
        try:
            async with asyncio.timeout(DEADLINE):
                while not what():
                    assert not task.done(), task
                    await asyncio.sleep(0.01)  # a poll: files and processes tell nobody
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurring, "_EVERY", 0.02)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("", ""),
        ("sys.exit(1)", ""),  # users differ: `reconcile` has written that down itself
        ("sys.stderr.write('waits\\nrefused: no worker joins\\n'); sys.exit(2)", "refused: no worker joins"),
        ("sys.exit(2)", "it ended with exit code 2"),
    ],
)
def test_a_run_that_is_due_is_done_and_how_it_ended_is_kept(tmp_path: Path, program: str, why: str) -> None:
    worker = Worker(tmp_path, program)
    worker.state[RECONCILE_PLAN] = replace(PLAN, at=time.time()).body()
    asyncio.run(worker.until(lambda: RECONCILE_RAN in worker.state))
    assert worker.told.read_text() == "reconcile --json --rate 10.0 --sample 500 --accept-foreign"
    assert worker.state[RECONCILE_RAN]["why"] == why
    assert worker.pipeline.control.puts == [RECONCILE_RAN], "not due again"


@pytest.mark.parametrize("without", ["plan", "partition", "due", "go-live"])
def test_nothing_runs_that_is_not_wanted_here_and_now(tmp_path: Path, without: str) -> None:
    worker = Worker(tmp_path, "")
    if without != "plan":
        worker.state[RECONCILE_PLAN] = replace(PLAN, at=time.time()).body()
    if without == "due":
        worker.state[RECONCILE_RAN] = Ran(time.time() + 1).body()
    if without == "go-live":
        worker.state[CUTOVER] = {"state": GO, "at": NOW, "who": "dba", "host": "here"}
    if without == "partition":
        worker.pipeline.runners.clear()
    looks = []
    mine = worker.recurring._mine
    worker.recurring._mine = lambda: looks.append(1) or mine()  # type: ignore[func-returns-value,method-assign]
    reads = plan.read
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plan, "read", lambda state: looks.append(1) or reads(state))
        asyncio.run(worker.until(lambda: len(looks) > 20))
    assert not worker.told.exists() and worker.pipeline.control.puts == []


@pytest.mark.parametrize("ends", ["partition", "plan", "worker"])
def test_a_process_ends_with_what_it_was_begun_for(tmp_path: Path, ends: str) -> None:
    worker = Worker(tmp_path, "time.sleep(600)")
    worker.state[RECONCILE_PLAN] = replace(PLAN, at=time.time()).body()
    processes: list[asyncio.subprocess.Process] = []

    async def scene() -> None:
        start = asyncio.create_subprocess_exec

        async def noted(*words: Any, **options: Any) -> asyncio.subprocess.Process:
            processes.append(process := await start(*words, **options))
            return process

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(asyncio, "create_subprocess_exec", noted)
            await worker.until(worker.told.exists if ends == "worker" else lambda: ended())

    def ended() -> bool:
        if not worker.told.exists():
            return False
        if ends == "partition":
            worker.pipeline.runners.clear()
        else:
            worker.state.pop(RECONCILE_PLAN, None)
        return processes[0].returncode is not None

    asyncio.run(scene())
    (process,) = processes
    assert process.returncode == -15
    assert RECONCILE_RAN not in worker.state, "the next owner begins anew"


def test_a_worker_that_is_no_member_any_more_notes_nothing(tmp_path: Path) -> None:
    worker = Worker(tmp_path, "")
    worker.pipeline.member = False
    worker.state[RECONCILE_PLAN] = replace(PLAN, at=time.time()).body()
    asyncio.run(worker.until(worker.told.exists))
    assert RECONCILE_RAN not in worker.state


# -- the command ------------------------------------------------------------------------------------------------------


def test_a_plan_is_shown_first_then_written_down_and_taken_back(stage: Stage) -> None:  # noqa: F811
    shown = stage.run("--every", "6h", "--sample", "500")
    assert shown.exit_code == 0 and "would be told" in shown.output and "every 6 h" in shown.output
    assert stage.state == {} and stage.asked == {}
    done = stage.run("--every", "6h", "--sample", "500", "--accept-foreign", "--yes")
    assert done.exit_code == 0 and stage.asked == {}, "nothing is compared now"
    kept = plan.read(stage.state)
    assert kept is not None
    assert (kept.every, kept.sample, kept.rate, kept.accept_foreign) == (21_600.0, 500, 10.0, True)
    assert kept.who == Actor.here().name
    assert stage.run("--every", "never", "--yes").exit_code == 0
    assert plan.read(stage.state) is None


def test_a_plan_without_cidaas(stage: Stage) -> None:  # noqa: F811
    assert stage.run("--every", "30min", "--without-cidaas", "--yes").exit_code == 0
    kept = plan.read(stage.state)
    assert kept is not None and kept.rate is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--every", "often"), "write 30min, 6h, 1d, or never"),
        (("--every", "6h", "--repair"), "a person puts right"),
        (("--every", "6h", "--html", "page.html"), "neither --repair"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(stage: Stage, words: tuple[str, ...], said: str) -> None:  # noqa: F811
    result = stage.run(*words, "--yes")
    assert result.exit_code == 2 and said in result.output
    assert stage.state == {}
