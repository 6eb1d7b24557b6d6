"""Switches: one for everything that cidaas does not document, the likeliest answer being the default.

`PUT /_test/switches` and `--set NAME=VALUE` change them. They live as long as the process does.
"""

from __future__ import annotations

import difflib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

SCOPES = ("cidaas:bulk_user_create", "cidaas:users_delete", "cidaas:users_read", "cidaas:users_search", "SCIM_WRITE")

FIELD_SETUP: dict[str, dict[str, Any]] = {
    "legacy_user_id": {"type": "TEXT", "enabled": True},
    "customer_number": {"type": "TEXT", "enabled": True},
    "newsletter": {"type": "CHECKBOX", "enabled": True},
}
ALGORITHMS = (
    *(f"BCRYPT_{cost}" for cost in range(1, 21)),
    "SHA1", "SHA256", "PBKDF2", "argon2id", "argon2i", "argon2d", "HMAC-SHA-256",
    "CUSTOM_MD5",  # as if cidaas support had set it up for this tenant
)  # fmt: skip
DISPOSABLE = ("mailinator.com", "yopmail.com", "guerrillamail.com", "10minutemail.com", "trashmail.com")
DEAD = ("invalid", "local", "localhost", "example.com")

CHOICES: dict[str, tuple[str, ...]] = {
    "migration_mode": ("on", "off-fail", "off-ignore"),
    "state_key": ("process_state", "state", "status"),
    "wrapper": ("bare", "data"),
    "answer_order": ("as-sent", "shuffled"),
    "bad_email": ("failed", "507"),
    "invalid_record": ("failed", "400", "417"),
    "omitted_fields": ("kept", "cleared"),
    "email_taken": ("failed", "update-other"),
    "purge": ("at-once", "delayed"),
    "purge_missing": ("404", "204", "417"),
    "status_deleted": ("stored", "removed"),
    "sub_format": ("any", "uuid"),
    "bcrypt_cost": ("checked", "ignored"),
    "error_shape": ("flat", "nested", "ErrorResp"),
    "token_error": ("oauth", "envelope"),
    "pbkdf2_salt": ("text", "base64"),
    "salt_order": ("salt+password", "password+salt"),
    "history": ("compact", "full"),
}


class SwitchError(ValueError):
    """A switch that does not exist or a value that it cannot take; the message names the remedy."""


@dataclass(frozen=True, slots=True)
class Switches:
    """Every switch with its default; facts/cidaas-api.md §10 has the table behind them."""

    batch_limit: int = 1000  # more users than this in a call: 413
    migration_mode: str = "on"  # may a password be overwritten a second time?
    state_key: str = "process_state"
    wrapper: str = "bare"
    answer_order: str = "as-sent"
    bad_email: str = "failed"
    invalid_record: str = "failed"
    omitted_fields: str = "kept"
    email_taken: str = "failed"  # sub is new, its e-mail belongs to another sub of the same provider
    purge: str = "at-once"
    purge_delay: float = 2.0  # seconds, when purge is "delayed"
    purge_missing: str = "404"
    status_deleted: str = "stored"  # what userStatus DELETED in a bulk call does
    sub_format: str = "any"
    bcrypt_cost: str = "checked"  # n of BCRYPT_n against the cost in the hash
    bcrypt_prefixes: tuple[str, ...] = ("2a", "2b", "2y")
    algorithms: tuple[str, ...] = ALGORITHMS
    custom_algorithms: tuple[str, ...] = ()  # more of them, as if cidaas support had set them up
    allow_disposable_email: bool = False
    disposable_domains: tuple[str, ...] = DISPOSABLE
    dead_domains: tuple[str, ...] = DEAD  # no MX and no A record; sub-domains included
    fields: dict[str, dict[str, Any]] = field(default_factory=lambda: dict(FIELD_SETUP))
    verified_flags: bool = False  # are email_verified and mobile_number_verified stored?
    poison: dict[str, int] = field(default_factory=dict)  # sub or e-mail -> status of the whole call
    token_lifetime: float = 5.0  # seconds; a real app has 86400
    token_error: str = "oauth"  # noqa: S105
    scopes: tuple[str, ...] = SCOPES  # of the client
    error_shape: str = "flat"
    pbkdf2_salt: str = "text"  # is the salt of PBKDF2 the text itself, or bytes in base64? (login check)
    salt_order: str = "salt+password"  # how SHA1, SHA256 and CUSTOM_MD5 hashes were made (login check)
    history: str = "compact"
    history_limit: int = 1000  # accepted states kept per user, the newest

    def to_json(self) -> dict[str, Any]:
        """All values as JSON has them."""
        return asdict(self)

    def changed(self, values: Any) -> Switches:
        """These switches with `values` on top; raises SwitchError for anything unknown or of the wrong kind."""
        if not isinstance(values, dict):
            raise SwitchError("switches are an object of names and values")
        return replace(self, **{name: _read(name, value) for name, value in values.items()})


_DEFAULTS = Switches()
_NAMES = [each.name for each in fields(Switches)]


def _read(name: str, value: Any) -> Any:
    """`value` as the switch `name` keeps it."""
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(_NAMES)}"
        raise SwitchError(f"there is no switch {name}{hint}")
    if name in CHOICES:
        if str(value) not in CHOICES[name]:
            raise SwitchError(f"switch {name} takes one of {', '.join(CHOICES[name])}")
        return str(value)
    default = getattr(_DEFAULTS, name)
    if isinstance(default, tuple):
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise SwitchError(f"switch {name} takes a list of texts")
        return tuple(value)
    if isinstance(default, bool) or isinstance(value, bool):
        if not (isinstance(default, bool) and isinstance(value, bool)):
            raise SwitchError(f"switch {name} takes {'true or false' if isinstance(default, bool) else 'a number'}")
        return value
    if isinstance(default, dict):
        return _table(name, value)
    if not isinstance(value, int | float) or value < 0:
        raise SwitchError(f"switch {name} takes a number that is not negative")
    return type(default)(value)


def _table(name: str, value: Any) -> dict[str, Any]:
    """The two switches that are objects: the field setup and the poison users."""
    if not isinstance(value, dict):
        raise SwitchError(f"switch {name} takes an object")
    if name == "poison" and not all(type(status) is int and 400 <= status <= 599 for status in value.values()):
        raise SwitchError("switch poison takes an object of subs or e-mails with a status from 400 to 599 each")
    if name == "fields" and not all(isinstance(each, dict) and "type" in each for each in value.values()):
        raise SwitchError('switch fields takes an object of keys with {"type": "TEXT", "enabled": true} each')
    return value
