"""uvloop as the event loop, and what aiokafka has to be taught for it."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from mode.loop import use

if TYPE_CHECKING:
    from collections.abc import Callable


def use_uvloop() -> None:
    """Choose uvloop, before anything asks for a loop: a tenth of the worker's CPU time (docs/decisions.md)."""
    use("uvloop")
    for name in ("send", "_send_sasl_token"):
        setattr(AIOKafkaConnection, name, lost_is_said(getattr(AIOKafkaConnection, name)))


def lost_is_said(send: Callable[..., Any]) -> Callable[..., Any]:
    """Make a connection that was lost just now a connection error on every event loop.

    uvloop raises RuntimeError then, where asyncio's own loop is silent and the answer fails. aiokafka expects neither
    in the task that keeps its metadata: that task ends, and the client looks for its broker never again (F6).
    """

    @wraps(send)
    def sends(self: AIOKafkaConnection, *args: Any, **options: Any) -> Any:
        writer = self._writer
        try:
            return send(self, *args, **options)
        except RuntimeError as error:
            if writer is None or not writer.transport.is_closing():
                raise
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} was lost") from error

    return sends
