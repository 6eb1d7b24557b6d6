"""Why something is away, in words; no name of a Python class stands in what a person reads."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import httpx
import pytest
from aiokafka import errors as kafka

from streams.causes import named, why

STREAMS = Path(__file__).parents[2] / "streams"


async def test_a_port_where_nobody_listens_and_a_name_that_nobody_has() -> None:
    """The client says of the first "All connection attempts failed"; the cause lies behind it."""
    async with httpx.AsyncClient(trust_env=False) as client:
        for url, words in [
            ("http://127.0.0.1:1", "nobody listens there"),
            ("http://a.invalid", "its name is not known"),
        ]:
            with pytest.raises(httpx.ConnectError) as caught:
                await client.get(url)
            assert why(caught.value) == words


async def test_a_server_that_hangs_up_or_is_silent() -> None:
    """Both after the request was sent."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    for answer, words in ((hang_up, "it broke the connection"), (wait, "no answer in time")):
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, httpx.AsyncClient(trust_env=False, timeout=0.3) as client:
            with pytest.raises(httpx.HTTPError) as caught:
                await client.get(url)
            assert why(caught.value) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka.KafkaConnectionError("Unable to bootstrap from x"), "nobody lets us in there"),
        (kafka.TopicAuthorizationFailedError(), "topic authorization failed"),
        (kafka.NodeNotReadyError(), "node not ready"),
        (kafka.KafkaError("Unable to get it."), "Unable to get it"),
        (ValueError(), "value"),
        (OSError(2, "No such file or directory", "ca.pem"), "[Errno 2] No such file or directory: 'ca.pem'"),
    ],
)
def test_the_words_hold_no_name_of_a_class(error: Exception, words: str) -> None:
    """The words of Kafka's client begin with one."""
    assert why(error) == words and type(error).__name__ not in why(error)


def test_a_sentence_of_ours_is_not_replaced_by_what_led_to_it() -> None:
    """`from None` says that the cause has nothing to add."""
    try:
        try:
            raise TimeoutError
        except TimeoutError:
            raise RuntimeError("the broker did not confirm it") from None
    except RuntimeError as error:
        assert why(error) == "the broker did not confirm it"


def test_a_code_of_the_broker_becomes_words() -> None:
    """Where the broker gives no words of its own."""
    assert named(kafka.InvalidReplicationFactorError) == "invalid replication factor"
    assert named(kafka.TopicAlreadyExistsError) == "topic already exists"


#: what is written into the log, for whoever debugs
LOGGED = {"rereads.py"}
#: what is wrong with a Python function of the user's own, for whoever wrote it
FUNCTIONS = {"converters.py", "settings/functions.py"}


def test_no_module_puts_the_name_of_a_class_into_a_sentence() -> None:
    """`type(error).__name__`, or the text of an error of Kafka's client, would do that."""
    found = {
        path.relative_to(STREAMS).as_posix()
        for path in STREAMS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "__name__"
    }
    assert found - LOGGED - FUNCTIONS == {"causes.py"}
