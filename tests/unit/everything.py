"""Every command of the DBA, by what one types."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from fakes import SETTINGS

from streams.commands import Commands

if TYPE_CHECKING:
    from streams.settings import Settings


def all_commands(settings: Settings = SETTINGS) -> dict[str, click.Command]:
    """`deletes allow` and the like: a group itself does nothing."""
    found: dict[str, click.Command] = {}
    ours = Commands({}, settings)
    for name in ours:
        command = ours.get(name)
        children = command.commands.values() if isinstance(command, click.Group) else ()
        found |= {f"{name} {child.name}": child for child in children} or {name: command}
    return found
