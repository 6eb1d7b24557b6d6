"""`python -m streams.source`: write the files under connectors/ that follow from pipeline.toml."""

from __future__ import annotations

import sys
from pathlib import Path

from streams.settings import ConfigError, Settings, load
from streams.source import connector, sql


def generated(settings: Settings) -> dict[str, str]:
    """Return each generated file under connectors/ and its text."""
    return {
        "cidaas_sync.json": connector.render(settings),
        "sql/enable.sql": sql.enable_sql(settings),
        "sql/disable.sql": sql.disable_sql(settings),
    }


def main(folder: Path = Path("connectors")) -> int:
    """Write them for the pipeline.toml of the working directory."""
    try:
        settings = load()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for name, text in generated(settings).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
