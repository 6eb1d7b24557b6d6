"""Asks the target for its certificate for another name, as a browser will once that name leads there."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from streams.causes import why
from streams.cutover.domain import Certificate

if TYPE_CHECKING:
    from streams.settings import Cutover

#: Where browsers ask; seconds for one address of the target; and so many of them are tried.
PORT, TIMEOUT, MOST = 443, 3.0, 4
#: What OpenSSL calls them: X509_V_ERR_CERT_HAS_EXPIRED and X509_V_ERR_HOSTNAME_MISMATCH.
_EXPIRED, _ANOTHER = 10, 62


async def ask(
    cutover: Cutover, addresses: frozenset[str], context: ssl.SSLContext | None = None, port: int = PORT
) -> Certificate:
    """Ask the first address that answers; `context` says whom we trust, by default whom this machine does."""
    trusting = context or ssl.create_default_context()
    found = Certificate(away="it has no address")
    for address in sorted(addresses, key=lambda one: (":" in one, one))[:MOST]:
        found = await _ask(cutover.domain, address, trusting, port)
        if not found.away:
            return found
    proxied = "https" in getproxies() and not proxy_bypass(cutover.target)
    return Certificate(away=found.away, proxied=proxied)


async def _ask(domain: str, address: str, context: ssl.SSLContext, port: int) -> Certificate:
    try:
        async with asyncio.timeout(TIMEOUT):
            _, writer = await asyncio.open_connection(address, port, ssl=context, server_hostname=domain)
    except ssl.SSLCertVerificationError as error:
        return Certificate(wrong=_words(error))
    except ssl.SSLError as error:  # a server that does not know the name may end it like that
        return Certificate(wrong=why(error))
    except (OSError, TimeoutError) as error:
        return Certificate(away=why(error))
    certificate = writer.get_extra_info("ssl_object").getpeercert()
    writer.close()
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(TIMEOUT):
            await writer.wait_closed()
    return Certificate(until=float(ssl.cert_time_to_seconds(certificate["notAfter"])))


def _words(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _EXPIRED:
        return "the one that it shows has run out"
    if error.verify_code == _ANOTHER:
        return "the one that it shows is for another name"
    return f"nobody that this machine trusts has signed it ({error.verify_message})"
