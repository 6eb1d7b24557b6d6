"""What changes something is shown first, and done only with --yes; both in words and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from streams.commands import base, recording

if TYPE_CHECKING:
    from collections.abc import Sequence

_REPEAT = "Repeat with --yes to do it."

yes_option = click.option("--yes", is_flag=True, help="Do it; without it only say what would happen.")


def preview(would: str | Sequence[str], *, as_json: bool, **body: Any) -> None:
    """Say what would happen: one sentence, or a list of steps. Nothing has been changed."""
    if as_json:
        base.show_json({**body, "changed": False, "would": [would] if isinstance(would, str) else list(would)})
    elif isinstance(would, str):
        click.echo(f"{would} {_REPEAT}")
    else:
        click.echo("\n".join(["This would:", *(f"  - {step}" for step in would), _REPEAT]))


def done(said: str, *, as_json: bool, changed: bool = True, short: str = "", **body: Any) -> None:
    """Say what was done, or that there was nothing to do (`changed` is False).

    It stands in the audit, too; `short` where what is said is long.
    """
    recording.effect(short or said, changed=changed)
    if as_json:
        base.show_json({**body, "changed": changed, "said": said})
    else:
        click.echo(said)
