"""A record of the topic `legacy.identity` becomes a typed value (pure).

Two kinds of records share the topic, and with it the order of one user: row changes that Debezium wrote, and control
records of our own (`"__sync"` names their kind). Everything here knows JSON and column names, nothing of Kafka clients.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from streams.credentials import Names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings import Source

USERS = "users"
CREDENTIALS = "credentials"

#: Why a user is in doubt whom a person asked to be sent again.
RESYNC = "resync asked for"

#: What Debezium writes for a TOASTed value that the update did not touch (M4).
UNAVAILABLE = "__debezium_unavailable_value"
_BYTES = UNAVAILABLE.encode()
_BASE64 = base64.b64encode(_BYTES).decode()
_HSTORE = orjson.dumps({UNAVAILABLE: UNAVAILABLE}).decode()
_UUID = str(uuid.UUID(bytes=hashlib.md5(_BYTES, usedforsecurity=False).digest(), version=3))
#: The same where the column is no text: of a bytea, an hstore, and arrays of texts, numbers, bytea and uuid.
_TEXTS = frozenset((_BASE64, _HSTORE))
_SHAPES = (*_TEXTS, [UNAVAILABLE], list(_BYTES), [_BASE64], [_UUID])


class UnreadableError(ValueError):
    """The record cannot be understood; `str()` says why without showing a value (M7)."""


class RowChange(NamedTuple):  # one for each record: a frozen dataclass takes four times as long to make
    """An insert, update, delete or snapshot read of one legacy row.

    `table` is USERS or CREDENTIALS, `pk` the row's name: its key, after its table's name where there are several
    (`streams.credentials`). `row` holds the mapped columns as Debezium's JSON has them, None for a delete. `lsn` is
    None for incremental snapshot reads. `moved_from` is the former user's id of a credential that changed hands (M5).
    """

    table: str
    pk: str
    user_id: str
    op: str
    row: dict[str, Any] | None
    lsn: int | None
    tx: int | None
    #: LSN of the last commit before this row's transaction; the same for all its rows, growing from one to the next.
    after_commit: int | None
    committed_us: int
    moved_from: str | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """A row is gone from this user: a credential that moved away (M5), or a row that a sweep did not find (M9).

    `pk` is its name, as in a row change. `lsn` orders a move among the row's changes; `applied` makes a sweep's
    removal void when the user has been touched since it was decided.
    """

    table: str
    pk: str
    epoch: int
    lsn: int | None
    applied: tuple[int, int] | None
    #: of the move's transaction, as in a row change (C7).
    after_commit: int | None = None


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """All rows of a set-aside user, read again from the source; clears the mark with this number or an older one.

    `user` is None when the row is not there; `credentials` are by their names. Void when the user has been touched
    after `applied`, because then the reading may be older than what is known.
    """

    number: int
    applied: tuple[int, int]
    user: dict[str, Any] | None
    credentials: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SetAside:
    """Somebody outside the join found the user's snapshot untrustworthy (for one user, from a command)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Resync:
    """The user is sent again even if nothing changed: a person asks for it, or cidaas may have lost it (C3)."""

    who: str
    why: str = RESYNC


class Word(enum.Enum):
    """What a person can answer of one user."""

    DROP = "drop"  # a refused version is signed off: it will not be sent
    ALLOW = "allow"  # a delete behind the brake is sent
    REJECT = "reject"  # a delete behind the brake is not sent


@dataclass(frozen=True, slots=True)
class Answer:
    """A person's answer about one version of one user, the one that the person saw; void for any other."""

    word: Word
    who: str
    version: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Epoch:
    """From this record on, LSNs belong to the source epoch `number` (M8); `topic` is the topic's birth id (O5)."""

    number: int
    topic: str


Control = Removal | ReadAgain | SetAside | Resync | Answer | Epoch


def after_commit(sequence: object) -> int | None:
    """Read the LSN of the last commit before a transaction from Debezium's `source.sequence`."""
    return _first(sequence) if isinstance(sequence, str) else None


@lru_cache(maxsize=64)  # all rows of a transaction, and of a snapshot, say the same
def _first(sequence: str) -> int | None:
    first = orjson.loads(sequence)[0]
    return None if first is None else int(first)


def key_text(key: bytes | None) -> str:
    """Return the user id that a record's key names."""
    if not key:
        raise UnreadableError("the record has no key")
    try:
        text = key.decode()
    except UnicodeDecodeError:
        raise UnreadableError("the record's key is not UTF-8 text") from None
    if "\0" in text:  # PostgreSQL has no such text, and keys of our own in both tables begin with it
        raise UnreadableError("the record's key has a zero byte")
    return text


class _Captured(NamedTuple):
    """What has to be known of a table to read its records."""

    kind: str
    pk: str
    owner: str
    columns: tuple[str, ...]
    #: what stands before the keys in the names of its rows, and the field with the owner before an update (M5).
    prefix: str = ""
    before: str = ""


