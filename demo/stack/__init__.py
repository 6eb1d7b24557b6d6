"""The embedded stack as plain processes, without Docker and without root: `python -m demo.stack up`."""

from demo.stack.errors import Missing, StackError
from demo.stack.services import SERVICES
from demo.stack.stack import Stack

__all__ = ["SERVICES", "Missing", "Stack", "StackError"]
