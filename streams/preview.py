"""What one real user would become at cidaas, for a person who asks: secrets hidden, personal values shown (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.cidaas.shape import with_identities
from streams.converters import place_of
from streams.inside import picker
from streams.mapping import Mapped, Mapper
from streams.notes import explained, fields, unusable
from streams.settings import functions
from streams.values import UNUSABLE, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.newest import Credentials
    from streams.settings import FieldRule, Settings

#: What of `password_hash_info` is no secret.
_OPEN = frozenset({"algorithmTypeId", "iterations", "keylen"})


def preview(settings: Settings, user_id: str, row: Mapping[str, Any], credentials: Credentials) -> dict[str, Any]:
    """Map one user and explain the outcome; values are as Debezium's JSON has them.

    The answer holds personal data: it is for the terminal of whoever asked, and for no log.
    """
    mapped = Mapper(settings).map(user_id, row, credentials)
    return {
        "user": user_id,
        "sentence": _sentence(settings, user_id, row, mapped),
        "status": mapped.status,
        "sub": mapped.sub,
        "sent": mapped.status == "live",
        "entity": _without_secrets(settings, mapped.entity) if mapped.entity is not None else None,
        "empty": _empty(settings, row, mapped.entity) if mapped.entity is not None else [],
        "notes": [{"note": note} | explained(note, settings)._asdict() for note in dict.fromkeys(mapped.notes)],
        "credential_rows": sum(map(len, credentials.values())),
        "mapping_id": settings.mapping.id,
    }


def hidden(value: Any) -> str:
    """Stand for a secret: only its length is told."""
    return f"(hidden, {len(str(value))} characters)"


def _sentence(settings: Settings, user_id: str, row: Mapping[str, Any], mapped: Mapped) -> str:
    if mapped.status == "deleted":
        return f"deleted at cidaas: {_why_deleted(settings, row)}. Behind the delete brake, and after a second look."
    if mapped.status == "not_selected":
        return f"not sent: {_why_not_selected(settings, row)}"
    if "no_identifier" in mapped.notes:
        return "sent as below, and refused by cidaas: it has no e-mail address, user name or mobile number."
    delivery = settings.delivery
    if isinstance(delivery.only, tuple) and user_id not in delivery.only:
        return "sent as below, but not yet: delivery.only (or DELIVERY_ONLY) names other users."
    if delivery.start == "paused":
        return 'sent as below, as soon as delivery is not paused (delivery.start is "paused" until `resume`).'
    return "sent as below."


def _why_deleted(settings: Settings, row: Mapping[str, Any]) -> str:
    status = settings.mapping.status
    word = text(row.get(status.column)) if status.column is not None and row.get(status.column) is not None else ""
    if word in status.deleted:
        return f"column {status.column} holds {word!r}, which [mapping.status] counts as deleted"
    return f"column {status.deleted_when_set} is set, which [mapping.status] counts as deleted"


def _why_not_selected(settings: Settings, row: Mapping[str, Any]) -> str:
    select = settings.mapping.select
    assert select is not None
    found = row.get(select.column)
    value = "is NULL" if found is None else f"holds {found!r}"
    after = "is deleted there" if select.on_leave == "delete" else "stays there as it is"
    return (
        f"column {select.column} {value}, and [mapping.select] wants {' or '.join(sorted(select.values))}. "
        f"If it was sent before, it {after}."
    )


def _without_secrets(settings: Settings, entity: Mapping[str, Any]) -> dict[str, Any]:
    shown = dict(entity)
    if info := shown.get("password_hash_info"):
        shown["password_hash_info"] = _masked(info)
    secret = _secret_columns(settings)
    for field in fields(settings):  # somebody may send a hash as a custom field, too
        if secret.intersection(field.rule.reads):
            part = shown[field.part] = dict(shown[field.part]) if field.part else shown
            if part.get(field.rule.target) is not None:
                part[field.rule.target] = hidden(part[field.rule.target])
    return with_identities(shown) if "identities" in shown else shown


def _masked(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _masked(value) if isinstance(value, dict) else value if name in _OPEN else hidden(value)
        for name, value in info.items()
    }


def _secret_columns(settings: Settings) -> frozenset[str]:
    own = settings.source.users.password
    return frozenset() if own is None else frozenset(filter(None, (own.secret, own.salt, own.params)))


def _empty(settings: Settings, row: Mapping[str, Any], entity: Mapping[str, Any]) -> list[dict[str, str]]:
    """Say of each field without a value why it has none."""
    found = []
    secret = _secret_columns(settings)
    for field in fields(settings):
        column, value = field.rule.column, row.get(field.rule.column)
        there = entity.get(field.part, {}) if field.part else entity
        if there.get(field.rule.target) is not None:
            continue
        if field.rule.derived:
            found.append(
                {"field": field.name, "column": ", ".join(field.rule.reads), "what": _not_made(field.rule, row)}
            )
            continue
        path = field.rule.path
        if value is None:
            what = f"column {column} is NULL"
        elif path is not None and (value := picker(path)(value)) is None:
            what = f"the JSON of column {column} has nothing under {path}"
        elif value is UNUSABLE:
            what = f"column {column} holds no JSON with {path} in it"
        elif text(value) is None:
            what = f"column {column} is blank"
        else:
            what = unusable(field.rule) + ("" if column in secret else f" (it holds {value!r})")
        found.append({"field": field.name, "column": column, "what": what})
    return found


def _not_made(rule: FieldRule, row: Mapping[str, Any]) -> str:
    """Say why a template or a function made nothing of this row."""
    values = [row.get(column) for column in rule.reads]
    if rule.template is not None and all(value is None or text(value) is None for value in values):
        return f"columns {', '.join(rule.reads)} are NULL or blank"
    if rule.function is None:
        return unusable(rule)
    value: Any = values[0] if rule.column else dict(zip(rule.columns, values, strict=True))
    try:
        made = functions.find(rule.function)(value if rule.path is None or value is None else picker(rule.path)(value))
    except (Exception, SystemExit) as error:
        return f"{rule.function} raised {place_of(error)}: null is sent"
    return f"{rule.function} returned None" if made is None else unusable(rule)