class RowReader:
    """Reads records for the configured tables; made once per worker because it precomputes the column names."""

    def __init__(self, source: Source) -> None:
        users, names = source.users, Names(source.credentials)
        captured = {users.name: _Captured(USERS, users.id, users.id, tuple(users.columns))}
        for table in source.credentials:
            captured[table.name] = _Captured(
                CREDENTIALS,
                table.id,
                table.user_id,
                tuple(table.columns),
                names.prefix(table),
                f"__before_{table.user_id}",
            )
        self._says_schema = source.says_schema
        self._tables = {name if self._says_schema else name.rpartition(".")[2]: one for name, one in captured.items()}

    def read(self, key: bytes | None, value: bytes | None) -> RowChange | Control:
        """Read one record.

        Raises:
            UnreadableError: not JSON, of an unknown table or kind, without its keys, or of another user than its key.
        """
        if value is None:
            raise UnreadableError("the record has no value")
        try:
            record = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise UnreadableError("the record is not JSON") from None
        if not isinstance(record, dict):
            raise UnreadableError("the record is not a JSON object")
        control = _control(record) if "__sync" in record else None
        if isinstance(control, Epoch):
            return control
        user_id = key_text(key)
        if control is not None:
            return control
        try:
            return self._row(user_id, record)
        except UnreadableError:
            raise
        except (ValueError, TypeError, IndexError):
            # One odd field must not end the worker at every start; the user is set aside instead (M7).
            raise UnreadableError("a field of the record's source is not what Debezium writes there") from None

    def _row(self, user_id: str, record: dict[str, Any]) -> RowChange:
        op = record.get("__op")
        if op not in ("c", "u", "d", "r"):
            raise UnreadableError("the record has no operation among c, u, d, r")
        name = record.get("__source_table", "")
        known = self._tables.get(f"{record.get('__source_schema')}.{name}" if self._says_schema else name)
        if known is None:
            raise UnreadableError("the record is of a table that pipeline.toml does not name")
        table, pk_column, user_column, columns, prefix, before = known
        pk = record.get(pk_column)
        if pk is None:
            raise UnreadableError(f"the record has no {pk_column}, the key of its row")
        owner = record.get(user_column)
        if owner is None or str(owner).rstrip() != user_id.rstrip():
            raise UnreadableError(f"the record's {user_column} is not the user of its key")
        row, missing = (None, ()) if op == "d" else _columns(record, columns)
        if row is not None and op != "r":  # a snapshot reads every value
            row = _plain(row)
        moved_from = record.get(before) if before and op == "u" else None
        lsn = record.get("__source_lsn")
        return RowChange(
            table=table,
            pk=f"{prefix}{pk}",
            user_id=user_id,
            op=op,
            row=row,
            lsn=None if lsn is None else int(lsn),
            tx=record.get("__source_txId"),
            after_commit=after_commit(record.get("__source_sequence")),
            committed_us=int(record.get("__source_ts_us") or 0),
            moved_from=None if moved_from is None or str(moved_from) == user_id else str(moved_from),
            missing=missing,
        )


def _columns(record: Mapping[str, Any], columns: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Pick the mapped columns; a column that is absent is *missing*, which is not NULL (M7)."""
    try:
        return {name: record[name] for name in columns}, ()
    except KeyError:
        present = {name: record[name] for name in columns if name in record}
        return present, tuple(name for name in columns if name not in record)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Write UNAVAILABLE for each of its shapes (M4)."""
    try:
        if _TEXTS.isdisjoint(row.values()):  # one pass in C, and nearly all rows end here
            return row
    except TypeError:  # a list has no hash
        pass
    return {name: UNAVAILABLE if value in _SHAPES else value for name, value in row.items()}


def _control(record: dict[str, Any]) -> Control:
    kind = record["__sync"]
    try:
        if kind == "epoch":
            return Epoch(int(record["epoch"]), str(record["topic"]))
        if kind == "removal":
            applied = record.get("applied")
            lsn, after = record.get("lsn"), record.get("after_commit")
            return Removal(
                table=str(record["table"]),
                pk=str(record["pk"]),
                epoch=int(record["epoch"]),
                lsn=None if lsn is None else int(lsn),
                applied=None if applied is None else (int(applied[0]), int(applied[1])),
                after_commit=None if after is None else int(after),
            )
        if kind == "read_again":
            applied, user, credentials = record["applied"], record["user"], record["credentials"]
            if not isinstance(user, dict | None) or not all(isinstance(row, dict) for row in credentials.values()):
                raise TypeError
            return ReadAgain(int(record["number"]), (int(applied[0]), int(applied[1])), user, dict(credentials))
        if kind == "set_aside":
            return SetAside(str(record["reason"]))
        if kind == "resync":
            return Resync(str(record.get("who", "")), str(record.get("why", RESYNC)))
        if kind == "answer":
            epoch, offset = record["version"]
            return Answer(Word(record["word"]), str(record["who"]), (int(epoch), int(offset)))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        raise UnreadableError(f"the control record {kind!r} lacks a field") from None
    raise UnreadableError("the control record is of an unknown kind")


def write_control(control: Control) -> bytes:
    """Encode a control record for `legacy.identity`; `RowReader.read` is its inverse."""
    body: dict[str, Any]
    match control:
        case Removal():
            body = {
                "__sync": "removal",
                "table": control.table,
                "pk": control.pk,
                "epoch": control.epoch,
                "lsn": control.lsn,
                "applied": control.applied,
                "after_commit": control.after_commit,
            }
        case ReadAgain():
            body = {
                "__sync": "read_again",
                "number": control.number,
                "applied": control.applied,
                "user": control.user,
                "credentials": control.credentials,
            }
        case SetAside():
            body = {"__sync": "set_aside", "reason": control.reason}
        case Resync():
            body = {"__sync": "resync", "who": control.who, "why": control.why}
        case Answer():
            body = {
                "__sync": "answer",
                "word": control.word.value,
                "who": control.who,
                "version": control.version,
            }
        case Epoch():
            body = {"__sync": "epoch", "epoch": control.number, "topic": control.topic}
    return orjson.dumps(body)
