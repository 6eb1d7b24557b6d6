"""What all commands share: where the workers are, how answers look, and which exit code they end with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click
import httpx
import orjson
from aiokafka.errors import KafkaError

from streams.causes import why
from streams.identity import RefusedError
from streams.legacy import LegacyAwayError
from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

#: exit codes (design: Interfaces)
OK, WRONG, REFUSED = 0, 1, 2
#: as a shell says it of a command that was ended by Ctrl-C.
INTERRUPTED = 130


class AtOnce(int):
    """An exit code of a command that must not wait for its threads: one hangs, in a name look-up for instance."""


class Away(Exception):  # noqa: N818  it names a state, not a mistake
    """No worker answers at this address."""


class Failed(SystemExit):
    """The command ends with this exit code, and has said why."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(code)
        self.sentence = sentence


def fail(sentence: str, code: int = REFUSED) -> NoReturn:
    """End with one sentence and an exit code."""
    sys.stderr.write(sentence.rstrip() + "\n")
    raise Failed(sentence, code)


def outcome(error: BaseException) -> tuple[int, str]:
    """The exit code and the sentence that a command ends with by this error."""
    if isinstance(error, SystemExit):
        return int(error.code or OK), getattr(error, "sentence", "")
    if isinstance(error, KeyboardInterrupt | asyncio.CancelledError):
        return INTERRUPTED, "interrupted"
    if (sentence := _sentence(error)) is not None:
        return REFUSED, sentence
    return WRONG, f"it broke off, which is a mistake of ours: {why(error)}"


def _sentence(error: BaseException) -> str | None:
    """What a known error means for a person; None for all others."""
    if isinstance(error, RefusedError | ConfigError | LegacyAwayError | ValueError):
        return str(error)
    if isinstance(error, OSError | httpx.HTTPError):
        return f"not reachable: {why(error)}. Is it running, and is its address in the environment right?"
    if isinstance(error, KafkaError):
        return (
            f"Kafka did not do what was asked ({_of_kafka(error)}): is it running, and are "
            "KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL right?"
        )
    return None


def run(command: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., None]:
    """Run an async command; its return value is the exit code, known errors become one sentence."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        # What the Kafka client reports while it tries again is no news for a person: the outcome becomes a sentence.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        context = click.get_current_context(silent=True)
        if context is not None and os.environ.get("NO_COLOR"):
            context.color = False  # without it, click colours on a terminal only

        async def ended() -> int | None:
            code = await command(*args, **kwargs)
            if isinstance(code, AtOnce):
                sys.stdout.flush()
                os._exit(code)
            return code

        try:
            code = asyncio.run(ended())
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception as error:
            if (sentence := _sentence(error)) is None:
                raise
            fail(sentence)
        sys.exit(code or OK)

    return wrapped


def _of_kafka(error: KafkaError) -> str:
    """What the client says, with addresses as a person writes them."""
    addresses = re.findall(r"\('([^']+)', (\d+),", str(error))
    if addresses:
        return "no broker answers at " + ", ".join(f"{host}:{port}" for host, port in addresses)
    return why(error)


json_option = click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")


def show_json(body: Any) -> None:
    """Print JSON."""
    sys.stdout.buffer.write(orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n")
    sys.stdout.flush()


def worker_url() -> str:
    """The address of a worker: WORKER_URL, or this machine's WEB_PORT."""
    return os.environ.get("WORKER_URL", f"http://127.0.0.1:{os.environ.get('WEB_PORT', '6066')}").rstrip("/")


async def ask(path: str, url: str | None = None, seconds: float = 5.0) -> tuple[int, dict[str, Any]]:
    """Ask a worker; returns the HTTP status and the answer.

    Raises:
        Away: nobody answers there.
    """
    async with httpx.AsyncClient(timeout=seconds, trust_env=False) as client:
        try:
            answer = await client.get(f"{url or worker_url()}{path}")
        except httpx.HTTPError:
            raise Away from None
    try:
        body = answer.json()
    except ValueError:
        raise Away from None
    return answer.status_code, body


async def ask_all(path: str, seconds: float = 60.0) -> list[dict[str, Any]]:
    """Ask all workers the same; nothing from those that do not answer.

    Raises:
        Away: not one answers.
    """
    _, first = await ask("/sync/status")
    answers = []
    for url in [None, *(url for url in first.get("workers", []) if url != first.get("url"))]:
        with contextlib.suppress(Away):
            code, body = await ask(path, url, seconds)
            if code == 200:
                answers.append(body)
    return answers


def table(rows: list[tuple[str, str]]) -> str:
    """Two aligned columns."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in rows)
