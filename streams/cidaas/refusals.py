"""Why cidaas refused a single user: messages become reasons, reasons become what to do (pure).

cidaas documents no list of messages (facts/cidaas-api.md §1.4, §1.5, §2). What is not recognised is `UNKNOWN` and is
tried for about an hour, so that a message that we misread costs time and not a user.
"""

from __future__ import annotations

import enum
import re


class Reason(enum.Enum):
    """Why a user is not confirmed; NONE for one that is."""

    NONE = "none"
    # cidaas refused the user:
    INVALID_EMAIL = "invalid_email"
    EMAIL_CONFLICT = "email_conflict"
    USERNAME_CONFLICT = "username_conflict"
    MOBILE_CONFLICT = "mobile_conflict"
    CONFLICT = "conflict"
    INVALID_MOBILE = "invalid_mobile"
    BAD_FIELD = "bad_field"
    MISSING_IDENTIFIER = "missing_identifier"
    UNKNOWN_ALGORITHM = "unknown_algorithm"
    MIGRATION_MODE = "migration_mode"
    UNKNOWN = "unknown"
    # the answer is no proof either way (C3):
    FOREIGN_SUB = "foreign_sub"
    UNMATCHED = "unmatched"
    UNREADABLE = "unreadable"
    # this user's presence fails whole calls (C6), or its delete comes to nothing (C8):
    REFUSED_CALL = "refused_call"
    SERVER_ERROR = "server_error"
    DELETE_REFUSED = "delete_refused"
    PURGE_WITHOUT_EFFECT = "purge_without_effect"


class Cure(enum.Enum):
    """What helps against a refusal."""

    PERMANENT = "permanent"  # repeating does not cure it: quarantine at once
    CONFLICT = "conflict"  # another user holds it: tried again, woken when it is freed
    UNKNOWN = "unknown"  # 10 tries over about an hour, then quarantine


#: Reason × cure, for outcomes of kind FAILED. The reasons of unclear outcomes are none of these: they go again alone.
CURE: dict[Reason, Cure] = {
    Reason.INVALID_EMAIL: Cure.PERMANENT,
    Reason.EMAIL_CONFLICT: Cure.CONFLICT,
    Reason.USERNAME_CONFLICT: Cure.CONFLICT,
    Reason.MOBILE_CONFLICT: Cure.CONFLICT,
    Reason.CONFLICT: Cure.CONFLICT,
    Reason.INVALID_MOBILE: Cure.PERMANENT,
    Reason.BAD_FIELD: Cure.PERMANENT,
    Reason.MISSING_IDENTIFIER: Cure.PERMANENT,
    Reason.UNKNOWN_ALGORITHM: Cure.PERMANENT,
    Reason.MIGRATION_MODE: Cure.PERMANENT,
    Reason.UNKNOWN: Cure.UNKNOWN,
}

#: Reason × what a person should do, in one sentence.
REMEDY: dict[Reason, str] = {
    Reason.INVALID_EMAIL: "Correct the e-mail address in the legacy database (cidaas refuses bad syntax, disposable "
    "domains and domains without MX or A record).",
    Reason.EMAIL_CONFLICT: "Another cidaas user has this e-mail address: find it there; merge, change or delete one.",
    Reason.USERNAME_CONFLICT: "Another cidaas user has this user name: change one of them.",
    Reason.MOBILE_CONFLICT: "Another cidaas user has this mobile number: change one of them.",
    Reason.CONFLICT: "Another cidaas user has an identifier of this one: find it there and change one of them.",
    Reason.INVALID_MOBILE: "Correct the phone number in the legacy database, or turn validate_phone_number off.",
    Reason.BAD_FIELD: "Compare the field's data type in cidaas' field setup with the mapping in pipeline.toml.",
    Reason.MISSING_IDENTIFIER: "Give the user an e-mail address, a user name or a mobile number.",
    Reason.UNKNOWN_ALGORITHM: "Have cidaas support enable the hash algorithm, or map it to another id.",
    Reason.MIGRATION_MODE: "Have cidaas support turn migrationMode on for this client, then resync the user.",
    Reason.UNKNOWN: "Ask cidaas support what the message means.",
    Reason.FOREIGN_SUB: "The address belongs to another cidaas user; the user is sent again alone.",
    Reason.UNMATCHED: "cidaas did not answer for this user; it is sent again alone.",
    Reason.UNREADABLE: "cidaas' answer for this user names no known state; it is sent again alone.",
    Reason.REFUSED_CALL: "cidaas refuses every call that this user is in; its message says why: correct the row or the "
    "mapping.",
    Reason.SERVER_ERROR: "cidaas fails in every call with this user: give cidaas support the message and the sub.",
    Reason.DELETE_REFUSED: "Look the user up at cidaas, by its sub, and delete it there, or cure what refuses it.",
    Reason.PURGE_WITHOUT_EFFECT: "cidaas accepted the delete, but the user is still there: ask cidaas support.",
}


