"""The commands of the DBA: `faust -A streams.app COMMAND`, one file each.

They are plain click commands in Faust's group: they need no worker of their own, print no banner, and end with the
exit codes of the design: 0 ok, 1 something is wrong, 2 refused or unusable input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from faust.cli.base import cli

from streams.commands import (
    audit,
    cdc,
    census,
    connector,
    cutover,
    deletes,
    delivery,
    doctor,
    mapping,
    quarantine,
    reconcile,
    rehearse,
    resync,
    source,
    status,
    topics,
    trace,
    user,
)

if TYPE_CHECKING:
    from types import ModuleType

    from streams.settings import Settings

_MODULES: tuple[ModuleType, ...] = (
    status, doctor, census, mapping, user, trace, reconcile, rehearse, resync, quarantine, delivery, deletes, cdc,
    topics, connector, source, cutover, audit,
)  # fmt: skip


def register(settings: Settings) -> None:
    """Add the commands to Faust's group."""
    for module in _MODULES:
        for command in module.commands(settings):
            cli.add_command(command)
