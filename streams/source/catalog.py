"""What PostgreSQL's catalog says of a legacy table: its kind, its columns and their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

if TYPE_CHECKING:
    from streams.legacy import Legacy

#: By name and not by `to_regclass`, which folds capital letters and fails without a right on the schema.
_TABLE = sql.SQL(
    "SELECT c.oid, c.relkind::text AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = split_part(%s, '.', 1) AND c.relname = split_part(%s, '.', 2)"
)
#: pg_attribute, not information_schema: that one shows only columns on which the role has a right. A domain stands for
#: the type below it, `base`.
_COLUMNS = sql.SQL(
    """
    WITH RECURSIVE column_ AS (
        SELECT attnum, attname, atttypid, atttypmod, attnotnull, attrelid, attgenerated
        FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    ), below (attnum, oid, required) AS (
        SELECT attnum, atttypid, attnotnull FROM column_
        UNION ALL
        SELECT b.attnum, t.typbasetype, b.required OR t.typnotnull
        FROM below b JOIN pg_type t ON t.oid = b.oid WHERE t.typtype = 'd'
    )
    SELECT c.attname AS name, format_type(c.atttypid, c.atttypmod) AS type, t.typname AS base, b.required,
        t.typcategory = 'A' AS is_array,
        ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) AS labels,
        c.attgenerated <> '' AS generated, has_column_privilege(c.attrelid, c.attnum, 'SELECT') AS readable,
        EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = c.attrelid AND i.indisunique AND i.indisvalid
            AND i.indnkeyatts = 1 AND i.indkey[0] = c.attnum AND i.indpred IS NULL
        ) AS is_unique
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
    readable: bool = True
    is_array: bool = False
    #: computed from other columns of its row.
    generated: bool = False
    #: of an enum: its values.
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table. `kind` is PostgreSQL's letter: r table, p partitioned table, v view, m materialized view, f foreign."""

    name: str
    kind: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column | None:
        """Return the column of this name."""
        return next((column for column in self.columns if column.name == name), None)


async def read_table(legacy: Legacy, name: str) -> Table | None:
    """Read what `schema.table` is; None if there is no such thing.

    Raises:
        LegacyAwayError: unreachable, refused, or too slow.
    """
    found = await legacy.query(_TABLE, (name, name))
    if not found:
        return None
    rows = await legacy.query(_COLUMNS, (found[0]["oid"],))
    return Table(name, found[0]["kind"], tuple(_column(row) for row in rows))


def _column(row: dict[str, Any]) -> Column:
    return Column(
        name=row["name"],
        type=row["type"],
        base=row["base"],
        not_null=row["required"],
        unique=row["is_unique"],
        readable=row["readable"],
        is_array=row["is_array"],
        generated=row["generated"],
        labels=tuple(row["labels"]),
    )
