"""The real stack for integration tests: its own folder, its own ports, beside a running `make up`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.stack import Stack
from demo.stack.capture import settings_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.settings import Settings

SERVICES = ("postgres", "kafka", "connect", "cidaas")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """PostgreSQL, Kafka, Connect with the connector running, and the stand-in; workers are the tests' own."""
    made = Stack(tmp_path_factory.mktemp("stack") / "run")
    try:
        made.up(SERVICES)
        yield made
    finally:
        made.clean()


@pytest.fixture
def settings(stack: Stack) -> Settings:
    """pipeline.toml with the stack's variables."""
    return settings_of(stack.layout)
