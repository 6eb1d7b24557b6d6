"""`[mapping.identities]`, `[mapping.groups]` and `[mapping.consents]`: what a user has beside its own fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .model import ConsentRule, GroupRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .section import Section

#: facts/cidaas-api.md §1.1, `consents`.
STATES = ("ACCEPTED", "REVOKED", "SKIPPED")
KEY = "[A-Za-z_][A-Za-z0-9_-]*"


def entries(section: Section) -> Iterator[str]:
    """Name the keys of a table whose keys are the person's own; note those that cannot be one."""
    for key in section.names(None):
        if re.fullmatch(KEY, key):
            yield key
        else:
            section.wrong(key, "is no key of cidaas", "Use letters, digits, _ and - only.")


def is_provider(section: Section, key: str, name: str, *inside: str) -> bool:
    """Tell whether a name can be a social login's provider at cidaas; note a problem with the key `inside` if not."""
    if name.casefold() == "self":
        remedy = "Name social logins only, such as facebook or google."
        section.wrong(key, "is cidaas's own identity", remedy, *inside)
    elif not re.fullmatch(KEY, name):
        what = f"is {name[:60]!r}, which is no key of cidaas"
        section.wrong(key, what, "Use letters, digits, _ and - only.", *inside)
    else:
        return True
    return False


def read_groups(section: Section) -> tuple[GroupRule, ...]:
    """Read `group = { roles = [...], column = "...", values = [...] }` for each group."""
    rules = []
    for group in entries(section):
        if (detail := section.section(group)) is None:
            continue
        roles, column = detail.texts("roles"), detail.column("column")
        values = frozenset(detail.texts("values")) if detail.has("values") else None
        detail.get("values")
        if values is not None and not column:
            detail.wrong("values", "is set without column", 'Name the column: column = "...".')
        detail.close()
        rules.append(GroupRule(group, roles, column, values))
    return tuple(rules)


def read_consents(section: Section) -> tuple[ConsentRule, ...]:
    """Read `field = "column"`, or a table that says more, for each field of type CONSENT."""
    rules = []
    for field in entries(section):
        detail = section.column_or_section(field, "consent")
        if isinstance(detail, str):
            rules.append(ConsentRule(field, detail, None, None, None, None, None))
        elif detail is not None and (rule := _consent(detail, field)):
            rules.append(rule)
    return tuple(rules)


def _consent(detail: Section, field: str) -> ConsentRule | None:
    column, state = detail.column("column"), detail.text("state", None, STATES)
    values = detail.text_map("values") if detail.has("values") else None
    detail.get("values")
    for word, one in (values or {}).items():
        if one not in STATES:
            detail.wrong("values", f"is {one!r}", f"Use one of {', '.join(STATES)}.", word)
    time = detail.column("time")
    consent_id, version_id = detail.text("consent_id"), detail.text("version_id")
    if detail.has("column") == detail.has("state"):
        remedy = 'Write column = "..." (true is ACCEPTED, false is REVOKED), or state = "ACCEPTED" for everybody.'
        detail.wrong("column", "must be there, or state, and not both", remedy)
    detail.close()
    return ConsentRule(field, column, values, state, time, consent_id, version_id) if column or state else None
