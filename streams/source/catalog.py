"""What PostgreSQL's catalog says of a legacy table: its kind, its columns, their types, and who may read them.

`doctor` asks over a connection of its own, as the administrator and for both roles; all others as the reading role.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.legacy import Legacy

#: By name and not by `to_regclass`, which folds capital letters and fails without a right on the schema.
_TABLE = sql.SQL(
    "SELECT c.oid, c.relkind::text AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = split_part(%(name)s, '.', 1) AND c.relname = split_part(%(name)s, '.', 2)"
)
#: pg_attribute, not information_schema: that one shows only columns on which the role has a right. A domain stands for
#: the type below it, `base`. A column list brings stored generated columns from PostgreSQL 18 on, virtual ones never.
COLUMNS = sql.SQL(
    """
    WITH RECURSIVE column_ AS (
        SELECT attnum, attname, atttypid, atttypmod, attnotnull, attrelid, attgenerated, attlen, attstorage
        FROM pg_attribute WHERE attrelid = %(table)s AND attnum > 0 AND NOT attisdropped
    ), below (attnum, oid, required) AS (
        SELECT attnum, atttypid, attnotnull FROM column_
        UNION ALL
        SELECT b.attnum, t.typbasetype, b.required OR t.typnotnull
        FROM below b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
    )
    SELECT c.attname AS name, format_type(c.atttypid, c.atttypmod) AS type, t.typname AS base, b.required,
        t.typcategory = 'A' AS is_array,
        ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) AS labels,
        CASE c.attgenerated::text WHEN '' THEN true WHEN 's' THEN current_setting('server_version_num')::int >= 180000
            ELSE false END AS published,
        c.attlen = -1 AND c.attstorage IN ('x', 'e') AS large, t.typtype = 'c' AS composite,
        has_column_privilege(c.attrelid, c.attnum, 'SELECT') AS readable,
        ARRAY(
            SELECT rolname::text FROM pg_roles r
            WHERE rolname = ANY (%(roles)s) AND has_column_privilege(r.oid, c.attrelid, c.attnum, 'SELECT')
        ) AS readers,
        EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.attrelid AND i.indisunique AND i.indisvalid
            AND i.indnkeyatts = 1 AND i.indkey[0] = c.attnum AND i.indpred IS NULL
        ) AS is_unique,
        (
            SELECT o.attname::text FROM pg_index i JOIN pg_attribute o ON o.attrelid = i.indrelid
            WHERE i.indrelid = c.attrelid AND i.indisprimary AND i.indnkeyatts = 2
            AND (i.indkey[0] = c.attnum AND i.indkey[1] = o.attnum OR i.indkey[1] = c.attnum AND i.indkey[0] = o.attnum)
        ) AS paired
    FROM column_ c JOIN below b USING (attnum) JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd'
    ORDER BY c.attnum
    """
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `type` is as people write it, `base` PostgreSQL's name of the type, below a domain if it is one."""

    name: str
    type: str
    base: str
    not_null: bool = False
    unique: bool = False
    #: the other column of a primary key of two.
    paired: str | None = None
    readable: bool = True
    is_array: bool = False
    #: whether a publication can bring it; a generated column can be left out.
    published: bool = True
    #: its values may be stored apart from the row (TOAST).
    large: bool = False
    #: made of several values.
    composite: bool = False
    #: which of the roles that were asked about may read it.
    readers: frozenset[str] = frozenset()
    #: of an enum: its values.
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `kind` is PostgreSQL's letter: r for a table, else one of KINDS."""

    name: str
    kind: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """Return the column of this name."""
        return next((column for column in self.columns if column.name == name), None)


#: What is no ordinary table, and so not read (docs/restrictions.md).
KINDS = {"p": "partitioned", "v": "a view", "m": "a materialized view", "f": "a foreign table"}
ORDINARY = "Name an ordinary table: views and partitioned tables are not read (docs/restrictions.md)."

INTEGERS = frozenset({"int2", "int4", "int8"})
#: What a key may be. Ids of two types of one kind can be compared: their values are written alike.
_KEYS = {**dict.fromkeys(INTEGERS, "number"), "uuid": "uuid", **dict.fromkeys(("text", "varchar", "bpchar"), "text")}


def key_kind(column: Column) -> str | None:
    """What kind of key a column can be: "number", "uuid" or "text"; None for none."""
    return _KEYS.get(column.base)


def alike(one: Column, other: Column) -> bool:
    """Whether values of both columns are written alike, so that an id of the one can be found among the others."""
    return one.base == other.base or (key_kind(one) is not None and key_kind(one) == key_kind(other))


def nearest(name: str, there: Iterable[str]) -> str:
    """The name that was probably meant; "" for none that is near."""
    return next(iter(difflib.get_close_matches(name, list(there), 1)), "")


async def read_table(legacy: Legacy, name: str) -> Table | None:
    """Read what `schema.table` is; None if there is no such thing.

    Raises:
        LegacyAwayError: unreachable, refused, or too slow.
    """
    found = await legacy.query(_TABLE, {"name": name})
    if not found:
        return None
    rows = await legacy.query(COLUMNS, {"table": found[0]["oid"], "roles": []})
    return Table(name, found[0]["kind"], tuple(map(column_of, rows)))


def column_of(row: dict[str, Any]) -> Column:
    """Make a column of a row of COLUMNS."""
    return Column(
        name=row["name"],
        type=row["type"],
        base=row["base"],
        not_null=row["required"],
        unique=row["is_unique"],
        paired=row["paired"],
        readable=row["readable"],
        is_array=row["is_array"],
        published=row["published"],
        large=row["large"],
        composite=row["composite"],
        readers=frozenset(row["readers"]),
        labels=tuple(row["labels"]),
    )
