"""A screen that is shown again and again: in place on a terminal, else one below the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Seconds between two screens.
_EVERY = 2.0


def coloured(text: str) -> str:
    """Mark what is wrong; click takes the colours out again where nobody sees them."""
    return "\n".join(map(_coloured, text.split("\n")))


def _coloured(line: str) -> str:
    if line.startswith("! "):
        return click.style(line, fg="red", bold=True)
    return click.style(line, fg="green") if line == "nothing is wrong" else line


async def again_and_again(
    look: Callable[[], Awaitable[dict[str, Any]]],
    show: Callable[..., None],
    screen: Callable[[dict[str, Any]], str],
    *,
    as_json: bool,
) -> None:
    """Look and show until Ctrl-C, or until nobody reads it any more."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    in_place, first = sys.stdout.isatty() and not as_json, True
    try:
        while (body := await _unless(ended, look())) is not None:
            if in_place:
                lines = shutil.get_terminal_size().lines
                click.echo(in_its_place(screen(body), lines, first=first), nl=False)
            else:
                if not first and not as_json:
                    click.echo()
                show(body, as_json=as_json)
            first = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await ended.wait()
    except BrokenPipeError:  # whoever read it has seen enough; Python would complain once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _unless(ended: asyncio.Event, look: Awaitable[dict[str, Any]]) -> dict[str, Any] | None:
    """What there is to see; None when it has ended before."""
    looking, end = asyncio.ensure_future(look), asyncio.ensure_future(ended.wait())
    await asyncio.wait([looking, end], return_when=asyncio.FIRST_COMPLETED)
    over = ended.is_set()
    end.cancel()
    if over:
        looking.cancel()
        await asyncio.wait([looking])
        return None
    return await looking


def in_its_place(text: str, lines: int, *, first: bool) -> str:
    """A screen over the one before, without the flicker of an empty one in between; never higher than the terminal."""
    shown = text.split("\n")
    if len(shown) > lines - 1:
        left = len(shown) - (lines - 2)
        shown = [*shown[: lines - 2], f"... {left} more lines: make the window higher, or run it without --watch"]
    return ("\033[2J" if first else "") + "\033[H" + "".join(f"{line}\033[K\n" for line in shown) + "\033[J"
