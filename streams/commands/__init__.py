"""The commands of the DBA: `faust -A streams.app COMMAND`, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streams.service import App


def register(app: App) -> None:
    """Add the commands to the app."""
    from streams.commands import delivery, status, user

    for module in (delivery, status, user):
        module.register(app)
