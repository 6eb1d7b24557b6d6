"""Asks the Kafka Connect worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from streams.causes import why
from streams.doctor.asking import AwayError, DeniedError
from streams.doctor.connect import Connect
from streams.source import connect as rest
from streams.source.connector import PLUGIN, connector_config

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
    if not isinstance(error, rest.ConnectUnreachable):
        return str(error)
    return f"Kafka Connect does not answer at {url}: {why(error.__cause__ or error)}"


async def ask(settings: Settings) -> Connect:
    """Ask for all that can be judged.

    Raises:
        DeniedError: it does not let us in.
        AwayError: nobody answers, or somebody else than Kafka Connect does.
    """
    name = settings.source.name
    async with (
        _Inspector(settings.connect, timeout=REQUEST, rebalance=REQUEST) as connect,
        _Inspector(settings.connect, timeout=TRYING, rebalance=REQUEST) as patient,
    ):
        try:
            about, plugins = await asyncio.gather(connect.about(), connect.versions(PLUGIN))
            status, config, words = await asyncio.gather(
                connect.status(name), connect.config(name), _tried(patient, settings, plugins)
            )
            return Connect(str(about["version"]), about.get("kafka_cluster_id"), plugins, status, config, words)
        except rest.ConnectDenied as error:
            raise DeniedError(str(error), error.remedy) from None
        except rest.ConnectError as error:
            raise AwayError(away(error, settings.connect.url), error.remedy) from None
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            what = f"what answers at {settings.connect.url} is not Kafka Connect"
            raise AwayError(what, "Correct CONNECT_URL.") from None


async def _tried(connect: _Inspector, settings: Settings, plugins: tuple[str, ...]) -> tuple[str, ...] | None:
    if not plugins:
        return None
    try:
        return await connect.tried(settings.source.name, connector_config(settings))
    except rest.ConnectError:
        return None
