"""What the words that the mapping counts (`Mapped.notes`) mean, for people (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams import passwords
from streams.mapping import ADDRESS, CUSTOM, slug

if TYPE_CHECKING:
    from streams.settings import FieldRule, Settings

_FIXED = {
    "no_identifier": "it has no e-mail address, user name or mobile number: cidaas will refuse it",
    "value_unavailable": "the value of a column is not known: it is neither sent nor cleared at cidaas",
    "password_unavailable": "the password's row is not known completely: the password is neither sent nor cleared",
    "invalid_phone": "no valid telephone number: null is sent",
    passwords.UNKNOWN: "the algorithm of the hash is none that cidaas knows: the user arrives without password; "
    "see [mapping.passwords.algorithms]",
    passwords.MALFORMED: "the hash is not what its algorithm writes, or its salt or iterations are missing: the user "
    "arrives without password",
    passwords.COST: "the cost of the bcrypt hash is not between 4 and 20: the user arrives without password",
    passwords.UNUSUAL: "the hash is sent, but it is no hex digest of the right length: logging in will probably fail",
}


class Field(NamedTuple):
    """A rule, the part of the entity that it fills ("" for the entity itself), and its note."""

    part: str
    rule: FieldRule
    note: str

    @property
    def name(self) -> str:
        """How the field is called in reports."""
        return f"{self.part}.{self.rule.target}" if self.part else self.rule.target


def fields(settings: Settings) -> list[Field]:
    """Return all fields of the mapping."""
    mapping = settings.mapping
    parts = (
        ("", mapping.fields, ""),
        ("address", mapping.address, ADDRESS),
        ("customFields", mapping.custom_fields, CUSTOM),
    )
    return [Field(part, rule, slug(rule, prefix)) for part, rules, prefix in parts for rule in rules]


def meaning(note: str, settings: Settings) -> str:
    """Say in words what a note means under this mapping."""
    if note in _FIXED:
        return _FIXED[note]
    if note == "status_unknown":
        status = settings.mapping.status
        return f"the value of the status column {status.column} is not listed: it becomes {status.other}"
    return (
        "; ".join(f"{field.name}: {unusable(field.rule)}" for field in fields(settings) if field.note == note) or note
    )


def unusable(rule: FieldRule) -> str:
    """Say why the value of a field's column is sent as null."""
    if rule.kind == "phone":
        return f"no valid telephone number in column {rule.column}: null is sent"
    if rule.values is not None:
        return f"the value of column {rule.column} is not among {', '.join(sorted(rule.values))}: null is sent"
    return f"the value of column {rule.column} cannot be read as {rule.kind}: null is sent"
