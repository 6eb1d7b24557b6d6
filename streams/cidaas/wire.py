"""What httpx reports, in our words: was anything sent, and when may we come back?"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import httpx

from streams.causes import why
from streams.cidaas.errors import CidaasError, Kind, failure
from streams.cidaas.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Longest wait that a `Retry-After` is believed, in seconds.
LONGEST_WAIT = 3600.0

#: The request had not begun to leave when these are raised. (httpx' ConnectTimeout and ConnectError include TLS.)
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)

#: What a request may raise, a time limit of our own around it included.
RAISED = (httpx.HTTPError, httpx.InvalidURL, TimeoutError)


def transport_failure(call: str, error: Exception, *, changes: bool = True) -> CidaasError:
    """Make the error for a call that got no whole answer.

    UNAVAILABLE when nothing was sent (or the call changes nothing anyway); UNCLEAR for everything else: the body may
    have arrived although its sending, or the reading of the answer, failed here (C4).
    """
    if isinstance(error, _NOT_SENT) or not changes:
        return unreachable(call, error)
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return failure(Kind.UNCLEAR, f"cidaas did not answer {call} in time")
    return failure(Kind.UNCLEAR, f"The connection broke during {call} ({_named(error)})")


def unreachable(call: str, error: Exception) -> CidaasError:
    """Make the error for a call that certainly changed nothing."""
    if isinstance(error, TimeoutError | httpx.ReadTimeout | httpx.WriteTimeout):
        return failure(Kind.UNAVAILABLE, f"cidaas did not answer {call} in time")
    if isinstance(error, httpx.PoolTimeout):
        return failure(Kind.UNAVAILABLE, f"No connection became free for {call}")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return failure(
            Kind.NOT_FOUND_ENDPOINT,
            "CIDAAS_BASE_URL is no address of the web",
            remedy="Set it to the tenant's address, such as https://company.cidaas.de.",
        )
    return failure(Kind.UNAVAILABLE, f"cidaas cannot be reached for {call} ({_named(error)})")


def _named(error: Exception) -> str:
    return redact(why(error))


def retry_after(response: httpx.Response) -> float | None:
    """Read `Retry-After`, seconds or an HTTP date, as seconds from now; None when absent or unreadable."""
    return read_retry_after(response.headers)


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` from headers; a date is compared with the server's own `Date`, so that clocks may differ."""
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text, re.ASCII):
        return min(float(text), LONGEST_WAIT)
    if (until := _date(text)) is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), LONGEST_WAIT)


def _date(text: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