def remedy(reason: str) -> str:
    """What a person should do about a reason of the ledger; "" for one that is none of a refusal."""
    return next((text for known, text in REMEDY.items() if known.value == reason), "")


_MAIL = r"(e-?mail|<address>)"
_TAKEN = (
    r"(already|exist(s|ing)\b|duplicat|taken\b|in use\b|conflict|not unique|must be unique|belongs? to"
    r"|(an)?other user)"
)
_WRONG = r"(invalid|not valid|wrong|malformed|bad|not allowed|unknown|unsupported|not supported|disposable|mismatch)"


def _both(one: str, other: str, gap: int = 60) -> str:
    return rf"{one}.{{0,{gap}}}{other}|{other}.{{0,{gap}}}{one}"


#: The first pattern that is found decides. Conflicts stand before validity: "e-mail already exists" is no bad address.
_PATTERNS: tuple[tuple[Reason, re.Pattern[str]], ...] = tuple(
    (reason, re.compile(pattern))
    for reason, pattern in (
        (Reason.MIGRATION_MODE, r"migration[ _-]?mode|" + _both("password", r"(already (set|migrated)|overwrit)")),
        (Reason.UNKNOWN_ALGORITHM, r"algorithm|hash(ing)? (type|method)|algo\b"),
        (Reason.USERNAME_CONFLICT, _both(r"user[ _-]?name", _TAKEN)),
        (Reason.MOBILE_CONFLICT, _both(r"(mobile|phone)", _TAKEN)),
        (Reason.EMAIL_CONFLICT, _both(_MAIL, _TAKEN)),
        (Reason.MISSING_IDENTIFIER, _both("identifier", r"(missing|\bno\b|without|least one|required)", 40)),
        (Reason.BAD_FIELD, r"data ?type|custom[ _]?fields?\b|field definition|birth ?date|wrong type|type mismatch"),
        (Reason.INVALID_EMAIL, r"\b507\b|disposable|\bmx\b|" + _both(r"e-?mail", _WRONG, 40)),
        (Reason.INVALID_MOBILE, _both(r"(mobile|phone)", _WRONG)),
        (Reason.CONFLICT, r"conflict|already exists?|duplicat|not unique"),
        (Reason.BAD_FIELD, _both(r"(field|attribute)", _WRONG) + r"|not a (number|boolean|string|date)"),
    )
)  # fmt: skip

_ADDRESS = re.compile(r"[^\s@]{1,256}@[^\s@]{1,256}|<e-mail>")


def classify(message: str) -> Reason:
    """Say why cidaas refused a user, from its message; UNKNOWN when no pattern fits.

    Addresses are put aside first: the local part of `conflict@example.org` says nothing about conflicts.
    """
    text = _ADDRESS.sub("<address>", message[:1500]).lower()
    return next((reason for reason, pattern in _PATTERNS if pattern.search(text)), Reason.UNKNOWN)
