"""On which line of `pipeline.toml` a key stands; `tomllib` tells values only.

The text is cut into statements (a header, or a key with its value), and `tomllib` itself says where each of them ends:
the shortest run of lines that it accepts. Nothing of TOML's syntax is known here twice.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The names that lead to a key; of an array of tables also the number of the element, as a text.
Path = tuple[str, ...]


def positions(text: str) -> dict[Path, int]:
    """Return the line (from 1 on) of each key and table of a valid TOML text.

    A key inside a value that goes over several lines has none: a wrong line is worse than no line.
    """
    found: dict[Path, int] = {}
    elements: dict[Path, int] = {}
    implied: set[Path] = set()
    table: Path = ()
    pending, start = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not pending:
            start = number
        pending += line + "\n"
        parsed = _parsed(pending)
        if parsed is None:
            continue  # a text or an array that goes on
        if pending.lstrip().startswith("["):
            table = _header(parsed, elements)
            for length in range(1, len(table)):
                if table[:length] not in found:
                    found[table[:length]] = start
                    implied.add(table[:length])
            if table not in found or table in implied:  # `[a.b]` may stand before `[a]`
                found[table] = start
        elif parsed:
            key = _key(pending)
            for length in range(1, len(key) + 1):
                found.setdefault(table + key[:length], start)
            if number == start:
                for path in _inside(parsed):
                    found.setdefault(table + path, start)
        pending = ""
    return {} if pending else found


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _chain(parsed: dict[str, Any]) -> tuple[list[str], Any]:
    """Follow tables with one key each; return the names, and what stands at their end."""
    names: list[str] = []
    value: Any = parsed
    while isinstance(value, dict) and value:
        ((name, value),) = value.items()
        names.append(name)
    return names, value


def _header(parsed: dict[str, Any], elements: dict[Path, int]) -> Path:
    """Return the path of a header; `elements` counts those of arrays of tables, whose last one a header means."""
    names, value = _chain(parsed)
    array = isinstance(value, list)
    path: Path = ()
    for place, name in enumerate(names, 1):
        path += (name,)
        if path in elements and not (array and place == len(names)):
            path += (str(elements[path]),)
    if array:
        elements[path] = elements.get(path, -1) + 1
        path += (str(elements[path]),)
    return path


def _key(statement: str) -> Path:
    """Return the names before the equals sign: the first one before which there is a whole key."""
    at = statement.find("=")
    while (parsed := _parsed(f"{statement[:at]} = 0")) is None:
        at = statement.index("=", at + 1)
    return tuple(_chain(parsed)[0])


def _inside(value: Any, path: Path = ()) -> Iterator[Path]:
    """Name the keys of a value, through inline tables and arrays."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in items:
        yield (*path, str(name))
        yield from _inside(part, (*path, str(name)))
