"""Holds pipeline.toml to the legacy tables before anything is read: a column that is not there is a typing mistake."""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING

from psycopg import sql

from streams.legacy import Legacy, LegacyAwayError
from streams.settings import ConfigError

if TYPE_CHECKING:
    from streams.settings import CredentialsTable, Settings, UsersTable

log = logging.getLogger(__name__)

#: pg_attribute, not information_schema: that one shows only columns on which the role has a right.
_COLUMNS = sql.SQL(
    "SELECT a.attname AS name FROM pg_attribute a "
    "WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped"
)


async def check_columns(settings: Settings) -> None:
    """Compare the configured columns with the tables; an unreachable database is reported and not an error here.

    Raises:
        ConfigError: a table or a column is not there.
    """
    tables: list[UsersTable | CredentialsTable] = [settings.source.users]
    if settings.source.credentials is not None:
        tables.append(settings.source.credentials)
    legacy = Legacy(settings)
    try:
        problems = [problem for table in tables for problem in await _problems(legacy, settings, table)]
    except LegacyAwayError as error:
        log.warning("the legacy tables are not checked: %s", error)
        return
    finally:
        await legacy.close()
    if problems:
        raise ConfigError(problems)


async def _problems(legacy: Legacy, settings: Settings, table: UsersTable | CredentialsTable) -> list[str]:
    there = [row["name"] for row in await legacy.query(_COLUMNS, (table.name,))]
    if not there:
        return [f"{settings.path}: the legacy database has no table {table.name}. Correct its name under [tables]."]
    found: list[str] = []
    for column in table.columns:
        if column not in there:
            near = difflib.get_close_matches(column, there, 1)
            hint = f" Did you mean {near[0]}?" if near else f" It has {', '.join(sorted(there))}."
            found.append(f"{settings.path}: the table {table.name} has no column {column}.{hint}")
    return found
