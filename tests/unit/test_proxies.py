"""Which calls go through a proxy of the environment: those to cidaas, and no others (docs/operations.md)."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fakes import SETTINGS

from streams.cidaas.client import Cidaas
from streams.cidaas.errors import CidaasError, Kind
from streams.doctor.asking import tenant
from streams.settings import ConnectRest
from streams.source.connect import Connect, ConnectUnreachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def proxy(monkeypatch: pytest.MonkeyPatch, **variables: str) -> AsyncIterator[list[str]]:
    """A proxy of the environment that lets nobody through; yields the first lines of what it was asked."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        given = next((line for line in head if line.lower().startswith("proxy-authorization:")), "")
        asked.append(" ".join([head[0], *given.split()[1:]]))
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://{variables.get('user', '')}127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, variables.get("no_proxy", ""))
    async with server:
        yield asked


async def probed(base_url: str) -> CidaasError:
    async with Cidaas(replace(SETTINGS.cidaas, base_url=base_url)) as client:
        with pytest.raises(CidaasError) as found:
            await client.probe()
    return found.value


async def test_cidaas_is_called_through_it_by_tunnel(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(monkeypatch) as asked:
        error = await probed("https://accounts.example.com")
    assert asked == ["CONNECT accounts.example.com:443 HTTP/1.1"]
    assert error.kind is Kind.UNAVAILABLE  # nothing was sent: nobody has to rest (C4)


async def test_the_proxys_own_password_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(monkeypatch, user="me:p%40ss@") as asked:
        error = await probed("https://accounts.example.com")
    given = base64.b64encode(b"me:p@ss").decode()
    assert asked == [f"CONNECT accounts.example.com:443 HTTP/1.1 Basic {given}"]
    assert "p@ss" not in str(error) and "p%40ss" not in str(error)


async def test_doctor_takes_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, cidaas=replace(SETTINGS.cidaas, base_url="https://accounts.example.com"))
    async with proxy(monkeypatch) as asked:
        found = await tenant.ask(settings, write=False)
    assert asked == ["CONNECT accounts.example.com:443 HTTP/1.1"]
    assert found.probe is not None and "the proxy in between refused" in str(found.probe)


async def test_no_proxy_is_heeded_and_this_machine_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(monkeypatch, no_proxy="127.0.0.2") as asked:
        await probed("http://127.0.0.2:1")
        await probed("http://127.0.0.1:1")
    assert asked == []


async def test_kafka_connect_is_not_called_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with proxy(monkeypatch) as asked, Connect(ConnectRest("http://127.0.0.2:1")) as connect:
        with pytest.raises(ConnectUnreachable):
            await connect.status("cidaas_sync")
    assert asked == []
