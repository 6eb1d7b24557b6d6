"""`python -m streams.settings`: write `pipeline.schema.json`, which editors read beside pipeline.toml."""

from __future__ import annotations

import sys
from pathlib import Path

from streams.settings import schema


def main(folder: Path = Path()) -> int:
    """Write it into the folder of pipeline.toml, whose comments become its descriptions."""
    text = (folder / "pipeline.toml").read_text(encoding="utf-8")
    (folder / schema.FILE).write_text(schema.render(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
