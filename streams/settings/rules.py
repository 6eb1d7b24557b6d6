"""`[mapping]`: which column becomes which cidaas field, and what status values and hash algorithms mean."""

from __future__ import annotations

import re
from string import Formatter
from typing import TYPE_CHECKING, Literal

from . import functions
from .memberships import entries, is_provider, read_consents, read_groups
from .model import FieldRule, Kind, Mapping, PasswordRule, SelectRule, StatusRule
from .moments import read_epoch
from .section import meant

if TYPE_CHECKING:
    from .section import Section

# facts/cidaas-api.md §1.1: fields of the flat shape. The two *_verified ones are not in the documented bulk
# schema, so the default mapping leaves them out.
FIELDS: dict[str, Kind] = {
    **dict.fromkeys(("email", "username", "given_name", "family_name", "middle_name", "nickname"), "text"),
    **dict.fromkeys(("gender", "locale", "profile", "picture", "website", "zoneinfo"), "text"),
    "user_status_reason": "text",
    "mobile_number": "phone",
    "phone_number": "phone",
    "birthdate": "date",
    "createdTime": "timestamp",
    "lastLoggedInTime": "timestamp",
    "email_verified": "boolean",
    "mobile_number_verified": "boolean",
}
ADDRESS: dict[str, Kind] = dict.fromkeys(
    ("formatted", "street_address", "locality", "region", "postal_code", "country"), "text"
)
KINDS: tuple[Kind, ...] = ("text", "boolean", "number", "date", "timestamp", "phone")
STATUSES = ("VERIFIED", "PENDING", "DECLINED", "LOCKED")
ALGORITHMS = ("bcrypt", "sha1", "sha256", "pbkdf2", "argon2id", "argon2i", "argon2d")
_CASES: tuple[Literal["lower", "upper"], ...] = ("lower", "upper")
CUSTOM_KEY = "[A-Za-z_][A-Za-z0-9_-]*"
REGION = "[A-Z]{2}"


def read_mapping(section: Section) -> Mapping:
    """Read `[mapping]`; the mapping's id is put in later, when the tables are known too."""
    fields = _rules(section.table("fields"), FIELDS)
    if not {"email", "username", "mobile_number"} & {rule.target for rule in fields}:
        section.wrong("fields", "has no identifier", "Map at least one of email, username or mobile_number.")
    mapping = Mapping(
        fields=fields,
        address=_rules(section.table("address"), ADDRESS),
        custom_fields=_rules(section.table("custom_fields"), None),
        status=_status(section.section("status")),
        select=_select(section.section("select")),
        passwords=_passwords(section.table("passwords")),
        mfa_enabled=section.flag("mfa_enabled", False),
        phone_region=_region(section),
        id="",
        identities=_identities(section.table("identities")),
        groups=read_groups(section.table("groups")),
        consents=read_consents(section.table("consents")),
    )
    section.close()
    return mapping


def _identities(section: Section) -> tuple[FieldRule, ...]:
    """Read `provider = "column"`, the user's id at a social login, for each provider."""
    return tuple(
        rule
        for provider in entries(section)
        if is_provider(section, provider, provider) and (rule := read_rule(section, provider, "text"))
    )


def _rules(section: Section, known: dict[str, Kind] | None) -> tuple[FieldRule, ...]:
    """Read `target = "column"` or `target = { column = "...", type = "...", values = {...} }` for each target."""
    rules = []
    for target in section.names(known):
        if known is not None and target not in known:
            section.wrong(target, "is no field of cidaas", f"Known ones are {', '.join(known)}{meant(target, known)}.")
        elif known is None and not re.fullmatch(CUSTOM_KEY, target):
            section.wrong(target, "is no key of a custom field", "Use letters, digits, _ and - only.")
        elif rule := read_rule(section, target, known[target] if known else None):
            rules.append(rule)
    return tuple(rules)


def read_rule(section: Section, target: str, fixed: Kind | None) -> FieldRule | None:
    """Read one rule; the fields of cidaas have their types, only custom fields choose one."""
    detail = section.column_or_section(target, "field" if fixed else "custom_field")
    if detail is None:
        return None
    if isinstance(detail, str):
        return FieldRule(target, detail, fixed or "text", None)
    column, template = detail.column("column"), detail.text("template")
    columns = _columns(detail) if template is None else _placeholders(detail, template)
    function, code = _function(detail)
    _one_source(detail)
    chosen = fixed or detail.text("type", "text", KINDS)
    values = detail.text_map("values") if detail.has("values") else None
    detail.get("values")
    path, epoch, case = detail.json_path("path"), read_epoch(detail), detail.text("case", None, _CASES)
    detail.close()
    if path and not column:
        detail.wrong("path", "is for one column of JSON", "Take it out, or name that column.")
    kind = next(one for one in KINDS if one == chosen)
    if epoch and kind not in ("date", "timestamp"):
        section.wrong(target, f"is {kind}, and epoch makes a moment", "Take epoch out.", "epoch")
    if not column and not columns and template is None:
        return None
    return FieldRule(
        target,
        column or "",
        kind,
        values,
        path=path,
        epoch=epoch,
        case=next((one for one in _CASES if one == case), None),
        template=template,
        function=function,
        code=code,
        columns=columns,
    )


