"""What the words that the mapping counts (`Mapped.notes`) mean, for people (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streams import logins, memberships, passwords
from streams.cidaas.refusals import REMEDY, Reason
from streams.mapping import ADDRESS, CUSTOM, slug

if TYPE_CHECKING:
    from streams.settings import FieldRule, Settings


class Note(NamedTuple):
    """What it is and what follows from it, and what can be done, "" where nothing is to be done."""

    what: str
    remedy: str = ""


_FIXED = {
    "no_identifier": Note(
        "no e-mail address, user name or mobile number: cidaas refuses the user", REMEDY[Reason.MISSING_IDENTIFIER]
    ),
    "value_unavailable": Note("the value of a column is not known: it is neither sent nor cleared at cidaas"),
    "password_unavailable": Note(
        "the password's row is not known completely: the password is neither sent nor cleared at cidaas"
    ),
    "invalid_phone": Note(
        "no valid telephone number: null is sent",
        "phone_region in [mapping] says how numbers without a country code are read.",
    ),
    passwords.UNKNOWN: Note(
        "cidaas has no id for the algorithm of the hash: the user arrives without password",
        "A CUSTOM_ id that cidaas support sets up takes it: [mapping.passwords.algorithms].",
    ),
    passwords.MALFORMED: Note(
        "the hash is not what its algorithm writes, or lacks salt or iterations: the user arrives without password",
        "Compare the columns of algorithm, salt and parameters with pipeline.toml.",
    ),
    passwords.COST: Note("the cost of the bcrypt hash is not between 4 and 20: the user arrives without password"),
    passwords.UNUSUAL: Note(
        "the hash is sent, but is no hex digest of the right length: logging in will probably fail",
        "Compare one with what the legacy application writes.",
    ),
    logins.PROVIDER_UNKNOWN: Note(
        "the provider of a social login is none that pipeline.toml lists: that login is not sent",
        'List it under provider in [[tables.credentials]], with holds = "identities".',
    ),
    logins.ID_INVALID: Note(
        "the id of a social login cannot be used: that login is not sent",
        "Look at provider_user_id in [[tables.credentials]].",
    ),
    logins.SEVERAL: Note(
        "several social logins at one provider: one is sent, that of [mapping.identities], else the newest",
        "Ask cidaas whether an account may have several; the others can be linked again by the user.",
    ),
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


def explained(note: str, settings: Settings) -> Note:
    """Say in words what a note means under this mapping."""
    if note in _FIXED:
        return _FIXED[note]
    status = settings.mapping.status
    if note == "status_unknown":
        what = f"the value of the status column {status.column} is not listed: the user becomes {status.other}"
        return Note(what, "List it under [mapping.status] if that is not meant.")
    found = [f"{field.name}: {unusable(field.rule)}" for field in fields(settings) if field.note == note]
    return Note("; ".join(found) or memberships.explained(note, settings.mapping) or note)


def unusable(rule: FieldRule) -> str:
    """Say why the value of a field's column is sent as null."""
    where = _where(rule)
    if rule.function is not None:
        return f"{where} failed, or is nothing that can be read as {rule.kind}: null is sent"
    if rule.kind == "phone":
        return f"no valid telephone number in {where}: null is sent"
    if rule.values is not None:
        return f"the value of {where} is not among {', '.join(sorted(rule.values))}: null is sent"
    return f"the value of {where} cannot be read as {rule.kind}: null is sent"


def _where(rule: FieldRule) -> str:
    """Say where the value of a field comes from."""
    columns = f"column{'s' if len(rule.reads) > 1 else ''} {', '.join(rule.reads)}"
    if rule.function is not None:
        return f"what {rule.function} makes of {columns}"
    if rule.template is not None:
        return f"the template with {columns}"
    return columns if rule.path is None else f"{rule.path} in the JSON of {columns}"
