"""The real stack for integration tests: its own folder, its own ports, beside a running `make up`.

`stack`      PostgreSQL with users, Kafka, Connect with the connector running, the stand-in; one for the session.
`sync`       the main pipeline with one worker of the standard configuration; its test ends in the oracle.
`fresh`      makes a pipeline from nothing: own app id, own cidaas, the same tables and topic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from demo.legacy.seed import fill
from demo.stack import Stack, postgres
from demo.stack.capture import settings_of
from tests.integration.legacy import add_many
from tests.integration.pipeline import Pipeline, own_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from streams.settings import Settings

SERVICES = ("postgres", "kafka", "connect", "cidaas")
#: The example users have ids from 1 on, the plain ones from 900,001 on; each test uses a range of its own between.
EXAMPLES, PLAIN = 900, range(900_001, 902_101)
#: These run first, because the first start of a worker is the initial load; those last, for what they leave behind.
FIRST, LAST = ("test_stack", "test_load"), ("test_reconcile", "test_rereads", "test_sweep", "test_source")

FAILED = pytest.StashKey[bool]()
_pipelines: list[Pipeline] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for another version of PostgreSQL, and for a half of the tests."""
    parser.addoption("--postgres", default="", metavar="MAJOR", help="the stack's PostgreSQL: 14 to 18")
    parser.addoption("--lane", choices=("main", "others"), help="tests of the main pipeline, or all others")


def pytest_configure(config: pytest.Config) -> None:
    """Make our markers known."""
    config.addinivalue_line("markers", "oldest: `make test` runs it on the oldest PostgreSQL, too")
    config.addinivalue_line("markers", "configured(section__key=value): the configuration of `sync` in this test")


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Keep what the lane wants, and order the files: first, the others, last."""

    def place(item: pytest.Item) -> int:
        name = item.path.stem
        return FIRST.index(name) if name in FIRST else len(FIRST) + (name in LAST)

    if lane := config.getoption("--lane"):
        away = [
            item for item in items if ("main_pipeline" in getattr(item, "fixturenames", ())) is not (lane == "main")
        ]
        config.hook.pytest_deselected(items=away)
        items[:] = [item for item in items if item not in set(away)]
    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Generator[None, Any, Any]:
    """Show the workers' logs when a test failed."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
        for pipeline in _pipelines:
            for worker in pipeline.workers.values():
                state = "runs" if worker.alive else f"ended with {worker.code}"
                report.sections.append((f"worker {pipeline.app_id}/{worker.name} ({state})", worker.last_lines()))
    return report


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Stack]:
    """The services, with users that were there before the connector; workers are the tests' own."""
    version = pytestconfig.getoption("--postgres")
    made = Stack(tmp_path_factory.mktemp("stack") / "run", postgres=version)
    try:
        made.up(SERVICES, capture=False)
        with postgres.connect(made.layout) as legacy:
            fill(legacy, EXAMPLES)
            add_many(legacy, PLAIN)
        made.capture()
        yield made
    finally:
        made.clean()


@pytest.fixture
def settings(stack: Stack) -> Settings:
    """pipeline.toml with the stack's variables."""
    return settings_of(stack.layout)


@pytest.fixture(scope="session")
def main_pipeline(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """The pipeline with the usual app id; its worker is shared by the tests that do not spoil it."""
    pipeline = Pipeline(stack, tmp_path_factory.mktemp("main"))
    _pipelines.append(pipeline)
    yield pipeline
    pipeline.close()


@pytest.fixture
def sync(main_pipeline: Pipeline, request: pytest.FixtureRequest) -> Iterator[Pipeline]:
    """The main pipeline, its worker running; at the end of the test both sides are compared."""
    main_pipeline.cidaas.reset()
    marker = request.node.get_closest_marker("configured")
    main_pipeline.ensure(**(marker.kwargs if marker else {}))
    yield main_pipeline
    main_pipeline.cidaas.cure()
    assert main_pipeline.alive(), "the worker ended by itself"
    main_pipeline.assert_equal(15 if request.node.stash.get(FAILED, False) else 60)


@pytest.fixture
def toasted(sync: Pipeline) -> Pipeline:
    """The main pipeline; large secrets and parameters are stored apart, whole."""
    with sync.legacy.transaction() as connection:
        for column in ("secret", "params"):
            connection.execute(f"ALTER TABLE credentials ALTER COLUMN {column} SET STORAGE EXTERNAL".encode())
        connection.execute("ALTER TABLE users ALTER COLUMN street_address SET STORAGE EXTERNAL")
    return sync


@pytest.fixture
def fresh(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Pipeline]]:
    """Make pipelines from nothing, each with a cidaas of its own; they end with the test."""
    made: list[Pipeline] = []

    def make(app_id: str, *, cidaas: bool = True) -> Pipeline:
        pipeline = own_pipeline(stack, tmp_path_factory.mktemp(app_id), app_id)
        made.append(pipeline)
        _pipelines.append(pipeline)
        if cidaas:
            pipeline.start_cidaas()
        return pipeline

    yield make
    for pipeline in made:
        pipeline.close()
        _pipelines.remove(pipeline)
