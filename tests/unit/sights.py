"""What the guard sees: a source with nothing wrong, of which each test changes one thing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fakes import SETTINGS

from streams.source.look import Connector, Database, Look, Publication, Published, Slot, Table, captured

USERS, CREDENTIALS = (table.name for table in captured(SETTINGS))

SLOT = Slot(True, 4711, False, restart=900, confirmed=950, lag_bytes=10, kept_bytes=50, wal_status="reserved")
PUBLICATION = Publication(
    70, True, {table.name: Published(71 + n, tuple(table.columns)) for n, table in enumerate(captured(SETTINGS))}
)
DATABASE = Database(
    standby=False,
    system="7001/shop",
    timeline=1,
    lsn=1_000,
    slot=SLOT,
    publication=PUBLICATION,
    tables={USERS: Table(500, 900, True, ("id",)), CREDENTIALS: Table(501, 900, True, ("user_id", "id"))},
)
CONNECTOR = Connector("RUNNING", ("RUNNING",), None, 960)
RIGHT = Look(DATABASE, CONNECTOR)


def seen(connector: Connector | None = CONNECTOR, slot: Slot | None = SLOT, **database: Any) -> Look:
    """The look with another connector, slot, or field of the database."""
    return Look(replace(DATABASE, slot=slot, **database), connector)


def published(**changes: Any) -> Publication:
    """The publication with another field."""
    return replace(PUBLICATION, **changes)


def identified(table: str, *columns: str, full: bool = False) -> Look:
    """The look in which this table's replica identity has these columns."""
    there = replace(DATABASE.tables[table], identity=None if full else columns)
    return seen(tables={**DATABASE.tables, table: there})


def stopped(offset: int | None = 960) -> Connector:
    """The connector, stopped by somebody."""
    return Connector("STOPPED", (), None, offset)
