"""The two shapes of a user in a bulk call (pure; facts/cidaas-api.md §1.1): flat, or an account with identities.

Everywhere else a user is flat, with its social logins in a list `identities` beside. All users of a call have one
shape, because they come from one mapping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What belongs to the account; all else belongs to the user's own identity.
_ACCOUNT = frozenset(
    {
        "sub", "userStatus", "user_status_reason", "customFields", "password_hash_info", "mfa_enabled", "roles",
        "groups", "consents", "createdTime", "lastLoggedInTime", "no_event",
    }
)  # fmt: skip


def shaped(entities: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return users as they are sent."""
    if not any("identities" in entity for entity in entities):
        return list(entities)
    return [with_identities(entity) for entity in entities]


def with_identities(entity: Mapping[str, Any]) -> dict[str, Any]:
    """Return one user as an account with identities, its own first; each has the sub, and the e-mail if any."""
    account = {key: value for key, value in entity.items() if key in _ACCOUNT}
    sub = entity["sub"]
    own = {key: value for key, value in entity.items() if key not in _ACCOUNT and key != "identities"}
    email = {"email": entity["email"]} if entity.get("email") else {}
    others = [{"sub": sub, **one, **email} for one in entity.get("identities", ())]
    return account | {"identities": [{"sub": sub, **own}, *others]}