def _one_source(detail: Section) -> None:
    """A field is made of a column, of a template, or of the columns of a function."""
    ways = [key for key in ("column", "template", "columns") if detail.has(key)]
    if not ways:
        remedy = 'Name the column, column = "...", or write a template, or a function of several columns.'
        detail.wrong("column", "is missing", remedy)
    elif len(ways) > 1:
        detail.wrong(ways[1], f"stands beside {ways[0]}", "Take one of them out.")
    elif ways == ["columns"] and detail.data["columns"] == []:
        detail.wrong("columns", "is empty", 'List the columns that the function is given: columns = ["..."].')
    elif ways == ["columns"] and not detail.has("function"):
        detail.wrong("columns", "is set without function", 'Name it: function = "package.module:function".')
    elif ways == ["template"] and detail.has("function"):
        detail.wrong("function", "stands beside template", "Take one of them out.")


def _columns(detail: Section) -> tuple[str, ...]:
    """Read the columns that a function is given together."""
    columns = tuple(dict.fromkeys(detail.texts("columns")))
    return tuple(column for column in columns if detail.identifier("columns", column))


def _placeholders(detail: Section, template: str) -> tuple[str, ...]:
    """Return the columns that a template names in braces."""
    detail.get("columns")
    remedy = 'Write columns in braces, "{given_name} {family_name}", and braces themselves twice.'
    try:
        parts = list(Formatter().parse(template))
    except ValueError:
        detail.wrong("template", "has a brace without its counterpart", remedy)
        return ()
    if any(name is not None and (spec or conversion or not name) for _, name, spec, conversion in parts):
        detail.wrong("template", "has more than the name of a column between braces", remedy)
        return ()
    names = dict.fromkeys(name for _, name, _, _ in parts if name is not None)
    return tuple(name for name in names if detail.identifier("template", name))


def _function(detail: Section) -> tuple[str | None, str]:
    """Read the name of a function, and make sure that it can be called; with a digest of its code."""
    name = detail.text("function")
    if name is None:
        return None, ""
    try:
        functions.find(name, detail.problems.folder)
    except functions.FunctionError as error:
        detail.wrong("function", str(error), error.remedy)
        return None, ""
    return name, functions.digest(name)


def _status(section: Section | None) -> StatusRule:
    if section is None:
        return StatusRule(None, {}, frozenset(), None, "VERIFIED")
    column, deleted_when_set = section.column("column"), section.column("deleted_when_set")
    values = section.text_map("values")
    deleted = frozenset(section.texts("deleted"))
    other = section.text("other", "LOCKED" if column else "VERIFIED", STATUSES) or "LOCKED"
    for key, status in values.items():
        if status not in STATUSES:
            remedy = f"Use one of {', '.join(STATUSES)}; deleted ones go into the list deleted."
            section.wrong("values", f"is {status!r}", remedy, key)
        if key in deleted:
            section.wrong("values", "is also in the list deleted", "Decide for one of them.", key)
    if not column and (values or deleted):
        section.wrong("column", "is missing", 'Name the status column: column = "status".')
    section.close()
    return StatusRule(column, values, deleted, deleted_when_set, other)


def _select(section: Section | None) -> SelectRule | None:
    if section is None:
        return None
    column = section.needed_column("column", "Name the column that tells which users are migrated.")
    values = frozenset(section.texts("values"))
    if not values:
        section.wrong("values", "is missing or empty", 'List the values that are migrated: values = ["..."].')
    on_leave = section.text("on_leave", "keep", ("keep", "delete"))
    section.close()
    return SelectRule(column, values, "delete" if on_leave == "delete" else "keep")


def _passwords(section: Section) -> PasswordRule:
    algorithms = section.text_map("algorithms")
    for name, target in algorithms.items():
        if target not in ALGORITHMS and not target.startswith(("CUSTOM", "HMAC")):
            nearest = meant(target, ALGORITHMS)
            remedy = f"Use one of {', '.join(ALGORITHMS)}, or a CUSTOM id of your tenant{nearest}."
            section.wrong("algorithms", f"is {target!r}", remedy, name)
    prefix = section.text("bcrypt_prefix", "keep", ("keep", "$2a$", "$2b$", "$2y$"))
    section.close()
    return PasswordRule(
        {name.casefold(): target for name, target in algorithms.items()}, None if prefix == "keep" else prefix
    )


def _region(section: Section) -> str | None:
    region = section.text("phone_region")
    if region is not None and not re.fullmatch(REGION, region):
        section.wrong(
            "phone_region", f"is {region!r}", 'Write the two letters of a country, such as "DE", or leave it out.'
        )
        return None
    return region
