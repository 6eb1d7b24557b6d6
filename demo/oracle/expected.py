"""What cidaas should have of a legacy user, straight from design.md's default mapping (pure, no code of the pipeline).

It is written for the reference schema and the delivered pipeline.toml; `Expected` refuses another mapping. What may be
older than in the legacy database (`last_login_at`, a lazy field) is kept apart.
"""

from __future__ import annotations

import re
import tomllib
import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import phonenumbers

from demo.oracle.report import OracleError

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = {
    "email": "email", "username": "username", "given_name": "given_name", "family_name": "family_name",
    "mobile_number": "phone", "birthdate": "birthdate", "gender": "gender", "locale": "locale",
    "createdTime": "created_at", "lastLoggedInTime": "last_login_at",
}  # fmt: skip
STATUS = {"active": "VERIFIED", "pending": "PENDING", "locked": "LOCKED"}
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class LegacyUser(NamedTuple):
    """A user row with its newest password, as `legacy.QUERY` reads them; times are microseconds since 1970."""

    id: str
    status: str
    email: str
    username: str | None
    given_name: str | None
    family_name: str | None
    phone: str | None
    birthdate: str | None
    gender: str | None
    locale: str | None
    created_us: int
    last_login_us: int | None
    street_address: str | None
    postal_code: str | None
    city: str | None
    country: str | None
    customer_number: str | None
    newsletter: bool
    algorithm: str | None
    secret: str | None
    salt: str | None
    params: dict[str, Any] | None


class Expected:
    """Makes expected entities; reads from pipeline.toml only what differs between installations."""

    def __init__(self, pipeline: Path) -> None:
        config = tomllib.loads(pipeline.read_text())
        if config["mapping"]["fields"] != FIELDS or config["tables"]["users"]["name"] != "public.users":
            raise OracleError(f"{pipeline} maps other tables or fields: this check knows the example database only")
        self._namespace = uuid.UUID(config["cidaas"]["sub_namespace"])
        self._region = config["mapping"].get("phone_region")
        self.temporary_email: str | None = config["delivery"].get("temporary_email")

    def sub(self, user_id: str) -> str:
        """The user's id at cidaas."""
        return str(uuid.uuid5(self._namespace, user_id))

    def entity(self, user: LegacyUser, sub: str) -> dict[str, Any]:
        """The user as cidaas should have it, without what is null and without `lastLoggedInTime`."""
        return _without_nulls(
            {
                "sub": sub,
                "provider": "self",
                "userStatus": STATUS[user.status],
                "email": _trimmed(user.email),
                "username": _trimmed(user.username),
                "given_name": _trimmed(user.given_name),
                "family_name": _trimmed(user.family_name),
                "mobile_number": _phone(user.phone.strip(), self._region) if user.phone else None,
                "birthdate": user.birthdate,
                "gender": _trimmed(user.gender),
                "locale": _trimmed(user.locale),
                "createdTime": user.created_us,
                "address": {
                    "street_address": _trimmed(user.street_address),
                    "postal_code": _trimmed(user.postal_code),
                    "locality": _trimmed(user.city),
                    "country": _trimmed(user.country),
                },
                "customFields": {
                    "legacy_user_id": user.id,
                    "customer_number": _trimmed(user.customer_number),
                    "newsletter": user.newsletter,
                },
                "password_hash_info": password(user.algorithm, user.secret, user.salt, user.params),
            }
        )


def stored(entity: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    """A user of cidaas in the same form: without nulls, times as microseconds; and `lastLoggedInTime` apart."""
    last_login = entity.get("lastLoggedInTime")
    comparable = {key: value for key, value in entity.items() if key != "lastLoggedInTime"}
    if comparable.get("createdTime"):
        comparable["createdTime"] = microseconds(comparable["createdTime"])
    return _without_nulls(comparable), microseconds(last_login) if last_login else None


def password(
    algorithm: str | None, secret: str | None, salt: str | None, params: dict[str, Any] | None
) -> dict[str, Any] | None:
    """`password_hash_info` of a password row; None where cidaas could not verify the hash (md5, damaged ones)."""
    if algorithm is None or not secret:
        return None
    data = {"salt": salt} if salt else {}
    match algorithm:
        case "bcrypt":
            found = _BCRYPT.fullmatch(secret)
            if found is None:
                return None
            return {"algorithmTypeId": f"BCRYPT_{int(found[1])}", "passwordHash": secret}
        case "argon2id":
            return {"algorithmTypeId": "argon2id", "passwordHash": secret}
        case "pbkdf2-sha256":
            numbers = {key: str(value) for key, value in (params or {}).items() if key in ("iterations", "keylen")}
            return {"algorithmTypeId": "PBKDF2", "passwordHash": secret, "hData": data | numbers}
        case "sha256" | "sha1":
            return _without_nulls({"algorithmTypeId": algorithm.upper(), "passwordHash": secret, "hData": data})
    return None


def wrong_fields(wanted: dict[str, Any], there: dict[str, Any], prefix: str = "") -> list[str]:
    """Names of what differs; never a value."""
    names: list[str] = []
    for key in sorted(wanted.keys() | there.keys()):
        one, other = wanted.get(key), there.get(key)
        if isinstance(one, dict) and isinstance(other, dict) and key != "password_hash_info":
            names += wrong_fields(one, other, f"{prefix}{key}.")
        elif one != other:
            names.append(prefix + key)
    return names


def microseconds(text: str) -> int:
    """An ISO 8601 time as microseconds since 1970."""
    since = datetime.fromisoformat(text) - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def _trimmed(text: str | None) -> str | None:
    return (text.strip() or None) if text else None


@lru_cache(maxsize=10_000)
def _phone(text: str, region: str | None) -> str | None:
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _without_nulls(entity: dict[str, Any]) -> dict[str, Any]:
    """A field that is null is a field that is not there; so is an address of nothing."""
    kept = {}
    for key, value in entity.items():
        inner = _without_nulls(value) if isinstance(value, dict) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept
