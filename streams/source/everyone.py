"""Reads all users of the legacy tables, or a sample of them, in one pass with a server-side cursor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql
from psycopg.rows import tuple_row

from streams.legacy import as_debezium, qualified

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.legacy import Legacy
    from streams.settings import Settings

    Take = Callable[[str, dict[str, Any], list[dict[str, Any]]], None]

#: Rows that travel at a time.
_BATCH = 5_000
#: What needs no other writing to be as Debezium's JSON has it.
_PLAIN = frozenset({str, int, bool, float, type(None)})


@dataclass(frozen=True, slots=True)
class Question:
    """Which columns of which tables are read; `owner` is the column of the credentials table with the user's id."""

    users: str
    id: str
    columns: tuple[str, ...]
    credentials: str | None = None
    owner: str = ""
    credential_columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, *several: Settings) -> Question:
        """Ask for what these configurations need together.

        Raises:
            ValueError: they name other tables or keys, so their users are not the same.
        """
        sources = [settings.source for settings in several]
        users = {(source.users.name, source.users.id) for source in sources}
        tables = [source.credentials for source in sources if source.credentials is not None]
        owners = {(table.name, table.user_id, table.id) for table in tables}
        if len(users) > 1 or len(owners) > 1:
            raise ValueError(
                "the two files name other tables or other keys under [tables], so there is nothing to compare user by "
                "user: compare files for the same tables"
            )
        ((name, id_),) = users
        columns = tuple(dict.fromkeys(column for source in sources for column in source.users.columns))
        if not tables:
            return cls(name, id_, columns)
        own = tuple(dict.fromkeys(column for table in tables for column in table.columns))
        return cls(name, id_, columns, tables[0].name, tables[0].user_id, own)


async def count(legacy: Legacy, question: Question) -> int:
    """Return how many users there are."""
    query = sql.SQL("SELECT count(*) AS users FROM {table}").format(table=qualified(question.users))
    return int((await legacy.query(query))[0]["users"])


async def read_everyone(legacy: Legacy, question: Question, take: Take, share: float = 1.0) -> None:
    """Hand each user's id, row and credential rows to `take`, values as Debezium's, all as of one moment.

    `share` below 1 reads about that share of the users, chosen at random. The transaction is read-only and holds back
    vacuum for as long as it takes.

    Raises:
        LegacyAwayError: unreachable or refused.
    """
    width, at = len(question.columns), question.columns.index(question.id)
    async with legacy.moment() as connection:
        # A cursor is planned for its first rows, which for all of them is the slowest plan.
        await connection.execute("SET LOCAL cursor_tuple_fraction = 1")
        await connection.execute("SET LOCAL statement_timeout = 0")
        async with connection.cursor(name="cidaas_sync_everyone", row_factory=tuple_row) as cursor:
            cursor.itersize = _BATCH
            await cursor.execute(_query(question, share))
            user: dict[str, Any] | None = None
            user_id, credentials = "", list[dict[str, Any]]()
            async for row in cursor:
                values = [value if type(value) in _PLAIN else as_debezium(value) for value in row]
                if user is None or str(values[at]) != user_id:
                    if user is not None:
                        take(user_id, user, credentials)
                    user, credentials = dict(zip(question.columns, values[:width], strict=True)), []
                    user_id = str(values[at])
                if question.credentials is not None and values[-1] is not None:
                    credentials.append(dict(zip(question.credential_columns, values[width:-1], strict=True)))
            if user is not None:
                take(user_id, user, credentials)


def _query(question: Question, share: float) -> sql.Composed:
    """One row for each credential row, or one for a user without; ordered, so that a user's rows come together."""
    columns = [sql.Identifier("u", name) for name in question.columns]
    # REPEATABLE: the same sample each time, as long as the table does not change
    sample = sql.SQL(" TABLESAMPLE BERNOULLI ({}) REPEATABLE (1)").format(sql.Literal(100 * share))
    source = sql.SQL("{} AS u").format(qualified(question.users)) + (sample if share < 1 else sql.SQL(""))
    if question.credentials is not None:
        columns += [sql.Identifier("c", name) for name in question.credential_columns]
        columns.append(sql.Identifier("c", question.owner))
        source += sql.SQL(" LEFT JOIN {} AS c ON {} = {}").format(
            qualified(question.credentials), sql.Identifier("c", question.owner), sql.Identifier("u", question.id)
        )
    return sql.SQL("SELECT {} FROM {} ORDER BY {}").format(
        sql.SQL(", ").join(columns), source, sql.Identifier("u", question.id)
    )
