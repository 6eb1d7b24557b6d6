"""The JSON Schema of `pipeline.toml`, for editors: recorded from the very functions that read the file.

A `Section` that holds nothing and notes what it is asked for goes through `load.read`, so a key, its type, its bounds
and its default stand in one place only. What those functions check by themselves stands in `_CHECKS`.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .environment import Environment
from .load import HOST_NAME, TOPIC_NAME, read
from .rules import ALGORITHMS, CUSTOM_KEY, REGION, STATUSES
from .section import NAME, PATH, Problems, Section
from .tables import AGES, ARGON2, NEEDED, OF_IDENTITIES, OF_PASSWORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILE = "pipeline.schema.json"
#: What editors for TOML understand best.
_DRAFT = "http://json-schema.org/draft-07/schema#"
_COLUMN = {"type": "string", "pattern": f"^(?!__){NAME}$"}
_NEW_NAME = {"type": "string", "pattern": f"^{TOPIC_NAME}$"}
_HOST = {"type": "string", "pattern": f"^{HOST_NAME}$"}
_PATH = {"type": "string", "pattern": f"^{PATH}$"}
_ONE_ALGORITHM = {"oneOf": [{"required": ["algorithm"]}, {"required": ["algorithm_constant"]}]}
#: What a table with credentials has, by what it holds.
_BY_HOLDS: dict[str, Any] = {
    "if": {"properties": {"holds": {"const": "totp"}}, "required": ["holds"]},
    "then": {
        "properties": dict.fromkeys((*OF_PASSWORDS, *OF_IDENTITIES), False),
        "dependencies": {"kind": ["totp_kind"]},
    },
    "else": {
        "if": {"properties": {"holds": {"const": "identities"}}, "required": ["holds"]},
        "then": {
            "required": list(OF_IDENTITIES),
            "properties": {
                "provider": {"type": "object", "anyOf": [{"required": ["values"]}, {"required": ["template"]}]},
                **dict.fromkeys(("kind", "totp_kind"), False),
                **{key: False for key in OF_PASSWORDS if key not in AGES},
            },
        },
        "else": {"required": ["secret"], "properties": dict.fromkeys(OF_IDENTITIES, False), **_ONE_ALGORITHM},
    },
}
#: What the reading functions check by themselves, by the names that lead to a key.
_CHECKS: dict[tuple[str, ...], dict[str, Any]] = {
    (): {"required": ["tables", "mapping", "cidaas"]},
    ("pipeline", "app_id"): _NEW_NAME,
    ("source", "prefix"): _NEW_NAME,
    ("source", "name"): {"pattern": "^(?!__)[a-z_][a-z0-9_]{0,62}$"},
    ("tables",): {"required": ["users"]},
    ("tables", "users", "password"): _ONE_ALGORITHM,
    ("tables", "credentials"): {
        "required": ["name", "id", "user_id"],
        "dependencies": {"totp_kind": ["kind"]},
        **_BY_HOLDS,
    },
    ("mapping",): {"required": ["fields"]},
    ("mapping", "fields"): {"anyOf": [{"required": [one]} for one in ("email", "username", "mobile_number")]},
    ("mapping", "phone_region"): {"pattern": f"^{REGION}$"},
    ("mapping", "status"): {"dependencies": {"values": ["column"], "deleted": ["column"]}},
    ("mapping", "status", "values"): {"additionalProperties": {"enum": list(STATUSES)}},
    ("mapping", "select"): {"required": ["column", "values"]},
    ("mapping", "select", "values"): {"minItems": 1},
    ("mapping", "passwords", "algorithms"): {
        "additionalProperties": {"anyOf": [{"enum": list(ALGORITHMS)}, {"type": "string", "pattern": "^(CUSTOM|HMAC)"}]}
    },
    ("cidaas",): {
        "required": [],
        "if": {"properties": {"sub": {"const": "id"}}, "required": ["sub"]},
        "else": {"required": ["sub_namespace"]},
    },
    ("cidaas", "base_url"): {"format": "uri"},
    ("cidaas", "sub_namespace"): {"format": "uuid"},
    ("delivery", "only"): {
        "anyOf": [
            {"type": "array", "items": {"type": ["string", "integer"]}},
            {"type": "integer", "minimum": 1},
        ]
    },
    ("delivery", "temporary_email"): {"pattern": "^(?=.*\\{id\\})[^@]*@[^@]*$"},
    ("connect", "url"): {"format": "uri"},
    ("cutover",): {"dependencies": {"domain": ["target"], "target": ["domain"]}},
    ("cutover", "domain"): _HOST,
    ("cutover", "target"): _HOST,
}
#: The same of tables that may stand in place of a column, by their shapes.
_FIELD = {
    "oneOf": [{"required": ["column"]}, {"required": ["template"]}, {"required": ["columns"]}],
    "dependencies": {"columns": ["function"], "path": ["column"], "template": {"not": {"required": ["function"]}}},
}
_SHAPES: dict[str, dict[str, Any]] = {
    "field": _FIELD,
    "custom_field": _FIELD,
    "parameters": {"dependencies": {name: ["iterations", *NEEDED] for name in ARGON2}},
    "consent": {"oneOf": [{"required": ["column"]}, {"required": ["state"]}]},
}
#: Stands for every key of a table whose keys the person chooses.
_ANY = "any_key"


class Recorder(Section):
    """One table of a file in which nothing is set; `node` becomes its schema, `shared` what several keys have."""

    def __init__(self, node: dict[str, Any], path: tuple[str, ...], shared: dict[str, dict[str, Any]]) -> None:
        super().__init__({}, path, Problems(FILE))
        self.node, self._shared = node, shared
        node.clear()  # a shared one has been recorded before
        node |= {"type": "object", "properties": {}, "additionalProperties": False}

    def has(self, key: str) -> bool:
        """Say yes, so that what is read of a key that is there is recorded too."""
        return True

    def wrong(self, key: str, what: str, remedy: str, *inside: str) -> None:
        """Nothing is wrong: nothing is read."""

    def close(self, hints: Mapping[str, str] | None = None) -> None:
        """Every key has been named; all others are refused."""

    def get(self, key: str) -> Any:
        """Record a key; its type stands in `_CHECKS` if nobody else asks for it."""
        self._slot(key)
        return None

    def section(self, key: str) -> Section:
        """Record a table and go into it, whether the file must have it or not."""
        return Recorder(self._slot(key), (*self.path, key), self._shared)

    def table(self, key: str) -> Section:
        """Record a table."""
        return self.section(key)

    def sections(self, key: str) -> list[Section]:
        """Record a table, or a list of such.

        Both in one: what is said of keys concerns a table only, what is said of items a list. So a mistake is blamed
        on its key, which `anyOf` would not do.
        """
        one, slot = self.section(key), self._slot(key)
        inside = "/".join(f"properties/{name}" for name in (*self.path, key))
        slot.update({"type": ["object", "array"], "items": {"allOf": [{"type": "object"}, {"$ref": f"#/{inside}"}]}})
        return [one]

    def column_or_section(self, key: str, shape: str) -> Section:
        """Record the name of a column, or a table that says more."""
        self._slot(key)["anyOf"] = [_COLUMN, {"$ref": f"#/definitions/{shape}"}]
        return Recorder(self._shared.setdefault(shape, {}), (*self.path, key), self._shared)

    def needed_column_or_section(self, key: str, shape: str, remedy: str) -> Section:
        """Record the same, which must be there."""
        self._needed(key)
        return self.column_or_section(key, shape)

    def json_path(self, key: str) -> str | None:
        """Record a path inside JSON."""
        self._slot(key).update(_PATH)
        return None

    def json_path_or_number(self, key: str) -> str | int | None:
        """Record a path inside JSON, or a number."""
        self._slot(key)["anyOf"] = [_PATH, {"type": "integer", "minimum": 1, "maximum": 10**10 - 1}]
        return None

    def names(self, known: Iterable[str] | None) -> list[str]:
        """Return all keys that are known; one that stands for all if any is allowed."""
        return [_ANY] if known is None else list(known)

    def text(self, key: str, default: str | None = None, choices: Iterable[str] = ()) -> str | None:
        """Record a text."""
        allowed = list(choices)
        schema = {"type": "string", "enum": allowed} if allowed else {"type": "string", "pattern": r"\S"}
        self._note(key, schema, default)
        return default

    def needed(self, key: str, remedy: str) -> str:
        """Record a text that must be there."""
        self._needed(key)
        self.text(key)
        return ""

    def column(self, key: str) -> str | None:
        """Record the name of a column."""
        self._slot(key).update(_COLUMN)
        return None

    def needed_column(self, key: str, remedy: str) -> str:
        """Record the name of a column that must be there."""
        self._needed(key)
        self.column(key)
        return ""

    def table_name(self, key: str) -> str:
        """Record `schema.table`, which must be there."""
        self._needed(key)
        self._slot(key).update({"type": "string", "pattern": rf"^{NAME}\.{NAME}$"})
        return ""

    def flag(self, key: str, default: bool) -> bool:
        """Record true or false."""
        self._note(key, {"type": "boolean"}, default)
        return default

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """Record a whole number."""
        self._note(key, {"type": "integer", "minimum": least, "maximum": most}, default)
        return default

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """Record a number."""
        self._note(key, {"type": "number", "minimum": least, "maximum": most}, default)
        return default

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Record a list of texts."""
        self._note(key, {"type": "array", "items": {"type": "string"}}, list(default) or None)
        return default

    def text_map(self, key: str) -> dict[str, str]:
        """Record a table of texts with keys of the person's own."""
        self._slot(key).update({"type": "object", "additionalProperties": {"type": "string", "pattern": r"\S"}})
        return {}

    def _needed(self, key: str) -> None:
        self.node.setdefault("required", []).append(key)

    def _slot(self, key: str) -> dict[str, Any]:
        if key == _ANY:
            found: dict[str, Any] = self.node.setdefault("patternProperties", {}).setdefault(f"^{CUSTOM_KEY}$", {})
        else:
            found = self.node["properties"].setdefault(key, {})
        return found

    def _note(self, key: str, schema: dict[str, Any], default: Any) -> None:
        self._slot(key).update(schema if default is None else {**schema, "default": default})


