"""Change data capture on the legacy database: files for psql, and the same statements over a connection.

`enable_sql` and `disable_sql` render what a DBA reads and runs (connectors/sql/); `enable` and `disable` execute the
very same statements, for the demo and the `cdc` command.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from streams.source.disabling import KEPT, disabling
from streams.source.enabling import enabling
from streams.source.statements import Password, Statement, Step, literal, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import psycopg

    from streams.settings import Settings

_ENABLE = """\
Enables change data capture for cidaas-sync. Generated from pipeline.toml; run it as the owner of the tables, with the
right to create roles that replicate (before PostgreSQL 16: as a superuser):

    psql -f enable.sql "$LEGACY_ADMIN_URL"

Safe to run twice. It stops at the first error; run it again then. What it made, disable.sql takes back. The replication
slot is made later, by the connector itself.\
"""

_DISABLE = """\
Takes back what enable.sql did. Generated from pipeline.toml. Stop and delete the connector first:

    curl -X PUT "$CONNECT_URL/connectors/{name}/stop"; curl -X DELETE "$CONNECT_URL/connectors/{name}/offsets"
    curl -X DELETE "$CONNECT_URL/connectors/{name}"
    psql -f disable.sql "$LEGACY_ADMIN_URL"

Safe to run twice. A forgotten slot fills the disk of the database: the end proves that none is left.\
"""


def enable_sql(settings: Settings) -> str:
    """Return connectors/sql/enable.sql."""
    return _rendered(_ENABLE, enabling(settings.source))


def disable_sql(settings: Settings) -> str:
    """Return connectors/sql/disable.sql."""
    return _rendered(_DISABLE.format(name=settings.source.name), disabling(settings.source))


def enable(connection: psycopg.Connection, settings: Settings, passwords: Mapping[str, str]) -> None:
    """Enable change data capture; `passwords` by role name (a role without one keeps what it has).

    The connection has to be in autocommit: an index cannot be built concurrently inside a transaction. Raises
    psycopg.Error with the server's own words; what was done up to there stays, and running it again goes on.
    """
    for step in enabling(settings.source):
        _execute(connection, step, passwords)


def disable(connection: psycopg.Connection, settings: Settings, kept: Callable[[str], object]) -> None:
    """Take everything back; the connector has to be stopped before. Raises like `enable`.

    `kept` is told in a sentence of each table that another publication has, too: its index and replica identity stay.
    """

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        if notice.sqlstate == KEPT:
            kept(notice.message_primary or "")

    connection.add_notice_handler(hear)
    for step in disabling(settings.source):
        _execute(connection, step, {})


def _execute(connection: psycopg.Connection, step: Step, passwords: Mapping[str, str]) -> None:
    if not connection.autocommit:
        raise ValueError("open the connection with autocommit=True: an index cannot be built inside a transaction")
    if isinstance(step, Statement):
        text = step.sql
    elif step.role in passwords:
        # Scrambled here, so that the password itself appears in no log of the server.
        scrambled = connection.pgconn.encrypt_password(
            passwords[step.role].encode(), step.role.encode(), b"scram-sha-256"
        ).decode()
        text = f"ALTER ROLE {quoted(step.role)} PASSWORD {literal(scrambled)}"
    else:
        return
    connection.execute(text.encode())  # bytes, as psycopg's types take no text that was put together


def _rendered(head: str, steps: Sequence[Step]) -> str:
    parts = ["\n".join(f"-- {line}".rstrip() for line in head.splitlines()), "\\set ON_ERROR_STOP on"]
    parts += [_password(step) if isinstance(step, Password) else f"{_comment(step.why)}\n{step.sql};" for step in steps]
    return "\n\n".join(parts) + "\n"


def _comment(why: str) -> str:
    return "\n".join(f"-- {line}" for line in textwrap.wrap(why, 112))


def _password(step: Password) -> str:
    return f"""{_comment(step.why)}
\\set password `printf %s "${{{step.variable}-}}"`
SELECT :'password' <> '' AS given \\gset
\\if :given
ALTER ROLE {quoted(step.role)} PASSWORD :'password';
\\else
\\echo 'no password set: do it by \\\\password {step.role}'
\\endif
\\unset password"""
