"""Looks twice, some seconds apart: one look does not tell what falls from what stands still."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

#: Seconds between both looks.
APART = 5.0


@dataclass(frozen=True, slots=True)
class Twice(Generic[T]):
    """What both looks have shown, and the seconds between them."""

    first: T
    second: T
    apart: float


async def twice(look: Callable[[], Awaitable[T]]) -> Twice[T]:
    """Look, wait, and look again."""
    first, at = await look(), time.monotonic()
    await asyncio.sleep(APART)
    apart = time.monotonic() - at
    return Twice(first, await look(), apart)
