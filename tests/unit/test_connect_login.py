"""User, password and authority of Kafka Connect's REST interface: read, sent, and what a refusal is called."""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from fakes import SETTINGS

from streams.commands import connector
from streams.doctor import examination
from streams.doctor.asking import DeniedError, worker
from streams.doctor.checks import State
from streams.settings import ConfigError, ConnectRest, Secret, Settings, load
from streams.source.connect import Connect, ConnectDenied, ConnectUnreachable
from streams.source.look import look_once

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
#: a certificate for this machine, signed by itself, with a key that guards nothing.
OURS = Path(__file__).parent / "localhost"
USER, PASSWORD = "anna", "pa:ss wörd"


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """A server that lets only one user in; its port, and the Authorization of each request."""
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        given = next((line for line in head.splitlines() if line.lower().startswith("authorization:")), "")
        seen.append(given.partition(" ")[2])
        right = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        status, body = ("404 Not Found", "{}") if seen[-1] == right else ("401 Unauthorized", "<html>no</html>")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def at(port: int, password: str | None = None, scheme: str = "http", ca_file: str | None = None) -> ConnectRest:
    if password is None:
        return ConnectRest(f"{scheme}://127.0.0.1:{port}", ca_file=ca_file)
    return ConnectRest(f"{scheme}://127.0.0.1:{port}", USER, Secret(password), ca_file)


async def test_the_password_is_sent_with_each_request() -> None:
    async with listening() as (port, seen), Connect(at(port, PASSWORD)) as connect:
        assert await connect.status("x") is None  # it is let in, and there is no connector
        assert await connect.offsets("x") == []
    assert len(seen) == 2 and len(set(seen)) == 1


@pytest.mark.parametrize(
    ("password", "says"),
    [("wrong", r"does not take the password of CONNECT_USER anna \(401\)"), (None, "demands a user")],
)
async def test_a_refusal_is_one_of_its_own(password: str | None, says: str) -> None:
    """Not "does not answer": whoever reads that looks at the network."""
    async with listening() as (port, _), Connect(at(port, password)) as connect:
        with pytest.raises(ConnectDenied, match=says) as caught:
            await connect.status("x")
    assert "CONNECT_PASSWORD" in caught.value.sentence and "wrong" not in caught.value.sentence


async def test_doctor_and_the_guard_name_it_with_its_remedy() -> None:
    async with listening() as (port, _):
        settings = replace(SETTINGS, connect=at(port, "wrong"))
        with pytest.raises(DeniedError):
            await worker.ask(settings)
        (report,) = [one for one in await examination.examine(settings) if one.place == examination.CONNECT]
        look = await look_once(
            replace(settings, source=replace(settings.source, url=Secret("postgresql://x@127.0.0.1:1/y")))
        )
    states = {check.slug: check.state for check in report.checks}
    assert states == {"connect_reachable": State.OK, "connect_login": State.FAULT}
    assert "Set CONNECT_USER" in report.checks[1].remedy and "Set CONNECT_USER" in look.connect_remedy
    assert "(401)" in look.connect_away


async def test_a_command_ends_with_the_cause_and_the_remedy() -> None:
    async with listening() as (port, _):
        (group,) = connector.commands(replace(SETTINGS, connect=at(port, "wrong")))
        said = await asyncio.to_thread(CliRunner().invoke, group, ["status"])
    assert said.exit_code == 1 and "(401). Set CONNECT_USER and CONNECT_PASSWORD" in said.stderr


async def test_only_the_authority_that_is_named_counts() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(OURS / "certificate.pem", OURS / "key.pem")
    async with listening(context) as (port, seen):
        async with Connect(at(port, PASSWORD, "https", str(OURS / "certificate.pem"))) as connect:
            assert await connect.status("x") is None
        async with Connect(at(port, PASSWORD, "https")) as connect:
            with pytest.raises(ConnectUnreachable, match="its certificate is not one that we trust"):
                await connect.status("x")
    assert len(seen) == 1, "no password goes to whom we do not trust"


# -- the configuration ------------------------------------------------------------------------------------------------


def read(**env: str) -> Settings:
    return load(ROOT / "pipeline.toml", env)


def test_the_password_by_variable_or_by_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("  from the file \r\nsecond line\n")
    assert read(CONNECT_USER="u", CONNECT_PASSWORD=" x ").connect.password == Secret(" x ")
    by_file = read(CONNECT_USER="u", CONNECT_PASSWORD_FILE=str(tmp_path / "secret"))
    assert by_file.connect.password == Secret("  from the file ")
    assert "from the file" not in repr(by_file)
    assert read().connect == ConnectRest("http://127.0.0.1:8083")


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        ({"CONNECT_USER": "u"}, "CONNECT_USER: is set without a password"),
        ({"CONNECT_PASSWORD": "geheim"}, "CONNECT_USER: is not set"),
        ({"CONNECT_USER": "u:v", "CONNECT_PASSWORD": "geheim"}, "CONNECT_USER: has a colon"),
        (
            {"CONNECT_USER": "u", "CONNECT_PASSWORD": "geheim", "CONNECT_PASSWORD_FILE": "x"},
            "CONNECT_PASSWORD_FILE: is set",
        ),
        ({"CONNECT_USER": "u", "CONNECT_PASSWORD_FILE": "/nowhere"}, "CONNECT_PASSWORD_FILE: names no file"),
        ({"CONNECT_CA_FILE": "/nowhere"}, "CONNECT_CA_FILE: names no file"),
        ({"CONNECT_CA_FILE": str(OURS / "key.pem")}, "CONNECT_CA_FILE: names no file with certificates"),
        ({"CONNECT_URL": "http://u:geheim@x"}, "CONNECT_URL: carries a user"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_anything_starts(env: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(**env)
    (line,) = caught.value.problems
    assert line.startswith(problem) and "geheim" not in line
