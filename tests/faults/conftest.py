"""The stack of the fault tests, shared by all of them, and the arena of each.

`arena`     the main pipeline with one fresh worker, its cidaas without faults; made for one variant of one fault.
`ruins`     makes stacks of a test's own, for faults that leave nothing whole (restores, lost topics, full disks).

A test says which fault it is by `pytestmark = fault("F1")`; the variant is its name.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo.legacy.seed import fill
from demo.stack import Stack, postgres
from demo.stack.capture import enable
from tests.faults.kit.arena import Arena
from tests.faults.kit.load import CANARY_USER, MARKER
from tests.faults.kit.results import FAULTS, Result
from tests.integration.legacy import add_many, add_password, insert
from tests.integration.pipeline import Pipeline
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import psycopg

SERVICES = ("postgres", "kafka", "connect", "cidaas")
#: Users of the shared stack: examples of every kind, then plain ones.
EXAMPLES, PLAIN = 1_500, range(2_001, 3_501)
#: Fewer users and records than this are on their way: the worker has caught up.
CAUGHT_UP = 50
#: A swap of addresses is broken through a third one, so that the load may swap.
ADDRESS = '"tausch.{id}@example.net"'
_HERE = Path(__file__).parent
_pipelines: list[Pipeline] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of `make faults`."""
    parser.addoption("--only", action="append", default=[], help="run these faults only: F1 (again for more)")
    parser.addoption("--smoke", action="store_true", help="the short part: one strike, tests marked smoke")


def pytest_configure(config: pytest.Config) -> None:
    """Make our markers known."""
    config.addinivalue_line("markers", "fault(id): the fault that the test makes happen")
    config.addinivalue_line("markers", "smoke: belongs to the short part that `make test` runs")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what was asked for, in the faults' order."""
    only = {name.upper() for text in config.getoption("--only") for name in re.split(r"[ ,]+", text) if name}
    unknown = only - FAULTS.keys()
    if unknown:
        raise pytest.UsageError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(FAULTS)}")

    for item in items:
        item.add_marker(pytest.mark.timeout(600))

    def wanted(item: pytest.Item) -> bool:
        mark = item.get_closest_marker("fault")
        if only and (mark is None or mark.args[0] not in only):
            return False
        return not config.getoption("--smoke") or item.get_closest_marker("smoke") is not None

    kept = [item for item in items if wanted(item)]
    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = sorted(kept, key=_place)


def _place(item: pytest.Item) -> int:
    mark = item.get_closest_marker("fault")
    return list(FAULTS).index(mark.args[0]) if mark is not None else -1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Show the workers' logs when a test failed."""
    report = yield
    if report.failed:
        for pipeline in _pipelines:
            for worker in pipeline.workers.values():
                state = "runs" if worker.alive else f"ended with {worker.code}"
                report.sections.append((f"worker {pipeline.app_id}/{worker.name} ({state})", worker.last_lines()))
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Say at once why a test failed: the whole suite goes on for an hour before pytest does."""
    if report.failed and (crash := getattr(report.longrepr, "reprcrash", None)) is not None:
        print(f"\n{time.strftime('%H:%M:%S')} {report.nodeid} ({report.when}): {crash.message}", flush=True)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The services with users in them, whose rows are numbered by every change."""
    made = Stack(tmp_path_factory.mktemp("faults") / "run")
    try:
        filled(made)
        yield made
    finally:
        made.clean()


def filled(stack: Stack, examples: int = EXAMPLES, plain: range = PLAIN, *, capture: bool = True) -> None:
    """Start the services, number rows from now on, fill the tables, do what enable.sql does, register the connector."""
    stack.up(SERVICES, capture=False)
    with postgres.connect(stack.layout) as legacy:
        legacy.execute((_HERE / "kit" / "versions.sql").read_bytes())
        fill(legacy, examples)
        add_many(legacy, plain)
        insert(legacy, MARKER, given_name="Marke")
        _canary(legacy)
    if capture:
        stack.capture()
    else:
        enable(stack.layout)


def _canary(legacy: psycopg.Connection) -> None:
    """A user whose values are found wherever they are printed."""
    word = "kanarie"
    insert(
        legacy, CANARY_USER, email=f"{word}@example.org", given_name=word, family_name=word, username=word,
        street_address=word,
    )  # fmt: skip
    add_password(legacy, CANARY_USER, word)
    legacy.execute(
        "INSERT INTO credentials (user_id, kind, algorithm, secret) VALUES (%s, 'totp', 'SHA1', %s)",
        (CANARY_USER, word.upper()),
    )


@pytest.fixture(scope="session")
def main_pipeline(shared: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The pipeline on the shared stack; its worker is started again for each test."""
    pipeline = Pipeline(shared, tmp_path_factory.mktemp("main"))
    _pipelines.append(pipeline)
    yield pipeline
    pipeline.close()


@pytest.fixture
def arena(main_pipeline: Pipeline, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """The shared pipeline with one worker that has caught up: a backlog of the test before is not this one's."""
    main_pipeline.cidaas.reset()
    worker = main_pipeline.ensure(delivery__temporary_email=ADDRESS)
    until(lambda: worker.status()["lag"] + worker.count("pending") < CAUGHT_UP, "the worker has caught up", 180)
    main_pipeline.cidaas.reset()
    yield from _arena(main_pipeline, request)
    for name, worker in list(main_pipeline.workers.items()):
        if name != "one" and worker.alive:
            worker.end()


@pytest.fixture
def ruins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Arena]]:
    """Make stacks of a test's own: `arena = ruins(examples=300, plain=range(…), brake__floor="20")`.

    With `capture=False` there is no connector yet; `prepare` is called with the stack before anything of it starts.
    """
    ends: list[Any] = []

    def make(
        examples: int = 300, plain: range = range(2_001, 2_701), *, capture: bool = True,
        prepare: Callable[[Stack], None] | None = None, **changes: str,
    ) -> Arena:  # fmt: skip
        stack = Stack(tmp_path_factory.mktemp("ruins") / "run")
        ends.append(stack.clean)
        if prepare is not None:
            stack.layout.prepare()
            prepare(stack)
        filled(stack, examples, plain, capture=capture)
        pipeline = Pipeline(stack, tmp_path_factory.mktemp("pipeline"))
        _pipelines.append(pipeline)
        ends.append(pipeline.close)
        pipeline.cidaas.reset()
        pipeline.ensure(**{"delivery__temporary_email": ADDRESS} | changes)
        if capture:
            pipeline.assert_equal(120)
        running = _arena(pipeline, request)
        ends.append(lambda: next(running, None))
        return next(running)

    yield make
    for end in reversed(ends):
        end()


def _arena(pipeline: Pipeline, request: pytest.FixtureRequest) -> Iterator[Arena]:
    mark = request.node.get_closest_marker("fault")
    assert mark is not None, "a fault test says which fault it is: pytestmark = pytest.mark.fault('F1')"
    seed = int(os.environ.get("FAULT_SEED") or secrets.randbelow(10**6))
    variant = request.node.name.removeprefix("test_").replace("_", " ")
    result, began = Result(mark.args[0], variant, seed), time.monotonic()
    print(f"{mark.args[0]} {variant}: FAULT_SEED={seed}")
    yield Arena(pipeline, result, 1 if request.config.getoption("--smoke") else 3)
    result.seconds = round(time.monotonic() - began, 1)
    result.keep()
