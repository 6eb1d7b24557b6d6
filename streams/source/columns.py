"""Holds pipeline.toml to the legacy tables before anything is read: a column that is not there is a typing mistake."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streams.legacy import Legacy, LegacyAwayError
from streams.settings import ConfigError
from streams.source import fit
from streams.source.catalog import read_table
from streams.source.look import captured

if TYPE_CHECKING:
    from streams.settings import Settings
    from streams.source.catalog import Table

log = logging.getLogger(__name__)


async def read_tables(settings: Settings, legacy: Legacy) -> dict[str, Table | None]:
    """Return what the catalog says of the tables that pipeline.toml names; None for one that is not there.

    Raises:
        LegacyAwayError: unreachable, refused, or too slow.
    """
    return {table.name: await read_table(legacy, table.name) for table in captured(settings)}


async def existing(settings: Settings, legacy: Legacy) -> dict[str, Table]:
    """Return the tables that pipeline.toml names, with every column that it names.

    Raises:
        ConfigError: a table or a column is not there.
        LegacyAwayError: unreachable, refused, or too slow.
    """
    tables = await read_tables(settings, legacy)
    if found := fit.missing(settings, tables):
        raise ConfigError(fit.sentences(settings, found))
    return {name: table for name, table in tables.items() if table is not None}


async def check_columns(settings: Settings) -> None:
    """Compare the configured columns with the tables; an unreachable database is reported and not an error here.

    Raises:
        ConfigError: a table or a column is not there.
    """
    legacy = Legacy(settings)
    try:
        await existing(settings, legacy)
    except LegacyAwayError as error:
        log.warning("the legacy tables are not checked: %s", error)
    finally:
        await legacy.close()
