"""Reading one table of `pipeline.toml`: typed, with every problem collected instead of raised."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from .positions import Path, positions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path as FilePath

#: A plain name of PostgreSQL, as a regular expression.
NAME = "[A-Za-z_][A-Za-z0-9_]{0,62}"
#: The names that lead to a value inside JSON, with dots between.
PATH = r"[^.\s]+(?:\.[^.\s]+)*"


def header(path: Path) -> str:
    """Name a table as people find it: `tables.credentials #2` is the second of `[[tables.credentials]]`."""
    names = [f" #{int(name) + 1}" if name.isdecimal() else f".{name}" for name in path]
    return "".join(names).removeprefix(".")


def sentence(file: str, line: int | None, where: str, what: str, remedy: str) -> str:
    """Write one problem as one line: file, line where it is known, key, what is wrong, what to do."""
    place = file if line is None else f"{file}:{line}"
    return f"{place}: {where}: {what}. {remedy}"


class Problems:
    """The list of everything that is wrong so far."""

    def __init__(self, file: str, text: str = "", folder: FilePath | None = None) -> None:
        """`text` is that of the file, for the lines on which keys stand; `folder` is where it lies."""
        self.file, self._text, self.folder = file, text, folder
        self._positions: dict[Path, int] | None = None
        self.lines: list[str] = []

    def add(self, at: Path, where: str, what: str, remedy: str) -> None:
        """Note one problem with the key `at`; `where` is how a person finds it."""
        if self._positions is None:  # only now: most files have no problem
            self._positions = positions(self._text)
        self.lines.append(sentence(self.file, self._positions.get(at), where, what, remedy))

    def add_variable(self, name: str, what: str, remedy: str) -> None:
        """Note a problem with an environment variable; its value is never quoted."""
        self.lines.append(f"{name}: {what}. {remedy}")


class Section:
    """One table of the file. Each reading method names a key; `close` complains about the keys nobody named."""

    def __init__(self, data: Mapping[str, Any], path: Path, problems: Problems) -> None:
        self.data, self.path, self.problems = data, path, problems
        self._known: list[str] = []

    @property
    def name(self) -> str:
        """The name of the table as it stands in its header."""
        return header(self.path)

    def has(self, key: str) -> bool:
        """Tell whether the key is there, whatever stands in it."""
        return key in self.data

    def wrong(self, key: str, what: str, remedy: str, *inside: str) -> None:
        """Note a problem with this key, or with one `inside` its table. One that is missing has its table's line."""
        at = (*self.path, key, *inside) if self.has(key) else self.path
        where = ".".join((key, *inside))
        self.problems.add(at, f"[{self.name}] {where}" if self.path else f"[{where}]", what, remedy)

    def get(self, key: str) -> Any:
        """Return the raw value, None if the key is not there."""
        self._known.append(key)
        return self.data.get(key)

    def section(self, key: str) -> Section | None:
        """Return a table inside this one, None if it is left out."""
        value, path = self.get(key), (*self.path, key)
        if value is None:
            return None
        if not isinstance(value, dict):
            remedy = f"Write it as [{'.'.join(path)}] with its keys below."
            self.wrong(key, f"is {_shown(value)} and must be a table", remedy)
            return None
        return Section(value, path, self.problems)

    def table(self, key: str) -> Section:
        """Return a table inside this one, an empty one if it is left out."""
        return self.section(key) or Section({}, (*self.path, key), self.problems)

    def sections(self, key: str) -> list[Section]:
        """Return the one table `[key]`, or all of `[[key]]` in their order; none if they are left out."""
        value, path = self.get(key), (*self.path, key)
        if not isinstance(value, list):
            one = self.section(key)
            return [] if one is None else [one]
        if not all(isinstance(one, dict) for one in value):
            self.wrong(key, f"is {_shown(value)}", f"Write each one as [[{'.'.join(path)}]] with its keys below.")
            return []
        return [Section(one, (*path, str(place)), self.problems) for place, one in enumerate(value)]

    def column_or_section(self, key: str, shape: str) -> str | Section | None:
        """Return the name of a column, or a table that says more about it; None if left out, or after a problem.

        `shape` names the schema of such tables.
        """
        value = self.get(key)
        if isinstance(value, str):
            return value if self.identifier(key, value) else None
        return self.section(key)

    def needed_column_or_section(self, key: str, shape: str, remedy: str) -> str | Section | None:
        """Return what must be there; see `column_or_section`."""
        if self.has(key):
            return self.column_or_section(key, shape)
        self.get(key)
        self.wrong(key, "is missing", remedy)
        return None

    def json_path(self, key: str) -> str | None:
        """Return the names that lead to a value inside JSON, None if the key is left out."""
        value = self.text(key)
        if value is not None and not self._is_path(key, value):
            return None
        return value

    def json_path_or_number(self, key: str) -> str | int | None:
        """Return such a path, or a positive whole number."""
        value = self.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**10:
            return value
        if isinstance(value, str):
            return value if self._is_path(key, value) else None
        if value is not None:
            self.wrong(key, f"is {_shown(value)}", f'Write where it stands in the JSON, {key} = "...", or a number.')
        return None

    def _is_path(self, key: str, value: str) -> bool:
        if re.fullmatch(PATH, value):
            return True
        self.wrong(key, f"is {_shown(value)}", 'Write the names that lead to the value, with dots between: "a.b".')
        return False

    def names(self, known: Iterable[str] | None) -> list[str]:
        """Return the keys of a table whose keys are chosen by the person: among `known` ones, or any if None."""
        return list(self.data)

    def text(self, key: str, default: str | None = None, choices: Iterable[str] = ()) -> str | None:
        """Return a text that is not blank, or the default."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.wrong(key, f"is {_shown(value)} and must be a text", f'Write {key} = "..." or leave the key out.')
            return default
        allowed = tuple(choices)
        if allowed and value not in allowed:
            self.wrong(key, f"is {_shown(value)}", f"Use one of {', '.join(allowed)}{meant(value, allowed)}.")
            return default
        return value

    def needed(self, key: str, remedy: str) -> str:
        """Return a text that must be there; an empty one after a problem."""
        if not self.has(key):
            self._known.append(key)
            self.wrong(key, "is missing", remedy)
            return ""
        return self.text(key) or ""

    def column(self, key: str) -> str | None:
        """Return the name of a column, None if the key is left out."""
        value = self.text(key)
        return value if value is None or self.identifier(key, value) else None

    def needed_column(self, key: str, remedy: str) -> str:
        """Return the name of a column that must be there; an empty one after a problem."""
        value = self.needed(key, remedy)
        return value if value and self.identifier(key, value) else ""

    def identifier(self, key: str, value: str) -> bool:
        """Tell whether a name can be used for a column; note a problem if not."""
        if not re.fullmatch(NAME, value):
            self.wrong(key, f"is {_shown(value)}, which is no plain column name", "Use letters, digits and _ only.")
        elif value.startswith("__"):
            self.wrong(
                key, f"is {_shown(value)}; names with __ in front belong to Debezium", "Rename it in a view or table."
            )
        else:
            return True
        return False

    def table_name(self, key: str) -> str:
        """Return `schema.table`; an empty text after a problem."""
        value = self.needed(key, 'Write the table with its schema, such as name = "public.users".')
        parts = value.split(".")
        if value and (len(parts) != 2 or not all(re.fullmatch(NAME, part) for part in parts)):
            self.wrong(
                key,
                f"is {_shown(value)}, which is no schema.table of plain names",
                'Write the table with its schema, such as "public.users"; letters, digits and _ only.',
            )
            return ""
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.get(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.wrong(key, f"is {_shown(value)}", "Write true or false, without quotes.")
        return default

    def integer(self, key: str, default: int, least: int, most: int) -> int:
        """Return a whole number within bounds."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.wrong(key, f"is {_shown(value)}", f"Write a whole number from {least} to {most}.")
            return default
        return value

    def number(self, key: str, default: float, least: float, most: float) -> float:
        """Return a number within bounds."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
            self.wrong(key, f"is {_shown(value)}", f"Write a number from {least:g} to {most:g}.")
            return default
        return float(value)

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.wrong(key, f"is {_shown(value)}", f'Write a list of texts: {key} = ["...", "..."].')
            return default
        return tuple(value)

    def text_map(self, key: str) -> dict[str, str]:
        """Return a table of texts."""
        section = self.table(key)
        return {name: value for name in section.data if (value := section.text(name))}

    def close(self, hints: Mapping[str, str] | None = None) -> None:
        """Note each key that nobody asked for, with the nearest known one."""
        for key in self.data:
            if key not in self._known:
                hint = (hints or {}).get(key)
                nearest = meant(key, self._known)
                remedy = hint or f"Known keys are {', '.join(dict.fromkeys(self._known))}{nearest}."
                self.wrong(key, "is not a known key", remedy)


def meant(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean X?` without the question mark for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word.lower(), {name.lower(): name for name in known}, n=1)
    return "".join(f"; did you mean {name}" for name in known if near and name.lower() == near[0])


def _shown(value: Any) -> str:
    """Show a wrong value on one line, shortened."""
    text = repr(value) if not isinstance(value, dict) else "a table"
    return text if len(text) <= 60 else text[:57] + "..."
