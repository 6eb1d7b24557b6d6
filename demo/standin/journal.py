"""The file behind the users: appended and handed to the operating system before each answer, read again at start.

`kill -9` of the stand-in loses nothing that was answered. A line that was cut off by it is dropped. A file that has
grown to more than twice what its users need is rewritten at start (not with full history: it lives in the old lines).
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from demo.standin.users import Users

COMPACT_FROM = 64 * 1024 * 1024  # bytes
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
_BATCH = 4 * 1024 * 1024


class JournalError(Exception):
    """The file cannot be used; the message says why and what to do."""


class Journal:
    """An append-only file of lines; without a path it keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = -1
        self.size = 0

    def open(self, users: Users, compact_from: int = COMPACT_FROM) -> None:
        """Lock the file, read it into `users`, and rewrite it if it has grown too large."""
        if self._path is None:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock(self._path)
            self._read(users)
            if self.size > compact_from and not users.full_history:
                self._compact(users)
        except OSError as error:
            raise JournalError(
                f"{self._path} cannot be used: {error.strerror}; name another file with --data"
            ) from None

    def _lock(self, path: Path) -> None:
        self._fd = os.open(path, _OPEN, 0o600)  # it holds password hashes
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise JournalError(
                f"{path} is in use by another stand-in; stop it or name another file with --data"
            ) from None

    def _read(self, users: Users) -> None:
        position = 0
        with os.fdopen(os.dup(self._fd), "rb", buffering=_BATCH) as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    break  # cut off by a kill: that call was never answered
                try:
                    users.replay(line[:-1])
                except (ValueError, KeyError, TypeError):
                    raise JournalError(
                        f"{self._path} is damaged at line {number}; remove the file to start without users"
                    ) from None
                position += len(line)
        os.ftruncate(self._fd, position)
        os.lseek(self._fd, position, os.SEEK_SET)
        self.size = position

    def _compact(self, users: Users) -> None:
        """Write the users into a new file and put it in the old one's place, if that halves it."""
        assert self._path is not None
        fresh = self._path.with_name(self._path.name + ".new")
        with os.fdopen(os.open(fresh, _OPEN | os.O_TRUNC, 0o600), "wb", buffering=_BATCH) as file:
            for line in users.compacted():
                file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
            written = file.tell()
        if written * 2 > self.size:
            fresh.unlink()
            return
        replacement = os.open(fresh, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(replacement, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fresh.replace(self._path)
        os.close(self._fd)
        self._fd = replacement
        os.lseek(self._fd, written, os.SEEK_SET)
        self.size = written

    def write(self, lines: list[bytes]) -> None:
        """Hand `lines` to the operating system and empty the list; on an error nothing of them stays in the file."""
        if self._fd < 0:
            lines.clear()
            return
        if not lines:
            return
        lines.append(b"")
        data = memoryview(b"\n".join(lines))
        lines.clear()
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError:
            os.ftruncate(self._fd, self.size)
            os.lseek(self._fd, self.size, os.SEEK_SET)
            raise
        self.size += done

    def clear(self) -> None:
        """Forget everything."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
        self.size = 0

    def close(self) -> None:
        """Close the file and give up its lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
