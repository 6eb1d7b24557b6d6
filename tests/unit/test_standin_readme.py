"""The stand-in's page names every switch with its values, every endpoint, and every fault."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from demo.standin.endpoints import ENDPOINTS
from demo.standin.faults import ACTIONS, MODES
from demo.standin.switches import CHOICES, Switches
from demo.standin.tenant import CLIENT_ID, CLIENT_SECRET, Tenant
from demo.standin.testing import Extras

PAGE = (Path(__file__).resolve().parents[2] / "demo/standin/README.md").read_text()


@pytest.mark.parametrize("name", sorted(Switches().to_json()))
def test_each_switch_has_its_values(name: str) -> None:
    lines = [line for line in PAGE.splitlines() if re.match(rf"\| (`\w+`, )?`{name}`[^|]*\|[^|]*\|$", line)]
    assert len(lines) == 1
    assert all(f"`{value}`" in lines[0] for value in CHOICES.get(name, ()))


def test_each_endpoint_scope_and_fault_is_named() -> None:
    for endpoint in ENDPOINTS:
        assert f"| `{endpoint.name}` | `{endpoint.method} {endpoint.path}`" in PAGE
        assert all(scope in PAGE for scope in endpoint.scopes)
    assert all(f"`{word}`" in PAGE for word in ACTIONS | MODES | {CLIENT_ID})
    assert CLIENT_SECRET in PAGE


def test_each_test_only_call_is_named() -> None:
    async def refuse(*_: object) -> None: ...

    for route in Extras(Tenant(), refuse).routes():
        assert f"`{route.method} {route.path}`" in PAGE
