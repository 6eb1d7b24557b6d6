"""Reads single users in the legacy database: the second look before a delete, and what a sweep compares.

Read-only and short: one connection, autocommit, a statement time-out. The database being away is an answer of its
own, never "the user is gone".
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import errors, sql
from psycopg.adapt import Loader
from psycopg.rows import dict_row
from psycopg.types.string import TextLoader

from streams.causes import why
from streams.comparison import Rows
from streams.credentials import Names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from psycopg.abc import Buffer

    from streams.settings import CredentialsTable, Settings, UsersTable

    Params = Sequence[Any] | Mapping[str, Any]

log = logging.getLogger(__name__)


#: Names the system and the database behind a connection.
SYSTEM = sql.SQL("SELECT system_identifier::text || '/' || current_database() AS name FROM pg_control_system()")


STANDBY = sql.SQL("SELECT pg_is_in_recovery() AS standby")
ON_STANDBY = "LEGACY_DATABASE_URL is a standby, which may be behind: name the primary"


#: Seconds for which a database that did not answer is left alone: each delete that waits asks for its own second look,
#: and a server that is out of connections must not get hundreds of them a second.
_REST = 1.0


class LegacyAwayError(RuntimeError):
    """The legacy database cannot be asked now; nothing follows from that."""


class NoSuchIdError(RuntimeError):
    """An id is not of the type of the table's key, so no row can have it."""


def _literals(ids: Sequence[str]) -> sql.Composed:
    """The ids as literals without a type, which PostgreSQL makes into the column's: an index can be used."""
    return sql.SQL(", ").join(sql.Literal(one) for one in ids)


def _plain(user_id: object) -> str:
    """A key of type char(n) comes padded through the source; padding says nothing."""
    return str(user_id).rstrip()


def _select(table: UsersTable | CredentialsTable, column: str, ids: Sequence[str]) -> sql.Composed:
    return sql.SQL("SELECT {columns} FROM {table} WHERE {column} IN ({ids})").format(
        columns=sql.SQL(", ").join(sql.Identifier(name) for name in table.columns),
        table=qualified(table.name),
        column=sql.Identifier(column),
        ids=_literals(ids),
    )


def keys_of(
    table: UsersTable | CredentialsTable, *columns: str, where: str = "", ids: Sequence[str] = ()
) -> sql.Composed:
    """Select key columns only: of all rows, or of those whose column `where` is among `ids`."""
    query = sql.SQL("SELECT {columns} FROM {table}").format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)), table=qualified(table.name)
    )
    if not where:
        return query
    return query + sql.SQL(" WHERE {column} IN ({ids})").format(column=sql.Identifier(where), ids=_literals(ids))


class Moment(Loader):
    """A date or a time as Debezium writes it, made of PostgreSQL's own text (DateStyle is ISO, TimeZone is UTC).

    Debezium 3.7 writes six digits of a second in any case (measured: initial snapshot and stream), PostgreSQL as few as
    it can. The way by a datetime takes several times as long, and there is none for `infinity` or a year before Christ:
    those pass on as texts that are no times, and the mapping notes it.
    """

    def load(self, data: Buffer) -> str:
        """Return the text."""
        text = bytes(data).decode().replace(" ", "T", 1).removesuffix("+00")
        if "T" in text and text[-1].isdigit():
            whole, _, fraction = text.partition(".")
            text = f"{whole}.{fraction:0<6}"
        return text + "Z"


#: Types whose own text is that of Debezium, or nearly so.
_LOADERS: dict[str, type[Loader]] = {
    **dict.fromkeys(("date", "timestamp", "timestamptz"), Moment),
    **dict.fromkeys(("uuid", "numeric", "json", "jsonb"), TextLoader),
}
#: Those, and the ones whose values it has as they are. Of an array the elements may be anything.
_WRITTEN = frozenset((*_LOADERS, "text", "varchar", "bpchar", "bool", "int2", "int4", "int8", "float4", "float8"))
#: Values that Debezium has as they are.
_PLAIN = frozenset((str, int, bool, float, type(None)))


def _values(row: dict[str, Any]) -> dict[str, Any]:
    return {name: as_debezium(value) for name, value in row.items()}


def written(column: psycopg.Column) -> bool:
    """Whether the values of a column of a result come as Debezium has them, so that `as_debezium` changes none."""
    known = psycopg.adapters.types.get(column.type_code)
    return known is not None and column.type_code == known.oid and known.name in _WRITTEN


