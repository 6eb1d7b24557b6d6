"""What enabling and disabling change data capture have in common: a statement, names, quoting.

Each statement says in a line for the DBA what it does and costs. Each is safe to run twice. They serve PostgreSQL 14 to
18: where versions differ, the statement itself looks at the server's version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.settings.tables import INDEX_NAME

if TYPE_CHECKING:
    from streams.settings import CredentialsTable, UsersTable


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement and what the DBA has to know of it."""

    why: str
    sql: str


@dataclass(frozen=True, slots=True)
class Password:
    """Give `role` its password; it never stands in a file. `variable` is psql's environment variable for it."""

    why: str
    role: str
    variable: str


Step = Statement | Password

PATIENCE = Statement(
    "Wait at most three seconds for a lock, then give up instead of holding up others.", "SET lock_timeout = '3s'"
)
NO_LIMIT = Statement("The next statement waits for open transactions, and blocks nobody.", "SET lock_timeout = 0")


def quoted(name: str) -> str:
    """Quote an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text."""
    return "'" + text.replace("'", "''") + "'"


def relation(table: str) -> str:
    """Quote schema and table of `schema.table`."""
    schema, _, name = table.rpartition(".")
    return f"{quoted(schema)}.{quoted(name)}"


def identity_index(table: UsersTable | CredentialsTable) -> str:
    """Name the index by which deletes and moves of credentials tell the user; 63 bytes are PostgreSQL's limit."""
    return f"{table.name.rpartition('.')[2][:INDEX_NAME]}_cidaas_sync_ri"


def columns_of(table: UsersTable | CredentialsTable) -> str:
    """Quote the mapped columns of a table, as a list."""
    return ", ".join(quoted(column) for column in table.columns)


def do(body: str) -> str:
    """Make an anonymous block of PL/pgSQL."""
    return f"DO $do$\n{body}\n$do$"


def said(name: str) -> str:
    """Write a name inside the text of RAISE EXCEPTION."""
    return name.replace("'", "''").replace("%", "%%")
