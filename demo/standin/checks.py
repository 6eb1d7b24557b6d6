"""Is this user acceptable? The documented checks of one bulk record (facts/cidaas-api.md §1.1–1.3, §2).

`Checks(switches).user(record)` returns the fields that cidaas would keep, or raises `RefusalError`. It knows nothing of
other users. It runs once for each of half a million users, so plain text fields cost one dictionary look-up each.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from demo.standin.passwords import PasswordRules

if TYPE_CHECKING:
    from demo.standin.switches import Switches

Check = Callable[[str, Any], Any]

STATUSES = frozenset({"VERIFIED", "PENDING", "DELETED", "DECLINED", "LOCKED", "COMBINED"})
TEXTS = (
    "given_name", "family_name", "middle_name", "nickname", "gender", "locale", "profile", "picture", "website",
    "zoneinfo", "username", "mobile_number", "phone_number", "provider", "providerUserId", "identityId",
)  # fmt: skip
ADDRESS = frozenset({"formatted", "street_address", "locality", "region", "postal_code", "country"})
IDENTIFIERS = ("email", "username", "mobile_number")
# Datatypes of the field setup (facts §1.3) and what JSON carries them.
DATATYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("TEXT", "SELECT", "RADIO", "PASSWORD", "DATE", "DAYDATE", "URL", "EMAIL", "TEXTAREA", "MOBILE",
         "JSON_STRING", "USERNAME"), (str,)),
    "NUMBER": (int, float),
    "CHECKBOX": (bool,),
    "CONSENT": (bool,),
    "MULTISELECT": (list,),
    "ARRAY": (list,),
    "GROUPING": (dict,),
}  # fmt: skip
_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]*[a-z][a-z0-9-]*")
_KNOWN_DOMAINS = 20_000


class RefusalError(Exception):
    """A user that cidaas does not take; the message is what the answer says and carries no value of the user."""

    def __init__(self, message: str, kind: Literal["email", "record", "conflict"] = "record") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind


class Checks:
    """The checks as the switches want them; made anew when a switch changes."""

    def __init__(self, switches: Switches) -> None:
        self._switches = switches
        self._passwords = PasswordRules(switches)
        self._domains: dict[str, bool] = {}
        self._dead = frozenset(each.lower() for each in switches.dead_domains)
        self._disposable = frozenset(each.lower() for each in switches.disposable_domains)
        setup = switches.fields
        enabled = {key: each["type"] for key, each in setup.items() if each.get("enabled", True)}
        self._custom = {key: DATATYPES.get(kind, (str,)) for key, kind in enabled.items()}
        self._username_fields = tuple(key for key, kind in enabled.items() if kind == "USERNAME")
        identity: dict[str, Check | None] = {
            **dict.fromkeys(TEXTS), "sub": self._sub, "email": self._email, "birthdate": _birthdate,
            "address": _address,
        }  # fmt: skip
        if switches.verified_flags:
            identity |= {"email_verified": _boolean, "mobile_number_verified": _boolean}
        account: dict[str, Check | None] = {
            "sub": self._sub, "userStatus": _status, "user_status_reason": None, "customFields": self._custom_fields,
            "password_hash_info": self._password, "mfa_enabled": _boolean, "roles": _texts, "groups": _objects,
            "consents": _objects, "createdTime": _time, "lastLoggedInTime": _time,
        }  # fmt: skip
        self._identity = identity
        self._flat = identity | account
        self._account = account | {"identities": self._identities}

    def user(self, record: dict[str, Any]) -> dict[str, Any]:
        """The fields of `record` that are kept; unknown ones are skipped silently."""
        if "identities" in record:
            clean = _kept(record, self._account)
            if not self._identified(clean, clean["identities"]):
                raise RefusalError("at least one valid user identifier is required")
            return clean
        clean = _kept(record, self._flat)
        if not (clean.get("email") or clean.get("username") or clean.get("mobile_number")) and not self._identified(
            clean, []
        ):
            raise RefusalError("at least one valid user identifier is required")
        return clean

    def _identified(self, clean: dict[str, Any], identities: list[dict[str, Any]]) -> bool:
        if any(identity.get(key) for identity in identities for key in IDENTIFIERS):
            return True
        custom = clean.get("customFields") or {}
        return any(custom.get(key) for key in self._username_fields)

    def _identities(self, key: str, value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list) or not value or not all(isinstance(each, dict) for each in value):
            raise RefusalError("identities must be a list with at least one identity")
        return [_kept(each, self._identity) for each in value]

    def _sub(self, key: str, value: Any) -> str:
        if value.__class__ is not str or not value or value == "ANONYMOUS" or len(value) > 255:
            raise RefusalError("invalid sub")
        if self._switches.sub_format == "uuid":
            try:
                uuid.UUID(value)
            except ValueError:
                raise RefusalError("invalid sub, expected a UUID") from None
        return value

    def _email(self, key: str, value: Any) -> str | None:
        if value is None or value == "":
            return None
        if value.__class__ is not str:
            raise RefusalError("invalid datatype for field email")
        local, _, domain = value.rpartition("@")
        good = self._domains.get(domain)
        if good is None:
            good = self._domain(domain)
        if not good or len(value) > 254 or len(local) > 64 or not _LOCAL.fullmatch(local):
            # One message for syntax, disposable and dead domains: cidaas has one (507, facts §1.5, §2).
            raise RefusalError("invalid email passed", "email")
        return value

    def _domain(self, text: str) -> bool:
        """Syntax, the disposable list, and the dead list in place of a DNS query; users share domains: remembered."""
        domain = text.lower()
        parents = {domain}
        rest = domain
        while "." in rest:
            rest = rest.partition(".")[2]
            parents.add(rest)
        good = bool(_DOMAIN.fullmatch(domain)) and not parents & self._dead
        if good and not self._switches.allow_disposable_email:
            good = not parents & self._disposable
        if len(self._domains) < _KNOWN_DOMAINS:
            self._domains[text] = good
        return good

    def _password(self, key: str, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        wrong = self._passwords.problem(value)
        if wrong:
            raise RefusalError(wrong)
        return value  # type: ignore[no-any-return]  # `problem` has looked at it

    def _custom_fields(self, key: str, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if value.__class__ is not dict:
            raise RefusalError("invalid datatype for field customFields")
        clean = {}
        for name, each in value.items():
            kinds = self._custom.get(name)
            if kinds is None:
                continue  # not set up or disabled: skipped silently (documented)
            if each is not None and each.__class__ not in kinds:
                raise RefusalError(f"invalid datatype for custom field {name}")
            clean[name] = each
        return clean


def _kept(record: dict[str, Any], kinds: dict[str, Check | None]) -> dict[str, Any]:
    """The known fields of `record`, checked; None as a check means plain text."""
    clean = {}
    for key, value in record.items():
        check: Check | None = kinds.get(key, _skip)
        if check is None:
            if value.__class__ is not str and value is not None:
                raise RefusalError(f"invalid datatype for field {key}")
            clean[key] = value
        elif check is not _skip:
            clean[key] = check(key, value)
    return clean


def _skip(key: str, value: Any) -> None:
    """The check of a field that is not known: it is left out."""


def _status(key: str, value: Any) -> str:
    if value is None:
        return "VERIFIED"
    if not isinstance(value, str) or value not in STATUSES:
        raise RefusalError("invalid userStatus")
    return value


def _boolean(key: str, value: Any) -> bool | None:
    if value is not None and value.__class__ is not bool:
        raise RefusalError(f"invalid datatype for field {key}")
    return value


def _texts(key: str, value: Any) -> list[str] | None:
    if value is not None and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        raise RefusalError(f"invalid datatype for field {key}")
    return value


def _objects(key: str, value: Any) -> list[dict[str, Any]] | None:
    if value is not None and not (isinstance(value, list) and all(isinstance(each, dict) for each in value)):
        raise RefusalError(f"invalid datatype for field {key}")
    return value


def _address(key: str, value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise RefusalError("invalid datatype for field address")
    clean = {}
    for name, each in value.items():
        if each.__class__ is not str and each is not None:
            raise RefusalError("invalid datatype for field address")
        if name in ADDRESS:
            clean[name] = each
    return clean


def _birthdate(key: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    try:
        if value.__class__ is str and len(value) == 10 and value[4] == value[7] == "-":
            date.fromisoformat(value)
            return value
    except ValueError:
        pass
    raise RefusalError("invalid birthdate, expected YYYY-MM-DD")


def _time(key: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    try:
        if value.__class__ is str and len(value) > 11 and value[10] == "T":
            datetime.fromisoformat(value)
            return value
    except ValueError:
        pass
    raise RefusalError(f"invalid {key}, expected ISO 8601")
