"""Every command that changes something is written down, before and after, by the one decorator `recorded`.

A record that cannot be written stops nobody: what is wrong at night has to be cured without Kafka, too. It is said.
"""

from __future__ import annotations

import asyncio
import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from faust.cli.base import cli

from streams.audit.records import Act, Actor, Hiding, words_of
from streams.audit.topic import Pen
from streams.commands import base

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from streams.settings import Settings

    Command = Callable[..., Coroutine[Any, Any, int | None]]


class Effect:
    """What a command has said of its effect so far; `changed` None is *not known*."""

    def __init__(self, pen: Pen) -> None:
        self.said: list[str] = []
        self.changed: bool | None = None
        #: no end is written: the audit goes with the command.
        self.left = False
        self.pen = pen


_effect: ContextVar[Effect | None] = ContextVar("effect", default=None)


def effect(said: str, *, changed: bool) -> None:
    """Note what the command that runs has done; nothing where none is recorded."""
    if (noted := _effect.get()) is not None:
        noted.said.append(said)
        noted.changed = bool(noted.changed) or changed


async def leave() -> None:
    """Write no more: the command that runs takes the audit away, and keeps how it ended in a place of its own.

    The connection is closed, because one that asks for a topic may make it again.
    """
    if (noted := _effect.get()) is not None and not noted.left:
        noted.left = True
        await noted.pen.close()


def _with_yes(*, yes: bool, **_: Any) -> bool:
    return yes


def one_named(*, users: tuple[str, ...], yes: bool, **_: Any) -> bool:
    """With --yes, or for one user who was named: nothing else can be meant than what is done."""
    return yes or len(set(users)) == 1


def always(**_: Any) -> bool:
    """At once, without --yes."""
    return True


def recorded(settings: Settings, acts: Callable[..., bool] = _with_yes) -> Callable[[Command], Command]:
    """Write down what a command does; `acts` tells by its options whether it will do it, or only say what it would do.

    Stands between `base.run` and the command.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        async def wrapped(**options: Any) -> int | None:
            if not acts(**options):
                return await command(**options)
            return await _record(settings, command, options)

        return wrapped

    return decorate


async def _record(settings: Settings, command: Command, options: dict[str, Any]) -> int | None:
    hiding, pen = Hiding.of(settings), Pen(settings)
    noted = Effect(pen)
    name, arguments = _called()
    act = Act(name, words_of(arguments, hiding), Actor.here())
    missing = await pen.write(act.began())
    token = _effect.set(noted)
    code: int | None = base.WRONG
    refused = False
    try:
        code = await command(**options)
    except BaseException as error:
        code, said = base.outcome(error)
        noted.said.append(said)
        refused = isinstance(error, base.Failed) or code == base.REFUSED
        raise
    finally:
        _effect.reset(token)
        said = hiding("; ".join(noted.said))
        end = act.ended(code or base.OK, said, changed=noted.changed, late=bool(missing))
        # Whoever is refused reads one sentence: nothing was done that the audit could miss.
        if not noted.left:
            await asyncio.shield(_finish(pen, end, silent=refused and not noted.changed))
    return code


async def _finish(pen: Pen, record: dict[str, Any], *, silent: bool) -> None:
    missing = await pen.write(record)
    await pen.close()
    if missing and not silent:
        click.echo(f"this is not in the audit: {missing}", err=True)


def _called() -> tuple[str, list[str]]:
    """The command's name and the words behind it, as a person would write them."""
    context = click.get_current_context()
    names: list[str] = []
    one: click.Context | None = context
    while one is not None and one.command is not cli:
        names.insert(0, str(one.info_name))
        one = one.parent
    words: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if context.get_parameter_source(str(parameter.name)) is not ParameterSource.COMMANDLINE:
            continue
        if isinstance(parameter, click.Argument):
            words += map(str, value) if isinstance(value, tuple) else [str(value)]
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(parameter.opts[0])
        else:
            words += [parameter.opts[0], str(value)]
    return " ".join(names), words
