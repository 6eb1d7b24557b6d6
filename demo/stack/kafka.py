"""The Kafka broker (KRaft, one node) and the Kafka Connect worker: formatting, command lines, health."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import subprocess
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from demo.stack.errors import Missing, StackError
from demo.stack.jars import jars
from demo.stack.places import CONNECTORS
from demo.stack.prerequisites import java_command, missing

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from demo.stack.layout import Layout

Result = TypeVar("Result")

JVM = ("-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")

QUICK = "-XX:TieredStopAtLevel=1"


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end, also where an event loop is running already (in a thread of its own)."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def _java(main: str, heap: str, *arguments: str) -> list[str]:
    java = java_command()
    if java is None:
        raise Missing("\n".join(missing(need_maven=False)))
    logging = f"-Dlog4j2.configurationFile={CONNECTORS / 'log4j2.yaml'}"
    options = [*JVM, *os.environ.get("STACK_JAVA_OPTS", QUICK).split(), logging]
    return [java, f"-Xms{heap}", f"-Xmx{heap}", *options, "-cp", f"{jars() / 'libs'}/*", main, *arguments]


def broker_environment(layout: Layout) -> dict[str, str]:
    """Return what fills the placeholders of kafka.properties."""
    return layout.environment(
        {
            "BROKER_LISTEN_HOST": "127.0.0.1",
            "BROKER_ADVERTISED_HOST": "127.0.0.1",
            "BROKER_PORT": layout.env["KAFKA_PORT"],
            "BROKER_CONTROLLER_HOST": "127.0.0.1",
            "BROKER_CONTROLLER_PORT": layout.env["KAFKA_CONTROLLER_PORT"],
            "BROKER_DATA": str(layout.data("kafka")),
        }
    )


def new_cluster_id() -> str:
    """Make a Kafka UUID that does not begin with "-", which the tool would take for an option: the first bit is 0."""
    return urlsafe_b64encode(bytes([secrets.randbelow(128)]) + secrets.token_bytes(15)).decode().rstrip("=")


def prepare_broker(layout: Layout) -> None:
    """Format the broker's folder if it is new."""
    if (layout.data("kafka") / "meta.properties").exists():
        return
    properties = str(CONNECTORS / "kafka.properties")
    arguments = ("format", "--standalone", "--ignore-formatted", "-t", new_cluster_id(), "-c", properties)
    done = subprocess.run(
        _java("kafka.tools.StorageTool", "128m", *arguments),
        env=broker_environment(layout),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StackError(f"Kafka could not format its folder; the reason is in its words: {done.stdout[-2000:]}")


def broker_command(layout: Layout) -> list[str]:
    """Return the broker's command line; BROKER_OVERRIDES of stack.env (`key=value ...`) wins over the properties."""
    overrides = [part for pair in layout.env.get("BROKER_OVERRIDES", "").split() for part in ("--override", pair)]
    return _java("kafka.Kafka", "512m", str(CONNECTORS / "kafka.properties"), *overrides)


def broker_healthy(layout: Layout) -> bool:
    """Tell whether the broker answers and its controller has let it in."""

    async def brokers() -> int:
        admin = AIOKafkaAdminClient(bootstrap_servers=layout.env["KAFKA_BOOTSTRAP_SERVERS"], request_timeout_ms=3000)
        try:
            await admin.start()
            return len((await admin.describe_cluster())["brokers"])
        finally:
            await admin.close()

    if not _listens(layout.port("KAFKA_PORT")):
        return False  # spares the client's error log
    try:
        return run_async(brokers()) > 0
    except (KafkaError, OSError, TimeoutError):
        return False


def connect_environment(layout: Layout) -> dict[str, str]:
    """Return what fills the placeholders of connect.properties and of the connector's configuration."""
    return layout.environment(
        {
            "CONNECT_REST_HOST": "127.0.0.1",
            "CONNECT_REST_PORT": layout.env["CONNECT_PORT"],
        }
    )


def connect_command(_layout: Layout) -> list[str]:
    """Return the Connect worker's command line."""
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    return _java(main, "512m", str(CONNECTORS / "connect.properties"))


def connect_healthy(layout: Layout) -> bool:
    """Tell whether the worker has joined its group (its own health check says so since Kafka 3.9)."""
    return answers(layout.env["CONNECT_URL"] + "/health")


def answers(url: str) -> bool:
    """Tell whether a GET is answered with 200. Asked often: no client, no proxies, no TLS."""
    where = urlsplit(url)
    connection = HTTPConnection(where.hostname or "", where.port, timeout=3)
    try:
        connection.request("GET", where.path)
        return connection.getresponse().status == HTTPStatus.OK
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