def schema(text: str) -> dict[str, Any]:
    """Return the schema; `text` is a commented `pipeline.toml`, whose comments become the descriptions of the keys."""
    root: dict[str, Any] = {}
    shared: dict[str, dict[str, Any]] = {}
    read(Recorder(root, (), shared), Environment({}, Problems(FILE)), Path(FILE))
    for path, check in _CHECKS.items():
        _at(root, path).update(check)
    for shape, check in _SHAPES.items():
        shared[shape].update(check)
    for path, words in _comments(text).items():
        with contextlib.suppress(KeyError):  # a key of the person's own, or a sentence that looks like one
            _at(root, path)["description"] = words
    return {"$schema": _DRAFT, "title": "pipeline.toml of cidaas-sync", **root, "definitions": shared}


def render(text: str) -> str:
    """Return the text of `pipeline.schema.json`."""
    return json.dumps(schema(text), indent=2, ensure_ascii=False) + "\n"


def _at(root: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    node = root
    for name in path:
        node = node["properties"][name]
    return node


_HEADER = re.compile(r"(?:# )?\[([\w.]+)\](?: +# (.+))?")
_KEY = re.compile(r"(?:# )?(\w+) *= *(?:\S.*?)(?: +# (.+))?")
_MORE = re.compile(r" {8,}# (.+)")


def _comments(text: str) -> dict[tuple[str, ...], str]:
    """Read what stands behind `#` on a line with a key or header, also one that is commented out, and below it."""
    found: dict[tuple[str, ...], str] = {}
    table: tuple[str, ...] = ()
    last: tuple[str, ...] | None = None
    for line in text.splitlines():
        if header := _HEADER.fullmatch(line):
            table = last = tuple(header[1].split("."))
            words = header[2]
        elif key := _KEY.fullmatch(line):
            last, words = (*table, key[1]), key[2]
        elif (more := _MORE.fullmatch(line)) and last in found:
            words = f"{found.pop(last)} {more[1]}"
        else:
            last, words = None, None
        if last is not None and words:
            found.setdefault(last, words)
    return found
