"""Commands that a process of ours starts for itself: they end with it, also when it is killed, and stand behind it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Asks Linux for SIGTERM when the parent ends (PR_SET_PDEATHSIG, which an exec keeps), and gives way to it (nice).
_TIED = """
import ctypes, os, signal, sys
parent = int(sys.argv[1])
ctypes.CDLL(None).prctl(1, signal.SIGTERM)
if os.getppid() != parent:
    sys.exit(143)
os.nice(10)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def tied(command: Sequence[str], parent: int) -> list[str]:
    """The command, tied to the process with this id, which must start it from its main thread."""
    return [sys.executable, "-c", _TIED, str(parent), *command]


async def end(process: asyncio.subprocess.Process, seconds: float) -> None:
    """End it in order, or by force after so many seconds; whoever reads what it prints goes on doing so meanwhile."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(seconds):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
