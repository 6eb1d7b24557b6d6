"""Users of the measurements, the same for the same number: their rows in PostgreSQL, and what Connect writes of them.

Plain ones: a row in each of the two tables, a bcrypt hash, everybody is live at cidaas. They are what all contenders
can do; what is odd about real users is the matter of the tests, not of the clock.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Columns that the connector reads, in the order of the tables (demo/legacy/schema.sql).
USER_COLUMNS = (
    "id", "email", "username", "given_name", "family_name", "phone", "birthdate", "gender", "locale",
    "street_address", "postal_code", "city", "country", "status", "customer_number", "newsletter",
    "created_at", "last_login_at",
)  # fmt: skip
CREDENTIAL_COLUMNS = (
    "id", "user_id", "kind", "algorithm", "secret", "salt", "params", "created_at", "updated_at",
)  # fmt: skip

_GIVEN = ("Ada", "Jürgen", "Zoë", "Thomas", "Sabine", "Łukasz", "Anna", "Paul", "Käthe", "Max")
_FAMILY = ("Müller", "Schäfer", "Weiß", "Nowak", "Schmidt", "Großmann", "Fischer", "Kovács", "Smith")
_CITIES = (("80331", "München", "DE"), ("1010", "Wien", "AT"), ("8001", "Zürich", "CH"), ("01067", "Dresden", "DE"))
_STATUS = ("active", "active", "active", "active", "active", "active", "active", "active", "pending", "locked")
_LOCALES = ("de-DE", "de-AT", "de-CH", "en-GB", "fr-FR")
_FIRST = datetime(2012, 1, 1, tzinfo=UTC)

Row = dict[str, Any]


def user(number: int) -> Row:
    """The row of user `number`, as Python has it."""
    mixed = number * 2_654_435_761 & 0xFFFFFFFF  # Knuth's multiplicative hash: neighbours differ
    given, family = _GIVEN[mixed % 10], _FAMILY[mixed // 10 % 9]
    postal_code, city, country = _CITIES[mixed // 90 % 4]
    # No time ends in a zero: Java leaves trailing ones out, Python does not.
    created = _FIRST + timedelta(seconds=mixed % 400_000_000, microseconds=10 * (mixed % 99_999) + 1)
    return {
        "id": number,
        "email": f"user.{number}@example.org",
        "username": f"kunde{number}" if mixed & 4 else None,
        "given_name": given,
        "family_name": family,
        "phone": f"+49151{10_000_000 + mixed % 89_999_999}" if mixed & 3 else None,
        "birthdate": date(1940, 1, 1) + timedelta(days=mixed % 24_000) if mixed & 24 else None,
        "gender": ("male", "female", None)[mixed % 3],
        "locale": _LOCALES[mixed % 5],
        "street_address": f"Königstraße {1 + mixed % 180}",
        "postal_code": postal_code,
        "city": city,
        "country": country,
        "status": _STATUS[mixed // 7 % 10],
        "customer_number": f"K-{number:07d}",
        "newsletter": bool(mixed & 32),
        "created_at": created,
        "last_login_at": created + timedelta(days=mixed % 900) if mixed & 64 else None,
    }


def credential(number: int) -> Row:
    """The one row of user `number` in the credentials table; its key is another number than the user's."""
    mixed = base64.b64encode(hashlib.sha512(b"%d" % number).digest()).decode().replace("+", ".")
    created = user(number)["created_at"]
    return {
        "id": number + 7,
        "user_id": number,
        "kind": "password",
        "algorithm": "bcrypt",
        "secret": "$2b$12$" + mixed[:53],
        "salt": None,
        "params": None,
        "created_at": created,
        "updated_at": created,
    }


def json_row(row: Row) -> Row:
    """The row as the connector's JSON has it (`time.precision.mode` isostring)."""
    return {name: _json(value) for name, value in row.items()}


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return f"{value.isoformat()}Z"
    return value


def record(table: str, row: Row, *, op: str = "r", lsn: int = 26_000_000, at_us: int = 0) -> bytes:
    """The value of a record in `legacy.identity`: of the initial snapshot (`r`), or streamed (`u`) at a higher LSN.

    `at_us` is the time of the commit; `bench live` compares these with what Connect itself writes.
    """
    first = "null" if op == "r" else f'"{lsn - 1}"'
    return orjson.dumps(
        {
            **json_row(row),
            "__deleted": "false",
            "__op": op,
            "__source_table": table,
            "__source_lsn": lsn,
            "__source_txId": lsn,
            "__source_sequence": f'[{first},"{lsn}"]',
            "__source_snapshot": "true" if op == "r" else "false",
            "__source_ts_us": at_us,
            "__before_user_id": None,
        }
    )


def records(users: int, at_us: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of each record of an initial snapshot: all credentials, then all users (M6)."""
    for number in range(1, users + 1):
        yield b"%d" % number, record("credentials", credential(number), at_us=at_us)
    for number in range(1, users + 1):
        yield b"%d" % number, record("users", user(number), at_us=at_us)
