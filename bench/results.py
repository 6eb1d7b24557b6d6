"""bench/results.json: everything that was measured, raw runs too; one part for each scenario, replaced as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

FILE = Path(__file__).parent / "results.json"

#: {"scenarios": {name: {"about": …, "record_bytes": …, "seconds": …, "rows": [{…}, …]}}}
Results = dict[str, Any]


def load(path: Path = FILE) -> Results:
    """Read them; a file that is not there has none."""
    if not path.exists():
        return {"scenarios": {}}
    found: Results = orjson.loads(path.read_bytes())
    return found


def put(path: Path, name: str, part: dict[str, Any]) -> None:
    """Replace the part of one scenario; the file is whole at any moment."""
    results = load(path)
    results["scenarios"][name] = _rounded(part)
    new = path.with_suffix(".part")
    new.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    new.rename(path)


def _rounded(value: Any) -> Any:
    """Figures to six digits: more would be noise in every diff."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return value
