"""What all commands share: where the workers are, how answers look, and which exit code they end with."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click
import httpx
import orjson
from aiokafka.errors import KafkaError

from streams.identity import RefusedError
from streams.kafka import in_words
from streams.legacy import LegacyAwayError
from streams.settings import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

#: exit codes (design: Interfaces)
OK, WRONG, REFUSED = 0, 1, 2


class Away(Exception):  # noqa: N818  it names a state, not a mistake
    """No worker answers at this address."""


def fail(sentence: str, code: int = REFUSED) -> NoReturn:
    """End with one sentence and an exit code."""
    sys.stderr.write(sentence.rstrip() + "\n")
    sys.exit(code)


def run(command: Callable[..., Coroutine[Any, Any, int | None]]) -> Callable[..., None]:
    """Run an async command; its return value is the exit code, known errors become one sentence."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        # What the Kafka client reports while it tries again is no news for a person: the outcome becomes a sentence.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        context = click.get_current_context(silent=True)
        if context is not None and os.environ.get("NO_COLOR"):
            context.color = False  # without it, click colours on a terminal only
        try:
            code = asyncio.run(command(*args, **kwargs))
        except (RefusedError, ConfigError, LegacyAwayError, ValueError) as error:
            fail(str(error))
        except (OSError, httpx.HTTPError) as error:
            fail(f"not reachable: {error}. Is it running, and is its address in the environment right?")
        except KafkaError as error:
            fail(
                f"Kafka did not do what was asked ({in_words(error)}): is it running, and are "
                "KAFKA_BOOTSTRAP_SERVERS and KAFKA_SECURITY_PROTOCOL right?"
            )
        except KeyboardInterrupt:
            sys.exit(130)
        sys.exit(code or OK)

    return wrapped


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
