"""Change data capture for the stack, by the code that serves a real database: SQL, topics, connector."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from demo.stack import postgres
from demo.stack.kafka import run_async
from streams.settings import Settings, load
from streams.source import sql, topics
from streams.source.connect import Connect
from streams.source.connector import connector_config

if TYPE_CHECKING:
    from demo.stack.layout import Layout


def settings_of(layout: Layout) -> Settings:
    """Read pipeline.toml with this stack's variables."""
    return load(env=layout.environment())


def ensure_topics(layout: Layout) -> None:
    """Make the topics that are missing; an existing one with other settings is an error."""
    run_async(topics.ensure(settings_of(layout)))


def enable(layout: Layout) -> None:
    """Run what connectors/sql/enable.sql has, and give the two roles the stack's passwords."""
    settings = settings_of(layout)
    reader = urlsplit(layout.env["LEGACY_DATABASE_URL"]).password or ""
    passwords = {settings.source.role: layout.env["CDC_DEBEZIUM_PASSWORD"], settings.source.read_role: reader}
    with postgres.connect(layout) as admin:
        sql.enable(admin, settings, passwords)


def register_connector(layout: Layout) -> None:
    """Create or update the connector, and wait until its task runs."""
    settings = settings_of(layout)

    async def register() -> None:
        async with Connect(settings.connect) as connect:
            await connect.put_config(settings.source.name, connector_config(settings))
            await connect.wait_running(settings.source.name, seconds=60)

    run_async(register())
