"""The local state of workers on this machine: where it is, whose it is, and how it goes."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streams.identity import DataFolder, RefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streams.cutover.finished import Worker

#: What a worker makes in its folder: the copies of both changelogs, Faust's own folder, and what says whose it is. That
#: goes last, so that the rest is known as ours after a kill.
_STATE, _IDENTITY = ("tables", "v1", "identity.json.new", "lock"), "identity.json"


class Local(NamedTuple):
    """Folders with local state: ours, those of which nobody knows, and of ours those that a worker uses now."""

    ours: tuple[str, ...]
    strange: tuple[str, ...]
    used: tuple[str, ...]


def look(app_id: str, topic: str, workers: Iterable[Worker]) -> Local:
    """Look at APP_DATADIR, and at the folders of all workers that ever ran on this machine.

    `topic` is the birth id of `legacy.identity`, "" where no worker has ever noted it.
    """
    here = socket.gethostname()
    named = [worker.folder for worker in workers if worker.host == here and worker.folder]
    paths = dict.fromkeys(Path(name).resolve() for name in [_own(app_id), *named])
    whose = {path: _whose(path, app_id, topic) for path in paths}
    ours = [path for path, found in whose.items() if found is True]
    return Local(
        tuple(map(str, ours)),
        tuple(str(path) for path, found in whose.items() if found is None),
        tuple(str(path) for path in ours if _is_used(path)),
    )


def _own(app_id: str) -> str:
    """As the worker has it (streams/app.py)."""
    return os.environ.get("APP_DATADIR", f"{app_id}-data")


def _whose(path: Path, app_id: str, topic: str) -> bool | None:
    """True: it has local state of ours. None: it has some, and nobody knows whose. False: there is none of ours."""
    try:
        if not path.is_dir():
            return False
        identity, tables = DataFolder(path).identity, path / _STATE[0]
        filled = tables.is_dir() and any(tables.iterdir())
    except (RefusedError, PermissionError):
        return None
    if identity is None:
        return None if filled else False
    if identity.get("pipeline") != app_id:
        return False
    # Of our name, and from another life of the topic: a copy, or a pipeline in another Kafka.
    return True if not topic or identity.get("topic") == topic else None


def _is_used(path: Path) -> bool:
    """Whether a worker holds the lock, or may: another account has made it."""
    try:
        with (path / "lock").open("r+") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):
        return True
    return False


def delete(name: str) -> list[str]:
    """Delete the local state in a folder of ours, and the folder if nothing else is in it; return what else is.

    Raises:
        RefusedError: a worker uses it.
        OSError: something cannot be deleted.
    """
    path = Path(name)
    held = DataFolder(path)
    held.lock()
    for part in (*_STATE, _IDENTITY):
        target = path / part
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
    others = sorted(one.name for one in path.iterdir())
    if not others:
        try:
            path.rmdir()
        except OSError:  # a mount point, or in a folder that is not ours to change: it is empty
            return []
    return others
