"""A small disk of its own for a folder, so that it can be full."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class SmallDisk:
    """A tmpfs of some megabytes at `folder`, which is made when it is not there."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._filler = folder / "filler"
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (
            f"this test needs to mount a small tmpfs, which was refused ({done.stderr.strip()}): run it as root, in a "
            "container with CAP_SYS_ADMIN"
        )

    def fill(self) -> None:
        """Leave no room at all."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1024 * 1024, 4096):
                with contextlib.suppress(OSError):  # no space left
                    while True:
                        file.write(bytes(size))

    def make_room(self) -> None:
        """Take away what fills it."""
        self._filler.unlink()

    def unmount(self) -> None:
        """Give the folder back; who still uses the disk keeps it until it ends."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
