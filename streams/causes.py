"""Why something could not be reached, in words: a person at night does not read names of Python's classes (pure)."""

from __future__ import annotations

import re
import socket
import ssl
from typing import TYPE_CHECKING

import httpx
from aiokafka import errors as kafka

if TYPE_CHECKING:
    from collections.abc import Iterator

_LATE = "no answer in time"
#: kind of error -> what it means; the first that fits counts, of the causes behind it too.
_WORDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((ssl.SSLCertVerificationError,), "its certificate is not one that we trust"),
    ((ssl.SSLError,), "it does not speak TLS as we do"),
    ((socket.gaierror,), "its name is not known"),
    ((ConnectionRefusedError,), "nobody listens there"),
    ((ConnectionResetError, BrokenPipeError), "it broke the connection"),
    ((httpx.ProxyError,), "the proxy in between refused"),
    ((httpx.ConnectTimeout, httpx.ReadTimeout, httpx.WriteTimeout, httpx.PoolTimeout), _LATE),
    ((httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError), "it broke the connection"),
    ((kafka.KafkaTimeoutError, kafka.RequestTimedOutError), _LATE),
    ((kafka.AuthenticationFailedError, kafka.AuthenticationMethodNotSupported), "it refuses user or password"),
    # The client has swallowed why it was not let in.
    ((kafka.KafkaConnectionError,), "nobody lets us in there"),
    ((TimeoutError,), _LATE),
)


def why(error: BaseException) -> str:
    """Say why, in a few words that begin small and end without a full stop; never the name of a class."""
    chain = list(_behind(error))
    for kinds, words in _WORDS:
        if any(isinstance(one, kinds) for one in chain):
            return words
    return _said(error)


def named(kind: type[BaseException]) -> str:
    """The name of an error, as words: `TopicAuthorizationFailedError` is "topic authorization failed"."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", kind.__name__).lower()
    return words.removesuffix(" error").removesuffix(" exception")


def _said(error: BaseException) -> str:
    """The error's own words; those of Kafka's client begin with the name of its class."""
    text = ": ".join(str(error).split("\n")).strip().removeprefix(type(error).__name__).removeprefix(":").strip()
    text = re.sub(r"^\[Error -?\d+\] \w+:? ?", "", text)  # those of a broker: number and name of the class
    return text.rstrip(".") or named(type(error))


def _behind(error: BaseException) -> Iterator[BaseException]:
    """The error and whatever caused it."""
    seen: set[int] = set()
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop(0)
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [part for part in one.args if isinstance(part, BaseException)]  # httpcore wraps one so
        todo += [*getattr(one, "exceptions", ()), one.__cause__, None if one.__suppress_context__ else one.__context__]
