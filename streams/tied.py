"""Commands that a process of ours starts for itself: they end with it, also when it is killed, and stand behind it."""

from __future__ import annotations

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
