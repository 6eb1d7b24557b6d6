"""What all unit tests share.

Random tests: no deadline (a busy machine is no bug), and a failure prints what repeats it. Commands write no audit,
which has tests of its own (test_audit.py): there is no Kafka.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", deadline=None, max_examples=60, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


class NoPen:
    """Says of each record that it was written."""

    def __init__(self, settings: Any) -> None:
        """As the real one."""

    async def write(self, record: Any) -> str:
        return ""

    async def close(self) -> None:
        return None


@pytest.fixture(autouse=True)
def _no_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.commands.recording.Pen", NoPen)
