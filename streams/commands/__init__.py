"""The commands of the DBA: `faust -A streams.app COMMAND`, one file each.

They are plain click commands in Faust's group: they need no worker of their own, print no banner, and end with the
exit codes of the design: 0 ok, 1 something is wrong, 2 refused or unusable input.

A file is imported when its command is asked for: all of them together take as long as everything else that a worker
imports, and a worker needs none.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from faust.cli.base import cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import click

    from streams.settings import Settings

_ALONE = (
    "status", "doctor", "census", "mapping", "user", "trace", "reconcile", "rehearse", "resync", "quarantine",
    "deletes", "cdc", "topics", "connector", "source", "cutover", "audit",
)  # fmt: skip
#: Each command, and the file that it is in.
FILES = {name: name for name in _ALONE} | {"pause": "delivery", "resume": "delivery"}


class Commands(dict[str, "click.Command"]):
    """Faust's commands, and ours behind them, as click asks for them: for all names, or by `get` for one."""

    def __init__(self, fausts: Mapping[str, click.Command], settings: Settings) -> None:
        super().__init__(fausts)
        self._settings = settings

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*super().__iter__(), *FILES)))

    def get(self, name: str, default: Any = None) -> Any:
        """Import the file of one of ours, when it is asked for first."""
        if name not in self and name in FILES:
            commands = import_module(f"{__name__}.{FILES[name]}").commands(self._settings)
            self.update((command.name, command) for command in commands)
        return super().get(name, default)


def register(settings: Settings) -> None:
    """Add the commands to Faust's group."""
    cli.commands = Commands(cli.commands, settings)