def as_debezium(value: Any) -> Any:
    """Write a value as Debezium's JSON has it (`time.precision.mode` isostring, decimals as text, bytes base64).

    A difference in writing would cost one needless call when the row changes next, nothing else.
    """
    if type(value) in _PLAIN:
        return value
    match value:
        case bytes() | memoryview():
            return base64.b64encode(value).decode()
        case list():
            return [as_debezium(item) for item in value]
    return str(value)


def qualified(name: str) -> sql.Identifier:
    """Quote `schema.table`."""
    return sql.Identifier(*name.split("."))


def _why(error: BaseException, url: str) -> str:
    """The driver's own words in one line, without the password.

    It quotes what it takes for something else: the part after an unencoded @ as the host, a bad % in full.
    """
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "LEGACY_DATABASE_URL is no address: percent-encode special characters of the password"
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line.strip("^") and not line.startswith("LINE ")]  # where in our own statement
    text = lines[-1] if lines else why(error)
    for part in (urlsplit(url).password or "").split("@"):
        if part:
            text = text.replace(part, "***")
    return text[:300]


class Legacy:
    """A read-only connection to the legacy database, made anew when it broke."""

    def __init__(self, settings: Settings, timeout: float = 5.0, patience: float | None = None) -> None:
        """`timeout` seconds for connecting and for a statement, `patience` for all of a transaction."""
        self._settings, self._timeout = settings, timeout
        self._names = Names(settings.source.credentials)
        self._patience = patience if patience is not None else timeout
        self._connection: psycopg.AsyncConnection[dict[str, Any]] | None = None
        self._lock = asyncio.Lock()
        #: until when it is not asked again, and why.
        self._away, self._why = 0.0, ""
        #: what SYSTEM has to say, "" for whatever it says: another database would say of everybody "not there".
        self.expected = ""

    async def users(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Read the user rows (all mapped columns, as text) of these ids; an id that is absent is not there.

        Raises:
            LegacyAwayError: unreachable, refused, or too slow.
        """
        users = self._settings.source.users
        query = sql.SQL("SELECT {columns} FROM {table} WHERE {id} IN ({ids})").format(
            columns=sql.SQL(", ").join(
                sql.SQL("{0}::text AS {0}").format(sql.Identifier(name)) for name in users.columns
            ),
            table=qualified(users.name),
            id=sql.Identifier(users.id),
            ids=_literals(ids),
        )
        try:
            found = {_plain(row[users.id]): row for row in await self.query(query)}
        except NoSuchIdError:
            if len(ids) == 1:
                return {}
            # Which one it was is not said, and of the others "not there" would be a lie that deletes them.
            return {user_id: row for one in ids for user_id, row in (await self.users([one])).items()}
        return {user_id: found[_plain(user_id)] for user_id in ids if _plain(user_id) in found}

    async def rows(self, ids: Sequence[str]) -> dict[str, tuple[dict[str, Any] | None, dict[str, dict[str, Any]]]]:
        """Read all rows of these users as of one moment: (user row, credential rows by name), values as Debezium's.

        An id that is not of the key's type is left out: a type that somebody changes just now makes nobody gone.

        Raises:
            LegacyAwayError: unreachable, refused, too slow, or a standby, which may be behind what is known here.
        """
        source = self._settings.source
        statements = [_select(source.users, source.users.id, ids)]
        statements += [_select(table, table.user_id, ids) for table in source.credentials]
        try:
            found, *answers = await self._primary(statements)
        except NoSuchIdError:
            half = len(ids) // 2
            return await self.rows(ids[:half]) | await self.rows(ids[half:]) if half else {}
        users = {_plain(row[source.users.id]): _values(row) for row in found}
        credentials: dict[str, dict[str, dict[str, Any]]] = {}
        for table, rows in zip(source.credentials, answers, strict=True):
            prefix = self._names.prefix(table)
            for row in rows:
                credentials.setdefault(_plain(row[table.user_id]), {})[f"{prefix}{row[table.id]}"] = _values(row)
        return {one: (users.get(_plain(one)), credentials.get(_plain(one), {})) for one in ids}

    async def present(self, ids: Sequence[str]) -> dict[str, Rows]:
        """Say which rows of these users are there, as of one moment.

        Raises:
            LegacyAwayError: unreachable, refused, too slow, or a standby.
        """
        source = self._settings.source
        statements = [keys_of(source.users, source.users.id, where=source.users.id, ids=ids)]
        statements += [
            keys_of(table, table.user_id, table.id, where=table.user_id, ids=ids) for table in source.credentials
        ]
        try:
            found, *answers = await self._primary(statements)
        except NoSuchIdError:
            if len(ids) == 1:
                return {ids[0]: Rows()}
            half = len(ids) // 2
            return await self.present(ids[:half]) | await self.present(ids[half:])
        users = {_plain(row[source.users.id]) for row in found}
        credentials: dict[str, set[str]] = {}
        for table, rows in zip(source.credentials, answers, strict=True):
            prefix = self._names.prefix(table)
            for row in rows:
                credentials.setdefault(_plain(row[table.user_id]), set()).add(f"{prefix}{row[table.id]}")
        return {one: Rows(_plain(one) in users, frozenset(credentials.get(_plain(one), ()))) for one in ids}

    async def _primary(self, statements: Sequence[sql.Composed]) -> list[list[dict[str, Any]]]:
        """Run reading statements on the primary: a standby may be behind, and say of the newest users "not there"."""
        standby, *answers = await self.queries([STANDBY, *statements])
        if standby[0]["standby"]:
            raise LegacyAwayError(ON_STANDBY)
        return answers

    async def query(self, query: sql.Composed | sql.SQL, params: Params = ()) -> list[dict[str, Any]]:
        """Run one reading statement.

        Raises:
            LegacyAwayError: unreachable, refused, or too slow.
            NoSuchIdError: an id in it is not of the column's type.
        """
        return (await self.queries([query], params))[0]

    async def queries(
        self, statements: Sequence[sql.Composed | sql.SQL], params: Params = ()
    ) -> list[list[dict[str, Any]]]:
        """Run reading statements that all see the database as of one moment.

        Raises:
            LegacyAwayError: unreachable, refused, or too slow.
            NoSuchIdError: an id in them is not of the column's type.
        """
        async with self.moment() as connection:
            return [await (await connection.execute(statement, params or None)).fetchall() for statement in statements]

    @asynccontextmanager
    async def moment(self) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
        """One reading transaction, which sees the database as of one moment.

        Raises:
            LegacyAwayError: unreachable, refused, or too slow.
            NoSuchIdError: an id in a statement is not of the column's type.
        """
        async with self._lock:
            if time.monotonic() < self._away:
                raise LegacyAwayError(self._why)
            try:
                async with asyncio.timeout(self._patience):
                    connection = await self._connected()
                    async with connection.transaction():
                        yield connection
            except (errors.InvalidTextRepresentation, errors.NumericValueOutOfRange):
                raise NoSuchIdError from None
            except LegacyAwayError as error:
                self._rest(str(error))
                raise
            except (psycopg.Error, OSError, TimeoutError) as error:
                await self.close()
                (url,) = self._settings.require("LEGACY_DATABASE_URL")
                self._rest(f"the legacy database does not answer: {_why(error, url)}")
                raise LegacyAwayError(self._why) from None

    def _rest(self, why: str) -> None:
        self._away, self._why = time.monotonic() + _REST, why

    async def _connected(self) -> psycopg.AsyncConnection[dict[str, Any]]:
        if self._connection is None or self._connection.closed:
            (url,) = self._settings.require("LEGACY_DATABASE_URL")
            connection = await psycopg.AsyncConnection.connect(
                url,
                autocommit=True,
                row_factory=dict_row,
                connect_timeout=int(self._timeout),
                application_name="cidaas-sync",
                # With row_security off, a policy that would hide rows is an error and not an absence.
                options=f"-c default_transaction_read_only=on -c statement_timeout={self._timeout * 1000:.0f} "
                "-c row_security=off "
                "-c default_transaction_isolation=repeatable\\ read -c TimeZone=UTC -c DateStyle=ISO",
            )
            for name, loader in _LOADERS.items():
                connection.adapters.register_loader(name, loader)
            try:
                await self._recognized(connection)
            except BaseException:
                await connection.close()
                raise
            self._connection = connection
        return self._connection

    async def _recognized(self, connection: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        """Raise for a connection to another database than the one that this pipeline reads (M8, O5)."""
        if not self.expected:
            return
        found = await (await connection.execute(SYSTEM)).fetchone()
        name = found["name"] if found is not None else ""
        if name != self.expected:
            raise LegacyAwayError(
                f"LEGACY_DATABASE_URL leads to another database now ({name} instead of {self.expected}), and nothing "
                "that it says is believed"
            )

    async def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                await asyncio.wait_for(connection.close(), 1.0)
            except (psycopg.Error, OSError, TimeoutError):
                log.debug("the connection to the legacy database broke while it was closed")
