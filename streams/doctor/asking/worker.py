"""Asks the Kafka Connect worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from streams.doctor.asking import AwayError
from streams.doctor.connect import PLUGIN, Connect
from streams.source import connect as rest
from streams.source.connector import connector_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings import Settings

#: Seconds for one request; and for trying the configuration, for which Connect opens a connection to the database.
REQUEST, TRYING = 3.0, 4.0


class _Inspector(rest.Connect):
    """Kafka Connect's REST interface, and what only doctor asks of it."""

    async def about(self) -> dict[str, Any]:
        """Version and Kafka cluster."""
        return dict(await self._get("/") or {})

    async def versions(self) -> tuple[str, ...]:
        """The versions of our plugin that are there."""
        found = await self._get("/connector-plugins") or []
        return tuple(str(plugin.get("version")) for plugin in found if plugin["class"] == PLUGIN)

    async def tried(self, name: str, config: Mapping[str, str]) -> tuple[str, ...]:
        """What Connect has to say against a configuration; it tries to reach the database, and keeps nothing."""
        path = f"/connector-plugins/{PLUGIN}/config/validate"
        answer = (await self._send("PUT", path, json={"name": name, **config})).json()
        return tuple(
            f"{part['value']['name']}: {' '.join(str(error).split())}"
            for part in answer["configs"]
            for error in part["value"].get("errors", ())
        )


def away(error: rest.ConnectError, url: str) -> str:
    """Why Kafka Connect cannot be asked; what to do about it stands with its own check."""
    return f"Kafka Connect does not answer at {url}" if isinstance(error, rest.ConnectUnreachable) else str(error)


async def ask(settings: Settings) -> Connect:
    """Ask for all that can be judged.

    Raises:
        AwayError: nobody answers, or somebody else than Kafka Connect does.
    """
    name = settings.source.name
    async with (
        _Inspector(settings.connect_url, timeout=REQUEST, rebalance=REQUEST) as connect,
        _Inspector(settings.connect_url, timeout=TRYING, rebalance=REQUEST) as patient,
    ):
        try:
            about, plugins = await asyncio.gather(connect.about(), connect.versions())
            status, config, words = await asyncio.gather(
                connect.status(name), connect.config(name), _tried(patient, settings, plugins)
            )
            return Connect(str(about["version"]), about.get("kafka_cluster_id"), plugins, status, config, words)
        except rest.ConnectError as error:
            raise AwayError(away(error, settings.connect_url), "Start Kafka Connect, or correct CONNECT_URL.") from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            what = f"what answers at {settings.connect_url} is not Kafka Connect"
            raise AwayError(what, "Correct CONNECT_URL.") from None


async def _tried(connect: _Inspector, settings: Settings, plugins: tuple[str, ...]) -> tuple[str, ...] | None:
    if not plugins:
        return None
    try:
        return await connect.tried(settings.source.name, connector_config(settings))
    except rest.ConnectError:
        return None
