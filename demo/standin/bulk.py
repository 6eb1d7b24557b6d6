"""The bulk upsert: which state does each user of a call get? (facts/cidaas-api.md §1.3–1.5)"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from demo.standin.checks import Checks, RefusalError
from demo.standin.users import email_key, keys_of, username_key

if TYPE_CHECKING:
    from demo.standin.switches import Switches
    from demo.standin.users import Users

ANONYMOUS = "ANONYMOUS"
EMAIL_CODE = "507"


class WholeCallError(Exception):
    """The whole call fails and nothing of it is applied."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


@dataclass(slots=True)
class Tally:
    """Users by what became of them, over all calls."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0  # part of `updated`: the call was not needed
    failed: int = 0
    deleted: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


class Bulk:
    """Applies calls to the users, as the switches say."""

    def __init__(self, users: Users, switches: Switches, tally: Tally) -> None:
        self._users = users
        self._tally = tally
        self.configure(switches)

    def configure(self, switches: Switches) -> None:
        """Take new switches."""
        self._switches = switches
        self._checks = Checks(switches)

    def apply(self, records: Any, doomed: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
        """The items of the answer in the order of the call; raises WholeCallError with nothing applied.

        `doomed` holds the positions that a fault makes fail.
        """
        self._shape(records)
        checked = [self._check(record) for record in records]
        now = time.time_ns() // 1000
        outcomes = []
        for position, (record, clean) in enumerate(zip(records, checked, strict=True)):
            if position in doomed:
                clean = RefusalError("processing failed")
            if isinstance(clean, RefusalError):
                outcomes.append(self._failed(record, clean))
                continue
            try:
                outcomes.append(self._store(clean, now))
            except RefusalError as refusal:
                outcomes.append(self._failed(record, refusal))
        return outcomes

    def _shape(self, records: Any) -> None:
        if not isinstance(records, list) or not records:
            raise WholeCallError(400, "the body must be an array of users")
        if len(records) > self._switches.batch_limit:
            raise WholeCallError(413, f"more than {self._switches.batch_limit} users")
        if not all(record.__class__ is dict for record in records):
            raise WholeCallError(400, "each user must be an object")
        if len({"identities" in record for record in records}) > 1:
            raise WholeCallError(400, "flat users and users with identities in one call")
        poison = self._switches.poison
        if poison:
            for record in records:
                status = poison.get(str(record.get("sub"))) or poison.get(str(record.get("email")))
                if status:
                    raise WholeCallError(status, "could not process the request")

    def _check(self, record: dict[str, Any]) -> dict[str, Any] | RefusalError:
        try:
            return self._checks.user(record)
        except RefusalError as refusal:
            if refusal.kind == "email":
                if self._switches.bad_email == "507":
                    raise WholeCallError(507, refusal.message, EMAIL_CODE) from None
            elif self._switches.invalid_record != "failed":
                raise WholeCallError(int(self._switches.invalid_record), refusal.message) from None
            return refusal

    def _failed(self, record: dict[str, Any], refusal: RefusalError) -> dict[str, Any]:
        self._tally.failed += 1
        self._tally.reasons[refusal.message] = self._tally.reasons.get(refusal.message, 0) + 1
        item = {
            "identifier": _identifier(record),
            "sub": ANONYMOUS,
            self._switches.state_key: "FAILED",
            "message": refusal.message,
        }
        return item | {"code": EMAIL_CODE} if refusal.kind == "email" else item

    def _store(self, clean: dict[str, Any], now: int) -> dict[str, Any]:
        users, switches = self._users, self._switches
        sub = clean.get("sub") or self._found(clean)
        old = users.entity(sub) if sub else None
        entity = self._merged(clean, old)
        keys = keys_of(entity)
        taken = users.taken_by(keys, sub)
        if taken:
            what, owner = taken
            if not (what == "email" and old is None and switches.email_taken == "update-other"):
                raise RefusalError(f"conflict: {what} is already used by another account", "conflict")
            sub, old = owner, users.entity(owner)
            entity = self._merged(clean, old)
            keys = keys_of(entity)
        if sub is None:
            sub = str(uuid.uuid4())
        entity["sub"] = sub
        if old is not None and switches.migration_mode != "on":
            self._second_password(entity, old)
        if entity["userStatus"] == "DELETED" and switches.status_deleted == "removed":
            users.remove(sub, now)
        elif users.put(sub, entity, keys, old, now):
            self._tally.unchanged += 1
        if old is None:
            self._tally.created += 1
        else:
            self._tally.updated += 1
        state = "CREATED" if old is None else "UPDATED"
        return {"identifier": _identifier(clean), "sub": sub, switches.state_key: state}

    def _found(self, clean: dict[str, Any]) -> str | None:
        """Without `sub` a user is found by e-mail and provider (documented), then by username."""
        if clean.get("email"):
            found = self._users.owners.get(email_key(clean.get("provider"), clean["email"]))
            if found:
                return found
        return self._users.owners.get(username_key(clean["username"])) if clean.get("username") else None

    def _merged(self, clean: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        if old is None or self._switches.omitted_fields == "cleared":
            entity = {"userStatus": "VERIFIED", **clean}
        else:
            entity = {**old, **clean}
            if old.get("customFields") and clean.get("customFields"):
                entity["customFields"] = {**old["customFields"], **clean["customFields"]}
        if "identities" not in entity and entity.get("provider") is None:
            entity["provider"] = "self"
        return entity

    def _second_password(self, entity: dict[str, Any], old: dict[str, Any]) -> None:
        """Without migrationMode a password is not overwritten; how, is not documented (facts §2)."""
        before = old.get("password_hash_info")
        if not before or entity.get("password_hash_info") == before:
            return
        if self._switches.migration_mode == "off-fail":
            raise RefusalError("password can not be overwritten, migrationMode is not enabled")
        entity["password_hash_info"] = before


def _identifier(record: dict[str, Any]) -> dict[str, Any]:
    """What an answer says of the user beside its sub."""
    email = record.get("email")
    if email:
        return {"email": email, "provider": record.get("provider") or "self"}
    source = record
    if isinstance(record.get("identities"), list):
        source = next((each for each in record["identities"] if isinstance(each, dict)), record)
    name = next((key for key in ("email", "username", "mobile_number") if source.get(key)), None)
    known = {name: source[name]} if name else {}
    return {**known, "provider": source.get("provider") or "self"}
