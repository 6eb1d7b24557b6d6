"""The client of Kafka Connect's REST interface: what it changes, and how it says what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from streams.settings import ConnectRest
from streams.source.connect import Connect, ConnectorFailed, ConnectRefused, ConnectUnreachable

Answer = Callable[[httpx.Request], httpx.Response]


def connect(answer: Answer) -> Connect:
    return Connect(ConnectRest("http://connect.test"), transport=httpx.MockTransport(answer))


def state(connector: str, *tasks: str, trace: str | None = None) -> httpx.Response:
    body: dict[str, Any] = {"connector": {"state": connector}, "tasks": [{"state": task} for task in tasks]}
    if trace:
        body["tasks"][0]["trace"] = trace
    return httpx.Response(200, json=body)


async def test_the_same_configuration_is_not_sent_again() -> None:
    stored = {"name": "x", "a": "1"}
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        if request.method == "PUT":
            stored.update(json.loads(request.content))
        return httpx.Response(200, json=stored)

    async with connect(answer) as client:
        assert not await client.put_config("x", {"a": "1"})
        assert await client.put_config("x", {"a": "2"})
    assert seen == ["GET", "GET", "PUT"]


async def test_a_connector_that_is_not_there_is_none() -> None:
    async with connect(lambda _: httpx.Response(404, json={"message": "no status found"})) as client:
        assert await client.status("x") is None
        assert await client.config("x") is None
        assert await client.offsets("x") == []
        assert not await client.delete("x")


async def test_an_offset_that_was_deleted_is_none() -> None:
    """Connect lists it with null for a moment; a repair deletes it while the guard looks."""
    gone = {"offsets": [{"partition": {"server": "legacy"}, "offset": None}]}
    async with connect(lambda _: httpx.Response(200, json=gone)) as client:
        assert await client.offsets("x") == []


async def test_a_rebalance_is_waited_out() -> None:
    answers = [httpx.Response(409, json={"message": "rebalance"}), state("RUNNING", "RUNNING")]

    async with connect(lambda _: answers.pop(0)) as client:
        status = await client.status("x")
    assert status is not None
    assert status.running


async def test_a_refusal_says_what_connect_said() -> None:
    async with connect(lambda _: httpx.Response(400, json={"message": "unknown plugin"})) as client:
        with pytest.raises(ConnectRefused, match="unknown plugin") as raised:
            await client.resume("x")
    assert raised.value.status == 400


async def test_nobody_there_names_the_variable_to_correct() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with connect(answer) as client:
        with pytest.raises(ConnectUnreachable, match="CONNECT_URL"):
            await client.status("x")


async def test_a_failed_task_is_told_by_the_first_line_of_its_trace() -> None:
    async with connect(lambda _: state("RUNNING", "FAILED", trace="slot is gone\n\tat java...")) as client:
        with pytest.raises(ConnectorFailed, match="slot is gone") as raised:
            await client.wait_running("x")
    assert "at java" not in str(raised.value)


async def test_a_connector_without_a_task_is_not_running_yet() -> None:
    answers = [state("RUNNING"), state("RUNNING", "RUNNING")]
    async with connect(lambda _: answers.pop(0)) as client:
        await client.wait_running("x")
    assert answers == []


async def test_stop_waits_until_the_task_is_gone() -> None:
    answers = [httpx.Response(204), state("STOPPED", "RUNNING"), state("STOPPED")]
    async with connect(lambda _: answers.pop(0)) as client:
        await client.stop("x")
    assert answers == []


async def test_a_connector_stopped_by_somebody_stays_so() -> None:
    async with connect(lambda _: state("STOPPED")) as client:
        await client.wait_running("x")
