"""Rows become a snapshot, a snapshot becomes the item of a bulk call: the plain code that all Python peers share.

It agrees with `streams.rows`, `streams.snapshots` and `streams.mapping` for the records of the measurements, and leaves
out what these do beyond that (README.md, "What the records must be"), in the peers' favour: no order of rows by LSN, no
placeholders of large values, no credentials that move. Nothing is imported from `streams`.

A snapshot is {"user": row or None, "credentials": {key: row}}.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable

Row = dict[str, Any]
Snapshot = dict[str, Any]

#: cidaas.sub_namespace of pipeline.toml; a test holds it to that.
NAMESPACE = uuid.UUID("7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc")

_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_STATUS = {"active": "VERIFIED", "pending": "PENDING", "locked": "LOCKED"}


def merge(snapshot: Snapshot | None, record: Row) -> Snapshot | None:
    """Return the snapshot with the row of one record in it; None if the record changes nothing."""
    row = {name: value for name, value in record.items() if not name.startswith("__")}
    gone = record["__op"] == "d"
    merged: Snapshot = {"user": None, "credentials": {}} if snapshot is None else snapshot
    if record["__source_table"] == "users":
        if gone:
            return {"user": None, "credentials": {}} if merged["user"] is not None else None
        if merged["user"] == row:
            return None
        return {**merged, "user": row}
    credentials, key = merged["credentials"], str(record["id"])
    if gone:
        left = {other: values for other, values in credentials.items() if other != key}
        return {**merged, "credentials": left} if len(left) < len(credentials) else None
    return None if credentials.get(key) == row else {**merged, "credentials": {**credentials, key: row}}


def sub_of(user_id: str) -> str:
    """Return the user's id at cidaas."""
    return str(uuid.uuid5(NAMESPACE, user_id))


def entity_of(user_id: str, snapshot: Snapshot) -> dict[str, Any] | None:
    """Return what the bulk call carries of a user; None if there is nobody to send (no row, or deleted)."""
    user = snapshot["user"]
    if user is None or user["status"] == "deleted":
        return None
    return {
        "sub": sub_of(user_id),
        "provider": "self",
        "userStatus": _STATUS.get(user["status"], "LOCKED"),
        "email": _text(user["email"]),
        "username": _text(user["username"]),
        "given_name": _text(user["given_name"]),
        "family_name": _text(user["family_name"]),
        "mobile_number": _phone(user["phone"]),
        "birthdate": user["birthdate"] and user["birthdate"][:10],
        "gender": _text(user["gender"]),
        "locale": _text(user["locale"]),
        "createdTime": user["created_at"],
        "lastLoggedInTime": user["last_login_at"],
        "address": {
            "street_address": _text(user["street_address"]),
            "postal_code": _text(user["postal_code"]),
            "locality": _text(user["city"]),
            "country": _text(user["country"]),
        },
        "customFields": {
            "legacy_user_id": str(user["id"]),
            "customer_number": _text(user["customer_number"]),
            "newsletter": user["newsletter"],
        },
        "password_hash_info": _password(snapshot["credentials"].values()),
    }


def digest(snapshots: Iterable[tuple[bytes, Snapshot]]) -> dict[str, Any]:
    """Return {"users": …, "digest": …} over the users whose row is there, as README.md defines it."""
    lines = [
        user_id + b"\t" + orjson.dumps(snapshot, option=orjson.OPT_SORT_KEYS) + b"\n"
        for user_id, snapshot in snapshots
        if snapshot["user"] is not None
    ]
    lines.sort(key=lambda line: line.split(b"\t", 1)[0])
    return {"users": len(lines), "digest": hashlib.sha256(b"".join(lines)).hexdigest()}


def _text(value: str | None) -> str | None:
    return value.strip() or None if value is not None else None


def _phone(value: str | None) -> str | None:
    number = _text(value)
    return number if number is not None and _PHONE.fullmatch(number) else None


def _password(credentials: Iterable[Row]) -> dict[str, str] | None:
    passwords = [row for row in credentials if row["kind"] == "password"]
    if not passwords:
        return None
    newest = max(passwords, key=lambda row: (row["updated_at"] or row["created_at"], row["id"]))
    secret: str = newest["secret"]
    if not secret.startswith("$2"):
        return None
    return {"algorithmTypeId": f"BCRYPT_{int(secret[4:6])}", "passwordHash": secret}
