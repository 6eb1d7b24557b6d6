"""Pages that a command writes into a file."""

from __future__ import annotations

from pathlib import Path

import click

from streams.commands import base

html_option = click.option(
    "--html", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write a page, too."
)


def assert_writable(file: Path | None) -> None:
    """Refuse a file that cannot be written now, and not after minutes."""
    if file is None:
        return
    there = file.exists()
    try:
        with file.open("a"):
            pass
        if not there:  # a command that fails leaves no empty page
            file.unlink()
    except OSError as error:
        _cannot(file, error)


def write(file: Path, text: str) -> None:
    """Write the page."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        _cannot(file, error)


def _cannot(file: Path, error: OSError) -> None:
    base.fail(f"{file} cannot be written: {error.strerror}. Name another file after --html.")
